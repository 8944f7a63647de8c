"""Packages that attack whoever builds them. Their code runs, if at all, in a jail from which nothing can be reached.

On this machine the jail is made of namespaces and Landlock, with the backend ``docker`` it is a container of the image.

What an attacking package finds out it writes into the wheel that it builds, and so into the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import docker

from instainfer.environments import this_machine
from instainfer.environments.builder import Environment, Environments
from instainfer.environments.installers import Sources
from instainfer.environments.jailed import Layers, find_layers
from instainfer.environments.place import Place
from instainfer.environments.requirements import Requirements
from instainfer.environments.this_machine import ThisMachine
from instainfer.environments.usage import Limits
from instainfer.errors import EnvironmentBuildError, HostError
from instainfer.runtime import seccomp

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(not find_layers().network, reason="this host gives builds no namespaces"),
]

_BACKEND = """
import base64, hashlib, json, os, zipfile

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(folder, config_settings=None, metadata_directory=None):
    found = {}
    attack(found)
    info = "attacker-1.0.dist-info"
    files = {
        "attacker.json": json.dumps(found),
        info + "/METADATA": "Metadata-Version: 2.1\\nName: attacker\\nVersion: 1.0\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: a\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[info + "/RECORD"] = "".join(name + ",,\\n" for name in files) + info + "/RECORD,,\\n"
    with zipfile.ZipFile(os.path.join(folder, "attacker-1.0-py3-none-any.whl"), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return "attacker-1.0-py3-none-any.whl"

def tried(what):
    try:
        return what() or "done"
    except Exception as error:
        return type(error).__name__
"""


@dataclass
class Range:
    """A place to attack: a platform's folders, and packages that are given to it."""

    folder: Path
    is_docker: bool = False

    @property
    def links(self) -> Path:
        return self.folder / "links"

    @property
    def root(self) -> Path:
        return self.folder / "environments"

    def add(self, attack: str) -> None:
        """Offer the source of the package ``attacker``, which does this when it is built."""
        code = _BACKEND + "\ndef attack(found):\n" + textwrap.indent(textwrap.dedent(attack), "    ")
        with zipfile.ZipFile(self.links / "attacker-1.0.zip", "w") as archive:
            archive.writestr(
                "attacker-1.0/pyproject.toml",
                '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            )
            archive.writestr("attacker-1.0/backend.py", code)

    def build(self, *, from_source: bool = True, limits: Limits | None = None, sources: Sources | None = None) -> Any:
        """Build an environment with the attacker, and return what it has found."""
        return found_in(self.ensure(wanted(from_source=from_source), limits, sources))

    def ensure(
        self, requirements: Requirements, limits: Limits | None = None, sources: Sources | None = None
    ) -> Environment:
        return asyncio.run(self._ensure(requirements, limits, sources))

    async def _ensure(self, requirements: Requirements, limits: Limits | None, sources: Sources | None) -> Environment:
        pip_args = ("--no-index", "--find-links", str(self.links))
        async with AsyncExitStack() as stack:
            place: Place = ThisMachine()
            if self.is_docker:
                backend = docker.backend(scratch=self.folder / "containers")
                stack.push_async_callback(backend.close)
                place = backend.place(self.root)
            environments = Environments(
                self.root, installer="pip", pip_args=pip_args, limits=limits, sources=sources, place=place
            )
            return await environments.ensure(requirements)


def wanted(*, from_source: bool = True) -> Requirements:
    return Requirements("attacker\n", from_source=from_source)


def found_in(environment: Environment) -> Any:
    (file,) = environment.python.parent.parent.rglob("attacker.json")
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def pips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pips")


@pytest.fixture(params=["this machine", "docker"])
def place(
    tmp_path: Path, pips: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Range]:
    is_docker = request.param == "docker"
    if is_docker:
        docker.image()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    place = Range(tmp_path, is_docker)
    place.links.mkdir()
    place.root.mkdir()
    (place.root / "pip").symlink_to(pips)
    yield place
    assert list((place.root / "scratch").glob("*")) == [], "nothing is left of a build"


def test_no_code_runs_where_only_wheels_are_wanted(place: Range) -> None:
    place.add("raise SystemExit('it runs')")
    with pytest.raises(EnvironmentBuildError, match=r'attacker has no wheel .* set build = "source"') as caught:
        place.build(from_source=False)
    assert "it runs" not in str(caught.value)
    logs = [path.read_text() for path in (place.root / "logs").iterdir()]
    assert not any("it runs" in log for log in logs)


def test_files_and_variables_of_the_platform_cannot_be_read(place: Range, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [place.folder / "home" / name for name in ("secrets.key", "credentials", "records.db")]
    secrets[0].parent.mkdir()
    for path in secrets:
        path.write_text("topsecret")
    paths = [*map(str, secrets), "/etc/shadow", "/run/docker.sock", "/var/run/docker.sock", str(Path.home())]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    sources = Sources(extra_index_urls=("http://user:topsecret@127.0.0.1:9/simple",))
    place.add(
        f"""
        for path in {paths}:
            found[path] = tried(lambda: os.listdir(path) if os.path.isdir(path) else open(path).read())
        found["variables"] = dict(os.environ)
        found["processes"] = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in ("environ", "cmdline"):
                found["processes"].append(tried(lambda: open("/proc/%s/%s" % (pid, name), "rb").read().decode()))
        """
    )
    found = place.build(sources=sources)
    for path in paths[:-1]:
        assert found[path] in {"FileNotFoundError", "PermissionError"}, path
    assert found[str(Path.home())] in {"FileNotFoundError", "PermissionError"}
    assert "topsecret" not in json.dumps(found)
    assert found["variables"]["HOME"].startswith(str(place.root / "scratch"))
    assert f"{os.getpid()}" not in found["processes"]


def test_without_namespaces_the_files_of_the_platform_are_closed_all_the_same(
    place: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.is_docker:
        pytest.skip("containers of Docker always have namespaces")
    less = Layers(False, False, find_layers().landlock, own_uid=False, why_not="a test")
    if less.landlock < 6:
        pytest.skip("this host restricts neither files nor signals")
    monkeypatch.setattr(this_machine, "find_layers", lambda: less)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    secret = place.folder / "secrets.key"
    secret.write_text("topsecret")
    place.add(
        f"""
        def write(path):
            with open(path, "w") as file:
                file.write("import os")
        found["read"] = tried(lambda: open({str(secret)!r}).read())
        found["write"] = tried(lambda: write({str(place.root / "locks" / "evil")!r}))
        found["environment"] = tried(lambda: open("/proc/{os.getpid()}/environ").read())
        found["signal"] = tried(lambda: os.kill({os.getpid()}, 0))
        found["variables"] = dict(os.environ)
        if os.fork() == 0:
            os.setsid()
            os.closerange(0, 100)
            os.execvp("sleep", ["sleep", "77346"])
        """
    )
    found = place.build()
    assert "topsecret" not in json.dumps(found)
    assert {found[name] for name in ("read", "write", "environment", "signal")} == {"PermissionError"}
    assert "77346" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives builds a user id of their own")
def test_no_build_from_source_runs_as_root(place: Range) -> None:
    place.add("raise SystemExit('it runs')")
    place.links.chmod(0o700)
    with pytest.raises(HostError, match="links is closed to other users, so a build from source cannot read it"):
        place.build()


def test_other_environments_and_caches_cannot_be_written_or_read(place: Range) -> None:
    other = place.ensure(Requirements())
    target = other.python.parent.parent / "evil.pth"
    config = other.python.parent.parent / "pyvenv.cfg"
    wheels = place.root / "tool-caches"
    place.add(
        f"""
        def write(path):
            with open(path, "w") as file:
                file.write("import os")
        found["write"] = tried(lambda: write({str(target)!r}))
        found["link"] = tried(lambda: os.link({str(config)!r}, os.environ["TMPDIR"] + "/x"))
        found["read"] = tried(lambda: open({str(config)!r}).read())
        found["cache"] = tried(lambda: write({str(wheels / "evil")!r}))
        found["pip"] = tried(lambda: write({str(place.root / "pip" / "evil")!r}))
        """
    )
    found = place.build()
    assert set(found.values()) <= {"FileNotFoundError", "PermissionError", "OSError"}
    assert not target.exists()


def test_what_a_build_leaves_running_ends_with_it(place: Range) -> None:
    place.add(
        f"""
        import time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.closerange(0, 100)
                os.execvp("sleep", ["sleep", "77345"])
            os._exit(0)
        found["killed"] = [tried(lambda: os.kill(pid, 9)) for pid in ({os.getpid()}, {os.getppid()})]
        """
    )
    found = place.build()
    assert found["killed"] == ["ProcessLookupError"] * 2
    assert "77345" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_neither_the_platform_nor_metadata_can_be_reached(place: Range) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        server.setblocking(False)
        port = server.getsockname()[1]
        name = f"\0instainfer-test-{os.getpid()}"
        local.bind(name)
        local.listen()
        place.add(
            f"""
            import socket, urllib.request
            def connect(*address):
                socket.create_connection(address, timeout=5).close()
            def local():
                with socket.socket(socket.AF_UNIX) as unix:
                    unix.connect({name!r})
            def by_way_of_the_gate(address):
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({{"http": os.environ["http_proxy"]}}))
                return opener.open(address, timeout=5).read().decode()
            found["loopback"] = tried(lambda: connect("127.0.0.1", {port}))
            found["metadata"] = tried(lambda: connect("169.254.169.254", 80))
            found["world"] = tried(lambda: connect("192.0.2.1", 80))
            found["abstract"] = tried(local)
            for address in ("http://127.0.0.1:{port}/", "http://169.254.169.254/latest/meta-data/", "http://localhost:{port}/"):
                found[address] = tried(lambda: by_way_of_the_gate(address))
            """
        )
        found = place.build()
        assert set(found.values()) <= {"OSError", "ConnectionRefusedError", "HTTPError"}, found
        with pytest.raises(BlockingIOError):
            server.accept()


def test_no_file_of_an_environment_gives_rights(place: Range) -> None:
    place.add(
        """
        import stat
        found["uid"] = os.getuid()
        parent = open("/proc/%d/cmdline" % os.getppid()).read().split("\\0")
        for word in os.environ.get("VIRTUAL_ENV", ""), *parent:
            folder = os.path.dirname(os.path.dirname(word))
            if os.path.basename(folder).startswith("env-"):
                path = os.path.join(folder, "lib", "root")
                with open(path, "w") as file:
                    file.write("#!/bin/sh")
                found["open"] = tried(lambda: os.chmod(path, 0o777))
                found["setuid"] = tried(lambda: os.chmod(path, 0o6777))
                tried(lambda: os.mkfifo(os.path.join(folder, "lib", "pipe")))
                tried(lambda: os.symlink("/etc/shadow", os.path.join(folder, "lib", "shadow")))
                found["device"] = tried(lambda: os.mknod(os.path.join(folder, "lib", "disk"), stat.S_IFBLK, 1))
        disk = os.path.join(os.environ["TMPDIR"], "disk")
        found["device"] = tried(lambda: os.mknod(disk, stat.S_IFBLK | 0o666, os.makedev(254, 0)))
        """
    )
    before = os.lstat("/etc/shadow")
    environment = place.ensure(wanted())
    found = found_in(environment)
    assert found["open"] == "done", "it had found the environment that it is installed into"
    # Docker's own filter of system calls does not look at rights.
    assert found["setuid"] == ("done" if place.is_docker or not seccomp.is_available() else "PermissionError")
    assert found["device"] == "PermissionError"
    folder = environment.python.parent.parent
    for base, folders, names in os.walk(folder):
        for name in (*folders, *names):
            status = os.lstat(os.path.join(base, name))
            assert status.st_uid == os.geteuid(), name
            assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o6022, name
            assert stat.S_IFMT(status.st_mode) in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}, name
    after = os.lstat("/etc/shadow")
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    if os.geteuid() == 0:
        assert found["uid"] > 1_000_000_000


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (
            "held = [bytearray(1 << 20) for _ in range(100_000)]",
            "MemoryError|memory; raise environments.build_memory_mb",
        ),
        (
            """
            import time
            for _ in range(8):
                if os.fork() == 0:
                    held = [bytearray(b"x" * (1 << 20)) for _ in range(100)]
                    time.sleep(100)
            time.sleep(100)
            """,
            "memory; raise environments.build_memory_mb",
        ),
        (
            """
            import time
            file = os.memfd_create("hidden")
            for _ in range(500):
                os.write(file, b"x" * (1 << 20))
            time.sleep(100)
            """,
            "memory; raise environments.build_memory_mb",
        ),
    ],
    ids=["one process", "many processes", "a file in memory"],
)
def test_memory_is_limited(place: Range, attack: str, words: str) -> None:
    place.add(attack)
    with pytest.raises(EnvironmentBuildError, match=words):
        place.build(limits=Limits(memory_bytes=400 << 20))
    assert list(place.root.glob("env-*")) == []


def test_disk_is_limited(place: Range) -> None:
    place.add(
        """
        import time
        for n in range(20):
            with open(os.environ["TMPDIR"] + "/%d" % n, "wb") as file:
                file.write(os.urandom(10 << 20))
        time.sleep(100)
        """
    )
    with pytest.raises(EnvironmentBuildError, match=r"disk; raise environments\.build_disk_mb"):
        place.build(limits=Limits(disk_bytes=100 << 20))


def test_privileges_cannot_be_had(place: Range) -> None:
    place.add(
        """
        import ctypes, resource
        libc = ctypes.CDLL(None, use_errno=True)
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
        found["status"] = {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs")}
        found["mount"] = libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)
        found["setuid"] = tried(lambda: os.setuid(0)) if os.getuid() else "PermissionError"
        found["first"] = tried(lambda: os.kill(1, 9))
        found["trace"] = libc.ptrace(16, 1, 0, 0)
        found["core"] = resource.getrlimit(resource.RLIMIT_CORE)[1]
        """
    )
    found = place.build()
    assert {found["status"][name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert found["status"]["NoNewPrivs"] == "1"
    assert (found["mount"], found["trace"], found["core"]) == (-1, -1, 0)
    assert found["setuid"] in {"PermissionError", "OSError"}
