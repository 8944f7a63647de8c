"""The story of somebody's own server: six functions, more memory than they need together, and nothing configured.

The sizes are those of six functions from public packages. Five can be forked. The sixth, like one on onnxruntime, keeps
a thread, so it cannot.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.live import Json, Platform, running, start_kind, until

SIZES_MB = {"digits": 80, "pitch": 200, "speaker": 220, "filekind": 90, "embed": 300, "notes": 160}
WITH_A_THREAD = "notes"
CALLS = 60
READY_WITHIN_S = 120.0
"""It takes some seven seconds on two idle processors. Templates are made at the lowest priority, so it takes for ever
on a machine whose processors are all busy with something else."""
FAST = {"warm", "preloaded", "forked"}

CODE = """
import os, threading, time
def load():
    global model
    time.sleep(0.4)
    model = os.urandom(1 << 20) * {size_mb}
    if {thread}:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
def main(args):
    return {{"name": "{name}", "bytes": len(model)}}
"""


@pytest.fixture(params=[2048, "auto"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform with the six functions. They declare 2 GB each, or nothing."""
    with running(tmp_path, INSTAINFER_NODE__MEMORY_MB="12288") as platform:
        for name, size_mb in SIZES_MB.items():
            code = CODE.format(name=name, size_mb=size_mb, thread=name == WITH_A_THREAD)
            platform.put(name, code, memory=request.param)
        yield platform


def made(status: Json) -> int:
    """Loads and templates that were begun so far and that no call has asked for."""
    preloads = status["nodes"][0]["preloads"]
    return int(preloads["started"]) + int(preloads["templates"])


def is_ready(status: Json) -> bool:
    """Whether every function stands somewhere as a template, or is resident if it cannot be forked."""
    standing = {
        resident["function"]
        for container in status["nodes"][0]["containers"]
        for resident in container["residents"]
        if resident["state"] == "loaded" and container["state"] == "idle"
    }
    wanted = {name: "" if name == WITH_A_THREAD else "loaded:" for name in SIZES_MB}
    return all(f"{kind}guest/{name}@0.0.1" in standing for name, kind in wanted.items())


def kinds_of_calls(platform: Platform, seed: int) -> list[str]:
    drawn = random.Random(seed)
    kinds = []
    for _ in range(CALLS):
        name = drawn.choice(list(SIZES_MB))
        answer = platform.call(name)
        assert answer.json()["response"]["result"] == {"name": name, "bytes": SIZES_MB[name] << 20}
        kinds.append(start_kind(answer))
        time.sleep(0.05)  # calls of people come one after the other, with pauses
    return kinds


def nothing_expires(status: Json) -> bool:
    return all(c["expires_in_s"] is None for node in status["nodes"] for c in node["containers"])


@pytest.mark.timeout(300)
def test_every_call_is_fast_and_stays_so_after_a_restart(server: Platform) -> None:
    for name in SIZES_MB:
        assert server.call(name).status_code == 200
    until(lambda: is_ready(server.status()), READY_WITHIN_S)

    kinds = kinds_of_calls(server, seed=1)
    assert sum(kind in FAST for kind in kinds) >= 0.95 * CALLS, kinds
    assert made(server.status()) <= 20
    assert nothing_expires(server.status())

    server.stop()
    server.start()
    until(lambda: is_ready(server.status()), READY_WITHIN_S)  # nobody has called since
    assert made(server.status()) <= 20
    kinds = kinds_of_calls(server, seed=2)
    assert sum(kind in FAST for kind in kinds) >= 0.95 * CALLS, kinds
