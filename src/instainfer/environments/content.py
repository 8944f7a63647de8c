"""Stores weights by content: each file is named by the SHA-256 of its content, is stored once and never changes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import BadInput, HostError, NotFound, shown

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_INCOMING = ".incoming-"
_CHUNK_BYTES = 1024 * 1024
_ABANDONED_AFTER_S = 24 * 3600.0

_known_digests: dict[tuple[str, int, int], str] = {}


def digest_of_file(path: Path) -> str:
    """``sha256:<hex>`` of a file's content. This process caches it until the file's size or time of change differs."""
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _known_digests:
        with path.open("rb") as file:
            _known_digests[key] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return _known_digests[key]


@contextmanager
def explaining_full_disk(path: Path) -> Iterator[None]:
    """Turn an error about a full disk into a `HostError` that says where the disk is and how much is free."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise HostError(full_disk(path)) from error


def full_disk(path: Path) -> str:
    """The text of a `HostError` for a full disk at `path`."""
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    free_bytes = shutil.disk_usage(existing).free
    return f"no space left on the disk of {path} ({free_bytes} bytes free); free some, or move the cache elsewhere"


def is_digest(text: str) -> bool:
    """Whether a text is written as a digest is."""
    return _DIGEST.fullmatch(text) is not None


class ContentStore:
    """A folder of files named by their content."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()

    def has(self, digest: str) -> bool:
        """Whether the content is stored; asking marks it as used now. Raises `BadInput` for a malformed digest."""
        file = self._file(digest)
        # The mark comes before the look, because a cleaner checks the mark last before it removes a file.
        with suppress(FileNotFoundError, PermissionError):
            os.utime(file)
        return file.is_file()

    def path(self, digest: str) -> Path:
        """The file with the content. Raises `NotFound` if it is not stored, and `BadInput` for a malformed digest."""
        if not self.has(digest):
            raise NotFound(f"no content {digest} is stored; send it first")
        return self._file(digest)

    def writer(self, expected_digest: str) -> ContentWriter:
        """Begin to store a file. Use the writer in ``with``, and call `ContentWriter.commit` at the end."""
        return ContentWriter(self._file(expected_digest), expected_digest)

    def add_file(self, path: Path) -> str:
        """Store a copy of a file and return its digest."""
        digest = digest_of_file(path)
        if self.has(digest):
            return digest
        with path.open("rb") as source, self.writer(digest) as writer:
            while chunk := source.read(_CHUNK_BYTES):
                writer.write(chunk)
            writer.commit()
        return digest

    def _file(self, digest: str) -> Path:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise BadInput(
                f"{shown(digest)} is not a digest; it is written sha256: and 64 lower-case hexadecimal digits"
            )
        return self.root / match[1]

    def _remove_abandoned(self) -> None:
        """Remove the files of killed writers. A running writer changes its file far more often than the limit."""
        oldest = time.time() - _ABANDONED_AFTER_S
        for path in self.root.glob(f"{_INCOMING}*"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue  # its writer has committed or removed it meanwhile


class ContentWriter:
    """Writes one file into the store. Nothing is stored until `commit` is called."""

    def __init__(self, target: Path, expected_digest: str) -> None:
        self._target = target
        self._expected = expected_digest
        self._hash = hashlib.sha256()
        self._fd = -1
        self._temporary: Path | None = None

    def __enter__(self) -> Self:
        with explaining_full_disk(self._target.parent):
            self._fd, name = tempfile.mkstemp(prefix=_INCOMING, dir=self._target.parent)
        self._temporary = Path(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def write(self, data: bytes) -> None:
        """Append data. Raises `HostError` when the disk is full."""
        self._hash.update(data)
        rest = memoryview(data)
        with explaining_full_disk(self._target.parent):
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def commit(self) -> None:
        """Make the file durable and visible. Raises `BadInput` when its digest is not the announced one."""
        if self._temporary is None:
            raise ValueError("the writer is not open")
        actual = f"sha256:{self._hash.hexdigest()}"
        if actual != self._expected:
            raise BadInput(
                f"the content is not what was announced: expected {self._expected}, got {actual}; send it again"
            )
        with explaining_full_disk(self._target.parent):
            os.fchmod(self._fd, 0o444)
            os.fsync(self._fd)
            self._temporary.rename(self._target)
            sync_folder(self._target.parent)
        self._temporary = None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
