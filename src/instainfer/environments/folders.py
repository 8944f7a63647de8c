"""Unpacks the code of each version of a function once, into a read-only folder that also holds its weights.

This is the platform's side of a deployment. The archive comes from a stranger, so names that lead out of the folder,
links, and archives that unpack to more than `MAX_BYTES` are refused before any of their files can be seen.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from ..errors import BadFunction, BadInput, NotFound, shown
from .content import ContentStore, explaining_full_disk
from .manifest import Manifest, read_manifest, relative_path
from .package import EXECUTABLE, WEIGHTS_FILE

MAX_FILES = 20_000
MAX_BYTES = 1024 * 1024 * 1024
"""Largest size of a function's code once unpacked."""
MAX_WEIGHTS_FILE_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_ENTRY = b"PK\x01\x02"
_MAX_ENTRY_MARKS = 5 * MAX_FILES
"""How often an archive may hold the bytes that begin a directory entry; nested archives add their own entries."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Materialised:
    """A function's folder, ready to be loaded from."""

    folder: Path
    manifest: Manifest
    digest: str
    """The name of this code: 64 hexadecimal digits."""
    weights_bytes: int
    """Size of all its weights: a first guess of the memory that a resident needs beyond its libraries."""


class FunctionFolders:
    """A folder that holds one folder for each deployed code."""

    def __init__(self, root: Path, content: ContentStore) -> None:
        self.root = root
        self._content = content
        root.mkdir(parents=True, exist_ok=True)

    def materialise(self, code: bytes, *, binary: bool, allowed: Container[str] | None = None) -> Materialised:
        """Unpack a zip (`binary`), or store one source text as ``__main__.py``. The second time for a code is quick.

        `allowed` are the digests of the weights that the code may use. None for code that was allowed to before.
        Several threads and processes may call this at the same time. Raises `BadInput` for a refused archive or for
        weights whose content is not stored or not allowed, `BadFunction` for a folder that is not a function, and
        `HostError` when the disk is full.
        """
        digest = folder_name(hashlib.sha256(code).hexdigest(), binary=binary)
        folder = self.root / digest
        if folder.is_dir():
            # The new time tells a cleaner that the folder is in use.
            with suppress(FileNotFoundError):
                os.utime(folder)
            _check_weights(_announced_weights(folder), allowed)
            with suppress(FileNotFoundError):  # a link to weights is broken: unpack again
                return _describe(folder, digest)
            self.remove(digest)
        with explaining_full_disk(self.root):
            building = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
            try:
                if binary:
                    _unpack(code, building)
                else:
                    _copy(io.BytesIO(code), building / "__main__.py", MAX_BYTES)
                self._place_weights(building, allowed)
                _describe(building, digest)
                _make_read_only(building)
                self._put_in_place(building, folder)
            finally:
                _remove_tree(building)
        return _describe(folder, digest)

    def remove(self, digest: str) -> None:
        """Remove a function's code if it exists. The caller makes sure that nothing loads from the folder."""
        if _DIGEST.fullmatch(digest) is None:
            raise BadInput(f"{shown(digest)} does not name a function's code; it is 64 hexadecimal digits")
        leaving = Path(tempfile.mkdtemp(prefix=".old-", dir=self.root))
        # The rename comes first, so that a half-removed folder cannot be found.
        with suppress(FileNotFoundError):
            (self.root / digest).rename(leaving)
        _remove_tree(leaving)

    def _put_in_place(self, building: Path, folder: Path) -> None:
        try:
            # The parent folder stays the same, so the rename needs no permission to write into `building` itself.
            building.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another thread or process has just put the same code there
                raise

    def _place_weights(self, folder: Path, allowed: Container[str] | None) -> None:
        announced = _announced_weights(folder)
        _check_weights(announced, allowed)
        for name, digest in announced.items():
            try:
                stored = self._content.path(digest)
            except NotFound as error:
                raise BadInput(
                    f"weights {name}: their content {digest} is not stored; send it before the code"
                ) from error
            target = folder / name
            if target.exists():
                raise BadInput(f"weights {name}: the code holds a file of that name; leave it out of the archive")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(stored)
            except OSError:  # another file system, or one without hard links
                target.symlink_to(stored.resolve())


def folder_name(code_digest: str, *, binary: bool) -> str:
    """The name of a code's folder, made from the code's hexadecimal SHA-256, so the code need not be read.

    A zip and a source text of the same bytes get different folders.
    """
    return hashlib.sha256((b"zip\0" if binary else b"text\0") + code_digest.encode()).hexdigest()


def weights_of(folder: Path, code: bytes | None) -> frozenset[str]:
    """Digests of the weights of a code, read from its folder, else from its archive; empty if the list is invalid.

    Raises OSError when the folder cannot be read.
    """
    if folder.is_dir():
        try:
            return frozenset(_announced_weights(folder).values())
        except BadInput:
            return frozenset()
    return announced_weights(code or b"")


def announced_weights(code: bytes) -> frozenset[str]:
    """Digests of the weights that an archive names; empty if it is no archive, or if its list is invalid."""
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive, archive.open(WEIGHTS_FILE) as file:
            weights = json.loads(file.read(MAX_WEIGHTS_FILE_BYTES))
    except (KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError, struct.error):
        return frozenset()
    return frozenset(map(str, weights.values())) if isinstance(weights, dict) else frozenset()


def _announced_weights(folder: Path) -> dict[str, str]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        return {}
    allowed = 'a JSON object such as {"model.pt": "sha256:..."}'
    try:
        if path.stat().st_size > MAX_WEIGHTS_FILE_BYTES:
            raise BadInput(f"{WEIGHTS_FILE}: larger than the {MAX_WEIGHTS_FILE_BYTES} bytes allowed; shorten it")
        weights = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{WEIGHTS_FILE}: not JSON: {error}; allowed: {allowed}") from error
    if not isinstance(weights, dict) or not all(isinstance(digest, str) for digest in weights.values()):
        raise BadInput(f"{WEIGHTS_FILE}: not {allowed}")
    for name in weights:
        if not relative_path(name):
            raise BadInput(f"{WEIGHTS_FILE}: {shown(name)} is not a path inside the function's folder")
    return weights


def _check_weights(announced: Mapping[str, str], allowed: Container[str] | None) -> None:
    if allowed is not None:
        for name, digest in announced.items():
            if digest not in allowed:
                # The same words whether nobody has sent the content or only others have: not everybody is to know that.
                raise BadInput(
                    f"weights {name}: their content {digest} was not sent from this namespace; send it before the code"
                )


def _describe(folder: Path, digest: str) -> Materialised:
    """Raises `FileNotFoundError` when a link to weights leads nowhere."""
    manifest = read_manifest(folder, label="the function's code")
    names = dict.fromkeys((*manifest.weights, *_announced_weights(folder)))
    for name in names:
        if not os.path.lexists(folder / name):
            raise BadFunction(f"weights {name}: neither sent apart nor part of the code; deploy the folder again")
    weights_bytes = sum((folder / name).stat().st_size for name in names)
    return Materialised(folder, manifest, digest, weights_bytes)


def _unpack(code: bytes, folder: Path) -> None:
    # `zipfile` makes a much larger object of each directory entry, so the entries are counted before it reads them.
    if code.count(_ENTRY) > _MAX_ENTRY_MARKS:
        _refuse(f"holds too many files; at most {MAX_FILES} are allowed")
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            left_bytes = MAX_BYTES
            for entry in entries:
                if entry.is_dir():
                    (folder / entry.filename).mkdir(parents=True, exist_ok=True)
                    continue
                target = folder / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source:
                    left_bytes = _copy(source, target, left_bytes)
                if entry.external_attr >> 16 & EXECUTABLE:
                    target.chmod(0o755)
    # RuntimeError stands for an encrypted file, and for an unsupported feature by its subclass NotImplementedError.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, RuntimeError, OverflowError) as error:
        raise BadInput(f"the code is not a sound zip archive: {error}; pack it again") from error


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES:
        _refuse(f"holds {len(entries)} files; at most {MAX_FILES} are allowed")
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        name = entry.filename.removesuffix("/")
        if not relative_path(name):
            _refuse(f"holds {shown(entry.filename)}, which does not name a file inside the function's folder")
        if entry.flag_bits & 0x1 or entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            _refuse(f"holds {shown(entry.filename)}, which is encrypted or not compressed by deflate")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            _refuse(f"holds {shown(entry.filename)}, which is a link or a device; put the file itself in")
        folders.update(str(parent) for parent in PurePosixPath(name).parents)
        if entry.is_dir():
            folders.add(name)
        elif name in files:
            _refuse(f"holds {shown(entry.filename)} twice")
        else:
            files.add(name)
    if both := files & folders:
        _refuse(f"holds {shown(min(both))} both as a file and as a folder")


def _refuse(what: str) -> NoReturn:
    raise BadInput(f"the code's archive is refused: it {what}")


def _copy(source: IO[bytes], target: Path, left_bytes: int) -> int:
    """Unpack one file and return how many bytes are still allowed. The sizes stated in the archive are not trusted."""
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            left_bytes -= len(chunk)
            if left_bytes < 0:
                _refuse(f"unpacks to more than the {MAX_BYTES // 1024**2} MB allowed; send weights apart")
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return left_bytes


def _make_read_only(folder: Path) -> None:
    for base, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(base) / name
            if not path.is_symlink():
                path.chmod(0o555 if path.stat().st_mode & EXECUTABLE else 0o444)
        Path(base).chmod(0o555)


def _remove_tree(folder: Path) -> None:
    """Remove a folder that contains read-only folders. A missing folder is no error."""
    if not folder.exists():
        return
    for base, _, _ in os.walk(folder):
        Path(base).chmod(0o755)
    shutil.rmtree(folder)
