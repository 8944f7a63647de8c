"""Packs a function's folder into one deterministic archive and a list of weights, on the deployer's side.

The archive holds the code and, if there are weights, ``.instainfer/weights.json`` with their digests. The weights are
sent apart, and only those that the platform does not have yet. ``.instainferignore`` names files that are left out, one
`fnmatch` pattern a line. A pattern with ``/`` is compared with the path in the folder, and a pattern without ``/`` with
every name on that path.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ..errors import BadFunction
from ..texts import read_text
from .content import digest_of_file
from .manifest import DEFAULT_REQUIREMENTS, MANIFEST, RESERVED, Manifest, handler_file, read_manifest

IGNORE_FILE = ".instainferignore"
WEIGHTS_FILE = f"{RESERVED}/weights.json"

_NEVER = ("__pycache__", "*.pyc", ".git", ".venv", RESERVED, IGNORE_FILE)
EXECUTABLE = 0o111
"""The bits of a file's mode of which one says that the file may be executed. Nothing else of the mode is kept."""
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip; a fixed time makes equal content give equal bytes


@dataclass(frozen=True, slots=True)
class Package:
    """A function that is ready to be sent."""

    manifest: Manifest
    code: bytes
    """A zip of all files except the weights."""
    weights: dict[str, Path]
    """Path inside the function's folder -> file on this machine."""
    digests: dict[str, str]
    """Path inside the function's folder -> ``sha256:<hex>``."""


def pack(folder: Path, weights_dir: Path | None = None) -> Package:
    """Pack a function's folder.

    Weights that the folder lacks are taken from `weights_dir`, by their path, else by their file name.
    Raises `BadFunction` when the folder is not a valid function, or weights are in neither place.
    """
    manifest = read_manifest(folder)
    weights = {path: _find_weights(folder, path, weights_dir) for path in manifest.weights}
    digests = {path: digest_of_file(file) for path, file in weights.items()}
    files = {name: path for name, path in _files(folder) if name not in weights}
    _check_complete(folder, manifest, files)
    return Package(manifest, _archive(files, digests), weights, digests)


def _find_weights(folder: Path, path: str, weights_dir: Path | None) -> Path:
    places = [folder / path]
    if weights_dir is not None:
        places += [weights_dir / path, weights_dir / PurePosixPath(path).name]
    for place in places:
        if place.is_file():
            return place
    looked = " and ".join(dict.fromkeys(map(str, places)))
    hint = "" if weights_dir is not None else ", or name the folder that holds them with --weights"
    raise BadFunction(f"{folder}/{MANIFEST}: weights {path} not found: looked at {looked}; put them there{hint}")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (path inside the archive, file) for each file that is not ignored."""
    patterns = (*_NEVER, *_ignore_patterns(folder))
    for base, folders, names in os.walk(folder):
        inside = PurePosixPath(Path(base).relative_to(folder).as_posix())
        folders[:] = [name for name in folders if not _ignored(inside / name, patterns)]
        for name in folders:
            if (Path(base) / name).is_symlink():
                raise BadFunction(f"{base}/{name} is a link to a folder; copy it, or name it in {IGNORE_FILE}")
        for name in names:
            if _ignored(inside / name, patterns):
                continue
            path = Path(base) / name
            if not path.is_file():
                raise BadFunction(
                    f"{path} is not a file (a broken link, or a socket); remove it, or name it in {IGNORE_FILE}"
                )
            yield (inside / name).as_posix(), path


def _ignore_patterns(folder: Path) -> list[str]:
    try:
        lines = read_text(folder / IGNORE_FILE).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadFunction(f"cannot read {folder / IGNORE_FILE}: {error.strerror}; correct it") from None
    except ValueError as error:
        raise BadFunction(f"{folder / IGNORE_FILE}: {error}") from None
    return [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]


def is_ignored(folder: Path, path: Path) -> bool:
    """Whether a file in a function's folder is left out of its package."""
    patterns = (*_NEVER, *_ignore_patterns(folder))
    inside = PurePosixPath(path.relative_to(folder).as_posix())
    return any(_ignored(part, patterns) for part in (inside, *inside.parents) if part.name)


def _ignored(path: PurePosixPath, patterns: tuple[str, ...]) -> bool:
    # The parent folders were compared earlier in the walk, so only the last name of the path is left to compare.
    return any(fnmatchcase(path.as_posix().lstrip("/") if "/" in p else path.name, p.lstrip("/")) for p in patterns)


def _check_complete(folder: Path, manifest: Manifest, files: dict[str, Path]) -> None:
    """Refuse a package that lacks a file which the platform will read."""
    needed = [folder / MANIFEST, handler_file(folder, manifest.handler)]
    if manifest.requirements.text:
        # Without this default file the platform would build an environment without packages, and say nothing.
        needed.append(folder / DEFAULT_REQUIREMENTS)
    for path in needed:
        if path is not None and path.is_file() and path.relative_to(folder).as_posix() not in files:
            raise BadFunction(f"{path} is needed, but {IGNORE_FILE} or weights leave it out; change them")


def _archive(files: dict[str, Path], digests: dict[str, str]) -> bytes:
    contents = {name: path.read_bytes() for name, path in files.items()}
    if digests:
        contents[WEIGHTS_FILE] = json.dumps(digests, indent=1, sort_keys=True).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            executable = name in files and files[name].stat().st_mode & EXECUTABLE
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, contents[name])
    return buffer.getvalue()
