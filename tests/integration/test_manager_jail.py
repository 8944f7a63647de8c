"""What a function's process can no longer do, seen from inside."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.process_world import managers, world
from template_world import KEY, Environment, Family

from instainfer.backends.layers import layers
from instainfer.core.events import LoadFinished, ResidentGone
from instainfer.core.model import FROM_LIBRARIES, MIB, function_template_key
from instainfer.runtime import landlock
from instainfer.runtime.layers import NAMESPACES
from instainfer.runtime.memory import children

PROBE = """
import os, pwd

def attempt(what, *args):
    try:
        result = {
            "read": lambda path: open(path).read(),
            "list": lambda path: sorted(os.listdir(path)),
            "write": lambda path: open(path, "w").write("x"),
            "kill": lambda pid: os.kill(pid, 0),
        }[what](*args)
    except OSError as error:
        return type(error).__name__
    return result

def main(args):
    return {
        "scratch": attempt("write", os.path.join(os.environ["TMPDIR"], "x")),
        "attempts": [attempt(*each) for each in args["attempts"]],
        "status": open("/proc/self/status").read(),
        "uid": os.getuid(),
        "account": pwd.getpwuid(os.getuid()),
    }
"""

needs_landlock = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")


def is_closed_off() -> bool:
    """Whether containers on this host have process ids, mounts and IPC of their own."""
    return not layers()[NAMESPACES]


def field(status: str, name: str) -> str:
    return next(line.split()[1] for line in status.splitlines() if line.startswith(name + ":"))


@needs_landlock
def test_a_function_reads_its_own_files_and_writes_its_own_scratch_only(tmp_path: Path) -> None:
    secret = tmp_path / "records.db"
    secret.write_text("secret")

    async def scenario() -> dict[str, Any]:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(PROBE)
            weights = tmp_path / "store" / "weights.bin"
            weights.parent.mkdir()
            weights.write_text("weights")
            weights.chmod(0o444)
            (f.folder / "weights.bin").symlink_to(weights)
            (f.folder / "records.db").symlink_to(secret)
            (f.folder / "labels.txt").write_text("labels")
            attempts = [
                ("read", str(secret)),
                ("read", "records.db"),
                ("read", "weights.bin"),
                ("read", "labels.txt"),
                ("list", str(tmp_path)),
                ("write", str(secret)),
                ("write", "labels.txt"),
                ("write", "new.txt"),
                ("read", "/etc/shadow"),
                ("list", "/root"),
            ]
            return (await w.run(container, f, args={"attempts": attempts}))[1]  # type: ignore[no-any-return]

    result = asyncio.run(scenario())
    assert result["scratch"] == 1
    secrets, (weights, labels), (beside, *others) = (result["attempts"][a:b] for a, b in ((0, 2), (2, 4), (4, 10)))
    assert (weights, labels) == ("weights", "labels")
    # In a container's own /tmp, there is nothing but what its functions need.
    assert set(secrets) <= {"PermissionError", "FileNotFoundError"}
    assert beside == "PermissionError" or "records.db" not in beside
    assert others == ["PermissionError"] * 5
    assert secret.read_text() == "secret"


@pytest.mark.skipif(landlock.abi() < 6, reason="this kernel's Landlock does not restrict signals")
def test_a_function_cannot_signal_the_platform(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            attempts = [("kill", os.getpid())]
            _, result = await w.run(container, w.function(PROBE), args={"attempts": attempts})
            assert result["attempts"] == ["ProcessLookupError" if is_closed_off() else "PermissionError"]

    asyncio.run(scenario())


def test_a_function_has_no_privileges_and_cannot_get_any(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            _, result = await w.run(container, w.function(PROBE), args={"attempts": []})
            assert field(result["status"], "NoNewPrivs") == "1"
            for capabilities in ("CapEff", "CapPrm", "CapInh", "CapBnd"):
                if capabilities != "CapBnd" or os.geteuid() == 0:
                    assert int(field(result["status"], capabilities), 16) == 0

    asyncio.run(scenario())


def test_what_is_given_and_what_is_not_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, allow_shared_uid=True) as w:
            before = list(w.backend.isolation())
            assert [line.split(":")[0] for line in before] == [
                *("user", "process", "process", *["system"] * 4),
                *("container", "memory"),
            ]
            container = await w.container()
            f = w.function(PROBE)
            f.folder.chmod(0o700)
            container.load(f)
            await w.wait_for(LoadFinished)
            lines = list(w.backend.isolation())
            (uid,) = [line for line in lines if "own uid" in line]
            assert uid.startswith("system: own uid: not given (")
            assert ("needs root" in uid) is (os.geteuid() != 0)
            assert any("Landlock ABI" in line for line in lines) is (landlock.abi() > 0)

    asyncio.run(scenario())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and read."""
    folder = Path(tempfile.mkdtemp(prefix="instainfer-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("forked", [False, True], ids=["from-nothing", "forked"])
def test_shared_memory_is_the_containers_and_goes_with_the_process_that_has_made_it(
    open_folder: Path, forked: bool
) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("needs a Python that every user may run")
    code = """
        import os
        open("/dev/shm/loaded", "w").write("x")
        def main(args):
            os.makedirs("/dev/shm/called/e")
            return [os.getuid(), sorted(os.listdir("/dev/shm"))]
    """
    look = """
        import os
        def main(args):
            room = os.statvfs("/dev/shm")
            return [sorted(os.listdir("/dev/shm")), room.f_blocks * room.f_frsize]
    """

    async def scenario() -> None:
        async with world(open_folder) as w:
            container, other = await w.container(), await w.container()
            f, g = w.function(code, "f", python=python), w.function(look, "g", python=python)
            if forked:
                container.load_function_template(f)
                await w.wait_for(LoadFinished)
            _, (uid, found) = await w.run(container, f)
            if "system: own uid: given" not in w.backend.isolation():
                pytest.skip("no user id of its own here")
            assert uid != 0
            assert found == ["called", "loaded"]
            assert (await w.run(other, g, "a2"))[1] == [[], 512 * MIB]
            container.offload(f.key)
            await w.wait_for(ResidentGone)
            if forked:
                # What a template has made, others that are forked from it may use.
                assert (await w.run(container, g, "a3"))[1][0] == ["called", "loaded"]
                container.offload(function_template_key(f.key))
                await w.wait_for(ResidentGone, lambda event: event.function == function_template_key(f.key))
            # The template's may last until the process that it has forked ahead is gone, too.
            give_up_at, left = time.monotonic() + 30.0, ["loaded"]
            for number in itertools.count():
                if "loaded" not in left:
                    break
                assert time.monotonic() < give_up_at
                left = (await w.run(container, g, f"b{number}"))[1][0]

    asyncio.run(scenario())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("forked", [False, True], ids=["from-nothing", "forked"])
def test_as_root_a_function_runs_under_an_id_of_its_own(open_folder: Path, forked: bool) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("needs a Python that every user may run")
    environment = Environment(open_folder / "environment", python)

    async def scenario() -> None:
        async with world(open_folder) as w:
            container = await w.container()
            specs = Family(w, environment, "json").functions(f=PROBE, g=PROBE)
            uids = set()
            for spec in specs:
                f = spec if forked else replace(spec, template=None)
                attempts = [("list", "/proc/self/fd"), ("read", "handler.py"), ("write", "/dev/null")]
                _, result = await w.run(container, f, f.key, {"attempts": attempts})
                if result["uid"] == 0:
                    pytest.skip(str([line for line in w.backend.isolation() if "own uid" in line]))
                assert result["scratch"] == 1
                assert (result["account"][0], result["account"][2]) == ("function", result["uid"])
                assert result["account"][5].startswith(str(open_folder))
                assert result["attempts"][1:] == [PROBE, 1]
                assert result["attempts"][0] != "PermissionError"
                for capabilities in ("CapEff", "CapPrm", "CapInh", "CapBnd"):
                    assert int(field(result["status"], capabilities), 16) == 0
                uids.add(result["uid"])
            assert len(uids) == 2
            assert "system: own uid: given" in w.backend.isolation()
            assert [
                e.source is FROM_LIBRARIES for e in w.events if isinstance(e, LoadFinished) and e.function != KEY
            ] == [forked] * 2
            (manager,) = managers()
            assert result["uid"] in {os.stat(f"/proc/{pid}").st_uid for pid in children(manager)}

    asyncio.run(scenario())
