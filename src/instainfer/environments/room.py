"""The folders of one build, and who may write them::

    ROOM/given/     what the platform hands in: requirements, locks, configuration (read by the tools)
    ROOM/made/      what the tools hand back: reports, resolved requirements
    ROOM/home/      an empty home       ROOM/tmp/    for temporary files       ROOM/cache/   a cache of its own

The tools may have run code of strangers, in these folders and in that of the environment. So whatever comes back is
read without following links, and an environment is taken over, by `take_over`, before anybody else uses it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import EnvironmentBuildError

MAX_BACK_BYTES = 64 * 1024 * 1024
"""Largest file that is read back."""
_MADE = ("made", "home", "tmp", "cache")
SHARED_UID = 1_999_999_999
"""The user of builds that run no code of packages, if the platform is root. Users of functions are above it."""
_FIRST_UID = 1_990_000_000
_UIDS = 9_000_000


@dataclass(frozen=True, slots=True)
class Room:
    """The folders of one build."""

    folder: Path
    uid: int | None = None
    """The user of its tools; None is the platform's own."""

    @property
    def given(self) -> Path:
        return self.folder / "given"

    @property
    def made(self) -> Path:
        return self.folder / "made"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def writable(self) -> list[Path]:
        return [self.folder / name for name in _MADE]

    def hand_in(self, name: str, text: str) -> Path:
        """Write a file that the tools, and nobody else but the platform, may read. Returns its path."""
        path = self.given / name
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        if self.uid is not None:
            os.chown(path, self.uid, -1)
            path.chmod(0o400)  # which does not hinder the platform, as it is root then
        return path

    def hand_back(self, name: str) -> str:
        """The content of a file that a tool has written. Raises `EnvironmentBuildError` when it is no plain file."""
        path = self.made / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BACK_BYTES:
                    raise OSError(errno.EINVAL, "it is no file of an ordinary size")
                return file.read(MAX_BACK_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentBuildError(f"what the tool resolved cannot be read: {error}", "") from error


def build_uid(name: str, *, runs_packages: bool) -> int:
    """The user of a build, named by its lock or environment. Two that run code of packages do not have the same."""
    if not runs_packages:
        return SHARED_UID
    return _FIRST_UID + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % _UIDS


@contextmanager
def made_room(scratch: Path, uid: int | None) -> Iterator[Room]:
    """Make the folders of a build, its own ones for the user `uid`, and remove them at the end."""
    room = Room(Path(tempfile.mkdtemp(dir=scratch, prefix="build-")), uid)
    try:
        room.folder.chmod(0o711)
        room.given.mkdir(mode=0o755)
        for folder in room.writable:
            give(folder, uid)
        yield room
    finally:
        remove(room.folder)


def give(folder: Path, uid: int | None) -> None:
    """Make a folder that this user may write; None is the platform's own."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    if uid is not None:
        os.chown(folder, uid, uid, follow_symlinks=False)


def first_closed(paths: Iterable[Path]) -> Path | None:
    """The first path that other users may not read. What lies above and below a path is not looked at."""
    for path in paths:
        with suppress(FileNotFoundError):
            mode = path.stat().st_mode
            wanted = 0o005 if stat.S_ISDIR(mode) else 0o004
            if mode & wanted != wanted:
                return path
    return None


def take_over(folder: Path) -> None:
    """Make everything in a folder the platform's own, which nobody else may write and which gives nobody rights.

    Nobody may write in the folder while this runs. Links are not followed; devices, pipes and sockets are removed.
    """
    uid, gid = os.geteuid(), os.getegid()
    for path, status in _tree(folder):
        kind = stat.S_IFMT(status.st_mode)
        if kind not in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
            os.unlink(path)
            continue
        if status.st_uid != uid:
            os.chown(path, uid, gid, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            wanted = stat.S_IMODE(status.st_mode) & 0o755 | 0o600 | (0o100 if kind == stat.S_IFDIR else 0)
            os.chmod(path, wanted)


def _tree(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """A folder and all in it, each folder before what it contains and open to its owner by then."""
    waiting = [os.fspath(folder)]
    while waiting:
        path = waiting.pop()
        status = os.lstat(path)
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as entries:
                waiting += [entry.path for entry in entries]


def remove(folder: Path) -> None:
    """Remove a folder whatever is in it: folders may be closed even to their owner."""
    if not folder.exists():
        return
    with suppress(PermissionError):
        shutil.rmtree(folder)
        return
    for path, status in _tree(folder):
        if stat.S_ISDIR(status.st_mode):
            os.chmod(path, 0o700)
    shutil.rmtree(folder)
