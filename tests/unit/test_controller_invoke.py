"""Calls of an action; where OpenWhisk's ActionsApiTests have a case, its name is the test's id."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from support.controllers import (
    ACTIONS,
    ACTIVATIONS,
    Clock,
    FakeLink,
    Stand,
    annotation,
    answering,
    failing,
    outcome,
    standing,
)

from instainfer.backends.base import Call
from instainfer.core.model import Failure, FailureKind, Phases, StartKind
from instainfer.links.base import Outcome

JSON = {"content-type": "application/json"}


def test_invoke_a_blocking_action_and_retrieve_the_full_record(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(b'{"class": "cat"}', logs=("2026-01-01T00:00:00.000000Z    stdout: hi",))
            response = await stand.invoke("f", {"image": "x"})
            record = response.json()
            assert response.status_code == 200
            assert response.headers["content-type"] == "application/json"
            assert record["namespace"] == record["subject"] == "guest"
            assert (record["name"], record["version"], record["publish"]) == ("f", "0.0.1", False)
            assert record["activationId"] == response.headers["x-openwhisk-activation-id"]
            assert record["response"] == {
                "status": "success",
                "success": True,
                "size": 16,
                "result": {"class": "cat"},
            }
            assert record["logs"] == ["2026-01-01T00:00:00.000000Z    stdout: hi"]
            assert record["end"] - record["start"] == record["duration"] == 2
            assert annotation(record, "path") == "guest/f"
            assert annotation(record, "kind") == "python:3"
            assert annotation(record, "timeout") is False
            assert annotation(record, "container") == "c1"
            assert annotation(record, "limits") == {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}
            assert await stand.record(record["activationId"]) == record

    asyncio.run(run())


def test_invoke_an_action_and_retrieve_only_its_result(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            response = await stand.invoke("f", result="true")
            assert (response.status_code, response.json()) == (200, {"ok": True})

    asyncio.run(run())


def test_an_array_is_always_answered_bare(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(b' [1, {"error": 2}]')
            response = await stand.invoke("f")
            assert (response.status_code, response.json()) == (200, [1, {"error": 2}])
            activation = response.headers["x-openwhisk-activation-id"]
            assert (await stand.record(activation))["response"]["result"] == [1, {"error": 2}]

    asyncio.run(run())


def test_invoke_an_action_non_blocking(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            response = await stand.invoke("f", {"a": 1}, blocking="false")
            activation = response.json()["activationId"]
            assert response.status_code == 202
            assert response.json() == {"activationId": response.headers["x-openwhisk-activation-id"]}
            assert len(activation) == 32
            running = await stand.record(activation)
            assert not {"end", "duration", "response"} & running.keys()
            assert annotation(running, "path") == "guest/f"
            for part in ("result", "logs"):
                assert (await stand.http.get(f"{ACTIVATIONS}/{activation}/{part}")).status_code == 404
            await stand.link.arrived()
            stand.link.release()
            await stand.controller.idle()
            assert (await stand.record(activation))["response"]["success"] is True

    asyncio.run(run())


def test_blocking_is_off_unless_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            assert (await stand.http.post(f"{ACTIONS}/f")).status_code == 202
            await stand.controller.idle()

    asyncio.run(run())


def test_invoke_a_blocking_action_waiting_up_to_specified_timeout(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            response = await stand.invoke("f", timeout=1)
            activation = response.json()["activationId"]
            assert response.status_code == 202
            assert "end" not in await stand.record(activation)
            stand.link.release()
            await stand.controller.idle()
            record = await stand.record(activation)
            assert record["response"]["result"] == {"ok": True}

    asyncio.run(run())


def test_the_configured_bound_applies_without_a_timeout(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"blocking_timeout_s": 0.01}) as stand:
            await stand.put("f")
            stand.link.holding = True
            assert (await stand.invoke("f")).status_code == 202
            stand.link.release()

    asyncio.run(run())


@pytest.mark.parametrize("timeout", ["0", "-1", "60001", "x", "", "1.5"])
def test_reject_a_blocking_call_with_a_bad_timeout(tmp_path: Path, timeout: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            response = await stand.invoke("f", timeout=timeout)
            assert response.status_code == 400
            assert response.json()["error"] == "Timeout must be number of milliseconds up to 60000."
            assert stand.link.calls == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "passed_on"),
    [
        (b"", b"{}"),
        (b"{}", b"{}"),
        (b' {"a":  [1, 2.50, "\\u00e4"]}\n', b' {"a":  [1, 2.50, "\\u00e4"]}\n'),
        ('{"a": "ä\N{GRINNING FACE}"}'.encode(), '{"a": "ä\N{GRINNING FACE}"}'.encode()),
    ],
)
def test_arguments_reach_the_function_byte_for_byte(tmp_path: Path, body: bytes, passed_on: bytes) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            url = f"{ACTIONS}/f?blocking=true"
            response = await stand.http.post(
                url, content=body, headers={"content-type": "application/json; charset=utf-8"}
            )
            assert response.status_code == 200
            assert stand.link.calls[0].args == passed_on

    asyncio.run(run())


@pytest.mark.parametrize(
    "body",
    [
        b"{not json",
        b'{"a": 1} x',
        b"[1]",
        b'"text"',
        b"null",
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 100_000,
        b'{"a": 1',
    ],
)
def test_reject_malformed_arguments(tmp_path: Path, body: bytes) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            response = await stand.http.post(f"{ACTIONS}/f?blocking=true", content=body, headers=JSON)
            assert response.status_code == 400
            assert response.json()["error"].startswith("The request content was malformed:\n")
            assert stand.link.calls == []

    asyncio.run(run())


def test_reject_arguments_that_are_not_json(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            response = await stand.http.post(f"{ACTIONS}/f", content=b"a=1", headers={"content-type": "text/plain"})
            assert response.status_code == 415
            assert "Expected:\napplication/json" in response.json()["error"]

    asyncio.run(run())


def test_what_curl_sends_without_being_told_a_type_is_taken_for_json(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            headers = {"content-type": "application/x-www-form-urlencoded"}
            url = f"{ACTIONS}/f?blocking=true"
            assert (await stand.http.post(url, content=b'{"a":1}', headers=headers)).status_code == 200
            assert json.loads(stand.link.calls[0].args) == {"a": 1}
            assert (await stand.http.post(url, content=b"a=1", headers=headers)).status_code == 400

    asyncio.run(run())


def test_merge_parameters_with_the_arguments_over_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", parameters=[{"key": "a", "value": 1}, {"key": "b", "value": {"x": [2]}}])
            await stand.invoke("f", {"a": "mine", "c": 3})
            assert json.loads(stand.link.calls[0].args) == {"a": "mine", "b": {"x": [2]}, "c": 3}

    asyncio.run(run())


def test_not_invoke_an_action_when_final_parameters_are_redefined(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", parameters=[{"key": "a", "value": 1}], annotations=[{"key": "final", "value": True}])
            response = await stand.invoke("f", {"a": 2})
            text = "Request defines parameters that are not allowed (e.g., reserved properties)."
            assert (response.status_code, response.json()["error"]) == (400, text)
            assert (await stand.invoke("f", {"b": 2})).status_code == 200

    asyncio.run(run())


@pytest.mark.parametrize("value", [None, 0, False, ""])
def test_a_final_parameter_that_is_null_has_no_value_yet(tmp_path: Path, value: Any) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            pairs = [{"key": "a", "value": value}, {"key": "b"}, {"key": "c", "value": 1}]
            await stand.put("f", parameters=pairs, annotations=[{"key": "final", "value": True}])
            assert (await stand.invoke("f", {"a": 2, "b": 3})).status_code == (200 if value is None else 400)
            assert (await stand.invoke("f", {"b": 3, "c": 2})).status_code == 400
            await stand.invoke("f", {"b": 3})
            assert json.loads(stand.link.calls[-1].args) == {"a": value, "b": 3, "c": 1}

    asyncio.run(run())


def test_a_call_knows_who_and_what_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", limits={"timeout": 5000})
            response = await stand.http.post(f"{ACTIONS}/f?blocking=true", json={}, headers={"x-request-id": "a" * 32})
            env = dict(stand.link.calls[0].env)
            record = response.json()
            assert env == {
                "__OW_API_HOST": "http://127.0.0.1:3233",
                "__OW_NAMESPACE": "guest",
                "__OW_ACTION_NAME": "/guest/f",
                "__OW_ACTION_VERSION": "0.0.1",
                "__OW_ACTIVATION_ID": record["activationId"],
                "__OW_TRANSACTION_ID": "a" * 32,
            }

    asyncio.run(run())


def test_an_application_error_is_502_with_the_full_record(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(b'{"a": 1, "error": {"why": "no image"}}')
            full = await stand.invoke("f")
            assert full.status_code == 502
            assert full.json()["response"]["status"] == "application error"
            assert full.json()["response"]["success"] is False
            assert full.json()["response"]["result"] == {"a": 1, "error": {"why": "no image"}}
            # wsk tells the two kinds of 502 apart by this key.
            assert "code" not in full.json()
            bare = await stand.invoke("f", result="true")
            assert (bare.status_code, bare.json()["error"]) == (502, {"why": "no image"})

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b'{"error": null}', "application error"),
        (b'{"\\u0065rror": 1}', "application error"),
        (b'{"nested": {"error": 1}}', "success"),
        (b'{"text": "\\"error\\""}', "success"),
        (b'[{"error": 1}]', "success"),
        (b"{}", "success"),
    ],
)
def test_only_a_top_level_error_is_an_application_error(tmp_path: Path, answer: bytes, status: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(answer)
            activation = (await stand.invoke("f")).headers["x-openwhisk-activation-id"]
            assert (await stand.record(activation))["response"]["status"] == status

    asyncio.run(run())


LOADING = Phases(libraries=1.0, model=0.5)
RUNNING = Phases(compute=60.0)


@pytest.mark.parametrize(
    ("kind", "phases", "text"),
    [
        (FailureKind.RAISED, RUNNING, "An error has occurred: boom"),
        (FailureKind.LOAD_FAILED, LOADING, "The action failed during initialization: boom"),
        (
            FailureKind.CRASHED,
            RUNNING,
            "The action did not produce a valid response and exited unexpectedly: boom",
        ),
        (FailureKind.OUT_OF_MEMORY, RUNNING, "The action exhausted its memory and was aborted."),
        (FailureKind.BAD_ANSWER, RUNNING, "The action did not produce a valid JSON or JSON Array response: boom"),
        (FailureKind.TIMED_OUT, RUNNING, "The action exceeded its time limits of 60000 milliseconds."),
        (
            FailureKind.TIMED_OUT,
            LOADING,
            "The action exceeded its time limits of 60000 milliseconds during initialization.",
        ),
    ],
)
def test_the_author_s_faults_are_502_in_openwhisk_s_words(
    tmp_path: Path, kind: FailureKind, phases: Phases, text: str
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = failing(kind, phases=phases)
            response = await stand.invoke("f")
            record = response.json()
            assert response.status_code == 502
            assert record["response"]["status"] == "action developer error"
            assert record["response"]["result"] == {"error": text}
            assert annotation(record, "timeout") is (kind is FailureKind.TIMED_OUT)
            assert annotation(record, "failure") == {"kind": kind.value, "message": "boom"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (FailureKind.CONTAINER_START_FAILED, "Failed to provision resources to run the action. boom"),
        (FailureKind.CONTAINER_LOST, "boom"),
        (FailureKind.TOO_LARGE, "boom"),
    ],
)
def test_the_platform_s_faults_are_500(tmp_path: Path, kind: FailureKind, text: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = failing(kind)
            response = await stand.invoke("f")
            assert response.status_code == 500
            assert response.json()["response"]["status"] == "whisk internal error"
            assert response.json()["response"]["result"] == {"error": text}

    asyncio.run(run())


def test_a_result_above_the_limit_is_a_developer_error(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"max_result_bytes": 10}) as stand:
            await stand.put("f")
            response = await stand.invoke("f")
            text = "The action produced a response that exceeded the allowed length: 11 > 10 bytes. "
            text += "server.max_result_bytes is the bound."
            assert response.status_code == 502
            assert response.json()["response"]["result"] == {"error": text}

    asyncio.run(run())


@pytest.mark.parametrize("kind", [FailureKind.QUEUE_FULL, FailureKind.DRAINING])
def test_a_node_that_took_nothing_is_503_and_leaves_no_record(tmp_path: Path, kind: FailureKind) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = failing(kind, "the queue is full", start_kind=None, container="")
            response = await stand.invoke("f")
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json() == {"error": "the queue is full", "code": response.headers["x-request-id"]}
            assert (await stand.http.get(ACTIVATIONS)).json() == []
            assert stand.controller.in_flight == 0

    asyncio.run(run())


def test_what_was_accepted_has_a_record_even_if_no_node_took_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = failing(FailureKind.QUEUE_FULL, "the queue is full", start_kind=None, container="")
            response = await stand.invoke("f", blocking="false")
            assert response.status_code == 202
            await stand.controller.idle()
            record = await stand.record(response.json()["activationId"])
            assert record["response"]["status"] == "whisk internal error"
            assert record["response"]["result"] == {"error": "the queue is full"}
            assert (annotation(record, "startKind"), annotation(record, "container")) == (None, None)

    asyncio.run(run())


def test_without_a_node_calls_are_503(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.controller.leave("node-1")
            for blocking in ("true", "false"):
                assert (await stand.invoke("f", blocking=blocking)).status_code == 503

    asyncio.run(run())


def test_throttled_by_concurrency(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, limits={"concurrent_invocations": 1}) as stand:
            await stand.put("f")
            stand.link.holding = True
            first = asyncio.ensure_future(stand.invoke("f"))
            await stand.link.arrived()
            for blocking in ("true", "false"):
                response = await stand.invoke("f", blocking=blocking)
                assert (response.status_code, response.headers["retry-after"]) == (429, "1")
                text = "Too many concurrent requests in flight (count: 1, allowed: 1)."
                assert response.json() == {"error": text, "code": response.headers["x-request-id"]}
            stand.link.release()
            assert (await first).status_code == 200
            stand.link.holding = False
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_throttled_by_rate(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        async with standing(tmp_path, now=clock, limits={"invocations_per_minute": 2}) as stand:
            await stand.put("f")
            answers = [await stand.invoke("f") for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert answers[2].json()["error"] == "Too many requests in the last minute (count: 3, allowed: 2)."
            clock.now_s += 60.0
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_a_request_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"max_body_bytes": 20}) as stand:
            await stand.put("f", "#")
            response = await stand.invoke("f", {"a": "x" * 100})
            assert response.status_code == 413
            assert response.json()["error"] == (
                "Request larger than allowed: 108 > 20 bytes. server.max_body_bytes is the bound."
            )
            assert stand.link.calls == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "phases", "init_ms", "wait_ms"),
    [
        (StartKind.COLD, Phases(0.5, 0.25, 1.0, 0.5, 0.25, 2.0), 1500, 1000),
        (StartKind.PREWARMED, Phases(0.0, 0.0, 1.0, 0.5, 0.25, 2.0), 1500, 250),
        (StartKind.JOINED, Phases(0.0, 0.0, 0.0, 0.5, 0.25, 2.0), None, 250),
        (StartKind.PRELOADED, Phases(handoff=0.25, compute=2.0), None, 250),
        (StartKind.WARM, Phases(handoff=0.25, compute=2.0), None, 250),
    ],
)
def test_only_a_call_that_had_to_load_has_init_time(
    tmp_path: Path, kind: StartKind, phases: Phases, init_ms: int | None, wait_ms: int
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(b"{}", start_kind=kind, phases=phases)
            response = await stand.invoke("f")
            record = response.json()
            assert annotation(record, "initTime") == init_ms
            assert annotation(record, "waitTime") == wait_ms
            assert annotation(record, "startKind") == kind.value
            assert record["duration"] == round((phases.libraries + phases.model + phases.compute) * 1000)
            assert record["end"] - record["start"] == record["duration"]
            assert response.headers["x-instainfer-start-kind"] == kind.value
            assert response.headers["x-instainfer-container"] == "c1"
            assert json.loads(response.headers["x-instainfer-phases"]) == annotation(record, "phases")

    asyncio.run(run())


def test_phases_add_up_to_the_latency_from_head_to_answer(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        async with standing(tmp_path, now=clock) as stand:
            await stand.put("f")

            def script(call: Call) -> Outcome:
                clock.now_s += 3.0  # of which the node knows 2.5
                return outcome(call, phases=Phases(0.25, 0.5, 0.25, 0.25, 0.25, 1.0))

            stand.link.script = script
            phases = annotation((await stand.invoke("f")).json(), "phases")
            assert phases == {
                "queue": 0.25,
                "container": 0.5,
                "libraries": 0.25,
                "model": 0.25,
                "handoff": 0.75,
                "compute": 1.0,
            }
            assert sum(phases.values()) == 3.0

    asyncio.run(run())


def test_a_link_that_breaks_its_contract_costs_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")

            def script(call: Call) -> Outcome:
                raise ZeroDivisionError("a bug")

            stand.link.script = script
            response = await stand.invoke("f")
            assert response.status_code == 500
            assert response.json()["response"]["status"] == "whisk internal error"
            assert stand.controller.in_flight == 0
            stand.link.script = lambda call: Outcome("other", "f", "", None, Phases(), None, b"{}")
            assert (await stand.invoke("f")).status_code == 500
            stand.link.script = answering(b'{"error": broken')
            broken = await stand.invoke("f")
            assert broken.status_code == 502
            assert "valid JSON" in broken.json()["response"]["result"]["error"]
            assert len((await stand.http.get(ACTIVATIONS)).json()) == 3

    asyncio.run(run())
    assert "broke its contract" in caplog.text


def test_text_that_is_no_unicode_does_not_break_a_record(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            failure = Failure(FailureKind.RAISED, "bad \udcff byte")
            stand.link.script = lambda call: outcome(call, failure=failure, logs=("log \udcff",))
            record = (await stand.invoke("f")).json()
            assert record["response"]["result"] == {"error": "An error has occurred: bad ? byte"}
            assert record["logs"] == ["log ?"]

    asyncio.run(run())


def test_a_drained_controller_refuses_new_calls_and_finishes_the_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            calling = asyncio.ensure_future(stand.invoke("f"))
            await stand.link.arrived()
            stand.controller.drain()
            stand.controller.drain()
            refused = await stand.invoke("f")
            assert refused.status_code == 503
            assert "shutting down" in refused.json()["error"]
            idle = asyncio.ensure_future(stand.controller.idle())
            await asyncio.sleep(0)
            assert not idle.done()
            stand.link.release()
            await idle
            assert (await calling).status_code == 200

    asyncio.run(run())


def test_closing_gives_what_still_runs_a_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def activate(stand: Stand) -> str:
        await stand.put("f")
        stand.link.holding = True
        activation: str = (await stand.invoke("f", blocking="false")).json()["activationId"]
        return activation

    async def run() -> None:
        async with standing(tmp_path) as stand:
            activation = await activate(stand)
        async with standing(tmp_path, link=FakeLink()) as stand:
            record = await stand.record(activation)
            assert record["response"]["status"] == "whisk internal error"
            assert record["response"]["result"]["error"].startswith("The platform stopped while this activation ran")

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert "1 activations were still running" in caplog.text
    assert "had not ended when the platform stopped" not in caplog.text


@pytest.mark.parametrize("blocking", ["true", "false"])
def test_a_call_that_cannot_be_recorded_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocking: str
) -> None:
    """A non-blocking call is not run; a blocking one that outlasts its caller is not answered with an id."""
    from instainfer.errors import HostError

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")

            async def accepted(_: Any) -> None:
                raise HostError("the records cannot be written: database or disk is full; free disk space")

            monkeypatch.setattr(stand.controller._store, "accepted", accepted)
            stand.link.holding = True
            response = await stand.invoke("f", blocking=blocking, timeout=1)
            assert response.status_code == 507
            assert "disk is full" in response.json()["error"]
            assert len(stand.link.calls) == (1 if blocking == "true" else 0)
            stand.link.release()
            await stand.controller.idle()
            assert stand.controller.in_flight == 0

    asyncio.run(run())
