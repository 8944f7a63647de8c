"""What runs inside containers has to run on Python 3.9 with nothing installed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import instainfer

PACKAGE = Path(instainfer.__file__).parent
FILES = [PACKAGE / "__init__.py", *sorted(PACKAGE.glob("wire/**/*.py")), *sorted(PACKAGE.glob("runtime/**/*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_is_python_39_and_imports_the_standard_library_only(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        # These are the function's own, imported only when it asks for them.
        foreign = (
            {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"torch", "safetensors", "numpy", "PIL"}
        )
        assert not foreign
