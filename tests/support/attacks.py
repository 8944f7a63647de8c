"""Hostile functions beside victims, in real containers, on a platform that runs as root or as an ordinary user.

`attacked` runs one attack: a function of the tenant ``guest`` attacks while two victims are resident, one of its own
tenant and one of another, each in a container of its own. The victims must answer afterwards as before, from the same
processes. A test says what the attack must have got: `Outcome.got` is what the hostile `main` returned.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from instainfer.backends.base import ContainerSpec
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import ContainerStarted, LoadFinished
from instainfer.core.model import MIB, Failure, function_template_key
from instainfer.runtime.linux import PR_SET_DUMPABLE, prctl
from instainfer.runtime.view import TEMPORARY

from .process_world import World, world

USER = 65534
"""The ordinary user as which a platform runs, when the tests run as root."""

_VICTIM = """
    import os
    secret = "of " + __name__
    open(os.path.join(os.environ["TMPDIR"], "secret"), "w").write("private")
    def main(args):
        return {"pid": os.getpid(), "secret": open(os.path.join(os.environ["TMPDIR"], "secret")).read()}
"""
_ATTEMPT = """
import errno, os
def attempt(action, *args):
    try:
        return action(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, "OSError")
"""


def hostile(code: str) -> str:
    """Code of a function that has `attempt(f, ...)`: what that returns, or the name of the error, such as ``EPERM``."""
    return _ATTEMPT + textwrap.dedent(code)


class Outcome(NamedTuple):
    """What came of an attack."""

    got: Any
    failure: Failure | None
    isolation: list[str]


class Scene(NamedTuple):
    """A platform with two victims and a container for the attacker."""

    world: World
    attacker: ManagedContainer


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and write."""
    folder = Path(tempfile.mkdtemp(prefix="instainfer-attack-", dir="/var/lib" if os.geteuid() == 0 else None))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def attacked(
    code: str, args: Any = None, *, user: int = 0, limit_bytes: int = 512 * MIB, forked: bool = False
) -> Outcome:
    """Run hostile code as a function's, on a platform of the user with this id. Its victims must not notice.

    `forked`: from a function template.
    """

    async def scenario(scene: Scene) -> Outcome:
        function = scene.world.function(hostile(code), "hostile")
        if forked:
            scene.attacker.load_function_template(function)
            key = function_template_key(function.key)
            await scene.world.wait_for(LoadFinished, lambda event: event.function == key)
        finished, got = await scene.world.run(scene.attacker, function, "attack", args)
        return Outcome(got, finished.failure, list(scene.world.backend.isolation()))

    return in_scene(scenario, user=user, limit_bytes=limit_bytes)


def in_scene(scenario: Callable[[Scene], Awaitable[Any]], *, user: int = 0, limit_bytes: int = 512 * MIB) -> Any:
    """Run a scenario in which something hostile happens. Its victims must not notice."""

    async def run(folder: Path) -> Any:
        async with world(folder, python) as w:
            attacker = await w.container(limit_bytes)
            beside, elsewhere = await w.container(), await _container_of(w, "another")
            victims = [(beside, w.function(_VICTIM, "mine")), (elsewhere, w.function(_VICTIM, "theirs"))]
            before = [await w.run(where, victim, f"before {victim.key}") for where, victim in victims]
            result = await scenario(Scene(w, attacker))
            after = [await w.run(where, victim, f"after {victim.key}") for where, victim in victims]
            assert [answer for _, answer in after] == [answer for _, answer in before]
            assert all(finished.failure is None for finished, _ in (*before, *after))
            return result

    # With an environment in there, temporary folders are not the functions' own: one of them could write into it.
    is_temporary = sys.prefix.startswith(tuple(f"{place}/" for place in TEMPORARY))
    python = Path("/usr/bin/python3") if user or is_temporary else Path(sys.executable)
    if not python.exists():
        pytest.skip("needs a Python that every user may run")
    with open_folder() as folder:
        return _as_user(user, lambda: asyncio.run(run(folder)))


async def _container_of(w: World, namespace: str) -> ManagedContainer:
    container = w.backend.start(ContainerSpec(f"of {namespace}", namespace, 512 * MIB), w.report)
    await w.wait_for(ContainerStarted, lambda event: event.container == container.id)
    return container


def _as_user(user: int, work: Callable[[], Any]) -> Any:
    """Do something in a child process that runs as this user (0: as the one that runs the tests)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            if user:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                prctl(PR_SET_DUMPABLE, 1)
            told = pickle.dumps(("", work()))
        except BaseException:  # whatever it is, the test shall show it
            told = pickle.dumps((traceback.format_exc(), None))
        with open(writer, "wb") as pipe:
            pipe.write(told)
        sys.stderr.flush()
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    error, result = pickle.loads(told) if told else ("the platform was killed", None)
    assert not error, error
    return result
