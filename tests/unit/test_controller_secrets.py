"""Secrets of functions: what the nodes are told of them, what is stored, what callers are told, and a lost key."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.controllers import ACTIONS, NATIVE, Stand, standing

from instainfer.controller import function_secrets
from instainfer.controller.function_secrets import KEY_FILE, MOST_SECRETS, MOST_VALUE_BYTES, SecretChange
from instainfer.controller.paths import EntityPath
from instainfer.core.model import MIB, Profile, Verdict

VALUE = "hunter2-ünd-more"


async def put_secret(stand: Stand, key: str = "TOKEN", value: Any = VALUE, name: str = "f") -> httpx2.Response:
    return await stand.http.put(f"{NATIVE}/functions/{name}/secrets/{key}", json={"value": value})


async def remove(stand: Stand, key: str = "TOKEN", name: str = "f") -> httpx2.Response:
    return await stand.http.delete(f"{NATIVE}/functions/{name}/secrets/{key}")


async def keys(stand: Stand, name: str = "f") -> list[str]:
    response = await stand.http.get(f"{NATIVE}/functions/{name}/secrets")
    assert response.status_code == 200, response.text
    return [each["key"] for each in response.json()]


def secrets(stand: Stand, key: str = "guest/f@0.0.1") -> Mapping[str, str]:
    """What the nodes were told of the only function that they know."""
    assert list(stand.link.functions) == [key]
    return stand.link.functions[key][1].secrets


def test_a_secret_is_a_variable_of_the_function_from_its_next_call_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            function, spec, _ = stand.link.functions["guest/f@0.0.1"]
            assert (function.templated, spec.secrets) == (True, {})

            response = await put_secret(stand)
            assert (response.status_code, response.json()) == (200, {"key": "TOKEN", "deployed": True, "problem": None})
            # What the nodes had of the function ends, as with a new version.
            assert stand.link.history == ["+guest/f@0.0.1", "+guest/f@0.0.1+2", "-guest/f@0.0.1"]
            function, spec, _ = stand.link.functions["guest/f@0.0.1+2"]
            assert spec.secrets == {"TOKEN": VALUE}
            # A library template would import without it.
            assert (function.templated, spec.template) == (False, None)
            action = (await stand.http.get(f"{ACTIONS}/f")).json()
            assert action["version"] == "0.0.1"
            assert (await stand.invoke("f")).status_code == 200

            assert (await put_secret(stand, "OTHER", "x")).status_code == 200
            assert secrets(stand, "guest/f@0.0.1+3") == {"TOKEN": VALUE, "OTHER": "x"}
            assert (await put_secret(stand, "OTHER", "y")).status_code == 200
            assert secrets(stand, "guest/f@0.0.1+4") == {"TOKEN": VALUE, "OTHER": "y"}
            assert await keys(stand) == ["OTHER", "TOKEN"]
            assert (await remove(stand, "TOKEN")).json() == {"key": "TOKEN", "deployed": True, "problem": None}
            assert secrets(stand, "guest/f@0.0.1+5") == {"OTHER": "y"}

    asyncio.run(run())


def test_a_new_version_has_the_secrets_of_the_one_before_and_a_deleted_function_leaves_none(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await put_secret(stand)
            await stand.put("f", "def main(args): return {}\n", overwrite=True)
            assert secrets(stand, "guest/f@0.0.2") == {"TOKEN": VALUE}
            assert (await stand.http.delete(f"{ACTIONS}/f")).status_code == 200
            assert (await stand.http.get(f"{NATIVE}/functions/f/secrets")).status_code == 404
            await stand.put("f")
            assert [spec.secrets for _, spec, _ in stand.link.functions.values()] == [{}]

    asyncio.run(run())


def test_a_function_may_have_secrets_before_it_is_deployed(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await put_secret(stand)
            assert (response.status_code, response.json()["deployed"]) == (200, False)
            assert await keys(stand) == ["TOKEN"]
            await stand.put("g")
            await stand.put("f")
            told = {key: spec.secrets for key, (_, spec, _) in stand.link.functions.items()}
            assert told == {"guest/g@0.0.1": {}, "guest/f@0.0.1": {"TOKEN": VALUE}}

    asyncio.run(run())


def test_what_was_measured_and_found_stays_known(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            profile = Profile(loads=1, library_s=0.5, resident_bytes=MIB)
            stand.controller.remember("guest/f@0.0.1", profile)
            stand.controller.judged("guest/f@0.0.1", Verdict(True))
            await put_secret(stand)
            assert stand.link.functions["guest/f@0.0.1+2"][2] == profile
            assert stand.link.verdicts["guest/f@0.0.1+2"] == Verdict(True)

    asyncio.run(run())


def test_secrets_are_back_after_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await put_secret(stand)
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            assert secrets(stand, "guest/f@0.0.1+2") == {"TOKEN": VALUE}

    asyncio.run(run())


def test_nobody_is_told_a_value_and_no_file_has_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            before_ms = time.time_ns() // 1_000_000
            answers = [await put_secret(stand)]
            for path in ("functions", "functions/f", "functions/f/secrets", "status"):
                answers.append(await stand.http.get(f"{NATIVE}/{path}"))
            answers += [await stand.http.get(f"{ACTIONS}/f"), await stand.http.get("/metrics"), await stand.invoke("f")]
            assert [answer.status_code for answer in answers] == [200] * len(answers)
            assert not [answer.text for answer in answers if VALUE in answer.text]
            (listed,) = (await stand.http.get(f"{NATIVE}/functions/f/secrets")).json()
            assert set(listed) == {"key", "updated_ms"}
            assert before_ms <= listed["updated_ms"] <= time.time_ns() // 1_000_000
            assert VALUE not in repr(stand.link.functions)

    asyncio.run(run())
    assert VALUE not in repr(SecretChange(EntityPath("guest", None, "f"), "TOKEN", VALUE))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if VALUE.encode() in path.read_bytes()]
    assert (tmp_path / "home" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert VALUE not in caplog.text


@pytest.mark.parametrize(
    ("key", "body", "why"),
    [
        ("1A", {"value": "x"}, "not the name of a secret"),
        ("A-B", {"value": "x"}, "not the name of a secret"),
        ("__OW_API_KEY", {"value": "x"}, "not the name of a secret"),
        ("INSTAINFER_X", {"value": "x"}, "not the name of a secret"),
        ("A" * 129, {"value": "x"}, "not the name of a secret"),
        ("A", {"value": ""}, "must have 1 to 65536 bytes"),
        ("A", {"value": "x" * (MOST_VALUE_BYTES + 1)}, "must have 1 to 65536 bytes"),
        ("A", {"value": "ü" * (MOST_VALUE_BYTES // 2) + "x"}, "must have 1 to 65536 bytes"),
        ("A", {"value": "x\0"}, "zero byte"),
        ("A", {"value": 1}, 'send {"value": "..."}'),
        ("A", {"value": "x", "also": 1}, 'send {"value": "..."}'),
        ("A", [], 'send {"value": "..."}'),
        ("A", b'{"value": "tell-nobody\\ud83d"}', 'send {"value": "..."}'),
        ("A", b'{"value": "tell-nobody\xff"}', 'send {"value": "..."}'),
        ("A", b'{"value": "tell-nobody', 'send {"value": "..."}'),
    ],
)
def test_what_no_secret_may_be_is_refused_and_not_quoted(tmp_path: Path, key: str, body: Any, why: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            response = await stand.http.put(f"{NATIVE}/functions/f/secrets/{key}", content=content)
            assert response.status_code == 400
            assert why in response.json()["error"]
            assert "tell-nobody" not in response.text
            assert "ud83d" not in response.text
            assert (await stand.http.get(f"{NATIVE}/functions/f/secrets")).status_code == 404

    asyncio.run(run())


def test_the_bounds_of_a_secret_are_allowed(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for number in range(MOST_SECRETS):
                assert (await put_secret(stand, f"A{number}", "x")).status_code == 200
            assert (await put_secret(stand, "A0", "\n" * MOST_VALUE_BYTES)).status_code == 200
            response = await put_secret(stand, "B", "x")
            assert (response.status_code, "may have 64" in response.text) == (400, True)
            body = json.dumps({"value": "x"}) + " " * 7 * MOST_VALUE_BYTES
            response = await stand.http.put(f"{NATIVE}/functions/f/secrets/A1", content=body)
            assert response.status_code == 413

    asyncio.run(run())


def test_what_is_not_there_is_not_found_and_a_key_is_needed(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            assert await keys(stand) == []
            assert (await remove(stand)).status_code == 404
            assert (await remove(stand, name="nobody")).status_code == 404
            stand.http.auth = None
            for method, path in (("GET", ""), ("PUT", "/A"), ("DELETE", "/A")):
                response = await stand.http.request(method, f"{NATIVE}/functions/f/secrets{path}")
                assert response.status_code == 401
            assert (await stand.http.post(f"{NATIVE}/functions/f/secrets")).status_code == 405

    asyncio.run(run())


def test_a_secret_waits_for_no_other_change_and_a_failed_one_changes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.environments.gate = asyncio.Event()
            stand.environments.called.clear()
            putting = asyncio.ensure_future(stand.put("f", overwrite=True))
            await stand.environments.called.wait()
            assert (await put_secret(stand)).status_code == 409
            stand.environments.gate.set()
            assert (await putting).status_code == 200

            stand.environments.error = OSError("no disk")
            assert (await put_secret(stand)).status_code == 500
            assert await keys(stand) == []
            assert secrets(stand, "guest/f@0.0.2") == {}

    asyncio.run(run())


async def two_secrets(home: Path) -> None:
    async with standing(home) as stand:
        await stand.put("f")
        await put_secret(stand, "A", "a")
        await put_secret(stand, "B", "b")


async def problem(stand: Stand) -> str:
    await stand.controller.restored()
    return str((await stand.http.get(f"{NATIVE}/functions/f")).json()["problem"])


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text("0" * 64), "is not the key that they were encrypted with"),
        (lambda path: path.write_text("lost"), "is not a key of 64 hexadecimal digits"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be used"),
    ],
)
def test_a_lost_key_is_told_with_what_it_was_for(tmp_path: Path, harm: Any, why: str) -> None:
    async def run() -> None:
        await two_secrets(tmp_path)
        path = tmp_path / "home" / KEY_FILE
        kept = path.read_text()
        harm(path)
        async with standing(tmp_path) as stand:
            told = await problem(stand)
            assert "the secrets A, B of guest/f cannot be read" in told
            assert why in told
            assert str(path) in told
            response = await stand.invoke("f")
            assert response.status_code == 500
            assert "A, B" in response.text
            assert await keys(stand) == ["A", "B"]
            response = await stand.put("f", overwrite=True)
            assert (response.status_code, "A, B" in response.text) == (500, True)
        if path.is_dir():
            path.rmdir()
        path.write_text(kept)
        async with standing(tmp_path) as stand:
            assert await problem(stand) == "None"
            assert secrets(stand, "guest/f@0.0.1+3") == {"A": "a", "B": "b"}

    asyncio.run(run())


def test_secrets_whose_key_is_lost_are_set_anew_one_by_one(tmp_path: Path) -> None:
    async def run() -> None:
        await two_secrets(tmp_path)
        (tmp_path / "home" / KEY_FILE).unlink()
        async with standing(tmp_path) as stand:
            await problem(stand)
            response = await put_secret(stand, "A", "new")
            assert "the secrets B of guest/f cannot be read" in response.json()["problem"]
            assert "the secrets B of guest/f" in await problem(stand)
            assert (await remove(stand, "B")).json()["problem"] is None
            assert await problem(stand) == "None"
            assert secrets(stand, "guest/f@0.0.1+4") == {"A": "new"}
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_a_value_opens_only_in_its_place(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await put_secret(stand)
            await put_secret(stand, "PRINTED", "harmless")
        records = sqlite3.connect(tmp_path / "home" / "records.sqlite")
        with records:
            records.execute("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE key = 'TOKEN')")
        records.close()
        async with standing(tmp_path) as stand:
            assert "the secrets PRINTED of guest/f cannot be read" in await problem(stand)

    asyncio.run(run())


STEPS = st.sampled_from(
    [("set", "A"), ("set", "B"), ("unset", "A"), ("unset", "B"), ("put", ""), ("delete", ""), ("restart", "")]
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_after_any_history_the_nodes_know_the_secrets_as_they_were_set_last(steps: list[tuple[str, str]]) -> None:
    expected: dict[str, str] = {}
    deployed = False

    async def run(home: Path, steps: list[tuple[int, tuple[str, str]]]) -> None:
        nonlocal deployed
        async with standing(home) as stand:
            await stand.controller.restored()
            while steps and steps[0][1][0] != "restart":
                number, (step, key) = steps.pop(0)
                match step:
                    case "set":
                        expected[key] = str(number)
                        assert (await put_secret(stand, key, str(number))).status_code == 200
                    case "unset":
                        found = expected.pop(key, None) is not None
                        assert (await remove(stand, key)).status_code == (200 if found else 404)
                    case "put":
                        deployed = True
                        assert (await stand.put("f", overwrite=True)).status_code == 200
                    case "delete":
                        assert (await stand.http.delete(f"{ACTIONS}/f")).status_code == (200 if deployed else 404)
                        if deployed:
                            expected.clear()
                        deployed = False
                known = [spec.secrets for _, spec, _ in stand.link.functions.values()]
                assert known == ([expected] if deployed else [])

    left = list(enumerate(steps))
    with tempfile.TemporaryDirectory() as home:
        while left:
            asyncio.run(run(Path(home), left))
            del left[:1]  # the restart


def test_a_home_without_secrets_has_no_key(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            assert await keys(stand) == []
        assert not (tmp_path / "home" / KEY_FILE).exists()

    asyncio.run(run())


class Crash(BaseException):
    """Ends a rotation where the platform would have ended."""


def sealed(tmp_path: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(tmp_path / "home" / "records.sqlite")) as records:
        return dict(records.execute("SELECT key, sealed FROM secrets"))


async def told(stand: Stand) -> Mapping[str, str]:
    """The secrets that the nodes are told of the function when the platform has started."""
    await stand.controller.restored()
    (function,) = stand.link.functions.values()
    return function[1].secrets


def test_a_rotated_key_seals_all_secrets_anew_and_nothing_is_loaded_again(tmp_path: Path) -> None:
    async def run() -> None:
        await two_secrets(tmp_path)
        path = tmp_path / "home" / KEY_FILE
        before, was_sealed = path.read_text(), sealed(tmp_path)
        async with standing(tmp_path) as stand:
            await stand.controller.restored()
            known = list(stand.link.functions)
            response = await stand.http.post(f"{NATIVE}/secrets/rotate-key")
            assert (response.status_code, response.json()) == (200, {"resealed": 2, "unreadable": 0})
            assert list(stand.link.functions) == known
        assert len(path.read_text().split()) == 1
        assert path.read_text() != before
        assert path.stat().st_mode & 0o777 == 0o600
        now = sealed(tmp_path)
        assert now.keys() == was_sealed.keys()
        assert not set(now.values()) & set(was_sealed.values())
        async with standing(tmp_path) as stand:
            assert await told(stand) == {"A": "a", "B": "b"}

    asyncio.run(run())


@pytest.mark.parametrize("step", ["records", "key"])
def test_a_rotation_that_breaks_off_loses_nothing_and_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def run() -> None:
        await two_secrets(tmp_path)
        path = tmp_path / "home" / KEY_FILE
        async with standing(tmp_path) as stand:
            secrets = stand.controller._secrets
            with monkeypatch.context() as patched:
                if step == "records":
                    patched.setattr(secrets, "_seal_anew", breaks_off)
                else:
                    real = function_secrets.write_private
                    patched.setattr(
                        function_secrets,
                        "write_private",
                        lambda path, text: real(path, text) if len(text.split()) > 1 else breaks_off(),
                    )
                with pytest.raises(Crash):
                    await secrets.rotate_key()
        assert len(path.read_text().split()) == 2
        async with standing(tmp_path) as stand:
            assert await told(stand) == {"A": "a", "B": "b"}
            assert (await stand.http.post(f"{NATIVE}/secrets/rotate-key")).json() == {"resealed": 2, "unreadable": 0}
        assert len(path.read_text().split()) == 1
        async with standing(tmp_path) as stand:
            assert await told(stand) == {"A": "a", "B": "b"}

    def breaks_off(*_: object) -> None:
        raise Crash

    asyncio.run(run())


def test_what_the_old_key_could_not_open_stays_as_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        await two_secrets(tmp_path)
        was_sealed = sealed(tmp_path)
        (tmp_path / "home" / KEY_FILE).write_text("ab" * 32 + "\n")
        async with standing(tmp_path) as stand:
            response = await stand.http.post(f"{NATIVE}/secrets/rotate-key")
            assert response.json() == {"resealed": 0, "unreadable": 2}
        assert sealed(tmp_path) == was_sealed

    asyncio.run(run())
