"""The gate at which tests meet a function's process: whom it lets them meet."""

from __future__ import annotations

import json
import socket
import struct

import pytest
from support.gates import Gate


def visit(gate: Gate, line: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gate.port))
    connection.sendall(line)
    return connection


@pytest.mark.parametrize("line", [b"", b'{"pid"', b'{"pid": 1, "manager": 2}\n'])
@pytest.mark.parametrize("is_reset", [False, True])
def test_who_was_killed_at_the_gate_or_before_is_passed_over(line: bytes, is_reset: bool) -> None:
    with Gate() as gate:
        killed = visit(gate, line)
        if is_reset:
            killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        killed.close()
        with visit(gate, json.dumps({"pid": 3, "manager": 2}).encode() + b"\n"):
            assert gate.reached().pid == 3


def test_who_waits_at_the_gate_is_met_in_the_order_of_arrival() -> None:
    with Gate() as gate:
        first, second = (visit(gate, b'{"pid": %d, "manager": 2}\n' % pid) for pid in (3, 4))
        with first, second:
            assert [gate.reached().pid, gate.reached().pid] == [3, 4]
