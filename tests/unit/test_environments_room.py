"""The folders of a build, what comes back from them, and what it may use."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from instainfer.environments.jailed import Layers
from instainfer.environments.room import first_closed, made_room, remove, take_over
from instainfer.environments.usage import Limits, Usage, memory_bytes, used_bytes
from instainfer.errors import EnvironmentBuildError


def test_a_room_is_removed_whatever_is_in_it(tmp_path: Path) -> None:
    with made_room(tmp_path, None) as room:
        deep = room.temporary / "closed" / "deep"
        deep.mkdir(parents=True)
        (deep / "file").touch()
        deep.chmod(0)
        deep.parent.chmod(0)
    assert list(tmp_path.iterdir()) == []
    remove(tmp_path / "absent")


def test_what_is_handed_in_is_for_the_tools_alone(tmp_path: Path) -> None:
    with made_room(tmp_path, None) as room:
        path = room.hand_in("netrc", "password")
        assert path.read_text() == "password"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_plain_files_are_taken_back(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("topsecret")
    with made_room(tmp_path, None) as room:
        (room.made / "report").write_text("fine")
        assert room.hand_back("report") == "fine"
        (room.made / "link").symlink_to(secret)
        os.mkfifo(room.made / "pipe")
        (room.made / "large").touch()
        os.truncate(room.made / "large", 1 << 30)
        (room.made / "bytes").write_bytes(b"\xff")
        for name in ("link", "pipe", "large", "bytes", "absent"):
            with pytest.raises(EnvironmentBuildError, match="cannot be read") as caught:
                room.hand_back(name)
            assert "topsecret" not in str(caught.value)


def test_an_environment_that_was_taken_over_gives_no_rights(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    folder = tmp_path / "env"
    (folder / "open").mkdir(parents=True)
    (folder / "open").chmod(0o3777)
    (folder / "program").touch()
    (folder / "program").chmod(0o6777)
    (folder / "closed").mkdir()
    (folder / "closed" / "file").touch(mode=0o000)
    (folder / "closed").chmod(0)
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(folder / "socket"))
    take_over(folder)
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*") if not path.is_symlink()}
    assert modes == {"open": 0o755, "program": 0o755, "closed": 0o700, "file": 0o600}
    assert (folder / "link").is_symlink()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o777


def test_the_first_path_that_others_may_not_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "file"
    file.touch(mode=0o640)
    assert first_closed([tmp_path, tmp_path / "absent"]) is None
    assert first_closed([tmp_path, file]) == file


def test_disk_and_memory_are_measured(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(os.urandom(1 << 20))
    (tmp_path / "link").symlink_to("/usr")
    assert 1 << 20 <= used_bytes([tmp_path, tmp_path / "absent"]) < 2 << 20
    program = "import os; held = b'x' * (50 << 20); fd = os.memfd_create('x'); os.write(fd, held); print(1, flush=True)"
    shell = f'{sys.executable} -c "{program}; input()"; true'
    with subprocess.Popen(["sh", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 100 << 20 <= memory_bytes(process.pid) < 200 << 20
        assert Usage(Limits(), [tmp_path]).exceeded(process.pid) is None
        said = Usage(Limits(memory_bytes=60 << 20), [tmp_path]).exceeded(process.pid)
        assert said == "it used more than 60 MB of memory; raise environments.build_memory_mb"
        said = Usage(Limits(disk_bytes=1 << 20), [tmp_path]).exceeded(process.pid)
        assert said == "it used more than 1 MB of disk; raise environments.build_disk_mb"
        process.communicate(b"\n")


def test_each_missing_layer_is_said_in_a_line() -> None:
    (line,) = Layers(True, True, 7, True).lines()
    assert line.startswith("builds: in a jail (files: only its own; no platform environment")
    assert "sources of packages only" in line
    lines = Layers(False, False, 0, False, "no namespaces: Operation not permitted").lines()
    assert len(lines) == 5
    assert all(line.startswith("builds: ") for line in lines)
    assert "files: those of the platform" in lines[0]
    assert sum("Operation not permitted" in line for line in lines) == 2
