"""What a container's manager is told of the parts of a load."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from instainfer.runtime.connection import Connection
from instainfer.runtime.session import ContainerSession
from instainfer.wire.calls import FROM_PROCESS, Imported
from instainfer.wire.framing import Frame


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    with ours, theirs:
        yield ours, theirs


def heard(ours: socket.socket) -> list[object]:
    frames: list[Frame] = []
    decoder = FROM_PROCESS.decoder()
    while data := ours.recv(4096):
        frames += decoder.feed(data)
    return [FROM_PROCESS.decode(frame) for frame in frames]


def test_that_the_model_begins_is_said_once_however_many_begin_it(pair: tuple[socket.socket, socket.socket]) -> None:
    session = ContainerSession(Connection(pair[1]))
    gate = threading.Barrier(8)

    def load() -> None:
        gate.wait()
        session.model_begins()

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.model_ends()
    session.model_begins()
    pair[1].close()
    assert heard(pair[0]) == [Imported()]


def test_after_the_load_nothing_is_said_of_the_model(pair: tuple[socket.socket, socket.socket]) -> None:
    session = ContainerSession(Connection(pair[1]))
    session.model_ends()
    session.model_begins()
    pair[1].close()
    assert heard(pair[0]) == []


def test_a_process_that_the_function_has_forked_does_not_speak_for_it(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ContainerSession(Connection(pair[1]))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "getpid", lambda: 1)
        session.model_begins()
    session.model_begins()
    pair[1].close()
    assert heard(pair[0]) == [Imported()]
