"""A hand-made environment of tiny libraries, and functions that may be forked from its template."""

from __future__ import annotations

import subprocess
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.process_world import World

from instainfer.backends.base import FunctionSpec, TemplateSpec
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import LoadFinished, ResidentGone
from instainfer.core.model import FROM_NOTHING

KEY = "template:guest/e"


class Environment:
    """Installed packages, made of source text."""

    def __init__(self, folder: Path, python: Path) -> None:
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def install(self, **modules: str) -> None:
        """Modules by their dotted names, ``__`` in the place of the dots; packages before what is in them."""
        for name, code in modules.items():
            path = self.packages.joinpath(*name.split("__"))
            if any(other.startswith(name + "__") for other in modules):
                path /= "__init__"
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".py").write_text(textwrap.dedent(code))


class Family:
    """Functions of one namespace and environment."""

    def __init__(self, world: World, environment: Environment, *modules: str) -> None:
        self._world = world
        self._environment = environment
        self.template = TemplateSpec(KEY, environment.python, modules)

    def functions(self, **codes: str) -> list[FunctionSpec]:
        specs = [self._world.function(code, name, python=self._environment.python) for name, code in codes.items()]
        self.template = replace(self.template, folders=tuple(spec.folder for spec in specs))
        return [replace(spec, template=self.template) for spec in specs]


def in_short(event: Any) -> str:
    """``made``, ``f forked``, ``g from nothing``, ``f gone``, ``template gone: out_of_memory`` and so on."""
    function = getattr(event, "function", "")
    name = "template" if function == KEY else function.removeprefix("guest/").split("@")[0]
    match event:
        case LoadFinished(source=source):
            how = "made" if function == KEY else "from nothing" if source is FROM_NOTHING else "forked"
            return f"{name} {how}"
        case ResidentGone(failure=failure):
            return f"{name} gone" + (f": {failure.kind}" if failure is not None else "")
    return type(event).__name__


def story(world: World) -> list[str]:
    """What was told but for the container's start."""
    return [in_short(event) for event in world.told[1:]]


def without_ends(world: World) -> list[str]:
    """The same without what is gone: that may be told before and after what took its place."""
    return [line for line in story(world) if " gone" not in line]


async def loaded(world: World, container: ManagedContainer, spec: FunctionSpec) -> LoadFinished:
    """Load and wait; the latest of its loads."""
    before = len(world.events)
    container.load(spec)
    return await world.wait_for(
        LoadFinished, lambda event: event.function == spec.key and event in world.events[before:]
    )


async def offloaded(world: World, container: ManagedContainer, key: str) -> ResidentGone:
    before = len(world.events)
    container.offload(key)
    return await world.wait_for(ResidentGone, lambda event: event.function == key and event in world.events[before:])
