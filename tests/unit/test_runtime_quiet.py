"""Which processes can run no more, seen on real ones."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from instainfer.runtime.ends import Ends
from instainfer.runtime.quiet import Quiet, is_exiting

_PATIENCE_S = 30.0
_THREADS = "import threading, sys; [threading.Thread(target=threading.Event().wait).start() for _ in range(3)]; "


def python(code: str) -> subprocess.Popen[str]:
    """A process in a group of its own, once it has written a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def until(holds: Callable[[], bool]) -> None:
    """Looks again and again, as the kernel has no event for it."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at
        select.select([], [], [], 0.001)


def test_a_process_is_exiting_when_all_its_threads_are() -> None:
    with python(_THREADS + "print('there', flush=True)") as process:
        assert not is_exiting(process.pid)
        process.send_signal(signal.SIGSTOP)
        assert not is_exiting(process.pid)
        process.kill()
        until(lambda: is_exiting(process.pid))
    assert is_exiting(process.pid), "it is gone"


def test_a_leader_that_has_ended_before_its_threads_is_not_exiting() -> None:
    code = "import ctypes; print('there', flush=True); ctypes.CDLL(None).pthread_exit(None)"
    with python(_THREADS + code) as process:
        until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        assert not is_exiting(process.pid)
        process.kill()
        until(lambda: is_exiting(process.pid))


def test_quiet_is_what_ends_with_all_below_it_wherever_it_is() -> None:
    code = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], stdin=-1, start_new_session=True)
os.waitid(os.P_PID, child.pid, os.WEXITED)
"""
    told: list[int] = []
    with python(code) as ending, python("print(1, flush=True); input()") as staying:
        with open(f"/proc/{ending.pid}/task/{ending.pid}/children") as listing:
            (below,) = map(int, listing.read().split())
        quiet = Quiet(told.append)
        ending.kill()
        assert not quiet.look([ending.pid], {staying.pid}), "what has just been found is looked at once more"
        until(lambda: quiet.look([ending.pid], {staying.pid}))
        # What was asleep when it was killed is quiet before it has been on a processor to exit.
        until(lambda: is_exiting(ending.pid) and is_exiting(below))
        assert not is_exiting(staying.pid)
        assert {ending.pid, below} >= set(told)
        assert len(told) == len(set(told))
        staying.kill()


def test_what_keeps_forking_and_leaving_is_caught() -> None:
    code = """
import os
print(1, flush=True)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
"""
    # Its orphans come to us only if we adopt them; a process between us and them does.
    adopting = f"""
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
from instainfer.runtime.quiet import Quiet
for _ in range(20):
    chain = subprocess.Popen([sys.executable, "-c", {code!r}], stdout=subprocess.DEVNULL, process_group=0)
    quiet = Quiet(lambda pid: None)
    os.killpg(chain.pid, 9)
    while not quiet.look([chain.pid], ()):
        pass
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
print("all gone", flush=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", adopting], check=False, capture_output=True, text=True, timeout=_PATIENCE_S
    )
    assert ran.stdout == "all gone\n", ran.stderr


def test_a_child_of_ours_that_turns_out_to_be_living_is_no_stray() -> None:
    ends = Ends()
    with python("print(1, flush=True); input()") as born:
        found = [born.pid]  # listed, and only then did it say whose it is
        living: Any = SimpleNamespace(pid=born.pid)
        ends.hunt(found, [living])
        assert not is_exiting(born.pid)
        assert ends.all_gone
        ends.hunt(found, [])
        until(lambda: is_exiting(born.pid))
        assert not ends.all_gone
        ends.note_reaped(born.pid)
        assert ends.all_gone


def test_a_stray_that_is_reaped_is_not_taken_for_one_that_was_told_to_end() -> None:
    ends = Ends()
    with python("print(1, flush=True); input()") as stray:
        ends.hunt([stray.pid], [])
    assert not ends.note_reaped(stray.pid)
    assert ends.all_gone


def test_what_slept_before_it_was_killed_and_has_not_run_since_is_quiet_before_it_exits() -> None:
    with python(_THREADS + "print('there', flush=True); threading.Event().wait()") as process:
        until(lambda: Quiet(print).note_asleep([process.pid]) == [process.pid])
        told: list[int] = []
        quiet = Quiet(told.append)
        assert quiet.note_asleep([process.pid]) == [process.pid]
        assert is_exiting(process.pid, quiet._asleep), "as if it were killed now"
        assert not is_exiting(process.pid)
        process.kill()
        until(lambda: quiet.look([process.pid], set()))


def test_what_runs_is_not_taken_for_asleep_though_it_slept_when_it_was_noted() -> None:
    busy = subprocess.Popen(
        [sys.executable, "-c", "print('there', flush=True); input(); print('awake', flush=True)\nwhile True: pass"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with busy:
        assert busy.stdin is not None
        assert busy.stdout is not None
        busy.stdout.readline()
        quiet = Quiet(print)
        until(lambda: quiet.note_asleep([busy.pid]) == [busy.pid])
        busy.stdin.write("go on\n")
        busy.stdin.flush()
        assert busy.stdout.readline() == "awake\n"
        assert not is_exiting(busy.pid, quiet._asleep)
        assert Quiet(print).note_asleep([busy.pid]) == []
        busy.kill()
