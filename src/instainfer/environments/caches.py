"""The folders in which libraries keep caches for one version of a function, as the platform sees them (ADR 25).

::

    HOME/caches/<digest of the namespace>/<digest of the function's key>/   see `instainfer.runtime.caches`

A cache is nobody's only copy of anything. So one that has grown too large is emptied.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..errors import HostError
from ..runtime import jail
from ..runtime.caches import COMMON, OWN
from .content import explaining_full_disk
from .unused import Unused, remove_tree

log = logging.getLogger(__name__)


class Caches:
    """The caches of the functions of one home."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sizes_bytes: dict[Path, int] = {}
        """The size of each cache, as `bound` has measured it last."""

    def folder(self, namespace: str, key: str) -> Path:
        return self.folder_of_all(namespace) / _digest(key)

    def folder_of_all(self, namespace: str) -> Path:
        """The folder of the caches of a namespace's functions."""
        return self.root / _digest(namespace)

    def make(self, namespace: str, key: str) -> Path:
        """Make the cache of a function if it does not exist, and return its folder. Raises `HostError`."""
        folder = self.folder(namespace, key)
        with explaining_full_disk(self.root):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for path in (self.root, folder.parent, folder):
                    path.chmod(0o711)  # processes with user ids of their own pass through, and list nothing
                (folder / COMMON).mkdir(0o700, exist_ok=True)
                if os.geteuid() == 0:
                    self._make_own(folder / OWN)
            except PermissionError as error:
                raise HostError(f"{folder} cannot be made: {error.strerror}; give it to the platform's user") from error
        return folder

    def _make_own(self, own: Path) -> None:
        own.mkdir(0o700, exist_ok=True)
        if own.stat().st_uid == 0:
            taken = {path.lstat().st_uid for path in self.root.glob(f"*/*/{OWN}")}
            uid = next(uid for uid in iter(lambda: secrets.choice(jail.function_uids()), None) if uid not in taken)
            os.chown(own, uid, uid)

    def bound(self, most_bytes: int) -> None:
        """Measure all caches, and empty those that are larger than `most_bytes`."""
        self.sizes_bytes = _sizes_bytes(self._all())
        for folder, size_bytes in self.sizes_bytes.items():
            if size_bytes > most_bytes:
                log.warning("%s has %d bytes, more than limits.cache_mb allows, and is emptied", folder, size_bytes)
                _empty(folder)

    def unused(self, used: Set[Path]) -> Iterator[Unused]:
        """All caches except those used, which are given by their folders."""
        for folder, size_bytes in _sizes_bytes(folder for folder in self._all() if folder not in used).items():
            yield Unused("cache", folder, "no function has it", size_bytes, partial(_removed, folder))

    def _all(self) -> list[Path]:
        return sorted(self.root.glob("*/*"))


def _sizes_bytes(folders: Iterable[Path]) -> dict[Path, int]:
    """The disk space that each of these folders takes. Folders that are gone are left out.

    The system's tool measures, because functions may have nested their folders deeper than a path can be long.
    """
    given = [os.fspath(folder) for folder in folders]
    if not given:
        return {}
    asked = ["du", "--summarize", "--block-size=1", "--null", "--", *given]
    done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    lines = (line.split(b"\t", 1) for line in done.stdout.split(b"\0") if line)
    return {Path(os.fsdecode(path)): int(size) for size, path in lines}


def _empty(folder: Path) -> None:
    """Remove what libraries have put into a cache. Processes that use it find it empty and go on."""
    for part in (OWN, COMMON):
        for path in (folder / part).glob("*"):
            with suppress(OSError):  # somebody writes into it meanwhile; what stays is seen the next time
                remove_tree(path)


def _removed(folder: Path) -> bool:
    remove_tree(folder)
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
