"""Landlock: a process gives up, for itself and all it will start, every path but those it names. Needs no privilege.

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable

from .linux import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_MAKE_CHARACTER_DEVICE = 1 << 6
"""A right that no function has anyway. A domain has to restrict something."""
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ADDED_BY_ABI = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _REMOVE_AND_MAKE | _REFER | _TRUNCATE
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_SCOPED_FROM_ABI = 6
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1


def abi() -> int:
    """The version of Landlock that the kernel offers, 0 for none."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(readable: Iterable[str], writable: Iterable[str]) -> int:
    """Leave this process only these paths, to read and execute or also to write, and what lies beneath them.

    From ABI 6 on it can neither signal processes outside nor reach their abstract sockets. Paths that do not exist
    are skipped. ``no_new_privs`` must have been set. Returns the ABI; raises OSError when nothing was restricted.
    """
    version = abi()
    if version == 0:
        raise OSError("this kernel has no Landlock, or it is switched off")
    handled = _READ | _WRITE_FILE | _REMOVE_AND_MAKE
    for since, right in _ADDED_BY_ABI:
        if version >= since:
            handled |= right
    ruleset = _create(handled, version)
    try:
        for path in readable:
            _allow(ruleset, path, _READ & handled)
        for path in writable:
            _allow(ruleset, path, (_READ | _WRITE | _IOCTL_DEV) & handled & ~_EXECUTE)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def separate() -> bool:
    """Separate this process, and all that it will start, from the processes that it was forked from.

    It keeps its access to files. But it can no longer trace them or write into their memory and, from ABI 6 on, not
    signal them either, because they are outside its new domain. Returns whether that could be done. ``no_new_privs``
    must have been set.
    """
    version = abi()
    if version == 0:
        return False
    ruleset = _create(_MAKE_CHARACTER_DEVICE, version)
    try:
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _create(handled: int, version: int) -> int:
    if version >= _SCOPED_FROM_ABI:
        attributes = struct.pack("=QQQ", handled, 0, _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS)
    else:
        attributes = struct.pack("=Q", handled)
    return syscall(_CREATE_RULESET, attributes, len(attributes), 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _ON_FILES
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)
