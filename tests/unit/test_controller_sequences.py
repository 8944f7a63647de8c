"""Sequences: what is put, how the parts run, and what is recorded of them. Case names are those of OpenWhisk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.controllers import ACTIONS, ACTIVATIONS, NATIVE, Clock, FakeLink, Stand, annotation, outcome, standing

from instainfer.backends.base import Call
from instainfer.controller.sequence_puts import CYCLIC, EMPTY, MOST_PARTS, NO_COMPONENT, TOO_LONG
from instainfer.core.model import Failure, FailureKind
from instainfer.links.base import Outcome

PACKAGES = "/api/v1/namespaces/_/packages"


def run(folder: Path, test: Callable[[Stand], Awaitable[None]], **parts: Any) -> None:
    async def running() -> None:
        async with standing(folder, **parts) as stand:
            await test(stand)

    asyncio.run(running())


async def put_sequence(stand: Stand, name: str, *components: str, overwrite: bool = False, **body: Any) -> Any:
    body = {"exec": {"kind": "sequence", "components": list(components)}, **body}
    return await stand.http.put(f"{ACTIONS}/{name}", params={"overwrite": overwrite}, json=body)


async def functions(stand: Stand, *names: str) -> None:
    for name in names:
        assert (await stand.put(name)).status_code == 200


def name_of(call: Call) -> str:
    return call.function.partition("/")[2].partition("@")[0]


def adding(call: Call) -> Outcome:
    """Answers the arguments, with the function's name added to ``way``."""
    args = json.loads(call.args)
    way = [*args.get("way", []), name_of(call)]
    return outcome(call, json.dumps({**args, "way": way}).encode())


def error(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def test_create_action_sequence(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await functions(stand, "a", "b")
        made = (await put_sequence(stand, "s", "/_/a", "/guest/b", "guest/a")).json()
        assert made["exec"] == {"kind": "sequence", "components": ["/guest/a", "/guest/b", "/guest/a"]}
        assert annotation(made, "exec") == "sequence"
        assert made["parameters"] == [{"key": "_actions", "value": ["/guest/a", "/guest/b", "/guest/a"]}]
        assert (await stand.http.get(f"{ACTIONS}/s")).json() == made
        assert (await stand.http.get(f"{ACTIONS}/s?code=false")).json()["exec"] == made["exec"]
        listed = {each["name"]: each for each in (await stand.http.get(ACTIONS)).json()}
        assert listed["s"]["exec"] == {"binary": False}
        assert set(stand.link.functions) == {"guest/a@0.0.1", "guest/b@0.0.1"}, "the nodes know nothing of it"
        assert {each["name"] for each in (await stand.http.get(f"{NATIVE}/functions")).json()} == {"a", "b"}
        assert (await stand.http.get(f"{NATIVE}/functions/s")).status_code == 404
        assert (await stand.http.put(f"{NATIVE}/functions/s/secrets/A", json={"value": "v"})).status_code == 400
        body = {"exec": {"kind": "sequence", "components": ["/_/a"]}}
        tried = json.loads((await stand.http.put(f"{NATIVE}/functions/s", json=body)).text)
        assert (tried["event"], tried["status"]) == ("refused", 400)
        assert (await stand.http.delete(f"{ACTIONS}/s")).json()["exec"] == made["exec"]
        assert (await stand.http.get(f"{ACTIONS}/s")).status_code == 404

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("components", "text"),
    [
        pytest.param([], EMPTY, id="reject create sequence with no components"),
        pytest.param(["/_/nowhere"], NO_COMPONENT, id="reject creation of sequence with non-existent action"),
        pytest.param(["/_/tools"], NO_COMPONENT, id="reject creation of sequence with a package"),
        pytest.param(["/_/a", "/_/s"], CYCLIC, id="reject create sequence that points to itself"),
        pytest.param(["/_/tools/s"], CYCLIC, id="reject create sequence that points to itself in a package"),
        pytest.param(
            ["/_/a"] * (MOST_PARTS + 1), TOO_LONG, id="reject creation of sequence with more actions than allowed"
        ),
        pytest.param(
            ["/_/ten"] * 6, TOO_LONG, id="reject creation of sequence that is too long with all that is in it"
        ),
        pytest.param(["a"], "must contain at least the namespace", id="reject names that are not fully qualified"),
        pytest.param(["/_/a$"], "illegal characters", id="reject illegal names"),
        pytest.param([5], "$.exec.components", id="reject what is no name"),
        pytest.param(["/other/a"], "not authorized", id="reject actions of others"),
        pytest.param(["/_/" + "x" * 70_000], "components larger than allowed", id="reject what is too large"),
    ],
)
def test_put_is_refused(tmp_path: Path, components: list[Any], text: str) -> None:
    async def test(stand: Stand) -> None:
        await functions(stand, "a")
        await stand.http.put(f"{PACKAGES}/tools", json={})
        await put_sequence(stand, "ten", *["/_/a"] * 10)
        for name in ("s", "tools/s"):
            status, told = error(await put_sequence(stand, name, *components))
            if text != CYCLIC or components[-1] == f"/_/{name}":
                assert text in told
            assert status in (400, 403, 413)
        assert (await put_sequence(stand, "fifty", *["/_/ten"] * 5)).status_code == 200

    run(tmp_path, test)


def test_reject_update_of_sequence_with_cycle(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await functions(stand, "a", "b")
        await put_sequence(stand, "inner", "/_/a", "/_/b")
        await put_sequence(stand, "outer", "/_/inner", "/_/a")
        refused = await put_sequence(stand, "inner", "/_/b", "/_/outer", overwrite=True)
        assert error(refused) == (400, CYCLIC)
        # An action that a sequence calls may not become a sequence that calls it.
        assert error(await put_sequence(stand, "a", "/_/outer", overwrite=True)) == (400, CYCLIC)
        assert (await stand.invoke("outer")).status_code == 200

    run(tmp_path, test)


def test_a_sequence_becomes_an_action_and_an_action_a_sequence(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = adding
        await functions(stand, "a", "b")
        await stand.put("x", parameters=[{"key": "p", "value": 1}])
        made = (await put_sequence(stand, "x", "/_/a", overwrite=True)).json()
        assert (made["version"], made["parameters"][0]["key"]) == ("0.0.2", "_actions")
        assert "guest/x@0.0.1" not in stand.link.functions
        assert (await stand.invoke("x", result="true")).json() == {"way": ["a"]}

        # Without `exec` it stays what it is.
        body = {"annotations": [{"key": "why", "value": "so"}]}
        newer = (await stand.http.put(f"{ACTIONS}/x?overwrite=true", json=body)).json()
        assert (newer["version"], annotation(newer, "why")) == ("0.0.3", "so")
        assert newer["exec"]["components"] == ["/guest/a"]

        back = (await stand.put("x", overwrite=True)).json()
        assert (back["version"], back["parameters"], annotation(back, "exec")) == ("0.0.4", [], "python:3")
        assert (await stand.invoke("x", result="true")).json() == {"way": ["x"]}

    run(tmp_path, test)


def test_the_parts_run_one_after_the_other(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = adding
        await functions(stand, "a", "c")
        await stand.http.put(f"{PACKAGES}/tools", json={"parameters": [{"key": "x", "value": "package"}]})
        await stand.put("tools/b", parameters=[{"key": "y", "value": "action"}])
        await put_sequence(stand, "s", "/_/a", "/_/tools/b", "/_/c")
        response = await stand.invoke("s", {"n": 1})
        assert response.status_code == 200
        record = response.json()
        assert record["response"]["result"] == {"n": 1, "x": "package", "y": "action", "way": ["a", "tools/b", "c"]}
        assert (record["namespace"], record["name"], "cause" in record) == ("guest", "s", False)
        assert annotation(record, "topmost") is True
        assert annotation(record, "kind") == "sequence"
        assert annotation(record, "path") == "guest/s"
        assert annotation(record, "causedBy") is None
        assert annotation(record, "limits")["memory"] == 256
        assert record["duration"] == 6, "that of its parts: they took 2 ms each"
        assert response.headers["x-openwhisk-activation-id"] == record["activationId"]
        phases = json.loads(response.headers["x-instainfer-phases"])
        assert phases["compute"] == pytest.approx(0.006)

        assert record["logs"] == [call.activation for call in stand.link.calls]
        for id_, path in zip(record["logs"], ("guest/a", "guest/tools/b", "guest/c"), strict=True):
            part = await stand.record(id_)
            assert (part["cause"], annotation(part, "path")) == (record["activationId"], path)
            assert annotation(part, "causedBy") == "sequence"
            assert annotation(part, "topmost") is None
        assert await stand.record(record["activationId"]) == record
        logs = (await stand.http.get(f"{ACTIVATIONS}/{record['activationId']}/logs")).json()
        assert logs == {"logs": record["logs"]}
        listed = {each["activationId"]: each for each in (await stand.http.get(ACTIVATIONS)).json()}
        assert len(listed) == 4
        assert listed[record["logs"][0]]["cause"] == record["activationId"]

        assert (await stand.invoke("s", {"n": 2}, result="true")).json()["n"] == 2

    run(tmp_path, test)


def test_a_sequence_of_sequences(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = adding
        await functions(stand, "a", "b")
        await put_sequence(stand, "inner", "/_/a", "/_/b")
        await put_sequence(stand, "outer", "/_/inner", "/_/a", "/_/inner")
        outer = (await stand.invoke("outer")).json()
        assert outer["response"]["result"] == {"way": ["a", "b", "a", "a", "b"]}
        assert outer["duration"] == 10
        first, second, third = [await stand.record(id_) for id_ in outer["logs"]]
        for inner in (first, third):
            assert (inner["name"], inner["cause"]) == ("inner", outer["activationId"])
            assert annotation(inner, "topmost") is False
            assert annotation(inner, "causedBy") == "sequence"
            assert [(await stand.record(id_))["cause"] for id_ in inner["logs"]] == [inner["activationId"]] * 2
        assert second["name"] == "a"

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b'{"error":"no luck"}', 502, "application error"),
        (Failure(FailureKind.RAISED, "boom"), 502, "action developer error"),
        (Failure(FailureKind.CONTAINER_LOST, "gone"), 500, "whisk internal error"),
    ],
    ids=["the answer names an error", "the function fails", "the platform fails"],
)
def test_a_part_that_fails_ends_the_sequence(tmp_path: Path, answer: Any, status: int, said: str) -> None:
    def script(call: Call) -> Outcome:
        if name_of(call) != "b":
            return adding(call)
        return outcome(call, failure=answer) if isinstance(answer, Failure) else outcome(call, answer)

    async def test(stand: Stand) -> None:
        stand.link.script = script
        await functions(stand, "a", "b", "c")
        await put_sequence(stand, "inner", "/_/b", "/_/c")
        await put_sequence(stand, "s", "/_/a", "/_/inner", "/_/c")
        response = await stand.invoke("s")
        assert response.status_code == status
        record = response.json()
        assert record["response"]["status"] == said
        assert [name_of(call) for call in stand.link.calls] == ["a", "b"]
        assert len(record["logs"]) == 2
        inner = await stand.record(record["logs"][1])
        assert (inner["response"], inner["logs"]) == (record["response"], [stand.link.calls[-1].activation])

    run(tmp_path, test)


def test_what_is_gone_is_told_by_the_record(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = adding
        await functions(stand, "a", "b")
        await put_sequence(stand, "s", "/_/a", "/_/b", "/_/a")
        await stand.http.delete(f"{ACTIONS}/b")
        response = await stand.invoke("s")
        assert response.status_code == 502
        assert response.json()["response"]["result"] == {"error": NO_COMPONENT}
        assert len(response.json()["logs"]) == 1

    run(tmp_path, test)


def test_a_part_takes_an_object_alone(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = lambda call: outcome(call, b"[1]")
        await functions(stand, "a")
        await put_sequence(stand, "one", "/_/a")
        await put_sequence(stand, "two", "/_/a", "/_/a")
        assert (await stand.invoke("one")).json() == [1], "an array is returned without its record"
        response = await stand.invoke("two", result="true")
        assert response.status_code == 502
        assert "is an array" in response.json()["error"]
        stand.link.script = lambda call: outcome(call, b'{"x":' + b"[" * 600 + b"]" * 600 + b"}")
        response = await stand.invoke("two", result="true")
        assert response.status_code == 502
        assert "nested" in response.json()["error"]
        assert len(stand.link.calls) == 3

    run(tmp_path, test)


def test_parts_that_change_their_packages_cannot_go_on_for_ever(tmp_path: Path) -> None:
    """A binding may lead to another package after the sequence was checked."""

    async def test(stand: Stand) -> None:
        stand.link.script = adding
        await functions(stand, "a")
        for package in ("p", "q"):
            await stand.http.put(f"{PACKAGES}/{package}", json={})
        await stand.http.put(f"{PACKAGES}/bound", json={"binding": {"namespace": "_", "name": "q"}})
        await stand.put("q/s")
        await put_sequence(stand, "p/s", "/_/a", "/_/bound/s")
        rebound = {"binding": {"namespace": "_", "name": "p"}}
        await stand.http.put(f"{PACKAGES}/bound?overwrite=true", json=rebound)
        response = await stand.invoke("p/s", result="true")
        assert error(response) == (502, TOO_LONG)
        assert len(stand.link.calls) == MOST_PARTS
        # Also where nothing is run at all.
        for package in ("q", "p"):
            rebound = {"binding": {"namespace": "_", "name": package}}
            await stand.http.put(f"{PACKAGES}/bound?overwrite=true", json=rebound)
            if package == "q":
                assert (await put_sequence(stand, "p/s", "/_/bound/s", overwrite=True)).status_code == 200
        assert error(await stand.invoke("p/s", result="true")) == (502, TOO_LONG)
        assert len(stand.link.calls) == MOST_PARTS
        assert error(await put_sequence(stand, "t", "/_/p/s")) == (400, TOO_LONG)

    run(tmp_path, test)


def test_a_call_that_is_not_blocking_and_one_that_takes_too_long(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = adding
        await functions(stand, "a", "b")
        await put_sequence(stand, "s", "/_/a", "/_/b")
        accepted = await stand.invoke("s", blocking="false")
        assert accepted.status_code == 202
        id_ = accepted.json()["activationId"]
        assert accepted.headers["x-openwhisk-activation-id"] == id_
        await stand.controller.idle()
        assert (await stand.record(id_))["response"]["result"] == {"way": ["a", "b"]}

        stand.link.holding = True
        accepted = await stand.invoke("s", timeout="10")
        assert accepted.status_code == 202
        id_ = accepted.json()["activationId"]
        running = await stand.record(id_)
        assert ("response" in running, running["logs"], annotation(running, "topmost")) == (False, [], True)
        stand.link.holding = False
        stand.link.release()
        await stand.controller.idle()
        assert (await stand.record(id_))["response"]["result"] == {"way": ["a", "b"]}

    run(tmp_path, test)


def test_a_first_part_that_is_refused_is_a_refused_call(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await functions(stand, "a")
        await put_sequence(stand, "inner", "/_/a")
        await put_sequence(stand, "s", "/_/inner", "/_/a")
        half = await stand.invoke("s", result="true")
        assert half.status_code == 500, "its first part has run"
        assert "Too many requests" in half.json()["error"]
        for blocking in ("true", "false"):
            refused = await stand.invoke("s", blocking=blocking)
            assert refused.status_code == 429
            assert refused.headers["Retry-After"] == "1"
        assert len((await stand.http.get(ACTIVATIONS)).json()) == 3, "the two sequences and the part of the first call"
        clock.now_s += 60.0  # a new minute, in which the sequence is admitted and its first part is not
        assert (await stand.invoke("a")).status_code == 200
        assert (await stand.invoke("s")).status_code == 429
        assert len((await stand.http.get(ACTIVATIONS)).json()) == 4
        clock.now_s += 60.0
        assert (await stand.invoke("a")).status_code == 200
        accepted = await stand.invoke("s", blocking="false")
        await stand.controller.idle()
        record = await stand.record(accepted.json()["activationId"])
        assert record["response"]["status"] == "whisk internal error"
        assert "Too many requests" in record["response"]["result"]["error"]

    clock = Clock()
    run(tmp_path, test, now=clock, limits={"invocations_per_minute": 2})


def test_a_sequence_goes_on_while_the_platform_drains(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = adding
        await functions(stand, "a")
        await put_sequence(stand, "s", "/_/a", "/_/a", "/_/a")
        stand.link.holding = True
        running = asyncio.ensure_future(stand.invoke("s"))
        await stand.link.arrived()
        stand.controller.drain()
        assert (await stand.invoke("s")).status_code == 503
        stand.link.holding = False
        stand.link.release()
        assert (await running).json()["response"]["result"] == {"way": ["a", "a", "a"]}

    run(tmp_path, test)


def test_a_platform_that_stops_says_so_in_every_record(tmp_path: Path) -> None:
    async def before(stand: Stand) -> None:
        stand.link.holding = True
        await functions(stand, "a")
        await put_sequence(stand, "inner", "/_/a")
        await put_sequence(stand, "s", "/_/inner")
        blocking = asyncio.ensure_future(stand.invoke("s"))
        accepted = await stand.invoke("s", blocking="false")
        assert accepted.status_code == 202
        await stand.link.arrived(2)
        await stand.controller.cut_short()
        assert (await blocking).status_code == 503
        records = (await stand.http.get(f"{ACTIVATIONS}?docs=true")).json()
        assert len(records) == 6
        assert all("The platform stopped" in each["response"]["result"]["error"] for each in records)

    run(tmp_path, before)


def test_sequences_outlive_a_restart(tmp_path: Path) -> None:
    async def before(stand: Stand) -> None:
        await functions(stand, "a")
        await put_sequence(stand, "s", "/_/a", "/_/a")

    async def after(stand: Stand) -> None:
        stand.link.script = adding
        assert (await stand.http.get(f"{ACTIONS}/s")).json()["exec"]["components"] == ["/guest/a", "/guest/a"]
        assert (await stand.invoke("s", result="true")).json() == {"way": ["a", "a"]}
        cleaned = await stand.http.post(f"{NATIVE}/clean", json={})
        assert json.loads(cleaned.text.splitlines()[-1]) == {"event": "done"}

    run(tmp_path, before)
    run(tmp_path, after, link=FakeLink())
