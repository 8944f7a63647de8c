"""The manager of a container that has no socket of the platform's yet: it goes to where the platform waits for it.

The platform waits at a Unix socket in a folder that both see. The manager says a token first, which only the two of
them know; from then on everything is as in `manager`. The manager is the first process of the container, so the
container, and everything in it, ends with it. It ends when the platform closes the connection, or has ended.
"""

from __future__ import annotations

import os
import socket

from . import fences
from .linux import CAP_NET_ADMIN, give_up_capability, has_capability
from .manager import serve
from .view import View

TOKEN = "INSTAINFER_TOKEN"
"""The environment variable that gives the manager its token."""
FENCES = "INSTAINFER_FENCES"
"""The one with the networks that the container must not reach, with spaces between them."""


def main(arguments: list[str]) -> int:
    """``joining FOLDER SOCKET LOG LIMIT_BYTES SCRATCH``: `SOCKET` and `LOG` are names in the shared folder."""
    folder, name, log, limit_bytes, scratch = arguments
    output = os.open(os.path.join(folder, log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    fences.put_up(os.environ.pop(FENCES, "").split())
    if has_capability(CAP_NET_ADMIN):
        give_up_capability(CAP_NET_ADMIN)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    sock.connect("/proc/self/fd/{}/{}".format(at, name))  # the path itself may be too long for an address
    os.close(at)
    sock.sendall(os.environ.pop(TOKEN).encode())
    return serve(sock, int(limit_bytes), scratch, View(), may_share_uid=False)
