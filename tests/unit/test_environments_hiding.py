"""Which modules of a function have the name of a library."""

from __future__ import annotations

from pathlib import Path

from instainfer.environments.hiding import hiding_modules


def test_modules_with_the_name_of_a_library_are_found(tmp_path: Path) -> None:
    packages = tmp_path / "env" / "lib" / "python3.12" / "site-packages"
    for name in ("click/__init__.py", "google/protobuf/__init__.py", "six.py", "fast.abi3.so", "six-1.0/METADATA"):
        write(packages / name)
    folder = tmp_path / "function"
    own = ("six.py", "click/__init__.py", "google/__init__.py", "fast.py", "queue.py")
    harmless = ("handler.py", "deep/six.py", "json/data.txt", "requirements.txt", "METADATA", "utils/__init__.py")
    for name in (*own, *harmless):
        write(folder / name)
    assert hiding_modules(folder, tmp_path / "env" / "bin" / "python") == ["click", "fast", "google", "queue", "six"]


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
