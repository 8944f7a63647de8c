"""How much memory a function's processes take.

The proportional set size (PSS) counts a page that n processes share as 1/n, so that sums are true; the kernel walks
the page tables for it, milliseconds for a gigabyte. The resident set size (RSS) costs microseconds and is never
below it. Hence `Meter`: PSS when it matters, corrected by the change of RSS since then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024


def rss_bytes(pid: int) -> int:
    """0 when the process has ended."""
    # On the path of every call, so without the file object's dozen of system calls.
    try:
        fd = os.open("/proc/{}/statm".format(pid), os.O_RDONLY)
    except OSError:
        return 0
    try:
        return int(os.read(fd, 256).split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
    finally:
        os.close(fd)


def pss_bytes(pid: int) -> int:
    """RSS where the kernel does not tell, 0 when the process has ended."""
    try:
        with open("/proc/{}/smaps_rollup".format(pid), "rb") as rollup:
            for line in rollup:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return rss_bytes(pid)


def children(pid: int) -> list[int]:
    """The live and the unreaped children of a process; empty where the kernel does not tell."""
    found: list[int] = []
    try:
        for tid in os.listdir("/proc/{}/task".format(pid)):
            with open("/proc/{}/task/{}/children".format(pid, tid), "rb") as listing:
                found += map(int, listing.read().split())
    except OSError:
        pass
    return found


def family(roots: Iterable[int]) -> list[int]:
    """The processes given and all their descendants."""
    found = list(roots)
    for pid in found:  # grows while it is walked
        found += children(pid)
    return found


class Meter:
    """The memory of one function's processes."""

    def __init__(self, pid: int) -> None:
        self.pids = [pid]
        self._pss = 0
        self._rss = 0

    def find(self, adopted: Iterable[int] = ()) -> None:
        """Look for processes that it has started; `adopted` are those whose parents have ended."""
        self.pids = family((self.pids[0], *adopted))

    def measure(self) -> int:
        """Measure exactly (PSS)."""
        self._rss = self._sum_rss()
        self._pss = sum(map(pss_bytes, self.pids))
        return self._pss

    def glance(self) -> int:
        """The last exact measurement and the growth of RSS since."""
        return max(0, self._pss + self._sum_rss() - self._rss)

    @property
    def is_stale(self) -> bool:
        """Whether RSS has moved by more than a mebibyte since the last exact measurement."""
        return abs(self._sum_rss() - self._rss) > _MIB

    def exceeds(self, limit_bytes: int) -> bool:
        """Whether it takes more than its limit; measures exactly only if it may."""
        return self.glance() > limit_bytes and self.measure() > limit_bytes

    def _sum_rss(self) -> int:
        return sum(map(rss_bytes, self.pids))
