"""A filter of system calls: takes from a process, and all it will start, calls that no function needs.

It forbids what reaches into other processes, changes the machine, makes namespaces, or is so rarely used that its
mistakes are found late. The list follows that of Docker's default profile. No privilege is needed, but
``no_new_privs``. A filter cannot be taken off; a second one only forbids more.

https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from .linux import syscall


class _Machine(NamedTuple):
    audit: int
    """The number by which the kernel tells filters which machine a call is made for."""
    column: int
    """Which of the two numbers in the tables below is this machine's."""
    seccomp: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 0, 317), "aarch64": _Machine(0xC00000B7, 1, 277)}
_X32 = 0x40000000
"""Numbers from here on are those of a second set of calls on x86_64, which nothing uses."""

_NONE = -1
_FORBIDDEN = {
    # other processes
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    # namespaces and mounts
    "chroot": (161, 51),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "pivot_root": (155, 41),
    "setns": (308, 268),
    "umount2": (166, 39),
    # files by other ways than their paths
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # the machine
    "acct": (163, 89),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "ioperm": (173, _NONE),
    "iopl": (172, _NONE),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "modify_ldt": (154, _NONE),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    # where many mistakes were found
    "add_key": (248, 217),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "perf_event_open": (298, 241),
    "request_key": (249, 218),
    "uselib": (134, _NONE),
    "userfaultfd": (323, 282),
    "ustat": (136, _NONE),
}
_NOT_KNOWN = {
    # Said not to exist, so that libraries take the older call: a filter does not see what is behind a pointer.
    "clone3": (435, 435),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "openat2": (437, 437),
}
_CLONE, _UNSHARE = (56, 220), (272, 97)
_NEW_USER = 0x10000000
_NEW_NAMESPACES = 0x7E020000
"""Mounts, control groups, host names, IPC, users, process ids, network."""
_SET_IDS = 0o6000
_MODES = (  # a call that gives a file its rights, and which argument has them
    ((90, _NONE), 1),  # chmod
    ((91, 52), 1),  # fchmod
    ((268, 53), 2),  # fchmodat
    ((452, 452), 2),  # fchmodat2
    ((133, _NONE), 1),  # mknod
    ((259, 33), 2),  # mknodat
    ((85, _NONE), 1),  # creat
)
_OPENS = (((2, _NONE), 1), ((257, 56), 2))
"""`open` and `openat`, and which argument says whether they make a file. The next one has its rights then."""
_MAKES_FILE = 0o20000100
"""``O_CREAT``, and what makes ``O_TMPFILE`` differ from ``O_DIRECTORY``."""
_PRLIMIT, _PERSONALITY, _SOCKET = (302, 261), (135, 92), (41, 198)
_ITSELF = 0
_PERSONALITIES = (0, 0xFFFFFFFF)
"""The usual one, and the question which one it is."""
_FAMILIES = (1, 2, 10, 16)
"""Unix, both of IP, and the kernel's own, of which interfaces and addresses are asked."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AT_NUMBER, _AT_MACHINE, _AT_ARGUMENTS = 0, 4, 16
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_SET_FILTER, _ALL_THREADS, _NO_SLOW_SPECULATION = 1, 1, 4


def restrict(*, user_namespaces: bool = False) -> bool:
    """Forbid the calls to all threads of this process and all that it will start. Returns whether that was possible.

    `user_namespaces`: it may still enter one, which is how a process without rights gets a user id of its own.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    filtering = program(os.uname().machine, user_namespaces=user_namespaces)
    code = ctypes.create_string_buffer(b"".join(filtering))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(filtering), ctypes.addressof(code)))
    try:
        # Without the second flag, some kernels make every process with a filter slower.
        syscall(machine.seccomp, _SET_FILTER, _ALL_THREADS | _NO_SLOW_SPECULATION, described)
    except OSError:
        return False
    return True


def is_known() -> bool:
    """Whether there is a filter for this machine, and a kernel that takes one."""
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail", encoding="utf-8") as actions:
            return os.uname().machine in _MACHINES and "errno" in actions.read().split()
    except OSError:
        return False


def program(machine: str, *, user_namespaces: bool) -> list[bytes]:
    """The filter, in instructions of the classic BPF, eight bytes each."""
    about = _MACHINES[machine]
    forbidden_namespaces = _NEW_NAMESPACES & ~(_NEW_USER if user_namespaces else 0)
    filtering = [
        _step(_LOAD, _AT_MACHINE),
        _step(_EQUAL, about.audit, 1, 0),
        _refusal(errno.ENOSYS),
        _step(_LOAD, _AT_NUMBER),
    ]
    if about.column == 0:
        filtering += [_step(_AT_LEAST, _X32, 0, 1), _refusal(errno.ENOSYS)]
    for numbers, code in ((_FORBIDDEN, errno.EPERM), (_NOT_KNOWN, errno.ENOSYS)):
        for number in numbers.values():
            filtering += _when(number[about.column], [_refusal(code)])
    for number, argument, mask in (
        (_CLONE, 0, _NEW_NAMESPACES),
        (_UNSHARE, 0, forbidden_namespaces),
        *((number, argument, _SET_IDS) for number, argument in _MODES),
    ):
        filtering += _when(
            number[about.column], [_argument(argument), _step(_ANY_BIT, mask, 0, 1), *_EITHER[errno.EPERM]]
        )
    for number, flags in _OPENS:
        makes = [_argument(flags), _step(_ANY_BIT, _MAKES_FILE, 1, 0), _step(_RETURN, _ALLOW)]
        rights = [_argument(flags + 1), _step(_ANY_BIT, _SET_IDS, 0, 1), *_EITHER[errno.EPERM]]
        filtering += _when(number[about.column], [*makes, *rights])
    for number, argument, allowed, code in (
        (_PRLIMIT, 0, (_ITSELF,), errno.EPERM),
        (_PERSONALITY, 0, _PERSONALITIES, errno.EPERM),
        (_SOCKET, 0, _FAMILIES, errno.EAFNOSUPPORT),
    ):
        tests = [_step(_EQUAL, value, len(allowed) - place, 0) for place, value in enumerate(allowed)]
        filtering += _when(number[about.column], [_argument(argument), *tests, *_EITHER[code]])
    return [*filtering, _step(_RETURN, _ALLOW)]


def _when(number: int, then: list[bytes]) -> list[bytes]:
    """What to do about the call with this number. `then` must end with a return."""
    return [] if number == _NONE else [_step(_EQUAL, number, 0, len(then)), *then]


def _argument(place: int) -> bytes:
    """Load the lower half of an argument. No call in question looks at the upper half."""
    return _step(_LOAD, _AT_ARGUMENTS + 8 * place)


def _refusal(code: int) -> bytes:
    return _step(_RETURN, _ERROR | code)


def _step(operation: int, operand: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_so, if_not, operand)


_EITHER = {code: (_refusal(code), _step(_RETURN, _ALLOW)) for code in (errno.EPERM, errno.EAFNOSUPPORT)}
"""The two ends of a test: the refusal, which a test passes over by jumping one further, and the permission."""
