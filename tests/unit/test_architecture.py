"""The arrows of DESIGN: who may import whom, read from the source itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import instainfer

ROOT = Path(instainfer.__file__).parent
#: What functions import may reach for their own environment's torch, when they ask for it.
FUNCTIONS_OWN = {"torch", "safetensors"}
#: Where they do: what a function imports, and what is imported where its torch is.
BESIDE_FUNCTIONS = {"shim/__init__.py", "deferred.py"}
FORBIDDEN_IN_CORE = {"time", "asyncio", "random", "os", "socket", "logging", "threading", "subprocess", "datetime"}
NEVER_TOGETHER = ("invoker", "controller", "sim")
#: Rooms, and the rooms of ours that each may import.
ALLOWED = {
    "core": {"core"},
    "policy": {"policy", "core"},
    "wire": {"wire"},
    "runtime": {"runtime", "wire"},
}


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports."""
    package = ["instainfer", *path.relative_to(ROOT).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names if node.module is None)
    return found


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "instainfer" and len(parts) > 1 else None


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_they_may(room: str) -> None:
    assert files(room), f"no room {room}"
    for path in files(room):
        for module in imports(path):
            beside = room == "runtime" and path.relative_to(ROOT / room).as_posix() in BESIDE_FUNCTIONS
            if beside and module.split(".")[0] in FUNCTIONS_OWN:
                continue
            if module.split(".")[0] != "instainfer":
                assert module.split(".")[0] in sys.stdlib_module_names, f"{path} imports {module}"
            elif room_of(module) is not None:
                assert room_of(module) in ALLOWED[room], f"{path} imports {module}"


@pytest.mark.parametrize("room", ["core", "policy"])
def test_no_clock_and_no_world_in_the_core(room: str) -> None:
    for path in files(room):
        touched = {module.split(".")[0] for module in imports(path)} & FORBIDDEN_IN_CORE
        assert not touched, f"{path} imports {touched}"


@pytest.mark.parametrize("room", NEVER_TOGETHER)
def test_drivers_do_not_know_each_other(room: str) -> None:
    others = set(NEVER_TOGETHER) - {room}
    for path in files(room):
        met = {room_of(module) for module in imports(path)} & others
        assert not met, f"{path} imports from {met}"


def test_runtime_stays_readable_for_python_3_9() -> None:
    for room in ("wire", "runtime"):
        for path in files(room):
            ast.parse(path.read_text(), feature_version=(3, 9))
