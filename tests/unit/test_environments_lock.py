"""Locks: complete, comparable, and silent about where packages came from."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from instainfer.environments.builder import Environments, _known_lock, ready_file
from instainfer.environments.exclusive import exclusive
from instainfer.environments.interpreters import Interpreter
from instainfer.environments.lock import Lock, lock_key, parse_pins, pin, write_durably
from instainfer.environments.requirements import Requirements

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
PYTHON = Interpreter(Path("/usr/bin/python3.11"), "3.11", "cpython-311-x86_64-linux-gnu", "linux-x86_64", frozenset())


def test_text_and_back() -> None:
    lock = Lock.of([pin("Zope.Interface", "7.0", [B, A]), pin("torch", "2.13.0+cpu", [A])], [])
    assert lock.text == (
        f"torch==2.13.0+cpu \\\n    --hash={A}\nzope-interface==7.0 \\\n    --hash={A} \\\n    --hash={B}\n"
    )
    assert Lock.parse(lock.text) == lock
    assert lock.hashed


def test_hashes_are_written_only_when_all_are_known() -> None:
    lock = Lock.of([pin("six", "1.16.0", [A]), pin("idna", "3.10", [])], [])
    assert not lock.hashed
    assert lock.text == "idna==3.10\nsix==1.16.0\n"
    assert not Lock().hashed


def test_without_dependencies_wins() -> None:
    lock = Lock.of([pin("six", "2.0", []), pin("idna", "3.10", [])], [pin("six", "1.0", [])])
    assert [str(p) for p in lock.pins] == ["idna==3.10", "six==1.0"]


@pytest.mark.parametrize("line", ["six", "six>=1", "--index-url https://packages.example.org", "six @ file:///six.whl"])
def test_only_exact_versions(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 of a lock is not an exact version"):
        parse_pins(f"idna==3.10\n{line}\n")


def test_an_environment_is_named_by_all_that_makes_it() -> None:
    lock = Lock.of([pin("six", "1.0", [A])], [])
    digest = lock.digest(PYTHON)
    assert digest.startswith("env-")
    assert len(digest) == len("env-") + 24
    assert lock.digest(replace(PYTHON, executable=Path("/opt/python"))) == digest
    others = {
        Lock.of([pin("six", "1.0", [B])], []).digest(PYTHON),
        lock.digest(replace(PYTHON, version="3.12")),
        lock.digest(replace(PYTHON, platform="linux-aarch64")),
        lock.digest(PYTHON, from_source=True),
        lock.digest(replace(PYTHON, contents="a" * 64)),
        lock.digest(replace(PYTHON, contents="a" * 64), from_source=True),
        digest,
    }
    assert len(others) == 7


def test_a_lock_is_kept_for_what_was_asked() -> None:
    key = lock_key(Requirements("six\n"), PYTHON)
    assert lock_key(Requirements("\n# newest\nsix  # please\n"), PYTHON) == key
    assert lock_key(Requirements("six\n", no_deps=("idna",)), PYTHON) != key
    assert lock_key(Requirements("six\n", from_source=True), PYTHON) != key
    assert lock_key(Requirements("six\n"), replace(PYTHON, tag="cpython-312-x86_64-linux-gnu")) != key


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "locks" / "one.txt"
    write_durably(file, "old")
    write_durably(file, "new")
    assert file.read_text() == "new"
    assert [path.name for path in file.parent.iterdir()] == ["one.txt"]


@pytest.mark.parametrize("content", [b"six>=1\n", b"\xff\xfe"])
def test_a_damaged_lock_is_resolved_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "lock"
    file.write_bytes(content)
    assert _known_lock(file) is None


@pytest.mark.parametrize("content", [b"", b"[", b"\xff\xfe", None])
def test_an_environment_whose_list_of_packages_is_damaged_is_built_anew(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "env-1"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    ready_file(folder).touch()
    environments = Environments(tmp_path)
    (folder / "packages.json").write_text("[]")
    assert environments._ready("env-1", cached=True) is not None
    (folder / "packages.json").unlink()
    if content is not None:
        (folder / "packages.json").write_bytes(content)
    assert environments._ready("env-1", cached=True) is None


def test_a_lock_whose_wait_cannot_be_told_leaves_no_descriptor_open(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("nobody listens")

    async def scenario() -> None:
        async with exclusive(tmp_path / "lock", fail):
            fds = os.listdir("/proc/self/fd")
            with pytest.raises(RuntimeError, match="nobody listens"):
                async with exclusive(tmp_path / "lock", fail):
                    raise AssertionError("it is held")
            assert os.listdir("/proc/self/fd") == fds

    asyncio.run(scenario())


def test_who_waits_for_a_lock_that_cannot_be_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock

    def fail(fd: int, operation: int) -> None:
        if not operation & fcntl.LOCK_NB:
            raise OSError(errno.ENOLCK, "no locks available")
        flock(fd, operation)

    async def scenario() -> None:
        async with exclusive(tmp_path / "lock", lambda: None):
            fds = os.listdir("/proc/self/fd")
            with pytest.raises(OSError, match="no locks available"):
                async with asyncio.timeout(30), exclusive(tmp_path / "lock", lambda: None):
                    raise AssertionError("it is held")
            assert os.listdir("/proc/self/fd") == fds

    monkeypatch.setattr(fcntl, "flock", fail)
    asyncio.run(scenario())
