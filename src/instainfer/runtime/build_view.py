"""What a tool that builds an environment sees of the host's files: a root folder with nothing in it but what it needs.

Everything else does not exist for it: homes, sockets of services, the platform's records and keys, and other
environments. A folder on the way that is closed to other users, as ``/root`` often is, is an ordinary folder here with
one thing in it, so that an interpreter below it can be run by a user of its own.

Containers are the opposite: they see the host's files but for some folders.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import stat
import struct
from collections import deque
from collections.abc import Iterable

from .linux import bind, detach, mount_memory, mount_processes, syscall

_READ_ONLY, _NO_SET_IDS, _NO_DEVICES = 1 << 0, 1 << 1, 1 << 2
"""What `mount_setattr` takes from a mount."""
_MOUNT_SETATTR = 442  # the same on every architecture
_AT_RECURSIVE, _AT_EMPTY_PATH = 0x8000, 0x1000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
# Not all of /etc, since some of its files are not for everyone.
_SETTINGS = (
    "alternatives ca-certificates crypto-policies debian_version gai.conf group host.conf hosts ld.so.cache localtime "
    "lsb-release mime.types nsswitch.conf os-release passwd pki protocols redhat-release resolv.conf services ssl "
    "system-release"
)
SYSTEM = (*_SYSTEM, *("/etc/" + name for name in _SETTINGS.split()))
"""What every program may read."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}
_BASE = "/sys"
"""Where the new root is made. Nothing that a tool needs lies there."""
_NAME = "instainfer-build"
_ROOT_BYTES, _SHARED_MEMORY_BYTES = 16 << 20, 64 << 20
_MOST_LINKS = 40
"""The kernel's own limit on the symbolic links in a path."""


def listen_inside(port: int) -> socket.socket:
    """Start the loopback device of a new network, and listen on a port of it. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    return socket.create_server(("127.0.0.1", port))


class View:
    """The new root folder, while it is made. The process must be the first in namespaces of its own."""

    def __init__(self) -> None:
        """Raises OSError, as all methods do."""
        mount_memory(_NAME, _BASE, _ROOT_BYTES, 0o755)
        self._shown: list[str] = []
        os.umask(0o022)
        for path in SYSTEM:
            self.show(path, writable=False)
        for path in DEVICES:
            self.show(path, writable=True)
        for link, target in _LINKS.items():
            os.symlink(target, _BASE + link)
        for folder in ("/proc", "/dev/shm"):
            os.makedirs(_BASE + folder, exist_ok=True)
        mount_memory(_NAME, _BASE + "/dev/shm", _SHARED_MEMORY_BYTES)
        mount_processes(_BASE + "/proc")

    def show_temporary(self, folder: str) -> None:
        """Make a folder of the host ``/tmp``."""
        os.makedirs(_BASE + "/tmp", exist_ok=True)
        _bind(folder, _BASE + "/tmp", writable=True)

    def show_all(self, paths: Iterable[str], *, writable: bool) -> None:
        """Make paths of the host visible. Those that do not exist are skipped."""
        for path in sorted(paths):  # a folder comes before what lies in it
            self.show(path, writable=writable)

    def show(self, path: str, *, writable: bool) -> None:
        real = self._follow(path)
        is_there = any(real == shown or real.startswith(shown + "/") for shown in self._shown)
        if real == "/" or not os.path.exists(real) or (is_there and not writable):
            return
        target = _BASE + real
        if os.path.isdir(real):
            os.makedirs(target, 0o755, exist_ok=True)
        elif not os.path.exists(target):
            os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        _bind(real, target, writable=writable)
        self._shown.append(real)

    def _follow(self, path: str) -> str:
        """The path without symbolic links. Those on the way are made in the new root too."""
        done = ""
        links = 0
        ahead = deque(os.path.abspath(path).split("/"))
        while ahead:
            name = ahead.popleft()
            if name == "..":
                done = os.path.dirname(done)
            if name in ("", ".", ".."):
                continue
            here = done + "/" + name
            if not os.path.islink(here):
                done = here
                continue
            links += 1
            if links > _MOST_LINKS:
                return path
            target = os.readlink(here)
            if not os.path.lexists(_BASE + here):
                os.makedirs(_BASE + done, 0o755, exist_ok=True)
                os.symlink(target, _BASE + here)
            if target.startswith("/"):
                done = ""
            ahead.extendleft(reversed(target.split("/")))
        return done or "/"

    def enter(self) -> None:
        """Make it the root folder of this process. Nothing of the host can be reached by a path any more."""
        number = _PIVOT_ROOT.get(os.uname().machine)
        if number is None:
            raise OSError("pivot_root is not known for {}".format(os.uname().machine))
        _set_attributes(_BASE, _READ_ONLY | _NO_SET_IDS | _NO_DEVICES, recursive=False)
        os.chdir(_BASE)
        syscall(number, b".", b".")
        detach(".")
        os.chdir("/")


def _bind(source: str, target: str, *, writable: bool) -> None:
    bind(source, target)
    is_device = stat.S_ISCHR(os.stat(source).st_mode)
    flags = _NO_SET_IDS | (0 if is_device else _NO_DEVICES) | (0 if writable else _READ_ONLY)
    _set_attributes(target, flags, recursive=True)


def _set_attributes(path: str, flags: int, *, recursive: bool) -> None:
    """Take rights from a mount."""
    attributes = struct.pack("=QQQQ", flags, 0, 0, 0)
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        how = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
        syscall(_MOUNT_SETATTR, fd, b"", how, attributes, ctypes.c_size_t(len(attributes)))
    finally:
        os.close(fd)
