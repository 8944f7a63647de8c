"""How much memory and disk the tools of a build use, and when that is too much.

Both are measured, because no limit of Linux that needs no privilege is for several processes together. What one process
alone may have is limited besides, by the kernel (`runtime.build_jail`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_BLOCK_BYTES = 512
_ENTRY_BYTES = 4096
"""Counted for each file besides, since disks run out of files too."""
_OWN_KB = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)
_MEMORY_FILE = "/memfd:"
_MOST_DESCRIPTORS = 10_000
"""Descriptors that are looked at each time; a build has a few dozen."""
_SHARE = 20
"""One part in so many of the time is spent on looking at folders, at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tools of a build may use together."""

    memory_bytes: int = 4 << 30
    disk_bytes: int = 32 << 30

    def memory_exceeded(self) -> str:
        """What is said of a tool that used too much memory, with the remedy."""
        return f"it used more than {self.memory_bytes >> 20} MB of memory; raise environments.build_memory_mb"


class Usage:
    """What a tool uses: the processes below `ancestor`, and the files in `folders`.

    `ancestor` is None where the kernel limits the memory of all processes together.
    """

    def __init__(self, limits: Limits, folders: Sequence[Path]) -> None:
        self._limits = limits
        self._folders = folders
        self._next_look_s = 0.0

    def exceeded(self, ancestor: int | None) -> str | None:
        """Which limit is exceeded, in words with the remedy. It blocks, so call it in a thread."""
        limits = self._limits
        if ancestor is not None and memory_bytes(ancestor) > limits.memory_bytes:
            return limits.memory_exceeded()
        began_s = time.monotonic()
        if began_s < self._next_look_s:
            return None
        disk_bytes = used_bytes(self._folders)
        self._next_look_s = began_s + _SHARE * (time.monotonic() - began_s)
        if disk_bytes > limits.disk_bytes:
            return f"it used more than {limits.disk_bytes >> 20} MB of disk; raise environments.build_disk_mb"
        return None


def used_bytes(folders: Iterable[Path]) -> int:
    """The disk space of folders while somebody writes in them. Files that are linked from elsewhere count too."""
    total = 0
    waiting = [os.fspath(folder) for folder in folders]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES + _ENTRY_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


def memory_bytes(ancestor: int) -> int:
    """The memory of all processes that descend from one, with the files in memory that they hold open."""
    total = 0
    files: dict[int, int] = {}
    for pid in _descendants(ancestor):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            total += sum(int(kb) << 10 for kb in _OWN_KB.findall(status))
            files.update(islice(_memory_files(pid), _MOST_DESCRIPTORS))
    return total + sum(files.values())


def _descendants(ancestor: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            stat = Path(f"/proc/{name}/stat").read_text(encoding="ascii", errors="replace")
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    waiting = list(children.get(ancestor, ()))
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, ())
        yield pid


def _memory_files(pid: int) -> Iterator[tuple[int, int]]:
    """The files in memory that a process holds open, as (inode, bytes)."""
    with os.scandir(f"/proc/{pid}/fd") as descriptors:
        for descriptor in descriptors:
            with suppress(OSError):
                if os.readlink(descriptor.path).startswith(_MEMORY_FILE):
                    status = os.stat(descriptor.path)
                    yield status.st_ino, status.st_blocks * _BLOCK_BYTES
