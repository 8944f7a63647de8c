"""Makes a process that has loaded and warmed up its function fit for forking, and proves that it is.

A function template is such a process (ADR 21). Three things make it fit. The threads of OpenMP runtimes are ended
(`openmp`). A fork makes other libraries (OpenBLAS) end their threads. And the memory is arranged so
that forked processes write to as few shared pages as possible.

Some libraries leave no trace that could be found, and hang all the same in a forked process: numba's parallel loops do.
So a forked process has to go through the function's warm-up within a time limit. When a function is deployed, two
forked processes also answer its ``sample.json``, and must answer it as the process does that they were forked from. Not
later: the sample may have effects.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from . import openmp
from .coroutines import put_aside
from .forksafe import ForkSafety
from .hugepages import gather
from .memory import children
from .renewal import renew

TRIAL_LEAST_S = 5.0
"""Seconds that the forked process of a trial has at least."""
SAMPLE_S = 60.0
"""Seconds that a forked process has to answer the sample, beside those in which it waits for a processor."""
TRIAL_FACTOR = 10.0
"""A trial may take so many times as long as the same work took in the process that is forked."""


def unfit_reason(safety: ForkSafety, warm_up: Callable[[], None]) -> str | None:
    """Warm up, make this process fit for forking, and prove it. Returns why it cannot be forked, or None if it can.

    `safety` was made before the function was loaded. The reason is for the author of the function.
    """
    began_at = time.monotonic()
    warm_up()
    took_s = time.monotonic() - began_at
    _make_fit()
    return _leftovers(safety) or trial_failure(warm_up, max(TRIAL_LEAST_S, TRIAL_FACTOR * took_s))


def _make_fit() -> None:
    openmp.pause()
    put_aside()
    pid = os.fork()  # some libraries end their threads before a fork
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    gc.collect()
    gc.freeze()  # otherwise the collector of a forked process would write into every shared object
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    gather()


def _leftovers(safety: ForkSafety) -> str | None:
    """What the load has left behind that a forked process could not have, or would share."""
    if children(os.getpid()):
        return "load() has started a process; start it in main(), or not at all"
    own = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if own:
        named = ", ".join(own[:3])
        return "load() has started a thread ({}), which a forked process would not have; start it in main()".format(
            named
        )
    return safety.offence("load()")


def trial_failure(
    work: Callable[[], None], limit_s: float, named: str = "warmup()", fd: int | None = None
) -> str | None:
    """Do some work in a forked process, which alone keeps `fd`. Returns why that failed, or None if it did not."""
    pid = os.fork()
    if pid == 0:
        _try(work)
    if fd is not None:
        os.close(fd)
    pidfd = os.pidfd_open(pid)
    try:
        in_time = _ends_within(pid, pidfd, limit_s)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    finally:
        os.close(pidfd)
    if not in_time:
        return "{} does not end in a forked process ({:g} s); does a library keep threads of its own?".format(
            named, limit_s
        )
    if status == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    how = "ends with exit code {}".format(code) if code >= 0 else "is killed by signal {}".format(-code)
    return "a forked process {} in {}".format(how, named)


def _ends_within(pid: int, pidfd: int, limit_s: float) -> bool:
    """Whether a process ends in time. The time in which it wants a processor and gets none does not count.

    A trial has the lowest priority. On a busy machine it may take many times as long as it should, which says nothing
    of the function, and the verdict on a version is kept.
    """
    began_at = time.monotonic()
    while True:
        left_s = began_at + limit_s + waited_s(pid) - time.monotonic()
        if left_s <= 0:
            return False
        if select.select([pidfd], [], [], left_s)[0]:
            return True


def waited_s(pid: int) -> float:
    """The longest time that any thread of a process has waited for a processor. 0 if the kernel does not count it."""
    waited_ns = 0
    with suppress(OSError, ValueError):  # the process may end meanwhile
        for tid in os.listdir("/proc/{}/task".format(pid)):
            with open("/proc/{}/task/{}/schedstat".format(pid, tid), encoding="ascii") as file:
                waited_ns = max(waited_ns, int(file.read().split()[1]))
    return waited_ns / 1e9


def sample_failure(answer: Callable[[], bytes]) -> str | None:
    """Why forked processes do not answer as this one does. None if they do, or if no two of them answer alike.

    A function whose answers are random, or contain a time, says nothing about forking. This process has to end
    afterwards, because it has answered a request.
    """
    forked = []
    for _ in range(2):
        reader, writer = os.pipe()
        failure = trial_failure(partial(_answer_into, writer, answer), SAMPLE_S, "its sample.json", writer)
        with os.fdopen(reader, "rb") as answers:
            digest = answers.read()
        if failure is not None:
            return failure
        forked.append(digest)
    if forked[0] != forked[1] or forked[0] == _digest(answer):
        return None
    return "a forked process answers sample.json in another way than the process that loaded the function"


def _answer_into(fd: int, answer: Callable[[], bytes]) -> None:
    renew()
    os.write(fd, _digest(answer))


def _digest(answer: Callable[[], bytes]) -> bytes:
    return hashlib.sha256(answer()).digest()


def _try(work: Callable[[], None]) -> None:
    """Do the work and end this process."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # whatever the function's code raises: it must not get into the code that forked
        traceback.print_exc()
    finally:
        os._exit(code)
