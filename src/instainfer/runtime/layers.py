"""Tries which layers of isolation this host gives: ``layers`` prints them as JSON, ``{NAME: REASON OR ""}``.

Each is tried in a child of its own, which really takes it. An empty reason means that it works.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from . import namespaces
from .view import View

NAMESPACES = "namespaces"
"""Process ids, mounts and IPC of its own for each container."""


def main(arguments: list[str]) -> int:
    """``layers``."""
    json.dump({name: tried(attempt) for name, attempt in _ATTEMPTS.items()}, sys.stdout)
    return 0


def tried(attempt: Callable[[int], None]) -> str:
    """Make an attempt in a child. Returns why it failed, or nothing.

    The attempt gets a descriptor that only the process in which it ends may keep.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        words = ""
        try:
            attempt(writer)
        except OSError as error:
            words = error.strerror or str(error)
        with suppress(OSError):
            os.write(writer, (words or "works").encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        words = told.read().decode()
    os.waitpid(pid, 0)
    return "" if words == "works" else words or "the attempt was killed"


def _separates(writer: int) -> None:
    is_user = os.geteuid() != 0
    namespaces.begin()
    pid = os.fork()
    if pid:
        os.close(writer)
        os.waitpid(pid, 0)
        os._exit(0)
    namespaces.settle(is_user=is_user)
    View().cover_shared_memory(1 << 20)


_ATTEMPTS = {NAMESPACES: _separates}
