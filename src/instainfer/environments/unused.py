"""Finds and removes files in a home and its cache that nothing refers to any more.

A home belongs to one platform, and a caller of this module holds the home's lock. Other running platforms may share the
cache, so a file or folder is removed from the cache only if

- no home's note names it (`instainfer.environments.homes`),
- it was not used for some time (each lookup marks it as used, and a mark made after the decision keeps it),
- nobody is building it (the builder's lock is respected).

Code, environments and weights are renamed before the removal, so that nobody ever finds a half-removed one.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .builder import busy_file, ready_file
from .exclusive import at_once
from .homes import Needs, since_file

ABANDONED_AFTER_S = 24 * 3600.0
"""Age at which a half-written file counts as abandoned. A running writer changes its file far more often."""
_CODE = re.compile(r"[0-9a-f]{64}")
_LEAVING = ".old-"
_BLOCK_BYTES = 512
_ABSENT_S = -math.inf
"""The modification time that a missing file is taken to have."""

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Unused:
    """A file or folder that can be removed."""

    kind: str
    """``leftover``, ``code``, ``cache``, ``environment``, ``lock``, ``log``, ``learned``, ``weights`` or ``note``."""
    path: Path
    why: str
    size_bytes: int
    """Disk space that the removal frees."""
    remove: Callable[[], bool] = field(compare=False, repr=False)
    """Checks again that the item is unused, removes it, and returns whether it did. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of a platform."""

    home: Path
    functions: Path
    cache: Path
    weights: Path

    @property
    def caches(self) -> Path:
        return self.home / "caches"

    @property
    def environments(self) -> Path:
        return self.cache / "environments"

    @classmethod
    def of(cls, home: Path, cache: Path) -> Places:
        return cls(home, home / "functions", cache, cache / "weights")


def leftovers(places: Places) -> Iterator[Unused]:
    """Files that a killed platform left in its home. Call this under the home's lock, before any container starts."""
    containers = places.home / "containers"
    for path in _children(containers):
        yield _plain("leftover", path, "private files of a container that was killed")
    for pattern in (".new-*", f"{_LEAVING}*"):
        for path in sorted(places.functions.glob(pattern)):
            yield _plain("leftover", path, "code that was being unpacked or removed")
    for path in sorted(places.home.glob(".credentials.new")):
        yield _plain("leftover", path, "credentials that were being written")


def unused_code(places: Places, used: Set[str]) -> Iterator[Unused]:
    """All folders of code except those with names in `used`."""
    for path in _children(places.functions):
        if _CODE.fullmatch(path.name) and path.name not in used:
            yield _code(path)


def unused_in_cache(
    places: Places, needs: Needs, idle_s: float, now_s: float, freed: Mapping[Inode, int] | None = None
) -> Iterator[Unused]:
    """Items of the cache that no home needs and nobody has used for `idle_s`; `now_s` is the time since the epoch.

    `freed` counts links to weights that are treated as removed. A dry run needs this, because it removes no code.
    """
    oldest_s = now_s - idle_s
    if since_file(places.cache).stat().st_mtime >= oldest_s:
        oldest_s = _ABSENT_S  # the first note is too recent for anything to count as old
    yield from _abandoned(places, now_s)
    leaving = []
    for each in _unused_environments(places.environments, needs.environments, oldest_s):
        leaving.append(each.path)
        yield each
    yield from _beside_environments(places, oldest_s, leaving)
    yield from _unused_weights(places.weights, needs.weights, oldest_s, freed or {})


def links_in(folders: Iterable[Path]) -> Counter[Inode]:
    """The number of links to each file in the folders, for files with several links."""
    found: Counter[Inode] = Counter()
    for folder in folders:
        for base, _, names in os.walk(folder):
            for name in names:
                status = os.lstat(os.path.join(base, name))
                if status.st_nlink > 1:
                    found[status.st_dev, status.st_ino] += 1
    return found


def mark_used(places: Places, needs: Needs) -> None:
    """Mark everything in `needs` as used now, so that its idle time begins only when no home needs it any more."""
    paths = [ready_file(places.environments / name) for name in needs.environments]
    paths += [places.weights / digest.removeprefix("sha256:") for digest in needs.weights]
    for path in paths:
        with suppress(FileNotFoundError, PermissionError):
            os.utime(path)


def remove_tree(path: Path) -> None:
    """Remove a file or a folder of any depth and with any permissions. Raises OSError when a part of it stays.

    The system's tools do the work, because those of the standard library raise a recursion error for very deeply nested
    folders and cannot handle very long paths.
    """
    if os.geteuid() != 0:  # root needs no permissions
        subprocess.run(["chmod", "-R", "u+rwX", "--", path], capture_output=True, check=False)
    done = subprocess.run(["rm", "-rf", "--", path], capture_output=True, check=False)
    if os.path.lexists(path):
        raise OSError(f"{path} cannot be removed: {done.stderr.decode(errors='replace').strip()[:300]}")


def size_bytes(path: Path) -> int:
    """Disk space that is freed when the path is removed. A file that has other links counts as nothing."""
    total = 0
    folders = [os.fspath(path)]
    if not path.is_dir() or path.is_symlink():
        return _blocks(os.lstat(path)) if os.path.lexists(path) else 0
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(entry.path)
                    total += _blocks(status)
    return total


def _blocks(status: os.stat_result) -> int:
    only = stat.S_ISDIR(status.st_mode) or status.st_nlink == 1
    return status.st_blocks * _BLOCK_BYTES if only else 0


def _plain(kind: str, path: Path, why: str) -> Unused:
    def remove() -> bool:
        remove_tree(path)
        return True

    return Unused(kind, path, why, size_bytes(path), remove)


def _aged(kind: str, path: Path, why: str, oldest_s: float) -> Unused:
    """A file that is removed unless it was changed or marked after `oldest_s`."""

    def remove() -> bool:
        if _mtime_s(path) >= oldest_s:
            return False
        path.unlink(missing_ok=True)
        return True

    return Unused(kind, path, why, size_bytes(path), remove)


def _code(path: Path) -> Unused:
    seen_ns = path.stat().st_mtime_ns

    def remove() -> bool:
        aside = _put_aside(path)
        if aside is None:
            return False
        if aside.stat().st_mtime_ns != seen_ns:  # somebody has begun to use it
            _put_back(aside, path)
            return False
        remove_tree(aside)
        return True

    return Unused("code", path, "no function has this code", size_bytes(path), remove)


def _unused_environments(root: Path, needed: Set[str], oldest_s: float) -> Iterator[Unused]:
    for path in sorted(root.glob("env-*")):
        used_s = _mtime_s(ready_file(path))
        if used_s == _ABSENT_S:
            with at_once(busy_file(root, path.name)) as held:
                if not held:
                    continue  # it is being built
            yield _environment(root, path, "its building was cut short", oldest_s)
        elif path.name not in needed and used_s < oldest_s:
            yield _environment(root, path, "no function of any home has it, and nobody used it lately", oldest_s)


def _environment(root: Path, path: Path, why: str, oldest_s: float) -> Unused:
    half_built = _mtime_s(ready_file(path)) == _ABSENT_S

    def remove() -> bool:
        # A builder holds this lock, and each lookup shares it for a moment.
        with at_once(busy_file(root, path.name)) as held:
            if not held:
                return False
            used_s = _mtime_s(ready_file(path))
            if used_s != _ABSENT_S if half_built else used_s >= oldest_s:
                return False
            aside = _put_aside(path)
        if aside is None:
            return False
        remove_tree(aside)
        return True

    return Unused("environment", path, why, size_bytes(path), remove)


def _beside_environments(places: Places, oldest_s: float, leaving: Iterable[Path]) -> Iterator[Unused]:
    """Locks, logs and lists of learned modules of environments that do not exist any more."""
    gone = set(leaving)
    root = places.environments
    staying = {path.name for path in root.glob("env-*") if path not in gone}
    locks = {_text(root / name / "lock.txt") for name in staying}
    for path in sorted((root / "locks").glob("lock-*.txt")):
        if _text(path) not in locks and _mtime_s(path) < oldest_s:
            yield _aged("lock", path, "there is no environment of it", oldest_s)
    for path in sorted((root / "logs").glob("*.log")):
        if path.stem not in staying and _mtime_s(path) < oldest_s:
            yield _aged("log", path, "what it tells of is long past", oldest_s)
    for path in sorted((places.cache / "templates").glob("*.json")):
        if _learned_of(path) not in staying:
            yield _plain("learned", path, "there is no environment of it")


def _unused_weights(root: Path, needed: Set[str], oldest_s: float, freed: Mapping[Inode, int]) -> Iterator[Unused]:
    for path in _children(root):
        if not _CODE.fullmatch(path.name) or f"sha256:{path.name}" in needed:
            continue
        with suppress(FileNotFoundError):
            status = path.lstat()
            links = status.st_nlink - freed.get((status.st_dev, status.st_ino), 0)
            if stat.S_ISREG(status.st_mode) and links <= 1 and status.st_mtime < oldest_s:
                yield _weights(path, status.st_blocks * _BLOCK_BYTES, oldest_s)


def _weights(path: Path, freed_bytes: int, oldest_s: float) -> Unused:
    def remove() -> bool:
        aside = _put_aside(path)
        if aside is None:
            return False
        status = aside.lstat()
        if status.st_nlink > 1 or status.st_mtime >= oldest_s:  # somebody has begun to use it
            _put_back(aside, path)
            return False
        aside.unlink()
        return True

    return Unused("weights", path, "no function of any home has them, and nobody used them lately", freed_bytes, remove)


def _abandoned(places: Places, now_s: float) -> Iterator[Unused]:
    """Files that writers of any platform left in the cache long ago."""
    oldest_s = now_s - ABANDONED_AFTER_S
    root = places.environments
    candidates = [
        *_children(root / "scratch"),
        *root.glob(f"{_LEAVING}*"),
        *(root / "locks").glob(".new-*"),
        *(places.cache / "homes").glob(".new-*"),
        *(places.cache / "templates").glob("*.partial"),
        *places.weights.glob(".incoming-*"),
    ]
    for path in sorted(candidates):
        if _ABSENT_S < _mtime_s(path) < oldest_s:
            yield _plain("leftover", path, "it was being written or removed, and whoever did so was killed")
    for path in sorted(places.weights.glob(f"{_LEAVING}*")):
        if path.lstat().st_ctime < oldest_s:
            yield _half_removed(path)


def _half_removed(path: Path) -> Unused:
    """Weights that were renamed by a cleaner that was then killed. They may still be needed."""
    name = path.name.removeprefix(_LEAVING).partition("-")[0]

    def remove() -> bool:
        target = path.with_name(name)
        if target.exists():
            path.unlink(missing_ok=True)
            return True
        path.rename(target)  # the next cleaning decides about the weights again
        return False

    return Unused("leftover", path, "its removal was cut short", size_bytes(path), remove)


def _put_aside(path: Path) -> Path | None:
    """Rename a path so that nobody finds it, and return the new path; None if the old one does not exist."""
    aside = path.with_name(f"{_LEAVING}{path.name}-{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def _put_back(aside: Path, path: Path) -> None:
    try:
        aside.rename(path)
    except OSError:  # somebody has made the path again meanwhile
        remove_tree(aside)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _mtime_s(path: Path) -> float:
    """When the file was changed or marked as used; `_ABSENT_S` if it does not exist."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return _ABSENT_S


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _learned_of(path: Path) -> str:
    """The name of the environment that a file of learned modules is about; empty if the file does not say."""
    try:
        return str(json.loads(path.read_bytes())["template"]).rpartition("/")[2]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
