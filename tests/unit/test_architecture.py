"""The arrows of DESIGN: who may import whom, read from the source itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import instainfer

ROOT = Path(instainfer.__file__).parent
#: What functions import may reach for what is in their own environment, when they ask for it.
FUNCTIONS_OWN = {"torch", "safetensors", "numpy", "PIL"}
#: Where they do: what a function imports, and what is imported where its torch is.
BESIDE_FUNCTIONS = {"shim/__init__.py", "arrays.py", "deferred.py"}
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


def imported_files(path: Path) -> set[Path]:
    """Files of ours that a file imports, wherever in it: at the top, in functions, and for the type checker alone."""
    package = ["instainfer", *path.relative_to(ROOT).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # Of a package, either a module is meant or what its __init__ says.
                inner = f"{module}.{alias.name}"
                names.add(inner if file_of(inner) is not None else module)
    return {file for name in names if (file := file_of(name)) is not None}


def file_of(module: str) -> Path | None:
    first, *rest = module.split(".")
    if first != "instainfer":
        return None
    place = ROOT.joinpath(*rest)
    found = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in found if file.is_file()), None)


def circles(room: str) -> list[set[str]]:
    """Sets of files of a room that import each other, directly or by way of others."""
    arrows = {path: imported_files(path) & set(files(room)) for path in files(room)}
    reached: dict[Path, set[Path]] = {}
    for path in arrows:
        seen: set[Path] = set()
        waiting = [path]
        while waiting:
            new = arrows[waiting.pop()] - seen
            seen |= new
            waiting += new
        reached[path] = seen
    found: list[set[str]] = []
    for path, seen in reached.items():
        circle = {other.relative_to(ROOT).as_posix() for other in seen if path in reached[other]}
        if circle and circle not in found:
            found.append(circle)
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


#: Circles that are still there, each with the room it is in; to be emptied.
STILL: list[set[str]] = []


@pytest.mark.parametrize("room", sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()))
def test_no_file_of_a_room_imports_itself_by_way_of_others(room: str) -> None:
    assert [circle for circle in circles(room) if circle not in STILL] == []


def test_circles_that_are_gone_are_not_excused() -> None:
    rooms = {next(iter(circle)).split("/")[0] for circle in STILL}
    assert [circle for circle in STILL if circle not in [found for room in rooms for found in circles(room)]] == []


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
