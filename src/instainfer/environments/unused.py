"""What lies in a home and in its cache that nothing refers to any more: found, and removed without harm to anybody.

The home is one platform's own, and whoever asks here holds its lock. The cache may be shared with other platforms that
run at this moment, so what is removed from it

- is named by no home's note (`instainfer.environments.homes`),
- was not used for some time: looking for it marks it, and what is marked after the decision stays,
- is not being worked on: a builder's lock is respected.

Everything goes by a rename first, so that nobody ever finds half of it.
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
"""A file on its way into the shared cache is changed far more often by a living writer."""
_CODE = re.compile(r"[0-9a-f]{64}")
_LEAVING = ".old-"
_BLOCK_BYTES = 512
_ABSENT_S = -math.inf
"""The time of a file that is not there."""

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Unused:
    """Something that can go."""

    kind: str
    """``leftover``, ``code``, ``environment``, ``lock``, ``log``, ``learned``, ``weights`` or ``note``."""
    path: Path
    why: str
    size_bytes: int
    """What the disk gets back."""
    remove: Callable[[], bool] = field(compare=False, repr=False)
    """Look once more whether it is unused, and remove it; whether it was removed. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a platform keeps things."""

    home: Path
    functions: Path
    cache: Path
    weights: Path

    @property
    def environments(self) -> Path:
        return self.cache / "environments"

    @classmethod
    def of(cls, home: Path, cache: Path) -> Places:
        return cls(home, home / "functions", cache, cache / "weights")


def leftovers(places: Places) -> Iterator[Unused]:
    """What a killed platform left in its home. Only before anything is started, under the home's lock."""
    containers = places.home / "containers"
    for path in _children(containers):
        yield _plain("leftover", path, "private files of a container that was killed")
    for pattern in (".new-*", f"{_LEAVING}*"):
        for path in sorted(places.functions.glob(pattern)):
            yield _plain("leftover", path, "code that was being unpacked or removed")
    for path in sorted(places.home.glob(".credentials.new")):
        yield _plain("leftover", path, "credentials that were being written")


def unused_code(places: Places, used: Set[str]) -> Iterator[Unused]:
    """Folders of code but for those of these names."""
    for path in _children(places.functions):
        if _CODE.fullmatch(path.name) and path.name not in used:
            yield _code(path)


def unused_in_cache(
    places: Places, needs: Needs, idle_s: float, now_s: float, freed: Mapping[Inode, int] | None = None
) -> Iterator[Unused]:
    """What nobody needs and nobody has used for `idle_s`; `now_s` is the time since the epoch.

    `freed` are links to weights that are as good as removed, for a look that removes nothing.
    """
    oldest_s = now_s - idle_s
    if since_file(places.cache).stat().st_mtime >= oldest_s:
        oldest_s = _ABSENT_S  # nothing is old yet
    yield from _abandoned(places, now_s)
    leaving = []
    for each in _unused_environments(places.environments, needs.environments, oldest_s):
        leaving.append(each.path)
        yield each
    yield from _beside_environments(places, oldest_s, leaving)
    yield from _unused_weights(places.weights, needs.weights, oldest_s, freed or {})


def links_in(folders: Iterable[Path]) -> Counter[Inode]:
    """How many links to each file there are in some folders."""
    found: Counter[Inode] = Counter()
    for folder in folders:
        for base, _, names in os.walk(folder):
            for name in names:
                status = os.lstat(os.path.join(base, name))
                if status.st_nlink > 1:
                    found[status.st_dev, status.st_ino] += 1
    return found


def mark_used(places: Places, needs: Needs) -> None:
    """What is needed now counts as used now, so that its time begins when its last user has gone."""
    paths = [ready_file(places.environments / name) for name in needs.environments]
    paths += [places.weights / digest.removeprefix("sha256:") for digest in needs.weights]
    for path in paths:
        with suppress(FileNotFoundError, PermissionError):
            os.utime(path)


def remove_tree(path: Path) -> None:
    """Remove a folder or a file, however deep and whatever its permissions. Raises OSError when something stays.

    By the system's own tools: those of the standard library end in a recursion error where a function has nested its
    folders deep enough, and cannot follow paths of any length.
    """
    if os.geteuid() != 0:  # root needs no permissions
        subprocess.run(["chmod", "-R", "u+rwX", "--", path], capture_output=True, check=False)
    done = subprocess.run(["rm", "-rf", "--", path], capture_output=True, check=False)
    if os.path.lexists(path):
        raise OSError(f"{path} cannot be removed: {done.stderr.decode(errors='replace').strip()[:300]}")


def size_bytes(path: Path) -> int:
    """What the disk gets back when this is removed: blocks of files without other links."""
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
    """A file that goes unless it was used since."""

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
        # Held by whoever builds it; shared for a moment by whoever looks for it.
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
    """Locks, logs and what was learned of environments that are no more."""
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
    """What writers in the cache, ours or others', have left behind long ago."""
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
    """Weights that were put aside by somebody who was then killed: they may be needed after all."""
    name = path.name.removeprefix(_LEAVING).partition("-")[0]

    def remove() -> bool:
        target = path.with_name(name)
        if target.exists():
            path.unlink(missing_ok=True)
            return True
        path.rename(target)  # judged anew, next time
        return False

    return Unused("leftover", path, "its removal was cut short", size_bytes(path), remove)


def _put_aside(path: Path) -> Path | None:
    """Rename it, so that nobody finds it; None when it is gone already."""
    aside = path.with_name(f"{_LEAVING}{path.name}-{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside


def _put_back(aside: Path, path: Path) -> None:
    try:
        aside.rename(path)
    except OSError:  # meanwhile it was made anew
        remove_tree(aside)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _mtime_s(path: Path) -> float:
    """When it was changed or marked; `_ABSENT_S` when it is not there."""
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
    """The environment that a file of learned modules is about; empty when it does not say."""
    try:
        return str(json.loads(path.read_bytes())["template"]).rpartition("/")[2]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
