"""Renews, in a forked process, what must not be the same in all processes forked from one template."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import stat
import sys
from contextlib import suppress
from typing import Any, NamedTuple


def renew() -> None:
    """Give the process random numbers and a folder for temporary files of its own."""
    gc.enable()
    random.seed()
    # PyTorch's generator is left alone. It gives the same numbers in every new process, too, and functions that want
    # others seed it.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None  # a library may have asked for it, and then it is the template's folder


class OpenFile(NamedTuple):
    """A regular file that is open in a template."""

    fd: int
    flags: int
    offset: int


def open_files() -> list[OpenFile]:
    """The regular files that this process has open, except its standard streams."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with suppress(OSError):  # the descriptor with which the folder is listed
            if fd > 2 and stat.S_ISREG(os.fstat(fd).st_mode):
                found.append(OpenFile(fd, fcntl.fcntl(fd, fcntl.F_GETFL), os.lseek(fd, 0, os.SEEK_CUR)))
    return found


def reopen(files: list[OpenFile]) -> None:
    """Open these files anew under the same numbers, so that this process has offsets of its own in them.

    A forked process shares the offsets of its open files with the process that it was forked from. A file that cannot
    be opened again, because it has no name any more, stays shared.
    """
    for file in files:
        try:
            fresh = os.open("/proc/self/fd/{}".format(file.fd), file.flags & (os.O_ACCMODE | os.O_APPEND))
        except OSError:
            continue
        os.lseek(fresh, file.offset, os.SEEK_SET)
        os.dup2(fresh, file.fd, os.get_inheritable(file.fd))
        os.close(fresh)
