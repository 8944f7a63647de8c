"""The door at which a manager is awaited: who does not know the token stays outside."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from instainfer.backends.docker.door import SOCKET, Door


def visit(folder: Path, says: bytes) -> socket.socket:
    visitor = socket.socket(socket.AF_UNIX)
    visitor.connect(f"{folder}/{SOCKET}")
    visitor.sendall(says)
    return visitor


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


def test_who_says_the_token_is_let_in_and_heard_from_there_on(folder: Path) -> None:
    async def scenario() -> None:
        door = Door(folder)
        with visit(folder, door.token.encode() + b"and more"), await door.visitor() as inside:
            assert await asyncio.get_running_loop().sock_recv(inside, 100) == b"and more"
        door.close()

    asyncio.run(scenario())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("says", [b"", b"0" * 64, b"short"])
def test_others_are_refused_and_the_door_stays_open(folder: Path, says: bytes) -> None:
    async def scenario() -> None:
        door = Door(folder)
        awaited = asyncio.ensure_future(door.visitor())
        with visit(folder, says) as stranger:
            stranger.shutdown(socket.SHUT_WR)
            assert await asyncio.to_thread(stranger.recv, 1) == b""
            assert not awaited.done()
        with visit(folder, door.token.encode()), await awaited:
            door.close()

    asyncio.run(scenario())


def test_who_says_nothing_does_not_keep_the_manager_waiting_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instainfer.backends.docker.door._TOKEN_S", 0.05)

    async def scenario() -> None:
        door = Door(folder)
        awaited = asyncio.ensure_future(door.visitor())
        with visit(folder, b""), visit(folder, door.token.encode()), await awaited:
            door.close()

    asyncio.run(scenario())


def test_nobody_else_on_this_machine_gets_to_the_door(folder: Path) -> None:
    folder.chmod(0o755)
    Door(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_tokens_differ(folder: Path) -> None:
    first = Door(folder)
    first.close()
    second = Door(folder)
    second.close()
    assert first.token != second.token
