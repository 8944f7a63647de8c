"""The few calls of Linux that Python's standard library lacks, by way of the C library."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CAP_NET_ADMIN = 12
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_SYS_NICE = 23

_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_SLAVE = 1 << 1, 1 << 2, 1 << 3, 1 << 12, 1 << 14, 1 << 19
_MNT_DETACH = 2

_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
IO_NORMAL = 0
IO_IDLE = 3

_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91, "ppc64le": 184, "s390x": 185}
_CAPGET = {"x86_64": 125, "aarch64": 90, "riscv64": 90, "ppc64le": 183, "s390x": 184}
_CAPABILITY_VERSION_3 = 0x20080522


def prctl(option: int, argument: int = 0) -> None:
    """Raises OSError."""
    _checked(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0))


def syscall(number: int, *arguments: Any) -> int:
    """Raises OSError."""
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def _checked(result: int) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def enter_user_namespace() -> None:
    """Give this process a user namespace of its own, with every capability in there. Raises OSError."""
    _checked(_libc.unshare(ctypes.c_int(_CLONE_NEWUSER)))


def enter_namespaces(*, user: bool, network: bool = False) -> None:
    """Give this process mounts and IPC of its own, and its children process ids of their own. Raises OSError.

    The host's mounts are still seen, but no change is seen outside. `user`: inside a new user namespace, which lets an
    ordinary user do this. There the process keeps its user id, and has every capability. `network`: with a network of
    its own, in which there is nothing.
    """
    uid, gid = os.geteuid(), os.getegid()
    asked = _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWPID
    asked |= (_CLONE_NEWUSER if user else 0) | (_CLONE_NEWNET if network else 0)
    _checked(_libc.unshare(ctypes.c_int(asked)))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", "{0} {0} 1"), ("gid_map", "{1} {1} 1")):
            with open("/proc/self/" + name, "w", encoding="ascii") as mapping:
                mapping.write(text.format(uid, gid))
    _mount("none", "/", "none", _MS_REC | _MS_SLAVE)


def mount_memory(name: str, folder: str, size_bytes: int, mode: int = 0o1777) -> None:
    """Mount a file system in memory, with room for so many bytes (0: half of the memory). Raises OSError."""
    _mount(name, folder, "tmpfs", _MS_NOSUID | _MS_NODEV, "size={},mode={:o}".format(size_bytes, mode))


def mount_processes(folder: str) -> None:
    """Mount a view of the processes of this process's namespace. Raises OSError."""
    _mount("proc", folder, "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def bind(source: str, target: str) -> None:
    """Show a file or a folder, with what is mounted below it, in another place as well. Raises OSError."""
    _mount(source, target, "none", _MS_BIND | _MS_REC)


def detach(folder: str) -> None:
    """Take away what is mounted on a folder, once nothing uses it any more. Raises OSError."""
    _checked(_libc.umount2(os.fsencode(folder), _MNT_DETACH))


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    parts = (os.fsencode(source), os.fsencode(target), kind.encode())
    _checked(_libc.mount(*parts, ctypes.c_ulong(flags), options.encode()))


def this_cpu() -> int:
    """The number of the processor that this thread is on."""
    number: int = _libc.sched_getcpu()
    return number


def advise(address: int, length: int, advice: int) -> None:
    """Tell the kernel what pages will be needed for; what it makes of it is its own affair."""
    _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), ctypes.c_int(advice))


def flush_c_output() -> None:
    """Write out what C code has left in the buffers of its ``stdout`` and ``stderr``."""
    _libc.fflush(None)


def die_with(parent: int, signal: int) -> bool:
    """Ask the kernel for `signal` when the parent dies; false when it has died already.

    A parent outside the namespace of this process's id is 0, dead or alive.
    """
    prctl(PR_SET_PDEATHSIG, signal)
    return os.getppid() == parent


def set_io_class(tid: int, io_class: int) -> None:
    """Set a thread's IO scheduling class (`IO_NORMAL`, `IO_IDLE`); no effect on machines it is not known for."""
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        syscall(
            number,
            ctypes.c_int(_IOPRIO_WHO_PROCESS),
            ctypes.c_int(tid),
            ctypes.c_int(io_class << _IOPRIO_CLASS_SHIFT),
        )


def has_capability(number: int) -> bool:
    """Whether this process has a capability in effect."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> number & 1)
    return False


def bound_capabilities() -> None:
    """Let no program that is started from here have any capability; without effect where that is not allowed."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # not allowed, or the first number that this kernel does not have


def drop_capabilities() -> None:
    """Give up every capability for good. Raises OSError, also where the call's number is not known."""
    bound_capabilities()
    keep_capabilities()


def keep_capabilities(*kept: int) -> None:
    """Give up every other capability. Raises OSError, also where the call's number is not known."""
    number = _CAPSET.get(os.uname().machine)
    if number is None:
        raise OSError("capset is not known for {}".format(os.uname().machine))
    bits = sum(1 << capability for capability in kept)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    syscall(number, struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data)


def give_up_capability(number: int) -> None:
    """Give up one capability. Programs started from here do not have it either if new privileges are not allowed.

    Raises OSError, also where the calls' numbers are not known.
    """
    words = _held_capabilities()
    base = number // 32 * 3
    words[base : base + 3] = [word & ~(1 << number % 32) for word in words[base : base + 3]]
    _hold_capabilities(words)


def use_permitted_capabilities() -> None:
    """Put every capability into effect that this process may use; a change of the user id puts them out of effect.

    Raises OSError, also where the calls' numbers are not known.
    """
    words = _held_capabilities()
    words[0], words[3] = words[1], words[4]
    _hold_capabilities(words)


def _held_capabilities() -> list[int]:
    """Effective, permitted and inheritable ones of the lower 32, then those of the others."""
    held = ctypes.create_string_buffer(24)
    syscall(_of_machine(_CAPGET), struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), held)
    return list(struct.unpack("=6I", held.raw))


def _hold_capabilities(words: list[int]) -> None:
    syscall(_of_machine(_CAPSET), struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), struct.pack("=6I", *words))


def _of_machine(numbers: dict[str, int]) -> int:
    machine = os.uname().machine
    if machine not in numbers:
        raise OSError("capset is not known for {}".format(machine))
    return numbers[machine]


def ptrace(request: int, pid: int, address: int, data: int) -> None:
    """Raises OSError."""
    _checked(_libc.ptrace(ctypes.c_long(request), ctypes.c_int(pid), ctypes.c_void_p(address), ctypes.c_void_p(data)))
