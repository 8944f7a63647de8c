"""Measures the memory of a function's processes: the memory that only their end would free.

That is their anonymous and shared memory. Clean pages of files, such as mapped weights and libraries, are the kernel's
cache, which all containers share and which gives way. A page that n processes share, as a template and what was forked
from it do, counts as 1/n (PSS), so that sums are true; the kernel walks the page tables for it, milliseconds for a
gigabyte. The size of the resident set costs microseconds and is never below it, but does not tell when a shared page
becomes a process's own. Hence `Meter`: exact when it matters, corrected by what can be had cheaply since then.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024
_CHARGED = (b"Pss_Anon:", b"Pss_Shmem:")


class _Rss(NamedTuple):
    total_bytes: int
    anonymous_bytes: int
    """Only anonymous memory: without files and without memory that is shared by name."""


def _rss(pid: int) -> _Rss:
    """The resident set of a process. Zeros when the process has ended."""
    # Every call runs this code, so it does without file objects, which cost a dozen system calls.
    try:
        fd = os.open("/proc/{}/statm".format(pid), os.O_RDONLY)
    except OSError:
        return _Rss(0, 0)
    try:
        resident, shared = map(int, os.read(fd, 256).split()[1:3])
    except OSError:
        return _Rss(0, 0)
    finally:
        os.close(fd)
    return _Rss(resident * _PAGE_BYTES, (resident - shared) * _PAGE_BYTES)


def charged_bytes(pid: int) -> int:
    """The memory that a process is charged. 0 when it has ended. RSS on kernels that do not report the parts of PSS."""
    told: dict[bytes, int] = {}
    try:
        with open("/proc/{}/smaps_rollup".format(pid), "rb") as rollup:
            for line in rollup:
                if line.startswith(b"Pss"):
                    name, kib, _ = line.split()
                    told[name] = int(kib) * 1024
    except OSError:
        pass
    if all(name in told for name in _CHARGED):
        return sum(told[name] for name in _CHARGED)
    return told.get(b"Pss:", _rss(pid).total_bytes)


def children(pid: int) -> list[int]:
    """The children of a process, including ended ones that are not reaped. Empty if the kernel does not list them."""
    found: list[int] = []
    try:
        threads = os.listdir("/proc/{}/task".format(pid))
    except OSError:
        return found
    for tid in threads:
        # When a thread ends meanwhile, its children pass to another thread of the process.
        with suppress(OSError), open("/proc/{}/task/{}/children".format(pid, tid), "rb", buffering=0) as listing:
            found += map(int, listing.read().split())
    return found


def parent(pid: int) -> int | None:
    """The parent of a process. None when the process has ended."""
    try:
        with open("/proc/{}/stat".format(pid), "rb", buffering=0) as stat:
            return int(stat.read(1024).rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def tells_children() -> bool:
    """Whether this kernel lists the children of a process."""
    return os.path.exists("/proc/self/task/{}/children".format(os.getpid()))


def family(roots: Iterable[int], without: Collection[int | None] = ()) -> list[int]:
    """The processes given and all their descendants, except these processes and their descendants."""
    found = list(roots)
    for pid in found:  # grows while it is walked
        found += [child for child in children(pid) if child not in without]
    return found


class Meter:
    """Measures the memory of the processes of one function or template. `begin` names the first process."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self._exact_bytes = 0
        self._anonymous_bytes = 0
        self._is_doubtful = False

    def begin(self, pid: int) -> None:
        self.pids = [pid]

    def find(self, adopted: Iterable[int] = (), others: Collection[int | None] = ()) -> None:
        """Find the processes that it has started. `adopted` are those of them whose parents have ended. `others` are
        processes with meters of their own, which may have been forked from it."""
        self.pids = family((*self.pids[:1], *adopted), others)

    def measure(self) -> int:
        """Measure the memory exactly, which takes milliseconds for a gigabyte."""
        self._is_doubtful = False
        self._anonymous_bytes = self._sum_anonymous()
        self._exact_bytes = sum(map(charged_bytes, self.pids))
        return self._exact_bytes

    def assume(self, size_bytes: int) -> int:
        """Take this size for the exact one, until the next exact measurement."""
        self._is_doubtful = True
        self._anonymous_bytes = self._sum_anonymous()
        self._exact_bytes = size_bytes
        return size_bytes

    def glance(self) -> int:
        """The last exact measurement, plus the growth of anonymous memory since then."""
        return max(0, self._exact_bytes + self._sum_anonymous() - self._anonymous_bytes)

    def doubt(self) -> None:
        """Note that another number of processes may share its pages now."""
        self._is_doubtful = True

    @property
    def is_stale(self) -> bool:
        """Whether to measure exactly again: after `doubt`, or when the memory has changed by more than a mebibyte."""
        return self._is_doubtful or abs(self._sum_anonymous() - self._anonymous_bytes) > _MIB

    def most(self) -> int:
        """An upper bound of its memory, which costs microseconds."""
        return sum(_rss(pid).total_bytes for pid in self.pids)

    def _sum_anonymous(self) -> int:
        return sum(_rss(pid).anonymous_bytes for pid in self.pids)
