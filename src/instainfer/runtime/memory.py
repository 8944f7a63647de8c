"""How much memory a function's processes take: what only their end would give back.

That is their anonymous and shared memory. Clean pages of files, such as mapped weights and libraries, are the kernel's
cache, which all containers share and which gives way. A page that n processes share, as a template and what was forked
from it do, counts as 1/n (PSS), so that sums are true; the kernel walks the page tables for it, milliseconds for a
gigabyte. The size of the resident set costs microseconds and is never below it, but does not tell when a shared page
becomes a process's own. Hence `Meter`: exact when it matters, corrected by what can be had cheaply since then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024
_CHARGED = (b"Pss_Anon:", b"Pss_Shmem:")


class _Rss(NamedTuple):
    total_bytes: int
    anonymous_bytes: int
    """Without memory shared by name and without files."""


def _rss(pid: int) -> _Rss:
    """Zeros when the process has ended."""
    # On the path of every call, so without the file object's dozen of system calls.
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
    """PSS or RSS where the kernel does not tell its parts, 0 when the process has ended."""
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
    """The live and the unreaped children of a process; empty where the kernel does not tell."""
    found: list[int] = []
    try:
        threads = os.listdir("/proc/{}/task".format(pid))
    except OSError:
        return found
    for tid in threads:
        # A thread that ends meanwhile leaves its children to another one.
        with suppress(OSError), open("/proc/{}/task/{}/children".format(pid, tid), "rb", buffering=0) as listing:
            found += map(int, listing.read().split())
    return found


def tells_children() -> bool:
    """Whether this kernel tells the children of a process."""
    return os.path.exists("/proc/self/task/{}/children".format(os.getpid()))


def family(roots: Iterable[int]) -> list[int]:
    """The processes given and all their descendants."""
    found = list(roots)
    for pid in found:  # grows while it is walked
        found += children(pid)
    return found


class Meter:
    """The memory of one function's or template's processes; nothing until `begin`."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self._exact_bytes = 0
        self._anonymous_bytes = 0
        self._is_doubtful = False

    def begin(self, pid: int) -> None:
        self.pids = [pid]

    def find(self, adopted: Iterable[int] = ()) -> None:
        """Look for processes that it has started; `adopted` are those whose parents have ended."""
        self.pids = family((*self.pids[:1], *adopted))

    def measure(self) -> int:
        """Measure exactly."""
        self._is_doubtful = False
        self._anonymous_bytes = self._sum_anonymous()
        self._exact_bytes = sum(map(charged_bytes, self.pids))
        return self._exact_bytes

    def glance(self) -> int:
        """The last exact measurement and the growth of anonymous memory since."""
        return max(0, self._exact_bytes + self._sum_anonymous() - self._anonymous_bytes)

    def doubt(self) -> None:
        """Who shares its pages, and how many, has changed or may have changed."""
        self._is_doubtful = True

    @property
    def is_stale(self) -> bool:
        """Whether to measure exactly again: there is doubt, or more than a mebibyte has come or gone since."""
        return self._is_doubtful or abs(self._sum_anonymous() - self._anonymous_bytes) > _MIB

    def exceeds(self, limit_bytes: int) -> bool:
        """Whether it takes more than its limit; measures exactly only if it may."""
        return self.most() > limit_bytes and self.measure() > limit_bytes

    def most(self) -> int:
        """It does not take more than this."""
        return sum(_rss(pid).total_bytes for pid in self.pids)

    def _sum_anonymous(self) -> int:
        return sum(_rss(pid).anonymous_bytes for pid in self.pids)
