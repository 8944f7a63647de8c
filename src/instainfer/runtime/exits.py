"""How a process has ended that is no child of this one, by way of its pidfd.

The kernel keeps the exit status of a process for those that have a pidfd of it, from Linux 6.15 on
(``PIDFD_GET_INFO``, https://man7.org/linux/man-pages/man2/pidfd_open.2.html).
"""

from __future__ import annotations

import fcntl
import os
import struct

_GET_INFO = 0xC040FF0B
"""``_IOWR(0xFF, 11, struct pidfd_info)``, whose first version has 64 bytes."""
_INFO = struct.Struct("=QQ3I8Ii")
"""``mask``, ``cgroupid``, three ids of the process, eight user and group ids, and the exit status."""
_EXIT = 1 << 3


def wait_status(pid: int, pidfd: int) -> int | None:
    """The wait status of a process whose pidfd says that it has ended. None if the kernel does not tell.

    A child of this process is reaped.
    """
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped == pid:
            return status
    except ChildProcessError:
        pass
    info = bytearray(_INFO.pack(_EXIT, *[0] * 12, 0))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None
    fields = _INFO.unpack(info)
    return fields[-1] if fields[0] & _EXIT else None
