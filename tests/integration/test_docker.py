"""What is particular to the backend ``docker``: what its containers cannot do, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import uuid
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from support import docker
from support.process_world import World

from instainfer.backends.base import ContainerSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.docker.backend import DockerBackend, opened
from instainfer.backends.docker.engine import Engine
from instainfer.backends.docker.images import find
from instainfer.backends.docker.networks import Networks
from instainfer.backends.docker.settings import MOST_PIDS, Mount
from instainfer.core.events import ContainerGone, ContainerStarted, Event, RunFinished
from instainfer.core.model import MIB, FailureKind
from instainfer.environments.builder import Environments
from instainfer.environments.installers import Sources
from instainfer.environments.requirements import Requirements
from instainfer.environments.room import SHARED_UID
from instainfer.environments.usage import Limits
from instainfer.environments.workshop import Workshop
from instainfer.errors import BadInput, EnvironmentBuildError, HostError
from instainfer.runtime.memory import children

POOL = IPv4Network("10.214.0.0/16")
PYTHON = Path("/usr/bin/python3")


@pytest.fixture(autouse=True)
def _image() -> None:
    docker.image()


@asynccontextmanager
async def world(folder: Path, *, is_open: bool = False, node: str = "") -> AsyncIterator[World]:
    functions = folder / "functions"
    functions.mkdir()
    engine = Engine(node or f"test-{uuid.uuid4().hex[:12]}")
    backend = DockerBackend(
        LoopClock(),
        engine=engine,
        image=docker.image(),
        scratch=folder / "scratch",
        mounts=[Mount(functions)],
        networks=Networks(engine, POOL, "127.0.0.1") if is_open else None,
    )
    w = World(folder, PYTHON, backend=backend)
    try:
        yield w
    finally:
        await backend.close()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


async def answer(w: World, code: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
    container = await w.container()
    function = w.function(code)
    ran, told = await w.run(container, function, args=args)
    assert ran.failure is None, ran.failure
    assert isinstance(told, dict)
    return told


def test_user_code_is_alone_and_has_no_rights(tmp_path: Path) -> None:
    code = """
    import ctypes, os
    def refused(act):
        try:
            act()
        except OSError as error:
            return error.strerror
        return "possible"
    def main(args):
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
        libc = ctypes.CDLL(None, use_errno=True)
        return {
            "pids": len([name for name in os.listdir("/proc") if name.isdigit()]),
            "caps": int(status["CapPrm"], 16) | int(status["CapEff"], 16) | int(status["CapInh"], 16),
            "nnp": status["NoNewPrivs"],
            "seccomp": status["Seccomp"],
            "uid": os.getuid(),
            "root": refused(lambda: open("/usr/mine", "w")),
            "door": os.path.exists(args["scratch"]) and refused(lambda: os.listdir(args["scratch"])),
            "managers": refused(lambda: open("/proc/1/environ").read()),
            "mount": libc.mount(b"none", b"/mnt", b"tmpfs", 0, None),
        }
    """

    async def scene() -> None:
        async with world(tmp_path) as w:
            told = await answer(w, code, {"scratch": str(w.backend.scratch)})
        assert told["pids"] == 2, "the manager and the function"
        assert told["caps"] == 0
        assert told["nnp"] == "1"
        assert told["seccomp"] == "2"
        assert told["uid"] > 2_000_000_000
        assert told["root"] != "possible"
        assert told["door"] != "possible"
        assert told["managers"] == "Permission denied"
        assert told["mount"] == -1

    play(scene)


def test_the_network_leads_neither_here_nor_to_the_addresses_of_clouds(tmp_path: Path) -> None:
    code = """
    import socket
    def look(place):
        try:
            socket.create_connection(place, 2).close()
        except PermissionError:
            return "prohibited"
        except OSError as error:
            return type(error).__name__
        return "reached"
    def main(args):
        return {name: look(tuple(place)) for name, place in args.items()}
    """

    async def scene() -> None:
        with socket.create_server(("0.0.0.0", 0)) as here:
            port = here.getsockname()[1]
            async with world(tmp_path, is_open=True) as w:
                (gateway,) = [str(n.network_address + 1) for n in [await _subnet(w)]]
                places = {
                    "metadata": ["169.254.169.254", 80],
                    "gateway": [gateway, port],
                    "usual gateway": ["172.17.0.1", port],
                    "other namespace": [str(POOL.network_address + 2), port],
                    "this machine": [_own_address(), port],
                }
                told = await answer(w, code, places)
        assert told == dict.fromkeys(places, "prohibited")

    play(scene)


async def _subnet(w: World) -> IPv4Network:
    backend = w.backend
    assert isinstance(backend, DockerBackend)
    assert backend._networks is not None
    name, _ = await backend._networks.of("guest")
    told = json.loads(_docker("network", "inspect", name))
    return IPv4Network(told[0]["IPAM"]["Config"][0]["Subnet"])


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def test_memory_beyond_the_limit_ends_a_function_and_not_its_container(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            container = await w.container(256 * MIB)
            greedy = w.function("def main(args): return {'n': len(bytearray(b'x') * (900 << 20))}", "greedy")
            modest = w.function("def main(args): return {}", "modest")
            ran, _ = await w.run(container, greedy, "a1")
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.OUT_OF_MEMORY, "whoever is quicker, the manager or the kernel"
            assert (await w.run(container, modest, "a2"))[0].failure is None

    play(scene)


BOMB = """
import os, time
def main(args):
    made = 0
    try:
        while made < args["most"]:
            if os.fork() == 0:
                os.setsid()
                time.sleep(1000)
            made += 1
    except OSError:
        pass
    return {"made": made}
"""
MODEST = "def main(args): return {'ok': 1}"


def test_whom_a_function_leaves_behind_in_sessions_of_their_own_ends_with_the_next_call(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            _, told = await w.run(container, w.function(BOMB, "bomb"), "a1", {"most": 200})
            assert told == {"made": 200}
            _, told = await w.run(container, w.function(MODEST, "modest"), "a2")
            assert told == {"ok": 1}
            (manager,) = docker.managers(w.backend.scratch)
            assert len(children(manager)) == 1

    play(scene)


def test_a_fork_bomb_ends_with_a_named_reason_and_others_are_served(tmp_path: Path) -> None:
    """The kernel's limits end it: that of processes, or that of memory, which may take the container's manager too."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            other, container = await w.container(), await w.container()
            w.ask(container, w.function(BOMB, "bomb"), "a1", {"most": 1_000_000})
            other_ran, told = await w.run(other, w.function(MODEST, "modest"), "a2")
            assert told == {"ok": 1}
            ended = await w.wait_for(Event, lambda event: event is not other_ran and _is_end(event))
            assert isinstance(ended, RunFinished | ContainerGone)
            if ended.failure is None:
                assert w.result("a1")["made"] < MOST_PIDS
            else:
                assert ended.failure.message

    play(scene)


def _is_end(event: Event) -> bool:
    return isinstance(event, RunFinished | ContainerGone)


FLOOD = """
import os
def main(args):
    for folder in ("/dev/shm", os.environ["HOME"]):
        try:
            with open(os.path.join(folder, "flood"), "wb") as file:
                for _ in range(2000):
                    file.write(bytes(1 << 20))
        except OSError:
            pass
    return {}
"""


def test_files_in_memory_are_within_the_limit_and_gone_with_the_container(tmp_path: Path) -> None:
    """What they take from the kernel's limit ends the container, which says so; the next one has all of its memory."""

    async def scene() -> None:
        async with world(tmp_path) as w:
            container = await w.container(256 * MIB)
            w.ask(container, w.function(FLOOD, "flood"), "a1")
            ended = await w.wait_for(Event, _is_end)
            assert isinstance(ended, RunFinished | ContainerGone)
            assert ended.failure is not None
            assert ended.failure.message
            modest = w.function("def main(args): return {'n': len(bytearray(b'x') * (100 << 20))}", "modest")
            ran, told = await w.run(await w.container(256 * MIB), modest, "a2")
            assert ran.failure is None, ran.failure
            assert told == {"n": 100 << 20}

    play(scene)


def test_a_resize_reaches_the_kernel(tmp_path: Path) -> None:
    async def scene() -> None:
        node = f"test-{uuid.uuid4().hex[:12]}"
        async with world(tmp_path, node=node) as w:
            container = await w.container(256 * MIB)
            taking = w.function("def main(args): return {'n': len(bytearray(b'x') * (400 << 20))}")
            container.resize(900 * MIB)
            assert (await w.run(container, taking))[0].failure is None
            container.resize(300 * MIB)
            container.resize(400 * MIB)
            (manager,) = [m for m in [container._manager] if m is not None]
            while manager._asked:  # type: ignore[attr-defined]
                await asyncio.wait(manager._asked)  # type: ignore[attr-defined]
            memory = _docker("inspect", "--format", "{{.HostConfig.Memory}}", *_ours(node))
        assert int(memory) == (400 + 64) * MIB

    play(scene)


def test_what_a_killed_platform_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    node = f"test-{uuid.uuid4().hex[:12]}"
    another = f"test-{uuid.uuid4().hex[:12]}"

    async def scene() -> None:
        left = [Engine(node), Engine(another)]
        settings = {"Image": docker.image().id, "Entrypoint": ["python3", "-c", "import time; time.sleep(600)"]}
        try:
            for number, engine in enumerate(left):
                await engine.start(await engine.create(settings))
                assert await engine.create_network(f"{engine.node}-net", f"10.215.{number}.0/24")
            engine, _ = await opened(node, docker.image().name)
            await engine.close()
            assert _ours(node) == []
            assert _docker("network", "ls", "-q", "--filter", f"label=instainfer.node={node}") == ""
            assert len(_ours(another)) == 1
        finally:
            for engine in left:
                await engine.remove_leftovers()
                await engine.close()

    play(scene)


def test_a_container_ends_with_the_platform_that_has_its_connection(tmp_path: Path) -> None:
    """As when the platform is killed: nobody is left that could end it."""
    node = f"test-{uuid.uuid4().hex[:12]}"

    async def scene() -> None:
        async with world(tmp_path, node=node) as w:
            container = await w.container()
            assert len(_ours(node)) == 1
            assert container._transport is not None
            container._transport.abort()
            await asyncio.wait_for(container.ended.wait(), 20.0)
            assert _ours(node) == []

    play(scene)


def test_a_manager_that_is_killed_is_reported_with_all_that_it_had(tmp_path: Path) -> None:
    async def scene() -> None:
        async with world(tmp_path) as w:
            await w.container()
            (manager,) = docker.managers(w.backend.scratch)
            os.kill(manager, signal.SIGKILL)
            gone = await w.wait_for(ContainerGone)
            assert gone.failure is not None
            assert gone.failure.kind is FailureKind.CONTAINER_LOST
            assert "SIGKILL" in gone.failure.message
            assert w.backend.used_bytes() == 0

    play(scene)


def test_environments_are_built_where_they_are_used(tmp_path: Path) -> None:
    async def scene() -> None:
        backend = docker.backend(scratch=tmp_path / "scratch")
        try:
            root = tmp_path / "environments"
            environments = Environments(root, place=backend.place(root))
            built = await environments.ensure(Requirements())
            assert not built.cached
            assert os.readlink(built.python.parent / "python3") == str(PYTHON)
            assert (await environments.ensure(Requirements())).cached
            here = await Environments(tmp_path / "here").ensure(Requirements())
            assert here.digest != built.digest, "the image is part of what an environment is"
            with pytest.raises(EnvironmentBuildError, match="resolved"):
                await environments.ensure(Requirements("/nowhere-at-all.whl"))
            assert list((root / "scratch").iterdir()) == []
            assert {path.lstat().st_uid for path in built.python.parents[1].rglob("*")} == {os.geteuid()}
            with pytest.raises(HostError, match=r"has no Python 3\.6"):
                await environments.ensure(Requirements(python="3.6"))
        finally:
            await backend.close()

    play(scene)


def test_packages_come_through_the_gate_and_from_nowhere_else(tmp_path: Path) -> None:
    simple = tmp_path / "index" / "simple"
    for name, file in (("leaf", "leaf-1.0-py3-none-any.whl"), ("far", "far-1.0-py3-none-any.whl")):
        (simple / name).mkdir(parents=True)
        (simple / name / "index.html").write_text(f'<a href="{file}">{name}</a>')
    (simple / "far" / "index.html").write_text('<a href="http://files.invalid/far-1.0-py3-none-any.whl">far</a>')
    info = "leaf-1.0.dist-info"
    with zipfile.ZipFile(simple / "leaf" / "leaf-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("leaf.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: leaf\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"leaf.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    serve = partial(SimpleHTTPRequestHandler, directory=str(simple.parent))

    async def scene(url: str) -> None:
        backend = docker.backend(scratch=tmp_path / "scratch")
        root = tmp_path / "environments"
        try:
            environments = Environments(
                root, place=backend.place(root), sources=Sources(index_url=url), pip_args=("--retries", "0")
            )
            assert (await environments.ensure(Requirements("leaf\n"))).packages == ("leaf==1.0",)
            with pytest.raises(EnvironmentBuildError, match=r"kept from files\.invalid: .* environments\.hosts"):
                await environments.ensure(Requirements("far\n"))
        finally:
            await backend.close()

    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(server.serve_forever)
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}/simple"
            play(lambda: scene(url))
        finally:
            server.shutdown()


def test_a_build_that_takes_too_long_leaves_no_container(tmp_path: Path) -> None:
    async def scene() -> None:
        backend = docker.backend(scratch=tmp_path / "scratch")
        root = tmp_path / "environments"
        (root / "scratch").mkdir(parents=True)
        workshop = Workshop(
            root, backend.place(root), timeout_s=3.0, pip_args=(), sources=Sources(), hosts=(), limits=Limits()
        )
        try:
            with pytest.raises(EnvironmentBuildError, match=r"it failed: ended after 3 s .*build_timeout_s"):
                async with workshop.bench("it failed", "env-x", lambda _: None, [], from_source=False) as bench:
                    await bench.run(["sleep", "1000"])
            assert await backend._engine.remove_leftovers() == 0
        finally:
            await backend.close()
        assert list((root / "scratch").iterdir()) == []

    play(scene)


def test_a_tool_leaves_no_program_with_roots_rights(tmp_path: Path) -> None:
    code = (
        "import os, shutil, sys; shutil.copy('/bin/true', sys.argv[1]); os.chmod(sys.argv[1], 0o4755); "
        "print(os.getuid(), os.stat(sys.argv[1]).st_mode & 0o4000, flush=True); open('/usr/mine', 'w')"
    )

    async def scene() -> list[str]:
        backend = docker.backend(scratch=tmp_path / "scratch")
        said: list[str] = []
        try:
            root = tmp_path / "environments"
            made = root / "env-x"
            (root / "scratch").mkdir(parents=True)
            workshop = Workshop(
                root, backend.place(root), timeout_s=60.0, pip_args=(), sources=Sources(), hosts=(), limits=Limits()
            )
            async with workshop.bench("it failed", "env-x", said.append, [], from_source=False) as bench:
                await bench.give(made)
                with pytest.raises(EnvironmentBuildError, match="it failed: ") as caught:
                    await bench.running_in(made)(["python3", "-c", code, made / "evil"])
                await bench.take_over(made)
        finally:
            await backend.close()
        assert "Read-only file system" in caught.value.log_tail
        return said

    said = asyncio.run(scene())
    assert f"{SHARED_UID} {0o4000}" in said, "it can set the mark for its own user"
    left = (tmp_path / "environments" / "env-x" / "evil").stat()
    assert left.st_uid == 0
    assert not left.st_mode & 0o6000


def test_an_image_from_ours_is_used_for_the_functions_that_name_it(tmp_path: Path) -> None:
    name = "instainfer-test-own:latest"
    recipe = f"FROM {docker.image().name}\nRUN echo tools > /usr/share/tools\n"
    subprocess.run(["docker", "build", "-q", "-t", name, "-"], check=True, input=recipe, text=True, capture_output=True)

    async def scene() -> None:
        async with world(tmp_path) as w:
            backend = w.backend
            assert isinstance(backend, DockerBackend)
            root = tmp_path / "environments"
            environments = Environments(root, place=backend.place(root, allowed=[name]))
            usual = await environments.ensure(Requirements())
            own = await environments.ensure(Requirements(image=name))
            assert own.digest != usual.digest
            assert (own.image, usual.image) == ((await find(backend._engine, name)).id, "")
            with pytest.raises(BadInput, match=r"docker\.images"):
                await environments.ensure(Requirements(image="instainfer-test:latest"))
            container = backend.start(ContainerSpec("own", "guest", 512 * MIB, own.image), w.report)
            await w.wait_for(ContainerStarted)
            ran, told = await w.run(
                container, w.function("def main(args): return {'has': open('/usr/share/tools').read()}")
            )
            assert ran.failure is None, ran.failure
            assert told == {"has": "tools\n"}

    play(scene)


def test_an_image_of_another_version_or_of_others_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        engine = Engine("tests")
        try:
            with pytest.raises(HostError, match="no image nowhere:latest; make it with"):
                await find(engine, "nowhere:latest")
            with pytest.raises(HostError, match="not one of ours"):
                await find(engine, "instainfer-test-base:latest")
            monkeypatch.setattr("instainfer.backends.docker.images.runtime_digest", lambda: "another")
            with pytest.raises(HostError, match="another version"):
                await find(engine, docker.image().name)
        finally:
            await engine.close()

    play(scene)


def test_without_an_engine_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scene() -> None:
        engine = Engine("tests")
        try:
            await engine.version()
        finally:
            await engine.close()

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(HostError, match=r"install and start one .* docker\.io"):
        asyncio.run(scene())
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    with pytest.raises(HostError, match="must be unix"):
        asyncio.run(scene())


def _ours(node: str) -> list[str]:
    return _docker("ps", "-aq", "--filter", f"label=instainfer.node={node}").split()


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()
