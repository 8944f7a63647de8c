"""Attacks on what is around a container: other processes, and files and memory that outlive it."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from typing import Any

import pytest
from support.attacks import Scene, attacked, hostile, in_scene
from support.process_world import alive, managers, outside

from instainfer.backends.base import TemplateSpec
from instainfer.backends.layers import layers
from instainfer.core.events import ContainerGone, LoadFinished
from instainfer.runtime.layers import NAMESPACES

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(bool(layers()[NAMESPACES]), reason="this host gives no namespaces"),
]


def test_nothing_outside_is_seen_and_the_manager_cannot_be_ended(user: int) -> None:
    outcome = attacked(
        """
        import os, signal
        def main(args):
            pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            ends = [attempt(os.kill, 1, number) for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)]
            return {"pids": pids, "ends": ends, "all": attempt(os.kill, -1, signal.SIGSTOP)}
        """,
        user=user,
    )
    assert outcome.failure is None
    assert max(outcome.got["pids"]) < 20
    assert outcome.got["ends"] == ["EPERM"] * 3
    assert any("its own process ids" in line for line in outcome.isolation)


def test_nothing_survives_a_killed_manager_whatever_it_did(user: int) -> None:
    daemon = """
        import os, time
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.setsid()
                os.chdir("/")
                os.write(writer, b"%d" % os.getpid())
                time.sleep(1000)
            os.wait()  # an orphan would be found by the manager at once
            os._exit(0)
        daemon = int(os.read(reader, 20))
        def main(args): return [daemon]
    """

    async def scenario(scene: Scene) -> list[int]:
        w = scene.world
        before = set(managers())
        container = await w.container()
        (manager,) = set(managers()) - before
        _, (inner,) = await w.run(container, w.function(hostile(daemon), "daemon"), "d")
        (pid,) = outside(manager, inner)
        assert alive([pid]) == [pid]
        os.kill(manager, signal.SIGKILL)
        await w.wait_for(ContainerGone, lambda event: event.container == container.id)
        return alive([pid, manager])

    assert in_scene(scenario, user=user) == []


def test_a_killed_keeper_takes_all_along(user: int) -> None:
    async def scenario(scene: Scene) -> list[int]:
        w = scene.world
        before = set(managers())
        container = await w.container()
        (manager,) = set(managers()) - before
        container.kill()
        await w.wait_for(ContainerGone, lambda event: event.container == container.id)
        return alive([manager])

    assert in_scene(scenario, user=user) == []


def test_files_and_memory_by_name_stay_in_the_container(user: int) -> None:
    leave = """
        import ctypes, os
        libc = ctypes.CDLL(None)
        for folder in ("/tmp", "/var/tmp", "/dev/shm"):
            open(os.path.join(folder, "instainfer-left"), "w").write("x")
        left = libc.shmget(0x1257, 4096, 0o1666)
        def main(args): return [left >= 0]
    """
    look = """
        import ctypes, os
        libc = ctypes.CDLL(None)
        def main(args):
            found = [f for f in ("/tmp", "/var/tmp", "/dev/shm") if "instainfer-left" in os.listdir(f)]
            return [found, libc.shmget(0x1257, 4096, 0o666), attempt(os.listdir, "/run/docker.sock")]
    """

    async def scenario(scene: Scene) -> Any:
        w = scene.world
        _, (left,) = await w.run(scene.attacker, w.function(hostile(leave), "leaves"), "l")
        there = await asyncio.to_thread(lambda: [os.path.exists(f"{f}/instainfer-left") for f in ("/tmp", "/var/tmp")])
        other = await w.container()
        _, found = await w.run(other, w.function(hostile(look), "looks"), "f")
        return left, there, found

    left, there, (found, segment, docker) = in_scene(scenario, user=user)
    assert left
    assert there == [False, False]
    assert (found, segment) == ([], -1)
    assert docker in ("ENOENT", "EACCES")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_no_process_of_a_tenant_is_root_and_none_shares_an_id() -> None:
    ids = """
        def main(args):
            pids = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
            return {"own": os.getuid(), "all": {pid: os.stat("/proc/" + pid).st_uid for pid in pids}}
    """

    async def scenario(scene: Scene) -> Any:
        w = scene.world
        specs = [w.function(hostile(ids), name) for name in ("f", "g")]
        folders = tuple(spec.folder for spec in specs)
        template = TemplateSpec("template:guest/e", w.python, ("json",), folders=folders)
        scene.attacker.load_template(template)
        await w.wait_for(LoadFinished, lambda event: event.function == template.key)
        functions = [replace(spec, template=template) for spec in specs]
        return [(await w.run(scene.attacker, spec, spec.key))[1] for spec in functions]

    first, second = in_scene(scenario)
    assert len({first["own"], second["own"]}) == 2
    for seen in (first, second):
        assert len(seen["all"]) >= 2, "the template is there too"
        assert 0 not in seen["all"].values()
        assert list(seen["all"].values()).count(seen["own"]) == 1
