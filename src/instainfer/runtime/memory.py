"""Measures the memory of a function's processes: the memory that only their end would free.

That is their anonymous and shared memory. Clean pages of files, such as mapped weights and libraries, are the kernel's
cache, which all containers share and which gives way.

A process shares the pages of the template that it was forked from until it writes to them. These pages are the
template's: it stands still, so its size stays as it was measured when it was made. Of the forked process only its own
pages count. Where several processes share pages that are no template's, each has a page for 1/n (PSS), so that sums are
true.

The kernel walks the page tables for an exact measurement, milliseconds for a gigabyte. The size of the resident set
costs microseconds and is never below it, but does not tell when a shared page becomes a process's own. Hence `Meter`:
exact when it matters, corrected by what can be had cheaply since then.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024
_STATUS_BYTES = 4096
_CHARGED = (b"Pss_Anon:", b"Pss_Shmem:")
_OWN = b"Private_Dirty:"
_RESTART_PEAK = b"5"
"""Written to ``/proc/PID/clear_refs``: the largest resident set is the present one again."""


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


def _beyond(pid: int) -> int:
    """How much larger the resident set of a process has been than it is now. 0 when that cannot be had."""
    try:
        fd = os.open("/proc/{}/status".format(pid), os.O_RDONLY)
    except OSError:
        return 0
    try:
        told = os.read(fd, _STATUS_BYTES)
    except OSError:
        return 0
    finally:
        os.close(fd)
    return max(0, _kib(told, b"VmHWM:") - _kib(told, b"VmRSS:")) * 1024


def _kib(told: bytes, name: bytes) -> int:
    """A number in ``/proc/PID/status``. 0 if it is not there: a process that has ended has no memory."""
    start = told.find(name)
    return 0 if start < 0 else int(told[start + len(name) : told.index(b"kB", start)])


def charged_bytes(pid: int) -> int:
    """The memory that a process is charged. 0 when it has ended. RSS on kernels that do not report the parts of PSS."""
    told = _rollup(pid)
    if all(name in told for name in _CHARGED):
        return sum(told[name] for name in _CHARGED)
    return told.get(b"Pss:", _rss(pid).total_bytes)


def own_bytes(pid: int) -> int:
    """The pages that a process shares with no other. `charged_bytes` on kernels that do not report them."""
    own = _rollup(pid).get(_OWN)
    return charged_bytes(pid) if own is None else own


def _rollup(pid: int) -> dict[bytes, int]:
    """The sums over the memory of a process, in bytes by the kernel's names. Empty when they cannot be had."""
    told: dict[bytes, int] = {}
    try:
        with open("/proc/{}/smaps_rollup".format(pid), "rb") as rollup:
            for line in rollup:
                if line.startswith((b"Pss", b"Private")):
                    name, kib, _ = line.split()
                    told[name] = int(kib) * 1024
    except OSError:
        pass
    return told


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


def of_group(pids: Iterable[int], group: int | None) -> list[int]:
    """Those of the processes that belong to a group, without its head."""
    found = []
    for pid in pids:
        with suppress(ProcessLookupError):
            if pid != group and os.getpgid(pid) == group:
                found.append(pid)
    return found


def parent(pid: int) -> int | None:
    """The parent of a process. None when the process has ended."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, and has a single thread. The state that is told of it is that of its first one."""
    fields = _stat(pid)
    return bool(fields) and fields[0] in (b"T", b"t") and _has_one_thread(pid)


def _stat(pid: int) -> list[bytes]:
    """The fields of ``/proc/PID/stat`` after the name, which may contain anything. Empty when the process has ended."""
    try:
        with open("/proc/{}/stat".format(pid), "rb", buffering=0) as stat:
            return stat.read(1024).rpartition(b")")[2].split()
    except OSError:
        return []


def _has_one_thread(pid: int) -> bool:
    try:
        return len(os.listdir("/proc/{}/task".format(pid))) == 1
    except OSError:
        return False


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
        self._is_forked = False
        self._is_fixed = False
        self._peak_bytes = 0

    def begin(self, pid: int, *, is_forked: bool = False) -> None:
        """`is_forked`: from a template, which is charged for the pages that they share."""
        self.pids = [pid]
        self._is_forked = is_forked

    def find(self, adopted: Iterable[int] = (), others: Collection[int | None] = ()) -> None:
        """Find the processes that it has started. `adopted` are those of them whose parents have ended. `others` are
        processes with meters of their own, which may have been forked from it."""
        self.pids = family((*self.pids[:1], *adopted), others)

    def measure(self) -> int:
        """Measure the memory exactly, which takes milliseconds for a gigabyte."""
        # Pages that a forked process shares with processes that it has started are nobody's own.
        alone = self._is_forked and len(self.pids) == 1
        return self.assume(own_bytes(self.pids[0]) if alone else self.shared())

    def note_peak(self, size_bytes: int) -> None:
        """Note that the memory was seen to be as large as this."""
        self._peak_bytes = max(self._peak_bytes, size_bytes)

    def peak(self, size_bytes: int) -> int:
        """The most memory since it began, or since `forget_peak`. `size_bytes`: the memory now.

        The kernel notes the largest resident set of each process. What that had beyond today's is added to the memory
        that is charged now: it may have been files as well as memory, so this is an upper bound.
        """
        self.note_peak(size_bytes + sum(map(_beyond, self.pids)))
        return self._peak_bytes

    def forget_peak(self) -> None:
        self._peak_bytes = 0
        for pid in self.pids:
            with suppress(OSError), open("/proc/{}/clear_refs".format(pid), "wb", buffering=0) as clear:
                clear.write(_RESTART_PEAK)

    def shared(self) -> int:
        """The memory with the due part of all pages that others share, whoever is charged for those."""
        return sum(map(charged_bytes, self.pids))

    def assume(self, size_bytes: int) -> int:
        """Take this size for the exact one."""
        self._is_doubtful = False
        self._anonymous_bytes = self._sum_anonymous()
        self._exact_bytes = size_bytes
        return size_bytes

    def glance(self) -> int:
        """The last exact measurement, plus the growth of anonymous memory since then."""
        if self._is_fixed:
            return self._exact_bytes
        return max(0, self._exact_bytes + self._sum_anonymous() - self._anonymous_bytes)

    def exact(self) -> int:
        """Measure the memory exactly, unless it is known to be as it was."""
        return self._exact_bytes if self._is_fixed and not self._is_doubtful else self.measure()

    def doubt(self) -> None:
        """Note that the exact measurement may hold no longer."""
        self._is_doubtful = True

    def is_orphaned(self) -> None:
        """The template that it was forked from has ended. What they shared is charged here from now on."""
        self._is_forked = False
        self._is_doubtful = True

    def fix(self, is_fixed: bool = True) -> None:
        """It stands still from now on, as a template does: its size changes only when `is_orphaned` is called."""
        self._is_fixed = is_fixed

    @property
    def is_stale(self) -> bool:
        """Whether to measure exactly again: after `doubt`, or when the memory has changed by more than a mebibyte."""
        if self._is_doubtful or self._is_fixed:
            return self._is_doubtful
        return abs(self._sum_anonymous() - self._anonymous_bytes) > _MIB

    def most(self) -> int:
        """An upper bound of its memory, which costs microseconds."""
        if self._is_fixed and not self._is_doubtful:
            return self._exact_bytes
        return sum(_rss(pid).total_bytes for pid in self.pids)

    def _sum_anonymous(self) -> int:
        return sum(_rss(pid).anonymous_bytes for pid in self.pids)
