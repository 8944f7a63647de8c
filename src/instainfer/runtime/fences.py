"""Keeps a container's processes from addresses that are no business of theirs: routes to there lead nowhere.

The kernel answers EACCES at once. The manager puts the fences up before it starts anything, and then gives up the right
to change them.
"""

from __future__ import annotations

import os
import socket
import struct

_NEW_ROUTE = 24
_REQUEST, _ACKNOWLEDGE, _CREATE = 0x1, 0x4, 0x400
_TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _TYPE_PROHIBIT = 254, 4, 0, 8
_DESTINATION = 1
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH4s")


def put_up(networks: list[str]) -> None:
    """Prohibit these networks, such as ``169.254.0.0/16``, in the network namespace of this process. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        for number, network in enumerate(networks, 1):
            netlink.send(_prohibition(network, number))
            answer = netlink.recv(4096)
            (code,) = struct.unpack_from("=i", answer, _HEADER.size)
            if code:
                raise OSError(-code, os.strerror(-code), network)


def _prohibition(network: str, number: int) -> bytes:
    address, _, bits = network.partition("/")
    route = _ROUTE.pack(
        socket.AF_INET, int(bits), 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_UNIVERSE, _TYPE_PROHIBIT, 0
    )
    route += _ATTRIBUTE.pack(_ATTRIBUTE.size, _DESTINATION, socket.inet_aton(address))
    flags = _REQUEST | _ACKNOWLEDGE | _CREATE
    return _HEADER.pack(_HEADER.size + len(route), _NEW_ROUTE, flags, number, 0) + route
