"""Mapped weights stay in memory while their function waits.

They are pages of the kernel's cache: it may take them back whenever it likes, and some hosts do so long before
memory is scarce. A call would then wait for the disk, a few pages at a time. So a waiting function asks for them
again now and then. That costs next to nothing while they are there, and nothing is locked: whoever needs the memory
still gets it.
"""

from __future__ import annotations

import mmap
import os

from .linux import advise

REFRESH_S = 5.0
"""Seconds between two requests for its mapped weights, while a function waits."""

_SMALLEST_BYTES = 1024 * 1024


def weights_in(folder: str) -> list[tuple[int, int]]:
    """The address and length of each large file of the function's folder that is mapped into this process."""
    found = []
    folder = os.path.realpath(folder) + os.sep
    inodes = _large_files(folder)
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            addresses, _, _, _, inode = line.split(None, 5)[:5]
            if inode != "0" and int(inode) in inodes:
                begin, end = (int(part, 16) for part in addresses.split("-"))
                found.append((begin, end - begin))
    return found


def refresh(ranges: list[tuple[int, int]]) -> None:
    """Let the kernel read again the pages that it has dropped, without waiting for them."""
    for address, length in ranges:
        advise(address, length, mmap.MADV_WILLNEED)


def _large_files(folder: str) -> set[int]:
    # Files are compared by inode, because weights are hard links into a store, and the kernel may show another name.
    found = set()
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.stat(os.path.join(base, name))
            except OSError:
                continue
            if status.st_size >= _SMALLEST_BYTES:
                found.add(status.st_ino)
    return found
