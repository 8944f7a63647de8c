"""What isolation this host gives to containers of the backend ``process``, found by trying it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping

from ..runtime import boot
from ..runtime.layers import NAMESPACES

_TRY_S = 30.0


@functools.cache
def layers() -> Mapping[str, str]:
    """By layer, why this host does not give it; empty for one that works. It blocks for some ten milliseconds, once."""
    command = [sys.executable, "-I", "-S", str(boot.__file__), "layers"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_TRY_S)
        told: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {NAMESPACES: f"it cannot be tried: {error}"}
    return told


def namespaces_line() -> str:
    """In words, whether a container has process ids, mounts and IPC of its own."""
    reason = layers()[NAMESPACES]
    if reason:
        return f"container: not closed off ({reason}); processes that left its session may outlive a killed manager"
    return "container: its own process ids, mounts, IPC, /tmp and /dev/shm; all in it ends with its manager"
