"""Ends, asked for and not: nothing that was started stays, and every accepted call has one record of how it went."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live import HELLO, Json, Platform, all_ended, annotation, held, left_behind, running, started_by
from support.gates import WAIT, Gate, ids_outside

pytestmark = pytest.mark.acceptance

SOON_S = 5.0
"""Well below the time that running calls are given after the first signal."""

WAITING = f"""
import subprocess
{WAIT}
follower = subprocess.Popen(["sleep", "1000"])
deserter = subprocess.Popen(["sleep", "1000"], start_new_session=True)

def main(args):
    print("waiting")
    return {{"let go": wait_at_gate(args["port"], children=[follower.pid, deserter.pid])}}
"""
"""Its answer comes when the test opens the gate; two more processes belong to it, one in a session of its own."""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path) as up:
        yield up


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as made:
        yield made


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """For blocking calls."""
    with ThreadPoolExecutor() as threads:
        yield threads


def only_record(platform: Platform, activation: str) -> Json:
    """The record of an activation, of which there must be one."""
    assert [r["activationId"] for r in platform.records()].count(activation) == 1
    return platform.record(activation)


# -- asked for -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_once_what_runs_has_ended(
    platform: Platform, gate: Gate, number: signal.Signals
) -> None:
    platform.put("waiting", WAITING)
    platform.put("hello", HELLO)
    assert platform.call("hello").status_code == 200
    activation = platform.accept("waiting", {"port": gate.port})
    visitor = gate.reached()
    started = started_by(platform.process.pid)
    assert {visitor.pid, visitor.manager, *visitor.words["children"]} < set(started)
    with held(started) as handles:
        platform.process.send_signal(number)
        line = platform.says("still running")
        assert f"activation {activation} of guest/waiting@0.0.1" in line
        assert platform.process.poll() is None
        visitor.let_go()
        assert platform.ended() == 0
        assert platform.lines[-1] == "everything has ended"
        assert all_ended(handles, 0)
    assert left_behind(platform) == []

    platform.start()
    record = only_record(platform, activation)
    assert record["response"]["result"] == {"let go": True}
    assert [line[31:] for line in record["logs"]] == ["stdout: waiting"]


def test_a_second_signal_hurries(platform: Platform, gate: Gate, elsewhere: ThreadPoolExecutor) -> None:
    platform.put("waiting", WAITING)
    blocking = elsewhere.submit(platform.call, "waiting", {"port": gate.port})
    gate.reached()
    accepted = platform.accept("waiting", {"port": gate.port})
    gate.reached()
    with held(started_by(platform.process.pid)) as handles:
        platform.process.send_signal(signal.SIGTERM)
        platform.says("still running")
        platform.process.send_signal(signal.SIGTERM)
        assert platform.ended(SOON_S) == 0
        assert platform.says(f"activation {accepted} of guest/waiting@0.0.1").startswith("still running")
        assert any(line.endswith("; ending it now") for line in platform.lines)
        assert all_ended(handles, 0)
    answer = blocking.result()
    assert answer.status_code == 503
    assert "stopped while this activation ran" in answer.json()["error"]

    platform.start()
    record = only_record(platform, accepted)
    assert record["response"]["status"] == "whisk internal error"
    assert "stopped while this activation ran" in record["response"]["result"]["error"]


def test_with_nothing_running_it_ends_at_once(platform: Platform) -> None:
    platform.put("hello", HELLO)
    platform.call("hello")
    with held(started_by(platform.process.pid)) as handles:
        assert len(handles) >= 2
        platform.process.send_signal(signal.SIGTERM)
        assert platform.ended(SOON_S) == 0
        assert all_ended(handles, 0)
    assert not [line for line in platform.lines if "still" in line]


def test_calls_are_refused_while_it_ends(platform: Platform, gate: Gate) -> None:
    platform.put("waiting", WAITING)
    platform.put("hello", HELLO)
    platform.accept("waiting", {"port": gate.port})
    visitor = gate.reached()
    platform.process.send_signal(signal.SIGTERM)
    platform.says("still running")
    assert platform.call("hello").status_code == 503
    assert platform.cli("invoke", "hello", code=1).err.startswith("instainfer: ")
    visitor.let_go()
    assert platform.ended() == 0


# -- not asked for -------------------------------------------------------------------------------------------------


def test_a_killed_platform_leaves_no_process_and_no_call_without_a_record(platform: Platform, gate: Gate) -> None:
    platform.put("waiting", WAITING)
    platform.put("hello", HELLO)
    done = platform.accept("hello")
    platform.ended_record(done)
    activation = platform.accept("waiting", {"port": gate.port})
    visitor = gate.reached()
    started = started_by(platform.process.pid)
    assert {visitor.pid, visitor.manager, *visitor.words["children"]} < set(started)
    with held(started) as handles:
        platform.process.send_signal(signal.SIGKILL)
        assert platform.ended() == -signal.SIGKILL
        assert all_ended(handles, SOON_S)
    assert left_behind(platform) == []

    platform.start()
    record = only_record(platform, activation)
    assert record["response"]["status"] == "whisk internal error"
    assert record["response"]["result"] == {
        "error": "The platform stopped while this activation ran; whether it took effect is not known. "
        "Call again if that is safe."
    }
    assert platform.record(done)["response"]["success"]
    assert platform.call("hello").status_code == 200


def test_a_killed_manager_costs_its_call_and_nothing_else(
    platform: Platform, gate: Gate, elsewhere: ThreadPoolExecutor
) -> None:
    platform.put("waiting", WAITING)
    call = elsewhere.submit(platform.call, "waiting", {"port": gate.port})
    visitor = gate.reached()
    with held([visitor.pid, *visitor.words["children"]]) as handles:
        os.kill(visitor.manager, signal.SIGKILL)
        answer = call.result()
        assert all_ended(handles, 0)
    assert answer.status_code == 500
    assert annotation(answer.json(), "failure")["kind"] == "container_lost"
    assert "killed by SIGKILL" in answer.json()["response"]["result"]["error"]
    assert only_record(platform, answer.json()["activationId"]) == answer.json()

    again = elsewhere.submit(platform.call, "waiting", {"port": gate.port})
    gate.reached().let_go()
    assert again.result().status_code == 200
    assert len(platform.records()) == 2


def test_a_killed_function_costs_its_call_and_nothing_else(
    platform: Platform, gate: Gate, elsewhere: ThreadPoolExecutor
) -> None:
    platform.put("waiting", WAITING)
    call = elsewhere.submit(platform.call, "waiting", {"port": gate.port})
    visitor = gate.reached()
    with held(visitor.words["children"]) as handles:
        os.kill(visitor.pid, signal.SIGKILL)
        answer = call.result()
        assert answer.status_code == 502
        failure = annotation(answer.json(), "failure")
        assert failure["kind"] == "crashed"
        assert "killed by SIGKILL, not by the platform" in failure["message"]
        assert only_record(platform, answer.json()["activationId"]) == answer.json()

        again = elsewhere.submit(platform.call, "waiting", {"port": gate.port})
        second = gate.reached()
        assert second.manager == visitor.manager
        assert all_ended(handles, 0)
        second.let_go()
    assert again.result().status_code == 200
    assert len(platform.records()) == 2


WHERE = """
import os

def main(args):
    return {"pid": os.getpid(), "manager": os.getppid(), "among": os.readlink("/proc/self/ns/pid")}
"""


def where(answer: Json) -> dict[str, int]:
    """The processes that `WHERE` has told of, by the ids that they have here."""
    told = answer["response"]["result"]
    ids = ids_outside(told["among"])
    return {"pid": ids[told["pid"]], "manager": ids[told["manager"]]}


def test_an_idle_function_that_is_killed_is_noticed_and_loaded_anew(platform: Platform) -> None:
    platform.put("where", WHERE)
    pid = where(platform.call("where").json())["pid"]
    os.kill(pid, signal.SIGKILL)
    # Pre-loading may have brought it back before anybody could see that it was gone.
    platform.watch(
        lambda status: all(
            each["origin"] == "preload"
            for container in status["nodes"][0]["containers"]
            for each in container["residents"]
        )
    )
    again = platform.call("where")
    assert again.status_code == 200
    assert where(again.json())["pid"] != pid


def test_a_function_that_is_killed_before_its_call_arrives_is_loaded_anew(
    platform: Platform, elsewhere: ThreadPoolExecutor
) -> None:
    platform.put("where", WHERE)
    before = where(platform.call("where").json())
    with held([before["pid"]]) as handles:
        os.kill(before["manager"], signal.SIGSTOP)
        os.kill(before["pid"], signal.SIGKILL)
        assert all_ended(handles, SOON_S)
    again = elsewhere.submit(platform.call, "where")
    try:
        platform.watch(lambda status: any(c["running"] for c in status["nodes"][0]["containers"]))
    finally:
        os.kill(before["manager"], signal.SIGCONT)
    assert again.result().status_code == 200, again.result().text
    after = where(again.result().json())
    assert (after["manager"], after["pid"] != before["pid"]) == (before["manager"], True)
