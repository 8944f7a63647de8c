"""The collection of actions; where OpenWhisk's ActionsApiTests have a case, its name is the test's id."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.controllers import (
    ACTIONS,
    HELLO,
    NATIVE,
    FakeEnvironments,
    FakeLink,
    Stand,
    annotation,
    archive,
    key_of,
    standing,
)
from support.records import ended, on_disk, opened

from instainfer.config import Config
from instainfer.controller.paths import EntityPath
from instainfer.core.model import MIB, Profile, Verdict
from instainfer.environments.content import digest_of_file
from instainfer.environments.package import WEIGHTS_FILE
from instainfer.errors import BadFunction, Conflict, EnvironmentBuildError, HostError

MALFORMED = "The request content was malformed:\n"
TOML = 'memory = "1GB"\ntimeout = "90s"\nlogs = "5MB"\n[env]\nOMP_NUM_THREADS = "1"\n'
HANDLER = "def main(args):\n    return {}\n"


def names(listed: list[dict[str, Any]]) -> list[str]:
    return [action["name"] for action in listed]


def test_return_empty_list_when_no_actions_exist(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.get(ACTIONS)
            assert (response.status_code, response.json()) == (200, [])

    asyncio.run(run())


def test_put_and_get_action(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            body = {"limits": {"memory": 128}, "parameters": [{"key": "topk", "value": 5}]}
            response = await stand.put("resnet", **body)
            assert response.status_code == 200
            action = response.json()
            assert re.fullmatch(r"1\d{12}", str(action.pop("updated")))
            assert action == {
                "namespace": "guest",
                "name": "resnet",
                "version": "0.0.1",
                "publish": False,
                "exec": {"kind": "python:3", "code": HELLO, "binary": False},
                "parameters": [{"key": "topk", "value": 5}],
                "annotations": [
                    {"key": "provide-api-key", "value": False},
                    {"key": "exec", "value": "python:3"},
                ],
                "limits": {"timeout": 60000, "memory": 128, "logs": 10, "concurrency": 1},
            }
            got = (await stand.http.get(f"{ACTIONS}/resnet")).json()
            assert got == response.json()

    asyncio.run(run())


def test_integers_are_never_written_as_floats(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            put = await stand.put("f")
            called = await stand.invoke("f")
            listed = await stand.http.get(ACTIONS)
            for response in (put, called, listed):
                without_phases = re.sub(r'"value":\{"queue".*?\}', "", response.text)
                assert re.search(r"\d\.0\b(?!\.)", without_phases.replace('"0.0.1"', "")) is None

    asyncio.run(run())


def test_get_action_without_code(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            got = (await stand.http.get(f"{ACTIONS}/f", params={"code": "false"})).json()
            assert got["exec"] == {"kind": "python:3", "binary": False}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "text"),
    [
        pytest.param(
            {"limit": 201},
            "The value '201' is not in the range of 0 to 200 for actions.",
            id="reject list when limit is greater than maximum allowed value",
        ),
        pytest.param(
            {"limit": -1},
            "The value '-1' is not in the range of 0 to 200 for actions.",
            id="reject list when limit is negative",
        ),
        pytest.param(
            {"limit": "x"},
            "The value 'x' is not an integer for actions.",
            id="reject list when limit is not an integer",
        ),
        pytest.param(
            {"skip": -1},
            "The value '-1' is not greater than or equal to 0 for actions.",
            id="reject list when skip is negative",
        ),
        pytest.param(
            {"skip": "x"},
            "The value 'x' is not an integer for actions.",
            id="reject list when skip is not an integer",
        ),
        pytest.param(
            {"count": "perhaps"},
            "The query parameter 'count' was malformed:\n'perhaps' is not a valid Boolean value",
            id="reject list when count is not a boolean",
        ),
    ],
)
def test_list_is_refused(tmp_path: Path, query: dict[str, Any], text: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.get(ACTIONS, params=query)
            assert response.status_code == 400
            assert response.json() == {"error": text, "code": response.headers["x-request-id"]}

    asyncio.run(run())


def test_list_actions_by_default_namespace(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for name in ("a", "b", "c"):
                await stand.put(name)
            await stand.put("a", overwrite=True)  # is the newest now
            listed = (await stand.http.get(ACTIONS)).json()
            assert names(listed) == ["a", "c", "b"]
            assert listed[0]["exec"] == {"binary": False}
            assert annotation(listed[0], "exec") == "python:3"
            assert "parameters" not in listed[0]
            assert names((await stand.http.get(ACTIONS, params={"limit": 1, "skip": 1})).json()) == ["c"]
            assert len((await stand.http.get(ACTIONS, params={"limit": 0})).json()) == 3
            assert (await stand.http.get(ACTIONS, params={"count": "true"})).json() == {"actions": 3}
            explicit = "/api/v1/namespaces/guest/actions/"
            assert names((await stand.http.get(explicit)).json()) == ["a", "c", "b"]

    asyncio.run(run())


def test_reject_create_with_existing_name_without_overwrite(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            response = await stand.put("f")
            assert (response.status_code, response.json()["error"]) == (409, "resource already exists")

    asyncio.run(run())


def test_update_keeps_what_is_not_given_and_bumps_the_version(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put(
                "f",
                limits={"memory": 128, "timeout": 1000},
                parameters=[{"key": "a", "value": 1}],
                annotations=[{"key": "x", "value": 1}, {"key": "y", "value": 2}],
                publish=True,
            )
            update = {
                "limits": {"memory": 192},
                "annotations": [{"key": "y", "value": 3}],
                "delAnnotations": ["x"],
            }
            response = await stand.http.put(f"{ACTIONS}/f", params={"overwrite": "true"}, json=update)
            action = response.json()
            assert response.status_code == 200
            assert action["version"] == "0.0.2"
            assert action["exec"] == {"kind": "python:3", "code": HELLO, "binary": False}
            assert action["limits"] == {"timeout": 1000, "memory": 192, "logs": 10, "concurrency": 1}
            assert action["parameters"] == [{"key": "a", "value": 1}]
            assert action["publish"] is True
            assert (annotation(action, "x"), annotation(action, "y")) == (None, 3)
            assert annotation(action, "provide-api-key") is False
            replaced = await stand.put("f", overwrite=True, parameters=[], version="2.0.0")
            assert (replaced.json()["parameters"], replaced.json()["version"]) == ([], "2.0.0")

    asyncio.run(run())


def test_add_key_annotation_if_it_is_not_present_already(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            asked = await stand.put("asks", annotations=[{"key": "provide-api-key", "value": True}])
            assert annotation(asked.json(), "provide-api-key") is True
            assert annotation((await stand.put("silent")).json(), "provide-api-key") is False
            await stand.invoke("asks")
            await stand.invoke("silent")
            asking, silent = stand.link.calls
            assert asking.env["__OW_API_KEY"] == ":".join(key_of(tmp_path))
            assert "__OW_API_KEY" not in silent.env

    asyncio.run(run())


def test_the_new_version_is_known_to_nodes_before_the_old_one_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await stand.put("f", overwrite=True)
            assert stand.link.history == ["+guest/f@0.0.1", "+guest/f@0.0.2", "-guest/f@0.0.1"]

    asyncio.run(run())


def test_the_old_version_stays_until_its_last_call_has_ended(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            calling = asyncio.ensure_future(stand.invoke("f"))
            await stand.link.arrived()
            await stand.put("f", overwrite=True)
            assert "-guest/f@0.0.1" not in stand.link.history
            stand.link.release()
            assert (await calling).status_code == 200
            assert stand.link.history[-1] == "-guest/f@0.0.1"

    asyncio.run(run())


def test_no_two_versions_ever_share_a_key(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await stand.put("f", overwrite=True, version="0.0.1")
            await stand.http.delete(f"{ACTIONS}/f")
            await stand.put("f")
            registered = [entry[1:] for entry in stand.link.history if entry.startswith("+")]
            assert len(registered) == len(set(registered)) == 3
            assert (await stand.invoke("f")).json()["version"] == "0.0.1"

    asyncio.run(run())


def test_delete_action(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            response = await stand.http.delete(f"{ACTIONS}/f")
            assert (response.status_code, response.json()["name"]) == (200, "f")
            assert stand.link.history == ["+guest/f@0.0.1", "-guest/f@0.0.1"]
            for gone in (await stand.http.get(f"{ACTIONS}/f"), await stand.invoke("f")):
                assert gone.status_code == 404
                text = "The requested resource does not exist. There is no action f in the namespace guest."
                assert gone.json()["error"] == text

    asyncio.run(run())


def test_delete_of_an_unknown_action_is_404(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            assert (await stand.http.delete(f"{ACTIONS}/f")).status_code == 404

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param({}, "exec undefined", id="put should reject request missing exec"),
        pytest.param(
            {"exec": {"kind": "cobol:85", "code": "x"}},
            f"{MALFORMED}The specified runtime 'cobol:85' is not supported by this platform. Valid values are: "
            "'python:3', 'python:3.9', 'python:3.10', 'python:3.11', 'python:3.12', 'python:3.13', 'python:3.14'.",
            id="put should reject request with unknown kind",
        ),
        pytest.param({"exec": {"kind": "python:3"}}, "'code' must be", id="put should reject missing code"),
        pytest.param(
            {"exec": {"kind": "python:3", "code": 5}}, "$.exec.code", id="put should reject code of a wrong type"
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": "not base64!", "binary": True}},
            "not base64",
            id="put should reject binary code that is not base64",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "limits": {"memory": 1}},
            f"{MALFORMED}requirement failed: memory size 1 MB below allowed threshold of 64 MB",
            id="put should reject memory below the minimum",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "limits": {"timeout": 400_000}},
            f"{MALFORMED}requirement failed: duration 400000 milliseconds exceeds allowed threshold of "
            "300000 milliseconds",
            id="put should reject a timeout above the maximum",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "limits": {"logs": 11}},
            "log size 11 MB exceeds allowed threshold of 10 MB",
            id="put should reject logs above the maximum",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "limits": {"concurrency": 2}},
            "concurrency 2 exceeds allowed threshold of 1",
            id="put should reject intra-container concurrency",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "limits": {"concurrency": 0}},
            "concurrency 0 below allowed threshold of 1",
            id="put should reject no concurrency",
        ),
        pytest.param(
            {"exec": {"kind": "nodejs:default", "code": HELLO}},
            "'python:3.14'. Only Python runs here: say the kind, such as 'python:3'.",
            id="put should say what is missing when a client has filled in another language",
        ),
        pytest.param(
            {"exec": {"kind": "blackbox", "image": "python:3"}},
            "The specified runtime 'blackbox' is not supported",
            id="put should reject an image",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "annotations": [{"key": "web-export", "value": True}]},
            "there are no web actions here",
            id="put should reject what would not be served",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "annotations": [{"key": "web-export", "value": "yes"}]},
            "there are no web actions here",
            id="put should reject what would not be served, however it is asked for",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "parameters": {"a": 1}},
            "$.parameters",
            id="put should reject parameters that are not pairs",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": HELLO}, "version": "one"},
            "is not a version",
            id="put should reject a malformed version",
        ),
        pytest.param(
            {"exec": {"kind": "python:3", "code": "UEsDBA=="}},
            "not a sound zip archive",
            id="put should reject an unsound archive",
        ),
    ],
)
def test_put_is_refused(tmp_path: Path, body: dict[str, Any], text: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.put(f"{ACTIONS}/f", json=body)
            assert response.status_code == 400
            assert text in response.json()["error"]
            assert response.json()["code"] == response.headers["x-request-id"]
            assert (await stand.http.get(ACTIONS)).json() == []
            assert stand.link.history == []

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"{not json", b"[]", b"[" * 100_000, b""])
def test_put_should_reject_malformed_json(tmp_path: Path, body: bytes) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.put(f"{ACTIONS}/f", content=body, headers={"content-type": "application/json"})
            assert response.status_code == 400
            assert response.json()["error"].startswith(MALFORMED)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("a b.c@d-e_1", 200),
        ("%C3%A4", 400),
        ("a%2Fb", 400),
        ("x" * 256, 200),
        ("x" * 257, 400),
        ("a ", 400),
        (".a", 400),
    ],
)
def test_names(tmp_path: Path, name: str, status: int) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.put(name)
            assert response.status_code == status, response.text

    asyncio.run(run())


def test_an_archive_brings_its_limits_and_environment_and_the_put_wins(tmp_path: Path) -> None:
    files = {"function.toml": TOML, "handler.py": HANDLER, "requirements.txt": "numpy\npillow\n"}

    async def run() -> None:
        async with standing(tmp_path) as stand:
            code = archive(files)
            response = await stand.put("f", code, limits={"timeout": 5000})
            assert response.status_code == 200, response.text
            assert response.json()["exec"] == {"kind": "python:3", "binary": True, "code": code}
            assert response.json()["limits"] == {"timeout": 5000, "memory": 1024, "logs": 5, "concurrency": 1}
            function, spec, profile = stand.link.functions["guest/f@0.0.1"]
            assert (function.memory_bytes, function.timeout_s, function.environment) == (1024 * MIB, 5.0, "env-2-own")
            assert function.estimate_bytes == 256 * MIB
            assert (spec.handler, spec.main, spec.style, spec.logs_bytes) == ("handler", "main", "action", 5 * MIB)
            assert (spec.env["OMP_NUM_THREADS"], spec.timeout_s) == ("1", 5.0)
            assert (spec.folder / "handler.py").read_text() == HANDLER
            assert profile is None
            # The manifest decides again what an update leaves open.
            files["function.toml"] = 'memory = "2GB"\n'
            update = {"exec": {"kind": "python:3", "code": archive(files)}}
            again = await stand.http.put(f"{ACTIONS}/f", params={"overwrite": "true"}, json=update)
            assert again.json()["limits"] == {"timeout": 5000, "memory": 2048, "logs": 10, "concurrency": 1}

    asyncio.run(run())


def test_the_first_guess_of_a_resident_counts_its_weights_twice_and_never_exceeds_its_limit(tmp_path: Path) -> None:
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"w" * (3 * MIB))

    async def run() -> None:
        async with standing(tmp_path) as stand:
            digest = digest_of_file(weights)
            assert (await stand.http.put(f"{NATIVE}/blobs/{digest}", content=weights.read_bytes())).status_code == 200
            files = {"function.toml": 'weights = ["model.pt"]\nmemory = "256MB"\n', "handler.py": HANDLER}
            code = archive({**files, WEIGHTS_FILE: json.dumps({"model.pt": digest})})
            response = await stand.put("f", code)
            assert response.status_code == 200, response.text
            assert stand.link.functions["guest/f@0.0.1"][0].estimate_bytes == 256 * MIB
            await stand.put("g", code, limits={"memory": 1024})
            assert stand.link.functions["guest/g@0.0.1"][0].estimate_bytes == (256 + 6) * MIB

    asyncio.run(run())


def test_memory_is_learned_where_the_manifest_names_none(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            code = archive({"function.toml": "idempotent = true\n", "handler.py": HANDLER})
            made = (await stand.put("f", code)).json()
            function, spec, _ = stand.link.functions["guest/f@0.0.1"]
            limits = Config().limits_in_force
            assert (function.memory_bytes, function.most_bytes) == (256 * MIB, limits.max_memory_mb * MIB)
            assert (function.least_bytes, function.idempotent) == (limits.min_memory_mb * MIB, True)
            assert spec.memory_bytes == 0, "its container's limit counts"
            assert made["limits"]["memory"] == 256
            assert {"key": "memory", "value": "auto"} in made["annotations"]
            stand.controller.remember("guest/f@0.0.1", Profile(runs=1, peak_bytes=600 * MIB))
            shown = (await stand.http.get(f"{ACTIONS}/f")).json()
            assert shown["limits"]["memory"] == 704
            assert [each["limits"]["memory"] for each in (await stand.http.get(ACTIONS)).json()] == [704]

    asyncio.run(run())


def test_a_put_may_ask_for_learned_memory_or_for_a_limit(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            assert (await stand.put("f", HELLO)).json()["limits"]["memory"] == 256
            assert not stand.link.functions["guest/f@0.0.1"][0].is_auto, "as OpenWhisk's clients expect it"
            auto = (await stand.put("f", HELLO, limits={"memory": "auto"}, overwrite=True)).json()
            assert {"key": "memory", "value": "auto"} in auto["annotations"]
            assert stand.link.functions["guest/f@0.0.2"][0].is_auto
            again = (await stand.put("f", HELLO, overwrite=True)).json()
            assert {"key": "memory", "value": "auto"} in again["annotations"], "what was asked for stays"
            plain = (await stand.put("f", HELLO, limits={"memory": 512}, overwrite=True)).json()
            assert plain["limits"]["memory"] == 512
            assert all(pair["key"] != "memory" for pair in plain["annotations"])
            for wrong in (0, "much", True):
                assert (await stand.put("f", HELLO, limits={"memory": wrong}, overwrite=True)).status_code == 400
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            assert not stand.link.functions["guest/f@0.0.4"][0].is_auto

    asyncio.run(run())


def test_learned_memory_and_its_peak_come_back_after_a_start(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", HELLO, limits={"memory": "auto"})
            stand.controller.remember("guest/f@0.0.1", Profile(runs=1, peak_bytes=600 * MIB))
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            function, _, profile = stand.link.functions["guest/f@0.0.1"]
            assert function.is_auto
            assert profile is not None
            assert profile.peak_bytes == 600 * MIB

    asyncio.run(run())


def test_an_annotation_says_that_calls_may_be_repeated(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", HELLO, annotations=[{"key": "idempotent", "value": True}])
            assert stand.link.functions["guest/f@0.0.1"][0].idempotent

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "stored", "python"),
    [("python:default", "python:3", None), ("python:3", "python:3", None), ("python:3.10", "python:3.10", "3.10")],
)
def test_kinds_name_a_python(tmp_path: Path, kind: str, stored: str, python: str | None) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.put(f"{ACTIONS}/f", json={"exec": {"kind": kind, "code": HELLO}})
            assert response.json()["exec"]["kind"] == stored
            assert stand.environments.asked[-1].python == python

    asyncio.run(run())


def test_a_kind_and_a_manifest_must_not_name_different_pythons(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            code = archive({"function.toml": 'python = "3.12"\n', "handler.py": HANDLER})
            response = await stand.http.put(f"{ACTIONS}/f", json={"exec": {"kind": "python:3.10", "code": code}})
            assert response.status_code == 400
            assert "python = '3.12'" in response.json()["error"]

    asyncio.run(run())


def test_main_of_the_put_wins(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            body = {"exec": {"kind": "python:3", "code": HELLO, "main": "answer"}}
            response = await stand.http.put(f"{ACTIONS}/f", json=body)
            assert response.json()["exec"]["main"] == "answer"
            assert stand.link.functions["guest/f@0.0.1"][1].main == "answer"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (EnvironmentBuildError("the requirements cannot be resolved", "ERROR: no torchh"), 400, "ERROR: no torchh"),
        (BadFunction("handler: there is no handler.py"), 400, "there is no handler.py"),
        (HostError("no Python 3.9 on this machine; install it"), 500, "no Python 3.9"),
        (HostError("no space left on the disk of /cache (0 bytes free); free some"), 507, "no space left"),
    ],
)
def test_a_failed_deployment_says_why_and_keeps_the_version_before(
    tmp_path: Path, error: Exception, status: int, text: str
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.environments.error = error
            response = await stand.put("f", HELLO + "# new\n", overwrite=True)
            assert response.status_code == status
            assert text in response.json()["error"]
            called = await stand.invoke("f")
            assert (called.status_code, called.json()["version"]) == (200, "0.0.1")

    asyncio.run(run())


def test_two_changes_of_one_action_at_a_time_are_a_conflict(tmp_path: Path) -> None:
    async def run() -> None:
        environments = FakeEnvironments()
        async with standing(tmp_path, environments=environments) as stand:
            environments.gate = asyncio.Event()
            first = asyncio.ensure_future(stand.put("f"))
            await environments.called.wait()
            second = await stand.put("f", overwrite=True)
            assert second.status_code == 409
            assert second.json()["error"] == "Concurrent modification to resource detected."
            environments.gate.set()
            assert (await first).status_code == 200

    asyncio.run(run())


def test_a_version_that_came_while_a_delete_read_the_old_one_is_not_deleted(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            actions = stand.controller._actions
            old = stand.controller._catalog.get(EntityPath("guest", None, "f"))
            assert old is not None
            await stand.put("f", overwrite=True)
            with pytest.raises(Conflict):
                await actions.delete(old.action)
            left = stand.controller._catalog.get(EntityPath("guest", None, "f"))
            assert left is not None
            assert left.action.version == "0.0.2"

    asyncio.run(run())


def test_code_and_requests_that_are_too_large_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"max_code_bytes": 1000}) as stand:
            code = await stand.put("f", "#" * 1001)
            assert code.status_code == 413
            assert code.json()["error"] == (
                "Request larger than allowed: 1001 > 1000 bytes. server.max_code_bytes is the bound."
            )
            body = await stand.put("f", "#" * 5 * MIB)
            assert body.status_code == 413
            parameters = await stand.put("f", "#", parameters=[{"key": "a", "value": "x" * MIB}])
            assert parameters.status_code == 413

    asyncio.run(run())


def test_code_is_stored_once_and_goes_with_its_last_action(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            store = stand.controller._store

            async def stored() -> int:
                return await store.read(
                    lambda connection: connection.exec_driver_sql("SELECT count(*) FROM code").scalar()
                )

            await stand.put("a")
            await stand.put("b")
            assert await stored() == 1
            await stand.put("a", HELLO + "#\n", overwrite=True)
            assert await stored() == 2
            await stand.http.delete(f"{ACTIONS}/b")
            assert await stored() == 1
            assert (await stand.http.get(f"{ACTIONS}/a")).json()["exec"]["code"] == HELLO + "#\n"

    asyncio.run(run())


def test_functions_and_what_was_measured_of_them_return_after_a_restart(tmp_path: Path) -> None:
    profile = Profile().with_load(1.5, 0.5, 100 * MIB)

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", limits={"memory": 300}, parameters=[{"key": "a", "value": 1}])
            await stand.put("f", overwrite=True)
            stand.controller.remember("guest/f@0.0.2", profile)
            before = (await stand.http.get(f"{ACTIONS}/f")).json()
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            assert (await stand.http.get(f"{ACTIONS}/f")).json() == before
            function, spec, remembered = stand.link.functions["guest/f@0.0.2"]
            assert function.memory_bytes == 300 * MIB
            assert (spec.folder / "__main__.py").read_text() == HELLO
            assert remembered == profile
            listed = (await stand.http.get(f"{NATIVE}/functions")).json()
            assert listed[0]["profile"]["library_s"] == 1.5
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_a_profile_outlives_an_update_of_anything_but_code(tmp_path: Path) -> None:
    profile = Profile().with_load(1.5, 0.5, 100 * MIB)

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.controller.remember("guest/f@0.0.1", profile)
            await stand.put("f", overwrite=True, limits={"memory": 512})
            assert stand.link.functions["guest/f@0.0.2"][2] == profile
            await stand.put("f", HELLO + "# new\n", overwrite=True)
            assert stand.link.functions["guest/f@0.0.3"][2] is None

    asyncio.run(run())


def test_a_verdict_on_forking_returns_after_a_restart_on_the_same_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfit = Verdict(False, "load() has\nstarted \x1b[31m\ud800 a thread " + "x" * 2000)

    async def forked(stand: Stand) -> Any:
        (listed,) = (await stand.http.get(f"{NATIVE}/functions")).json()
        return listed["forked"]

    async def run() -> None:
        monkeypatch.setattr("instainfer.controller.app.this_host", lambda: "host 6.1")
        async with standing(tmp_path) as stand:
            await stand.put("f")
            assert await forked(stand) == {"fit": None, "reason": None}
            stand.controller.judged("guest/f@0.0.1", unfit)
            stand.controller.judged("guest/unknown@0.0.1", unfit)
            told = await forked(stand)
            assert (told["fit"], len(told["reason"])) == (False, 1000)
            assert told["reason"].startswith("load() has started  [31m  a thread xxx")
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            assert stand.link.verdicts["guest/f@0.0.1"] == Verdict(False, told["reason"])
            assert await forked(stand) == told
        monkeypatch.setattr("instainfer.controller.app.this_host", lambda: "host 6.2")
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            assert stand.link.verdicts["guest/f@0.0.1"] is None
            assert await forked(stand) == {"fit": None, "reason": None}
            stand.controller.judged("guest/f@0.0.1", Verdict(True))
            assert await forked(stand) == {"fit": True, "reason": None}

    asyncio.run(run())


def test_a_verdict_outlives_an_update_with_the_same_code_packages_and_limits(tmp_path: Path) -> None:
    unfit = Verdict(False, "it takes too long")

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.controller.judged("guest/f@0.0.1", unfit)
            await stand.put("f", overwrite=True, parameters=[{"key": "a", "value": 1}])
            assert stand.link.verdicts["guest/f@0.0.2"] == unfit
            await stand.put("f", overwrite=True, limits={"memory": 512})
            assert stand.link.verdicts["guest/f@0.0.3"] is None, "with another limit it may be fit"
            stand.controller.judged("guest/f@0.0.3", Verdict(True))
            await stand.put("f", overwrite=True, limits={"memory": 300})
            assert stand.link.verdicts["guest/f@0.0.4"] == Verdict(True)
            await stand.put("f", HELLO + "# new\n", overwrite=True)
            assert stand.link.verdicts["guest/f@0.0.5"] is None
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            assert stand.link.verdicts == {"guest/f@0.0.5": None}

    asyncio.run(run())


async def were_called(home: Path, *calls: tuple[str, float]) -> None:
    """Add calls of functions, each so many seconds ago, to the records of a platform that is down."""
    now_ms = time.time_ns() // 1_000_000
    async with opened(home / "home") as store:
        for number, (name, ago_s) in enumerate(calls):
            store.finished(msgspec.structs.replace(ended(number, name), start_ms=now_ms - int(ago_s * 1000)))


async def until_on_disk(home: Path, count: int) -> None:
    """Return when the records have so many activations."""
    give_up_s = time.monotonic() + 30
    while len(on_disk(home / "home")) < count:
        assert time.monotonic() < give_up_s, "they were not written in time"
        await asyncio.sleep(0.01)


def test_after_a_restart_nodes_hear_of_the_latest_calls_oldest_first(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await stand.put("never")
            assert [list(each) for each in stand.link.called_ago_s.values()] == [[], []]
        calls = [("f", 1000.0 + 100.0 * number) for number in range(100)]
        await were_called(tmp_path, *calls[50:], *calls[:50], ("f", 500.0), ("other", 1.0))
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            told = {function: list(each) for function, each in stand.link.called_ago_s.items()}
            latest = [500.0, *(1000.0 + 100.0 * number for number in range(63))]
            assert told["guest/f@0.0.1"] == pytest.approx(latest[::-1], abs=40.0), "as many as a node remembers"
            assert told["guest/never@0.0.1"] == []

    asyncio.run(run())


def test_an_update_hands_on_the_calls_of_the_versions_before(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
        await were_called(tmp_path, ("f", 3600.0), ("f", 600.0), ("g", 300.0))
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            await stand.put("f", HELLO + "# new code\n", overwrite=True)
            assert list(stand.link.called_ago_s["guest/f@0.0.2"]) == pytest.approx([3600.0, 600.0], abs=40.0)
            assert (await stand.invoke("f")).status_code == 200
            await until_on_disk(tmp_path, 4)
            await stand.put("f", overwrite=True, limits={"memory": 512})
            told = list(stand.link.called_ago_s["guest/f@0.0.3"])
            assert told == pytest.approx([3600.0, 600.0, 0.0], abs=40.0)
            assert told[-1] >= 0.0
            await stand.put("new")
            assert list(stand.link.called_ago_s["guest/new@0.0.1"]) == []

    asyncio.run(run())


def test_calls_that_seem_to_be_yet_to_come_were_made_now(tmp_path: Path) -> None:
    """The machine's clock may have been set back meanwhile."""

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
        await were_called(tmp_path, ("f", -3600.0), ("f", 600.0))
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            before, after = stand.link.called_ago_s["guest/f@0.0.1"]
            assert before == pytest.approx(600.0, abs=40.0)
            assert after == 0.0

    asyncio.run(run())


def test_the_manifest_says_whether_a_function_is_forked_and_fresh(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            files = {"handler.py": HELLO, "function.toml": "fork = false\nfresh = true\n"}
            await stand.put("f", archive(files))
            function = stand.link.functions["guest/f@0.0.1"][0]
            assert (function.forkable, function.fresh) == (False, True)
            (listed,) = (await stand.http.get(f"{NATIVE}/functions")).json()
            assert listed["forked"] == {"fit": False, "reason": "fork = false in function.toml"}
        async with standing(tmp_path, node={"function_templates": False}) as stand:
            await stand.put("g")
            listed = (await stand.http.get(f"{NATIVE}/functions")).json()
            (reason,) = [each["forked"]["reason"] for each in listed if each["name"] == "g"]
            assert "node.function_templates" in reason

    asyncio.run(run())


def test_after_a_restart_calls_wait_until_their_function_is_ready(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
        environments = FakeEnvironments()
        environments.gate = asyncio.Event()
        async with standing(tmp_path, environments=environments) as stand:
            activation = (await stand.invoke("f", blocking="false")).json()["activationId"]
            await environments.called.wait()
            assert stand.link.calls == []
            environments.gate.set()
            await stand.controller.idle()
            record = await stand.record(activation)
            assert record["response"]["success"] is True
            assert annotation(record, "phases")["queue"] > 0

    asyncio.run(run())


def test_a_function_that_cannot_be_made_ready_again_says_why_and_can_be_put_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await stand.put("g")
        environments = FakeEnvironments()
        environments.error = EnvironmentBuildError("the requirements cannot be installed", "ERROR: no route")
        async with standing(tmp_path, environments=environments) as stand:
            await stand.controller.restored()
            response = await stand.invoke("f")
            assert response.status_code == 500
            assert response.json()["response"]["status"] == "whisk internal error"
            error = response.json()["response"]["result"]["error"]
            assert error.startswith("Failed to provision resources to run the action.")
            assert "ERROR: no route" in error
            problem = (await stand.http.get(f"{NATIVE}/functions")).json()[0]["problem"]
            assert "ERROR: no route" in problem
            environments.error = None
            assert (await stand.put("f", overwrite=True)).status_code == 200
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())
    assert "guest/f cannot be made ready again" in caplog.text


def test_a_function_deleted_while_it_is_made_ready_tells_those_who_wait(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
        environments = FakeEnvironments()
        environments.gate = asyncio.Event()
        async with standing(tmp_path, environments=environments) as stand:
            activation = (await stand.invoke("f", blocking="false")).json()["activationId"]
            await stand.http.delete(f"{ACTIONS}/f")
            await stand.controller.idle()
            record = await stand.record(activation)
            assert record["response"]["status"] == "whisk internal error"
            assert "deleted or replaced" in record["response"]["result"]["error"]
            environments.gate.set()
            await stand.controller.restored()
            assert stand.link.functions == {}

    asyncio.run(run())


def test_a_node_that_joins_late_learns_every_function(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            late = FakeLink("node-2")
            stand.controller.join(late)
            assert late.history == ["+guest/f@0.0.1"]
            stand.controller.leave("node-1")
            assert (await stand.invoke("f")).status_code == 200
            assert len(late.calls) == 1

    asyncio.run(run())


def test_what_openwhisk_accepts(tmp_path: Path) -> None:
    """Code may be empty, and clients that are asked for no web action say so in an annotation."""

    async def run() -> None:
        async with standing(tmp_path) as stand:
            made = await stand.put("f", "", annotations=[{"key": "web-export", "value": False}])
            assert made.status_code == 200, made.text
            assert made.json()["exec"] == {"kind": "python:3", "binary": False, "code": ""}
            assert (await stand.http.get(f"{ACTIONS}/f")).json()["exec"]["code"] == ""
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


@pytest.mark.parametrize("what", ["parameters", "annotations"])
def test_reject_create_with_what_is_too_big(tmp_path: Path, what: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            refused = await stand.put("f", **{what: [{"key": "a", "value": "x" * (MIB + 1)}]})
            assert refused.status_code == 413
            assert f"{what} larger than allowed: " in refused.json()["error"]
            assert (await stand.http.get(ACTIONS)).json() == []

    asyncio.run(run())


def test_reject_activation_with_entity_which_is_too_big(tmp_path: Path) -> None:
    """The size is told before anything else, also where there is no such action."""

    async def run() -> None:
        async with standing(tmp_path, server={"max_body_bytes": 1000}) as stand:
            refused = await stand.invoke("nowhere", {"x": "y" * 1000})
            assert refused.status_code == 413
            assert (await stand.invoke("nowhere", {"x": "y"})).status_code == 404

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "verbs"),
    [
        (f"{ACTIONS}/f", {"GET", "HEAD", "PUT", "DELETE", "POST"}),
        (f"{ACTIONS}/tools/f", {"GET", "HEAD", "PUT", "DELETE", "POST"}),
        (ACTIONS, {"GET", "HEAD"}),
    ],
)
def test_a_verb_that_is_not_there_is_told_all_that_are(tmp_path: Path, url: str, verbs: set[str]) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            refused = await stand.http.patch(url, json={})
            assert refused.status_code == 405
            assert set(refused.headers["Allow"].split(", ")) == verbs

    asyncio.run(run())


def test_long_names_are_refused_in_openwhisks_words(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for name in ("x" * 257, f"tools/{'x' * 257}", f"{'x' * 257}/f"):
                for response in (
                    await stand.put(name),
                    await stand.http.get(f"{ACTIONS}/{name}"),
                    await stand.invoke(name),
                ):
                    assert response.status_code == 400
                    assert response.json()["error"] == "Name longer than allowed: 257 > 256."

    asyncio.run(run())
