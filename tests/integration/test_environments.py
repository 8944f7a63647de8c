"""Environments built for real, from wheels made by hand: no network, no index."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from instainfer.environments import installers, origins, this_machine
from instainfer.environments.builder import Environment, Environments, Progress, _Teller
from instainfer.environments.exclusive import exclusive
from instainfer.environments.installers import Sources
from instainfer.environments.jailed import Layers, find_layers
from instainfer.environments.manifest import Requirements
from instainfer.environments.tools import run_tool
from instainfer.errors import BadInput, EnvironmentBuildError, HostError


def make_wheel(folder: Path, name: str, version: str, *, requires: Sequence[str] = (), content: str = "") -> Path:
    """A wheel with one module of the package's name."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_record_hash(text)},{len(text.encode())}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel


def _record_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "leaf", "1.0", content="name = 'leaf 1'")
    make_wheel(folder, "leaf", "2.0", content="name = 'leaf 2'")
    make_wheel(folder, "branch", "1.0", requires=["leaf<2"], content="import leaf")
    make_wheel(folder, "greedy", "3.1", requires=["absent>=7"], content="name = 'greedy'")
    return folder


@pytest.fixture(scope="module")
def shared_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pips are made once per interpreter; these tests share them, and nothing else."""
    return tmp_path_factory.mktemp("pip")


@pytest.fixture(autouse=True)
def plain_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the machine's own pip configuration out of it."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def root(tmp_path: Path, shared_pip: Path) -> Path:
    folder = tmp_path / "environments"
    folder.mkdir()
    (folder / "pip").symlink_to(shared_pip)
    return folder


@pytest.fixture
def environments(root: Path, wheels: Path) -> Environments:
    return make(root, wheels)


def make(root: Path, links: Path, *, timeout_s: float = 100.0, hosts: Sequence[str] = ()) -> Environments:
    pip_args = ("--no-index", "--find-links", str(links))
    return Environments(root, installer="pip", timeout_s=timeout_s, pip_args=pip_args, hosts=hosts)


def ask(environment: Environment, code: str) -> str:
    done = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def built(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("env-*"))


def test_resolved_locked_and_installed(environments: Environments, root: Path, wheels: Path) -> None:
    seen: list[Progress] = []
    environment = asyncio.run(environments.ensure(Requirements("branch  # the newest\n"), seen.append))

    assert environment.packages == ("branch==1.0", "leaf==1.0")
    assert not environment.cached
    assert environment.python == root / environment.digest / "bin/python"
    assert ask(environment, "import branch; print(branch.leaf.name)") == "leaf 1"
    steps = [progress.step for progress in seen]
    assert list(dict.fromkeys(steps)) == ["lock", "create", "install", "ready"]
    assert [p.text for p in seen if p.step == "install"] == [
        "installing 2 packages",
        "compiling modules",
        "looking for files that other environments have too",
    ], "what the tools say is in the log"
    assert [p.elapsed_s for p in seen] == sorted(p.elapsed_s for p in seen)
    assert "Successfully installed" in (root / "logs" / f"{environment.digest}.log").read_text()
    assert json.loads((root / environment.digest / "packages.json").read_text()) == ["branch==1.0", "leaf==1.0"]
    assert list((root / environment.digest).rglob("branch*.pyc")), "bytecode is compiled while installing"

    (lock,) = (root / "locks").iterdir()
    digest = hashlib.sha256((wheels / "branch-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert lock.read_text().startswith(f"branch==1.0 \\\n    --hash=sha256:{digest}\nleaf==1.0 ")
    assert str(wheels) not in lock.read_text()


def test_files_of_a_package_are_on_disk_once(environments: Environments, root: Path) -> None:
    one = asyncio.run(environments.ensure(Requirements("leaf==1.0\n")))
    seen: list[Progress] = []
    two = asyncio.run(environments.ensure(Requirements("branch\n"), seen.append))
    other = asyncio.run(environments.ensure(Requirements("leaf==2.0\n")))

    def inode(environment: Environment, pattern: str) -> int:
        (path,) = (root / environment.digest).rglob(pattern)
        return path.stat().st_ino

    for pattern in ("leaf.py", "leaf.*.pyc"):
        assert inode(one, pattern) == inode(two, pattern) != inode(other, pattern)
    assert one.sizes.shared_bytes == other.sizes.shared_bytes == 0
    assert 0 < two.sizes.shared_bytes < two.sizes.total_bytes
    assert "of which other environments have" in seen[-1].text
    shutil.rmtree(root / one.digest)
    assert ask(two, "import branch; print(branch.leaf.name)") == "leaf 1"


def test_the_operators_constraints_hold_and_a_change_of_them_is_noticed(root: Path, wheels: Path) -> None:
    constraints = root.parent / "constraints.txt"

    def built_with(text: str) -> tuple[str, ...]:
        constraints.write_text(text)
        pip_args = ("--no-index", "--find-links", str(wheels))
        environments = Environments(root, installer="pip", pip_args=pip_args, sources=Sources(constraints))
        return asyncio.run(environments.ensure(Requirements("leaf\n"))).packages

    assert built_with("leaf<2\n") == ("leaf==1.0",)
    assert built_with("leaf>1\n") == ("leaf==2.0",)
    constraints.unlink()
    environments = Environments(root, installer="pip", sources=Sources(constraints))
    with pytest.raises(HostError, match=r"environments\.constraints: .* cannot be read"):
        asyncio.run(environments.ensure(Requirements("leaf\n")))


def test_an_index_is_named_to_the_tools_and_in_no_log(root: Path) -> None:
    sources = Sources(index_url="http://user:secret@127.0.0.1:9/simple", extra_index_urls=("http://127.0.0.1:9/more",))
    pip_args = ("--retries", "0", "--timeout", "1")
    environments = Environments(root, installer="pip", pip_args=pip_args, sources=sources)
    with pytest.raises(EnvironmentBuildError, match="cannot be resolved") as caught:
        asyncio.run(environments.ensure(Requirements("leaf\n")))
    log = "".join(path.read_text() for path in (root / "logs").iterdir())
    assert "127.0.0.1" in log
    assert "secret" not in log + str(caught.value)


def test_a_second_time_needs_no_tool_and_no_source(environments: Environments, root: Path, tmp_path: Path) -> None:
    first = asyncio.run(environments.ensure(Requirements("leaf==2.0\n")))
    nowhere = make(root, tmp_path / "nowhere")
    seen: list[Progress] = []
    again = asyncio.run(nowhere.ensure(Requirements("# comments do not matter\nleaf==2.0"), seen.append))
    assert (again.digest, again.packages, again.cached) == (first.digest, first.packages, True)
    assert [progress.step for progress in seen] == ["ready"]


def test_a_lock_outlives_what_was_newest_when_it_was_made(root: Path, wheels: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, "leaf", "1.0")
    first = asyncio.run(make(root, links).ensure(Requirements("leaf\n")))
    make_wheel(links, "leaf", "2.0")
    assert asyncio.run(make(root, links).ensure(Requirements("leaf\n"))).digest == first.digest


def test_no_requirements_need_no_installer(root: Path) -> None:
    environment = asyncio.run(make(root, root / "nowhere").ensure(Requirements("# nothing\n")))
    assert environment.packages == ()
    assert ask(environment, "import importlib.util as u, sys; print(u.find_spec('pip'), sys.prefix)") == (
        f"None {root / environment.digest}"
    )


def test_no_deps_are_installed_without_what_they_ask_for(environments: Environments) -> None:
    environment = asyncio.run(environments.ensure(Requirements("leaf==1.0", no_deps=("greedy",))))
    assert environment.packages == ("greedy==3.1", "leaf==1.0")
    assert ask(environment, "import greedy, leaf; print(greedy.name)") == "greedy"


def test_two_at_once_build_once(root: Path, wheels: Path) -> None:
    seen: list[Progress] = []

    async def both() -> tuple[Environment, Environment]:
        one, other = make(root, wheels), make(root, wheels)
        wanted = Requirements("branch\n")
        return await asyncio.gather(one.ensure(wanted, seen.append), other.ensure(wanted, seen.append))

    one, other = asyncio.run(both())
    assert one.digest == other.digest
    assert sorted([one.cached, other.cached]) == [False, True]
    assert sum("creating" in progress.text for progress in seen) == 1
    assert any("waiting for whoever" in progress.text for progress in seen)


def test_requirements_that_do_not_exist(environments: Environments, root: Path) -> None:
    with pytest.raises(EnvironmentBuildError) as caught:
        asyncio.run(environments.ensure(Requirements("leaf\nno-such-thing==9\n")))
    first_line = str(caught.value).splitlines()[0]
    assert "cannot be resolved: ERROR: Could not find a version that satisfies" in first_line
    assert "no-such-thing==9" in first_line
    assert "No matching distribution found for no-such-thing==9" in caught.value.log_tail
    assert caught.value.log_tail.count("\n") < 30
    (log,) = (root / "logs").iterdir()
    assert str(log) in first_line
    assert built(root) == []
    assert list((root / "scratch").iterdir()) == []


def test_requirements_that_contradict_each_other(environments: Environments) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"Cannot install .*conflicting dependencies"):
        asyncio.run(environments.ensure(Requirements("branch\nleaf==2.0\n")))


def test_archives_that_changed_since_they_were_locked(root: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    make_wheel(links, "leaf", "1.0")
    digest = asyncio.run(make(root, links).ensure(Requirements("leaf\n"))).digest
    (root / digest / "ready").unlink()
    make_wheel(links, "leaf", "1.0", content="evil = True")
    with pytest.raises(EnvironmentBuildError, match="cannot be installed: ERROR: THESE PACKAGES DO NOT MATCH"):
        asyncio.run(make(root, links).ensure(Requirements("leaf\n")))
    assert built(root) == []


def test_an_unfinished_build_is_built_anew(environments: Environments, root: Path) -> None:
    wanted = Requirements("leaf==1.0\n")
    first = asyncio.run(environments.ensure(wanted))
    (root / first.digest / "ready").unlink()
    (root / first.digest / "bin/python").unlink()
    (root / first.digest / "half").write_text("")
    again = asyncio.run(environments.ensure(wanted))
    assert (again.digest, again.cached) == (first.digest, False)
    assert not (root / first.digest / "half").exists()
    assert ask(again, "import leaf; print(leaf.name)") == "leaf 1"


def test_an_environment_whose_interpreter_went_away_is_built_anew(environments: Environments, root: Path) -> None:
    first = asyncio.run(environments.ensure(Requirements()))
    python = first.python
    python.unlink()
    python.symlink_to("/nonexistent/python")
    assert not asyncio.run(environments.ensure(Requirements())).cached
    assert ask(first, "print(1)") == "1"


class Blocker:
    """A source distribution whose build says that it has begun and then waits to be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.links = folder / "links"
        self.links.mkdir()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.server.getsockname()[1]}"
        backend = f"""
import urllib.request
def get_requires_for_build_wheel(config_settings=None):
    urllib.request.urlopen("http://{self.host}/begun")
"""
        files = {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": backend,
        }
        with zipfile.ZipFile(self.links / "blocker-1.0.zip", "w") as archive:
            for name, text in files.items():
                archive.writestr(f"blocker-1.0/{name}", text)

    def wait(self) -> socket.socket:
        """Wait until the build has begun. Nobody answers on the connection."""
        connection, _ = self.server.accept()
        return connection

    def pids(self) -> list[int]:
        """The processes of the build. Their home tells which they are, since they know no id of the host."""
        home = f"HOME={self.folder}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if home in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found


@pytest.fixture
def blocker(tmp_path: Path) -> Iterator[Blocker]:
    blocker = Blocker(tmp_path)
    with blocker.server:
        yield blocker


def has_ended(pid: int) -> bool:
    """Whether a process that was killed ends. Its output may be closed a moment before it has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 10.0)[0])
    finally:
        os.close(pidfd)


def test_cancelling_ends_the_tools_and_leaves_nothing(root: Path, blocker: Blocker) -> None:
    async def cancel_once_it_builds() -> list[int]:
        environments = make(root, blocker.links, hosts=[blocker.host])
        task = asyncio.create_task(environments.ensure(Requirements("blocker\n", from_source=True)))
        with await asyncio.to_thread(blocker.wait):
            pids = blocker.pids()
            assert pids
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return pids

    assert all(map(has_ended, asyncio.run(cancel_once_it_builds())))
    assert built(root) == []
    assert list((root / "locks").glob("*")) == []


def test_a_build_that_takes_too_long_is_ended(root: Path, blocker: Blocker) -> None:
    environments = make(root, blocker.links, hosts=[blocker.host], timeout_s=1)
    with pytest.raises(EnvironmentBuildError, match=r"ended after 1 s .*raise environments\.build_timeout_s"):
        asyncio.run(environments.ensure(Requirements("blocker\n", from_source=True)))
    assert list((root / "scratch").iterdir()) == []


def test_a_full_disk_is_the_hosts_fault(root: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    backend = 'raise OSError(28, "No space left on device")'
    with zipfile.ZipFile(links / "full-1.0.zip", "w") as archive:
        archive.writestr(
            "full-1.0/pyproject.toml",
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        )
        archive.writestr("full-1.0/backend.py", backend)
    with pytest.raises(HostError, match=r"no space left on the disk of .* \(\d+ bytes free\)") as caught:
        asyncio.run(make(root, links).ensure(Requirements("full\n", from_source=True)))
    assert str(root) in str(caught.value)


def test_a_python_that_is_not_there(
    environments: Environments, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    (tmp_path / "python3.98").symlink_to(sys.executable)  # not what its name says
    monkeypatch.setenv("PATH", str(tmp_path))
    for version in ("3.99", "3.98", "3.97"):
        with pytest.raises(HostError, match=rf"no working python{version} on PATH; present: .*python3\.99"):
            asyncio.run(environments.ensure(Requirements(python=version)))


@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")
def test_uv_gives_the_same_packages(root: Path, wheels: Path) -> None:
    pip_args = ("--no-index", "--find-links", str(wheels))
    environments = Environments(root, installer="uv", timeout_s=100.0, pip_args=pip_args)
    environment = asyncio.run(environments.ensure(Requirements("branch\n", no_deps=("greedy",))))
    assert environment.packages == ("branch==1.0", "greedy==3.1", "leaf==1.0")
    assert ask(environment, "import branch; print(branch.leaf.name)") == "leaf 1"
    assert list((root / environment.digest).rglob("branch*.pyc"))
    (lock,) = (root / "locks").iterdir()
    assert str(wheels) not in lock.read_text()
    (module,) = (root / environment.digest).rglob("leaf.py")
    in_cache = [path for path in (root / "tool-caches").rglob("leaf.py") if path.samefile(module)]
    assert in_cache, "uv's cache and the environment have it on disk once"
    assert module.stat().st_uid == os.geteuid()
    with pytest.raises(EnvironmentBuildError, match=r"cannot be resolved: .*no-such-thing.* \(log: ") as caught:
        asyncio.run(environments.ensure(Requirements("no-such-thing==9\n")))
    assert "no-such-thing" in caught.value.log_tail


@pytest.mark.parametrize("network", [False, None])
def test_a_host_that_gives_less_builds_all_the_same(
    root: Path, wheels: Path, network: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`network`: False is namespaces without it, None no namespaces at all."""
    if network is not None and not find_layers().spaces:
        pytest.skip("this host gives no namespaces")
    less = Layers(network is not None, False, find_layers().landlock, own_uid=False, why_not="a test")
    monkeypatch.setattr(this_machine, "find_layers", lambda: less)
    environment = asyncio.run(make(root, wheels).ensure(Requirements("branch\n", from_source=True)))
    assert ask(environment, "import branch; print(branch.leaf.name)") == "leaf 1"
    assert len(asyncio.run(make(root, wheels).isolation())) > 2


def test_what_a_build_may_not_reach_is_named_with_the_remedy(root: Path) -> None:
    if not find_layers().network:
        pytest.skip("this host gives builds no network of their own")
    links = root.parent / "links"
    links.mkdir()
    (links / "index.html").write_text('<a href="http://files.invalid/leaf-1.0-py3-none-any.whl">leaf</a>')
    pip_args = ("--no-index", "--find-links", (links / "index.html").as_uri(), "--retries", "0")
    environments = Environments(root, installer="pip", pip_args=pip_args)
    with pytest.raises(EnvironmentBuildError, match=r"kept from files\.invalid: .* add it to environments\.hosts"):
        asyncio.run(environments.ensure(Requirements("leaf\n")))


def test_builds_from_source_may_be_forbidden(root: Path) -> None:
    environments = Environments(root, installer="pip", allow_source=False)
    with pytest.raises(EnvironmentBuildError, match=r'build = "source": .*environments\.allow_source'):
        asyncio.run(environments.ensure(Requirements("leaf\n", from_source=True)))


def test_another_python(environments: Environments) -> None:
    others = [v for v in ("3.9", "3.10", "3.12", "3.13") if not sys.version.startswith(f"{v}.") and has_python(v)]
    if not others:
        pytest.skip("needs a second Python on PATH")
    environment = asyncio.run(environments.ensure(Requirements("leaf\n", python=others[0])))
    assert ask(environment, "import leaf, sys; print('%d.%d' % sys.version_info[:2])") == others[0]


def has_python(version: str) -> bool:
    try:
        return (
            subprocess.run([f"python{version}", "-c", "import ensurepip"], capture_output=True, check=False).returncode
            == 0
        )
    except FileNotFoundError:
        return False


def test_a_python_without_venv_names_the_package(
    environments: Environments, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python3.77"
    said = {"executable": str(python), "version": "3.77", "tag": "t", "platform": "p", "modules": ["venv"]}
    python.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(HostError, match=r"no ensurepip module.* python3-venv .*python3\.77-venv"):
        asyncio.run(environments.ensure(Requirements("leaf\n", python="3.77")))


def test_a_tools_output_arrives_line_by_line(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.write('a\\rb\\r\\n\\nerror: c'); sys.stderr.write('x' * 200_000); sys.exit(3)"
    env: Mapping[str, str] = {"PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-c", code]
    done = asyncio.run(run_tool(argv, log=tmp_path / "log", on_line=lines.append, env=env, cwd=tmp_path))
    assert lines[:2] == ["a", "b"]
    assert sum(len(line) for line in lines[2:]) == len("error: c") + 200_000
    assert (done.returncode, done.cause[:8], done.disk_full) == (3, "error: c", False)
    with pytest.raises(HostError, match="cannot be started"):
        asyncio.run(run_tool(["/nonexistent"], log=tmp_path / "log", on_line=lines.append, env=env, cwd=tmp_path))


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed."""
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_held_by_another_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    async def wait() -> None:
        async with exclusive(tmp_path / "lock", holder.kill):  # waiting begins: let it die
            pass

    asyncio.run(wait())
    assert holder.wait() < 0


def test_whoever_gives_up_waiting_does_not_keep_the_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    path = tmp_path / "lock"

    async def enter(waiting: asyncio.Event) -> None:
        async with exclusive(path, waiting.set):
            raise AssertionError("it was held by another")

    async def give_up_then_get_it() -> None:
        waiting = asyncio.Event()
        task = asyncio.create_task(enter(waiting))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with exclusive(path, holder.kill):
            with path.open() as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    asyncio.run(give_up_then_get_it())


def test_which_installer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(origins, "pip_configuration_files", lambda: [tmp_path / "pip.conf"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installers.find_uv("auto") is None
    with pytest.raises(HostError, match="uv is not on PATH"):
        installers.find_uv("uv")

    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    assert installers.find_uv("auto") == installers.find_uv("uv") == uv
    assert installers.find_uv("pip") is None
    (tmp_path / "pip.conf").write_text("[install]\nfind-links = /srv/wheels\n")
    assert installers.find_uv("auto") is None, "uv would not look where pip has been told to"
    monkeypatch.setenv("UV_FIND_LINKS", "/srv/wheels")
    assert installers.find_uv("auto") == uv
    monkeypatch.delenv("UV_FIND_LINKS")
    (tmp_path / "pip.conf").write_text("[global]\ntimeout = 60\n")
    assert installers.find_uv("auto") == uv
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example.org/simple")
    assert installers.find_uv("auto") is None


def test_one_that_left_the_tools_group_is_not_waited_for(tmp_path: Path) -> None:
    # It holds the tool's pipe, which therefore does not end with the tool.
    leaves = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    print('gone', os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    lines: list[str] = []

    async def run() -> None:
        argv = [sys.executable, "-c", leaves]
        told = asyncio.Event()

        def on_line(line: str) -> None:
            lines.append(line)
            told.set()

        running = asyncio.ensure_future(run_tool(argv, log=tmp_path / "log", on_line=on_line, env={}, cwd=tmp_path))
        await told.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 20)

    asyncio.run(run())
    os.kill(int(lines[0].split()[1]), signal.SIGKILL)


def test_builds_take_turns_and_those_who_want_the_same_take_no_place(tmp_path: Path) -> None:
    async def run() -> None:
        environments = Environments(tmp_path, max_builds=2)
        at_work: list[str] = []
        most = 0
        gate, full = asyncio.Event(), asyncio.Event()
        said: list[str] = []
        tell = _Teller(lambda progress: said.append(progress.text))

        async def work(name: str) -> None:
            nonlocal most
            async with environments._at_work(name, tell):
                at_work.append(name)
                most = max(most, len(at_work))
                if len(at_work) == 2:
                    full.set()
                await gate.wait()
                at_work.remove(name)

        async with asyncio.TaskGroup() as group:
            for name in ["a"] * 50 + ["b", "c"]:
                group.create_task(work(name))
            await full.wait()
            assert sorted(at_work) == ["a", "b"]
            assert threading.active_count() < 20
            gate.set()
        assert most == 2
        assert any("waiting for other builds" in text for text in said)

    asyncio.run(run())


def test_where_containers_are_processes_no_function_has_an_image(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="backend docker"):
        asyncio.run(Environments(tmp_path).ensure(Requirements(image="media:1")))
