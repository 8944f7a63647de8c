"""``instainfer --help`` stays quick: nothing heavy is imported before a command runs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import instainfer.cli

FOLDER = Path(instainfer.cli.__file__).parent
LATE = {"progress"}
"""Modules that commands import when they run; they may import what they like."""
LIGHT = {"address", "errors", "texts", "core", "cli", ""}
"""Rooms of ours that import the standard library only."""


def top_level_imports(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." * node.level) + (node.module or "")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_modules_of_the_command_line_import_only_what_is_light(path: Path) -> None:
    if path.stem in LATE:
        return
    heavy = []
    for name in top_level_imports(ast.parse(path.read_text(encoding="utf-8"))):
        if name.startswith(".."):
            light = name[2:].partition(".")[0] in LIGHT
        elif name.startswith("."):
            light = name[1:] not in LATE
        else:
            light = name.partition(".")[0] in {"typer", *sys.stdlib_module_names}
        if not light:
            heavy.append(name)
    assert heavy == []
