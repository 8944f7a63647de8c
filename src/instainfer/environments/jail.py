"""What the tools of one build may see and use, wherever they run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .gate import PROXY, Gate
from .room import Room
from .usage import Limits


@dataclass(slots=True)
class Jail:
    """What the tools of one build may see and use."""

    room: Room
    gate: Gate
    readable: list[Path]
    shared_cache: Path | None
    """A folder that it shares with other builds. None: it has a cache of its own."""
    runs_packages: bool
    """Whether code of packages runs in it."""
    limits: Limits
    joined: Path | None = None
    """A folder above those that may be written, if files have to be linked from one to the other."""

    def writable(self, folder: Path | None) -> list[Path]:
        """The folders that a tool may write: those of the build, and `folder`."""
        others = (self.shared_cache, folder)
        return [*self.room.writable, *(other for other in others if other is not None)]

    def variables(self, given: Mapping[str, str], *, is_gated: bool) -> dict[str, str]:
        """The variables of a tool: those that are `given`, its folders and, if there is no other way out, the gate."""
        cache = self.shared_cache or self.room.cache
        own = {
            "HOME": str(self.room.home),
            "TMPDIR": str(self.room.temporary),
            "PIP_CACHE_DIR": str(cache / "pip"),
            "PIP_CONFIG_FILE": os.devnull,
            "UV_CACHE_DIR": str(cache / "uv"),
        }
        if is_gated:
            own |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "PIP_PROXY"), PROXY)
            own |= dict.fromkeys(("ALL_PROXY", "NO_PROXY", "all_proxy", "no_proxy"), "")
        return {**given, **own}
