"""Functions that name no memory: they work at once, and their containers get the size that they need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Json, Platform, annotation, running, start_kind

pytestmark = pytest.mark.acceptance

#: A handler that takes memory and gives it back. It looks at its memory for long enough that it is seen.
TAKES = """
import time

def main(args):
    held = bytearray(b"x") * (args.get("mib", 0) << 20)
    until = time.monotonic() + args.get("seconds", 0)
    while time.monotonic() < until:
        held[0] = 1
    return {"held": len(held) >> 20}
"""

#: The same while it is loaded.
LOADS = """
import time

held = bytearray(b"x") * (700 << 20)
until = time.monotonic() + 0.5
while time.monotonic() < until:
    held[0] = 1
del held

def main(args):
    return {}
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path, INSTAINFER_KEEPALIVE__POLICY="fixed") as up:
        yield up


@pytest.fixture
def unfilled(tmp_path: Path) -> Iterator[Platform]:
    """A platform that loads nothing ahead, so that a function runs in a container that was made for it."""
    with running(tmp_path, INSTAINFER_KEEPALIVE__POLICY="fixed", INSTAINFER_PRELOAD__POLICY="none") as up:
        yield up


def limits_mb(status: Json) -> list[int]:
    return [container["limit_bytes"] >> 20 for node in status["nodes"] for container in node["containers"]]


def answer(platform: Platform, args: Json) -> Json:
    called = platform.call("takes", args)
    assert called.status_code == 200, called.text
    result: Json = called.json()["response"]["result"]
    return result


def test_a_function_without_a_limit_works_at_once_and_is_right_sized(platform: Platform) -> None:
    deployed = platform.deploy("takes", {"handler.py": TAKES}, "--json").json
    assert annotation(deployed, "memory") == "auto"
    assert answer(platform, {"mib": 600}) == {"held": 600}
    (limit_mb,) = limits_mb(platform.watch(lambda status: limits_mb(status) != [1024]))
    need_mb = platform.cli("function", "show", "takes", "--json").json["limits"]["memory"]
    assert 640 <= need_mb <= limit_mb <= 800, "there may be room for its function template"
    assert f"auto ({need_mb} MB)" in platform.cli("functions").out
    (advice,) = platform.cli("advise", "--json").json
    assert (advice["function"], advice["auto"], advice["write"]) == ("takes", True, None)
    platform.stop()
    platform.start()
    platform.call("takes", {"mib": 600})
    assert limits_mb(platform.status())[0] >= need_mb
    assert limits_mb(platform.status())[0] < 1024, "what was learned is known at once"


def test_a_call_that_died_of_memory_while_it_loaded_is_repeated(unfilled: Platform) -> None:
    unfilled.deploy("filler", {"handler.py": TAKES}, "--memory", "1500MB", "--no-check")
    unfilled.call("filler")
    unfilled.deploy("loads", {"handler.py": LOADS}, "--no-check")
    called = unfilled.call("loads")
    assert called.status_code == 200, called.text
    assert start_kind(called) in {"cold", "prewarmed"}
    (record,) = [each for each in unfilled.records() if each["name"] == "loads"]
    assert record["statusCode"] == 0, "it has one record"


def test_a_call_that_died_in_its_run_says_what_to_do_and_the_next_one_gets_more(unfilled: Platform) -> None:
    unfilled.deploy("filler", {"handler.py": TAKES}, "--memory", "1500MB", "--no-check")
    unfilled.call("filler")
    unfilled.deploy("takes", {"handler.py": TAKES}, "--no-check")
    died = unfilled.call("takes", {"mib": 400, "seconds": 1.0})
    assert died.status_code == 502
    (record,) = [each for each in unfilled.records() if each["name"] == "takes"]
    failure = annotation(unfilled.record(record["activationId"]), "failure")
    assert failure["kind"] == "out_of_memory"
    assert "idempotent = true" in failure["message"]
    assert "the next call gets" in failure["message"]
    (advice,) = [each for each in unfilled.cli("advise", "--json").json if each["function"] == "takes"]
    assert advice["died_of_memory"]
    assert answer(unfilled, {"mib": 400, "seconds": 1.0}) == {"held": 400}


def test_an_idempotent_call_is_repeated(unfilled: Platform) -> None:
    unfilled.deploy("filler", {"handler.py": TAKES}, "--memory", "1500MB", "--no-check")
    unfilled.call("filler")
    unfilled.deploy(
        "takes", {"handler.py": TAKES, "function.toml": 'name = "takes"\nidempotent = true\n'}, "--no-check"
    )
    assert answer(unfilled, {"mib": 400, "seconds": 1.0}) == {"held": 400}
    (record,) = [each for each in unfilled.records() if each["name"] == "takes"]
    assert record["statusCode"] == 0
