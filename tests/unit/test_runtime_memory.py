"""The most memory that a process had, as its meter tells it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from instainfer.runtime.memory import Meter

MIB = 1 << 20

#: Takes as many MiB as it is told, gives them back, and says so.
CHILD = """
import sys
for line in sys.stdin:
    held = bytearray(b"x") * (int(line) << 20)
    del held
    print("done", flush=True)
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def takes(child: subprocess.Popen[str], mib: int) -> None:
    stdin, stdout = child.stdin, child.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.write(f"{mib}\n")
    stdin.flush()
    assert stdout.readline() == "done\n"


def test_a_peak_is_told_though_the_memory_was_given_back(child: subprocess.Popen[str]) -> None:
    takes(child, 1)
    meter = Meter()
    meter.begin(child.pid)
    size_bytes = meter.measure()
    takes(child, 100)
    assert meter.glance() < size_bytes + 20 * MIB
    assert 95 * MIB < meter.peak(meter.glance()) - size_bytes < 110 * MIB
    meter.forget_peak()
    takes(child, 30)
    assert 25 * MIB < meter.peak(meter.glance()) - size_bytes < 40 * MIB


def test_what_the_watch_has_seen_counts_too(child: subprocess.Popen[str]) -> None:
    takes(child, 1)
    meter = Meter()
    meter.begin(child.pid)
    size_bytes = meter.measure()
    meter.note_peak(size_bytes + 500 * MIB)
    assert meter.peak(size_bytes) == size_bytes + 500 * MIB
    meter.forget_peak()
    assert meter.peak(size_bytes) < size_bytes + 10 * MIB


def test_of_a_process_that_has_ended_nothing_more_is_known(child: subprocess.Popen[str]) -> None:
    meter = Meter()
    meter.begin(child.pid)
    child.communicate()
    meter.forget_peak()
    assert meter.peak(7) == 7
