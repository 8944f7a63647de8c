"""Finds the modules of a function that hide a library: those that have the name of one.

Such a function cannot be forked from a process that has imported the library already. It would get the library, where
a process that is started from nothing finds the function's own module first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import all_suffixes
from pathlib import Path


def hiding_modules(folder: Path, python: Path) -> list[str]:
    """Names of modules in a function's folder that the standard library or its environment has, too, sorted.

    `python` is the environment's interpreter. Raises OSError if the folder cannot be read.
    """
    own = set(_modules(folder))
    libraries = set(sys.stdlib_module_names)
    for packages in python.parent.parent.glob("lib/python*/site-packages"):
        libraries.update(_names(packages))
    return sorted(own & libraries)


def _modules(folder: Path) -> Iterator[str]:
    """The top-level modules in a folder. A folder without ``__init__`` hides no other module."""
    for path in folder.iterdir():
        if not path.is_dir():
            yield from _named(path)
        elif any((path / f"__init__{suffix}").is_file() for suffix in all_suffixes()):
            yield path.name


def _names(packages: Path) -> Iterator[str]:
    """The top-level modules in a folder of installed packages, among them folders of namespace packages."""
    for path in packages.iterdir():
        if path.is_dir():
            yield path.name
        else:
            yield from _named(path)


def _named(file: Path) -> Iterator[str]:
    """The name of the module in a file, if it has one."""
    if file.name.endswith(tuple(all_suffixes())):
        yield file.name.split(".")[0]
