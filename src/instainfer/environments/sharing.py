"""Lets environments hold a package once on disk: files that several of them have become hard links to one.

Installers write a copy of each file. It is replaced by a link to the file at the same place of another environment that
has some of the same packages, if both have the same content. The content is compared, because functions that share no
trust may have packages of the same name and version, and one package may have overwritten files of another. For this,
bytecode must not depend on where and when it was made: `compile_program` makes such.
"""

from __future__ import annotations

import filecmp
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_COMPILE = """
import compileall, py_compile, sys
compileall.compile_dir(sys.argv[1], quiet=2, stripdir=sys.argv[1], workers=0,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class Installed(NamedTuple):
    """An environment that has been installed."""

    site: Path
    """The folder of its packages."""
    packages: frozenset[str]
    """``name==version``"""


class Sizes(NamedTuple):
    """Sizes of an environment's packages on disk, in bytes."""

    total_bytes: int
    shared_bytes: int
    """The part of `total_bytes` that other environments have too, and that takes no room of its own."""


NOTHING = Sizes(0, 0)


def site_of(environment: Path) -> Path | None:
    """The folder of an environment's packages. None if it does not exist."""
    return next(environment.glob("lib/python3*/site-packages"), None)


def compile_program(python: Path, site: Path) -> list[str | Path]:
    """The command that compiles all modules in `site`.

    It runs no code of the packages. Modules that cannot be compiled are skipped; importing them says why.
    """
    return [python, "-S", "-c", _COMPILE, site]


def share(new: Installed, others: Iterable[Installed]) -> Sizes:
    """Link the files of a new environment to equal files of others. What cannot be linked stays a copy."""
    donors = []
    left = new.packages
    for other in others:
        # Bytecode and binaries are those of a version of Python, which the name of the folder above tells.
        if other.packages & left and other.site.parent.name == new.site.parent.name:
            donors.append(other.site)
            left -= other.packages
    total_bytes = shared_bytes = 0
    for base, _, names in os.walk(new.site):
        there = [os.path.join(donor, os.path.relpath(base, new.site)) for donor in donors]
        for name in names:
            ours = os.path.join(base, name)
            size_bytes = os.lstat(ours).st_size
            total_bytes += size_bytes
            if any(_linked(ours, os.path.join(folder, name)) for folder in there):
                shared_bytes += size_bytes
    return Sizes(total_bytes, shared_bytes)


def _linked(ours: str, theirs: str) -> bool:
    """Make `ours` a link to `theirs` if both are the same. Returns whether it is one now."""
    try:
        if os.path.islink(ours) or os.path.islink(theirs) or os.path.getsize(ours) != os.path.getsize(theirs):
            return False
        if os.path.samefile(ours, theirs):
            return True
        if not filecmp.cmp(ours, theirs, shallow=False):
            return False
        aside = f"{ours}.{secrets.token_hex(8)}"
        os.link(theirs, aside)
        os.replace(aside, ours)
    except OSError:  # they do not have it, it was just removed, or this file system has no hard links
        return False
    return True
