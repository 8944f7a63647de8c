"""The gate at which tests meet a function's process: whom it lets them meet."""

from __future__ import annotations

import json
import os
import socket
import struct

import pytest
from support.gates import Gate

AMONG = os.readlink("/proc/self/ns/pid")


def words(pid: int) -> bytes:
    return json.dumps({"pid": pid, "manager": os.getppid(), "among": AMONG}).encode() + b"\n"


def visit(gate: Gate, line: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gate.port))
    connection.sendall(line)
    return connection


@pytest.mark.parametrize("line", [b"", b'{"pid"', words(os.getpid())], ids=["nothing", "half", "all"])
@pytest.mark.parametrize("is_reset", [False, True])
def test_who_was_killed_at_the_gate_or_before_is_passed_over(line: bytes, is_reset: bool) -> None:
    with Gate() as gate:
        killed = visit(gate, line)
        if is_reset:
            killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        killed.close()
        with visit(gate, words(os.getppid())):
            assert gate.reached().pid == os.getppid()


def test_who_waits_at_the_gate_is_met_in_the_order_of_arrival() -> None:
    with Gate() as gate:
        pids = [os.getppid(), os.getpid()]
        first, second = (visit(gate, words(pid)) for pid in pids)
        with first, second:
            assert [gate.reached().pid, gate.reached().pid] == pids
