"""What a container sees of the host's files: some folders are its own, others are empty but for what it needs.

Its own are ``/dev/shm`` (in memory), ``/tmp`` and ``/var/tmp`` (in the container's folder): nobody else sees what is in
them, and all of it is gone with the container. Empty is ``/run``, where a host keeps sockets of its services, such as
Docker's. A path that a function needs and that lies in such a folder is shown there again. As root, so is one in a
folder that other users may not enter, because functions have user ids of their own.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from contextlib import suppress

from ..wire.messages import Function, Template
from .linux import bind, mount_memory

SHARED_MEMORY = "/dev/shm"
TEMPORARY = ("/tmp", "/var/tmp")
_HIDDEN = ("/run",)
_STILL_SHOWN = (
    "/run/systemd/resolve",  # resolv.conf is often a link to there
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
    "/run/nvidia-persistenced",
)
_NAME = "instainfer"
_COVER_BYTES = 1 << 20
_MOST_LINKS = 40
"""The kernel's own limit on the symbolic links in a path."""


class View:
    """The files that this process, and all that it starts, see. Without `open` it is that of the host."""

    def __init__(self, host: int = -1) -> None:
        """`host` is the root folder as it is outside, to follow links there; -1 if there is no outside."""
        self._host = host
        self._covered: dict[str, int] = {}
        """By path, the folders that are covered, as descriptors of what is underneath."""
        self._shown: set[str] = set()

    def close_off(self, limit_bytes: int, scratch: str) -> None:
        """Make the folders of the container its own. `limit_bytes` bounds its shared memory; `scratch` is its folder.

        The process must have mounts of its own already. Raises OSError.
        """
        os.umask(0o022)
        self.cover_shared_memory(limit_bytes)
        opened = [(folder, _made_open_to_all(scratch, folder)) for folder in TEMPORARY]
        for folder, fd in opened:  # the container's folder itself may lie in one of them
            if self._begin_cover(folder):
                bind("/proc/self/fd/{}".format(fd), folder)
            os.close(fd)
        for folder in _HIDDEN:
            if self._begin_cover(folder):
                mount_memory(_NAME, folder, _COVER_BYTES, 0o755)
        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for path in (scratch, sys.base_prefix, sys.base_exec_prefix, package, *_STILL_SHOWN):
            self.show(path)
        os.chdir(scratch)  # what was the working folder may be covered

    def cover_shared_memory(self, limit_bytes: int) -> None:
        """Give the container a ``/dev/shm`` of its own with this much room. Raises OSError."""
        mount_memory(_NAME, SHARED_MEMORY, limit_bytes)

    def host_pid(self, pid: int) -> int:
        """The id that a process has outside the container. Raises OSError if it does not exist."""
        if self._host < 0:
            return pid
        pidfd = os.pidfd_open(pid)
        try:
            told = os.open("proc/self/fdinfo/{}".format(pidfd), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._host)
            with open(told, encoding="ascii") as lines:
                return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
        finally:
            os.close(pidfd)

    def _begin_cover(self, folder: str) -> bool:
        if os.path.realpath(folder) != folder or not os.path.isdir(folder):
            return False  # this host has none, or it is another folder
        self._covered[folder] = _opened(folder)
        return True

    def show_function(self, function: Function) -> None:
        """Make visible what the processes of a function need: its folder, what links in it lead to, and all else."""
        self._show_folder(function.folder)
        self.show(function.cache)
        self.show_interpreter(function.python)
        if function.template is not None:
            self.show_template(function.template)

    def _show_folder(self, folder: str) -> None:
        """Show a function's folder, and the stored weights to which links in it lead, as `jail` lets it read them."""
        self.show(folder)
        if not self._covered:
            return
        for base, _, names in os.walk(folder):
            for path in (os.path.join(base, name) for name in names):
                if os.path.islink(path):
                    real = self._follow(path)
                    with suppress(OSError):
                        mode = os.stat("." + real, dir_fd=self._host).st_mode
                        if stat.S_ISREG(mode) and not mode & 0o222:
                            self.show(real)

    def show_template(self, template: Template) -> None:
        """The same for a library template, which needs the folders of its functions before they are forked from it."""
        for folder in template.folders:
            self._show_folder(folder)
        self.show_interpreter(template.python)
        self.show(template.caches)

    def show_interpreter(self, python: str) -> None:
        """Make an interpreter visible, with its environment, and with the installation that this was made from."""
        self.show(os.path.dirname(os.path.dirname(python)))
        self.show(os.path.dirname(os.path.dirname(self._follow(python))))

    def show(self, path: str) -> None:
        """Make a path of the host visible, if it is covered. Without effect if the host does not have it for us."""
        if not self._covered or not path:
            return
        if path in self._shown:
            return
        real = self._follow(path)
        self._open_way(real)
        cover = self._cover_of(real)
        if cover is None or any(_is_within(real, shown) for shown in self._shown):
            return
        source = "/proc/self/fd/{}/{}".format(self._covered[cover], os.path.relpath(real, cover))
        with suppress(OSError):
            if os.path.isdir(source):
                os.makedirs(real, 0o755, exist_ok=True)
            else:
                os.stat(source)
                os.makedirs(os.path.dirname(real), 0o755, exist_ok=True)
                os.close(os.open(real, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            bind(source, real)
            self._shown.add(real)

    def _open_way(self, path: str) -> None:
        """Cover the first folder on the way that other users may not pass, a home of root say: in its place they may.

        Only root could look into it, so nobody else misses what was there.
        """
        if os.geteuid() != 0:
            return
        folder = ""
        for name in path.split("/")[1:-1]:
            folder += "/" + name
            if folder in self._covered:
                return
            try:
                mode = os.stat("." + folder, dir_fd=self._host).st_mode
            except OSError:
                return
            if not mode & stat.S_IXOTH:
                if self._begin_cover(folder):
                    mount_memory(_NAME, folder, _COVER_BYTES, 0o755)
                return

    def _cover_of(self, path: str) -> str | None:
        return next((folder for folder in self._covered if _is_within(path, folder) and path != folder), None)

    def _follow(self, path: str) -> str:
        """The path without symbolic links, as the host has it. Links that are covered are made again."""
        done = "/"
        links = 0
        ahead = deque(os.path.abspath(path).split("/"))
        while ahead:
            name = ahead.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                done = os.path.dirname(done)
                continue
            here = os.path.join(done, name)
            try:
                target = os.readlink("." + here, dir_fd=self._host)
            except OSError:  # no link, or nothing
                done = here
                continue
            links += 1
            if links > _MOST_LINKS:
                return path
            if self._cover_of(here) is not None:
                with suppress(OSError):  # it is there already, or in a folder that is shown
                    os.makedirs(done, 0o755, exist_ok=True)
                    os.symlink(target, here)
            ahead.extendleft(reversed(target.split("/")))
            if target.startswith("/"):
                done = "/"
        return done


def is_private() -> bool:
    """Whether the ``/dev/shm`` that this process sees, and so its ``/tmp``, is that of its container.

    It is where the first process has joined the platform: then all of the machine that is seen here is the container.
    """
    with open("/proc/1/cmdline", "rb") as first:
        if b"joining" in first.read().split(b"\0"):
            return True
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        return any(line.startswith("{} {} ".format(_NAME, SHARED_MEMORY)) for line in mounts)


def _made_open_to_all(scratch: str, name: str) -> int:
    folder = os.path.join(scratch, name.strip("/").replace("/", "-"))
    os.mkdir(folder)
    os.chmod(folder, 0o1777)
    return _opened(folder)


def _opened(folder: str) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
