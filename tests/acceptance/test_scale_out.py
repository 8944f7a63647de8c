"""Calls at once of one function: they get more containers where waiting costs more than a start, and share loads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from acceptance.live import Platform, running, start_kind

COPIES = 8
CALLS = 16
COMPUTE_S = 0.3

CODE = f"""
import time
def main(args):
    time.sleep({COMPUTE_S})
    return {{"n": args["n"]}}
"""

SLOW_TO_LOAD = """
import time
def load():
    until = time.process_time() + 1.0
    while time.process_time() < until:
        pass
def main(args):
    return {}
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    environment = {"INSTAINFER_NODE__MEMORY_MB": str(COPIES * 256), "INSTAINFER_PRELOAD__POLICY": "none"}
    with running(tmp_path, **environment) as up:
        yield up


def at_once(platform: Platform, name: str, calls: int) -> list[httpx2.Response]:
    with ThreadPoolExecutor(calls) as threads:
        return list(threads.map(lambda n: platform.call(name, {"n": n}), range(calls)))


def test_sixteen_calls_at_once_take_at_most_three_times_as_long_as_with_ready_copies(platform: Platform) -> None:
    platform.put("slow", CODE, memory=256)
    platform.call("slow", {"n": -1})
    began = time.monotonic()
    answers = at_once(platform, "slow", CALLS)
    took_s = time.monotonic() - began
    assert [answer.json()["response"]["result"] for answer in answers] == [{"n": n} for n in range(CALLS)]
    with_ready_copies_s = CALLS / COPIES * COMPUTE_S
    assert took_s <= 3 * with_ready_copies_s, [start_kind(answer) for answer in answers]


def test_callers_at_once_share_loads(platform: Platform) -> None:
    """More loads at a time than there are processors would only slow each other down."""
    processors = len(os.sched_getaffinity(0))
    platform.put("heavy", SLOW_TO_LOAD, memory=256)
    kinds = [start_kind(answer) for answer in at_once(platform, "heavy", 6)]
    assert kinds.count("cold") <= processors, kinds
    assert kinds.count("warm") >= 6 - processors, kinds
