"""A checked deployment: callers get a new version when it has been tried, and the version before until then."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.controllers import NATIVE, FakeLink, Stand, archive, outcome, standing

from instainfer.backends.base import Call
from instainfer.core.model import Failure, FailureKind, Profile
from instainfer.links.base import Outcome

TRACEBACK = 'ValueError: wrong\nTraceback (most recent call last):\n  File "handler.py", line 2'


def body(sample: str | None = None) -> dict[str, Any]:
    files = {"handler.py": "def main(args):\n    return {}\n"}
    if sample is not None:
        files["sample.json"] = sample
    return {"exec": {"kind": "python:3", "code": archive(files), "binary": True}}


async def deployed(stand: Stand, given: dict[str, Any]) -> list[dict[str, Any]]:
    response = await stand.http.put(f"{NATIVE}/functions/f", json=given)
    assert response.status_code == 200, response.text
    return [json.loads(text) for text in response.text.splitlines()]


def failing(call: Call) -> Outcome:
    return outcome(call, failure=Failure(FailureKind.RAISED, TRACEBACK))


def test_a_new_version_answers_its_sample_before_it_is_called(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            progress, done = await deployed(stand, body('{"x": 1}'))
            assert progress == {"event": "progress", "text": "loading f 0.0.1 and calling it with sample.json"}
            assert (done["event"], done["action"]["version"]) == ("deployed", "0.0.1")
            (call,) = stand.link.calls
            assert (json.loads(call.args), call.only_warms) == ({"x": 1}, False)
            assert (await stand.record(call.activation))["response"]["success"]
            assert done["record"]["activationId"] == call.activation
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_without_a_sample_it_is_only_loaded(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            progress, done = await deployed(stand, {**body(), "parameters": [{"key": "a", "value": 1}]})
            assert progress["text"] == "loading f 0.0.1"
            assert done["event"] == "deployed"
            assert stand.link.calls[0].only_warms

    asyncio.run(run())


def test_until_it_has_answered_callers_get_the_version_before(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            deploying = asyncio.create_task(deployed(stand, body("{}")))
            await stand.link.arrived()
            stand.link.holding = False
            await stand.invoke("f")
            assert [call.function for call in stand.link.calls] == ["guest/f@0.0.2", "guest/f@0.0.1"]
            assert (await stand.http.get("/api/v1/namespaces/_/actions/f")).json()["version"] == "0.0.1"
            conflict = await stand.put("f", overwrite=True)
            assert conflict.status_code == 409
            stand.link.release()
            assert (await deploying)[-1]["event"] == "deployed"
            await stand.invoke("f")
            assert stand.link.calls[-1].function == "guest/f@0.0.2"

    asyncio.run(run())


def test_one_that_fails_changes_nothing_and_says_why(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = failing
            failed = (await deployed(stand, body("{}")))[-1]
            assert failed["event"] == "failed"
            assert failed["error"] == f"An error has occurred: {TRACEBACK}"
            assert failed["activationId"] == stand.link.calls[-1].activation
            assert list(stand.link.functions) == ["guest/f@0.0.1"], "the nodes have forgotten it"
            stand.link.script = outcome
            assert (await stand.invoke("f")).status_code == 200
            assert stand.link.calls[-1].function == "guest/f@0.0.1"
            assert (await deployed(stand, body("{}")))[-1]["event"] == "deployed"

    asyncio.run(run())


def test_a_first_version_that_fails_is_not_there(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            stand.link.script = failing
            assert (await deployed(stand, body()))[-1]["event"] == "failed"
            assert (await stand.invoke("f")).status_code == 404
        async with standing(tmp_path) as stand:
            assert (await stand.invoke("f")).status_code == 404, "nor after a restart"

    asyncio.run(run())


def test_what_was_measured_during_the_check_is_kept(tmp_path: Path) -> None:
    async def run() -> None:
        profile = Profile(library_s=1.0, model_s=2.0, loads=1)
        async with standing(tmp_path) as stand:

            def measuring(call: Call) -> Outcome:
                stand.controller.remember(call.function, profile)
                return outcome(call)

            stand.link.script = measuring
            await deployed(stand, body())
        link = FakeLink()
        async with standing(tmp_path, link=link) as stand:
            await stand.invoke("f")
            assert link.functions["guest/f@0.0.1"][2] == profile

    asyncio.run(run())


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"concurrent_invocations": 1}, "concurrent"), ({"invocations_per_minute": 1}, "Too many requests")],
)
def test_a_check_counts_as_a_call(tmp_path: Path, limits: dict[str, int], words: str) -> None:
    async def run() -> None:
        async with standing(tmp_path, limits=limits) as stand:
            await stand.put("f")
            stand.link.holding = True
            calling = asyncio.create_task(stand.invoke("f"))
            await stand.link.arrived()
            failed = (await deployed(stand, body()))[-1]
            assert (failed["event"], failed["status"]) == ("refused", 429)
            assert words in failed["error"]
            stand.link.release()
            await calling

    asyncio.run(run())


def test_a_sample_that_no_call_could_be_or_that_is_wrong_fails(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"max_body_bytes": 1000}) as stand:
            for sample, words in (('{"x": "' + "x" * 1000 + '"}', "larger than"), ("[", "not JSON")):
                (failed,) = await deployed(stand, body(sample))
                assert (failed["event"], failed["status"]) == ("refused", 400)
                assert words in failed["error"]
            assert stand.link.calls == []

    asyncio.run(run())


def test_only_those_with_a_key_may_deploy(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.put(f"{NATIVE}/functions/f", json=body(), auth=("a", "b"))
            assert response.status_code == 401
            assert (await stand.http.put(f"{NATIVE}/functions/f", json={"limits": 1})).status_code == 400

    asyncio.run(run())
