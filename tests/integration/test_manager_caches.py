"""What a function's libraries keep in its cache is there in the next process and the next container, and nobody else's.

`Library` behaves as real libraries do: it looks for its folder while it is imported, and writes when it is used.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.process_world import World, world
from template_world import Environment, Family

from instainfer.backends.base import FunctionSpec
from instainfer.core.events import LoadFinished
from instainfer.core.model import function_template_key
from instainfer.environments.caches import Caches
from instainfer.runtime import landlock

LIBRARY = """
    import os
    PLACE = os.environ["NUMBA_CACHE_DIR"]
    os.makedirs(PLACE, exist_ok=True)

    def compute():
        path = os.path.join(PLACE, "kernel")
        if os.path.exists(path):
            return "found"
        os.makedirs(PLACE, exist_ok=True)
        with open(path, "x") as file:
            file.write("x")
        return "computed"
"""
HANDLER = """
import os
import library

def main(args):
    return {"kernel": library.compute(), "uid": os.getuid(), "place": os.environ.get("NUMBA_CACHE_DIR")}
"""
INTRUDER = """
import os

def attempt(what, *args):
    try:
        what(*args)
    except OSError as error:
        return type(error).__name__
    return "done"

def main(args):
    other = args["other"]
    return {"attempts": [
        attempt(os.listdir, other),
        attempt(os.listdir, os.path.join(other, "common")),
        attempt(os.listdir, os.path.join(other, "own")),
        attempt(open, os.path.join(other, "common", "numba", "kernel")),
        attempt(open, os.path.join(other, "common", "new"), "w"),
        attempt(os.mkdir, os.path.join(os.path.dirname(other), "new")),
    ]}
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and read."""
    folder = Path(tempfile.mkdtemp(prefix="instainfer-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class Village:
    """Functions with caches, in one environment with the library."""

    def __init__(self, w: World, folder: Path) -> None:
        python = Path("/usr/bin/python3")
        environment = Environment(folder / "environment", python if python.exists() else w.python)
        environment.install(library=LIBRARY)
        self._family = Family(w, environment, "library")
        self._caches = Caches(folder / "caches")

    def functions(self, **codes: str) -> list[FunctionSpec]:
        specs = [replace(f, cache=self._caches.make("guest", f.key)) for f in self._family.functions(**codes)]
        (parent,) = {spec.cache.parent for spec in specs if spec.cache is not None}
        return [replace(f, template=replace(f.template, caches=parent)) for f in specs if f.template is not None]


@pytest.mark.parametrize("ways", ["nothing nothing", "nothing libraries", "libraries nothing", "libraries libraries"])
def test_a_cache_outlives_containers_whichever_way_a_function_is_loaded(open_folder: Path, ways: str) -> None:
    async def scenario() -> list[dict[str, Any]]:
        async with world(open_folder) as w:
            (f,) = Village(w, open_folder).functions(f=HANDLER)
            answers = []
            for number, way in enumerate(ways.split()):
                container = await w.container()
                spec = f if way == "libraries" else replace(f, template=None)
                _, answer = await w.run(container, spec, f"a{number}")
                answers.append(answer)
                await w.stop(container)
            sources = [str(e.source) for e in w.events if isinstance(e, LoadFinished) and e.function == f.key]
            assert sources == ways.split()
            return answers

    first, second = asyncio.run(scenario())
    assert first["kernel"] == "computed"
    if first["uid"] == second["uid"]:  # else the host gives own user ids only to processes that are not forked
        assert second["kernel"] == "found"
        assert first["place"] == second["place"], "which is the real path also where the library knows another"


def made_in(container: str, f: FunctionSpec, event: LoadFinished) -> bool:
    return event.container == container and event.function == function_template_key(f.key)


def test_a_cache_is_that_of_the_processes_forked_from_a_function_template_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            (f,) = Village(w, tmp_path).functions(f=HANDLER)
            for number, kernel in enumerate(("computed", "found")):
                container = await w.container()
                container.load_function_template(f)
                await w.wait_for(LoadFinished, partial(made_in, container.id, f))
                _, answer = await w.run(container, f, f"a{number}")
                assert answer["kernel"] == kernel
                await w.stop(container)

    asyncio.run(scenario())


def test_without_a_cache_each_process_begins_with_an_empty_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            (f,) = Village(w, tmp_path).functions(f=HANDLER)
            f = replace(f, cache=None)
            for number in range(2):
                container = await w.container()
                _, answer = await w.run(container, f, f"a{number}")
                assert answer["kernel"] == "computed"
                assert answer["place"] is None
                await w.stop(container)
            sources = [str(e.source) for e in w.events if isinstance(e, LoadFinished) and e.function == f.key]
            assert sources == ["libraries"] * 2

    asyncio.run(scenario())


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
@pytest.mark.parametrize("forked", [False, True], ids=["from-nothing", "forked"])
def test_a_function_does_not_get_at_the_cache_of_another(tmp_path: Path, forked: bool) -> None:
    async def scenario() -> list[str]:
        async with world(tmp_path) as w:
            f, g = Village(w, tmp_path).functions(f=HANDLER, g=INTRUDER)
            container = await w.container()
            await w.run(container, f, "a1")
            spec = g if forked else replace(g, template=None)
            _, answer = await w.run(container, spec, "a2", {"other": str(f.cache)})
            found: list[str] = answer["attempts"]
            return found

    assert asyncio.run(scenario()) == ["PermissionError"] * 6


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_a_function_has_the_user_id_that_owns_its_cache(open_folder: Path) -> None:
    async def scenario() -> None:
        async with world(open_folder) as w:
            for f in Village(w, open_folder).functions(f=HANDLER, g=HANDLER):
                container = await w.container()
                _, answer = await w.run(container, replace(f, template=None), f.key)
                if answer["uid"] == 0:
                    pytest.skip(str([line for line in w.backend.isolation() if "own uid" in line]))
                assert f.cache is not None
                assert (f.cache / "own" / "numba" / "kernel").stat().st_uid == answer["uid"]
                assert (f.cache / "own").stat().st_uid == answer["uid"]

    asyncio.run(scenario())
    assert len({own.stat().st_uid for own in open_folder.glob("caches/*/*/own")}) == 2
