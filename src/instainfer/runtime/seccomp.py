"""A filter of system calls: a process gives up, for itself and all it will start, those that no function needs.

The list follows Docker's default profile: calls that change the kernel or the host, that look into or change other
processes, that make namespaces, and parts of the kernel that only few programs use and that have often been attacked.
A call that is denied fails with EPERM, or with ENOSYS where libraries then take another way. A call of a foreign ABI,
whose numbers mean something else, ends the process.

The filter is a program of the kernel's packet filter (BPF), which the kernel runs before each call. Calls that it lets
pass whatever their arguments are cost nothing: the kernel knows them beforehand, from Linux 5.11 on.
https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .linux import syscall

CLONE_NEWUSER = 0x10000000
_NAMESPACES = 0x7E020000
"""All flags of ``clone`` that make namespaces."""
_NEW_TIME = 0x80
_SET_IDS = 0o6000
_CREATES = 0o100 | 0o20000000
"""The flags of ``open`` with which its mode counts: O_CREAT and O_TMPFILE."""
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_ROUTE = 0


class Where(NamedTuple):
    """A condition on one argument, of which the lower 32 bits count."""

    argument: int
    mask: int = 0
    """Holds if one of these bits is set."""
    is_in: tuple[int, ...] = ()
    """Holds if the argument is one of these."""
    is_not_in: tuple[int, ...] = ()
    """Holds if the argument is none of these."""


class Rule(NamedTuple):
    """A call that is denied where all conditions hold."""

    call: str
    error: int = errno.EPERM
    where: tuple[Where, ...] = ()


# Names and numbers, of x86_64 and of aarch64 (None: it does not have the call).
_NUMBERS: Mapping[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chmod": (90, None),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "creat": (85, None),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "migrate_pages": (256, 238),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "open": (2, None),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "openat": (257, 56),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}

_NEVER = (
    *("acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime", "create_module"),
    *("delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module"),
    *("ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "modify_ldt", "mount"),
    *("mount_setattr", "move_mount", "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open"),
    *("pidfd_getfd", "pivot_root", "process_madvise", "process_mrelease", "process_vm_readv", "process_vm_writev"),
    *("ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "sethostname", "setns"),
    *("settimeofday", "swapoff", "swapon", "syslog", "umount2", "userfaultfd", "vhangup"),
)
_NOT_THERE = ("clone3", "io_uring_enter", "io_uring_register", "io_uring_setup", "openat2")
"""Calls whose arguments lie in memory, where no filter sees them. Libraries take others if a kernel lacks these."""

_SETS_IDS = (
    *(Rule(call, where=(Where(1, mask=_SET_IDS),)) for call in ("chmod", "creat", "fchmod", "mknod")),
    *(Rule(call, where=(Where(2, mask=_SET_IDS),)) for call in ("fchmodat", "fchmodat2", "mknodat")),
    Rule("open", where=(Where(1, mask=_CREATES), Where(2, mask=_SET_IDS))),
    Rule("openat", where=(Where(2, mask=_CREATES), Where(3, mask=_SET_IDS))),
)
"""Files whose bits make whoever runs them somebody else."""
_TO_OTHERS = tuple(
    Rule(call, where=(Where(0, is_not_in=(0,)),)) for call in ("migrate_pages", "move_pages", "prlimit64")
)
"""Calls that change the process whose id is given. 0 is the process itself."""


def rules(*, user_namespaces: bool = False) -> list[Rule]:
    """What functions may not do. `user_namespaces`: making these is allowed, for what is forked from a library template
    and gets its user id in one.
    """
    unshare = Rule("unshare", where=(Where(0, mask=_NAMESPACES | _NEW_TIME),))
    if user_namespaces:
        unshare = unshare._replace(where=(*unshare.where, Where(0, is_not_in=(CLONE_NEWUSER,))))
    return [
        *(Rule(call) for call in _NEVER),
        *(Rule(call, errno.ENOSYS) for call in _NOT_THERE),
        *_SETS_IDS,
        *_TO_OTHERS,
        unshare,
        Rule("clone", where=(Where(0, mask=_NAMESPACES),)),
        Rule("personality", where=(Where(0, is_not_in=(0, 0xFFFFFFFF)),)),
        Rule("socket", errno.EAFNOSUPPORT, (Where(0, is_not_in=(_UNIX, _INET, _INET6, _NETLINK)),)),
        Rule("socket", errno.EAFNOSUPPORT, (Where(0, is_in=(_NETLINK,)), Where(2, is_not_in=(_ROUTE,)))),
    ]


# -- the program ------------------------------------------------------------------------------------------------------

_LOAD, _EQUAL, _AT_LEAST, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8
"""Where ``struct seccomp_data`` holds what (on machines whose words begin with the lower half)."""
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X32 = 0x40000000
"""Numbers from here on are those of the x32 ABI."""


class _Machine(NamedTuple):
    arch: int
    column: int
    filter_call: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 0, 317), "aarch64": _Machine(0xC00000B7, 1, 277)}


class Step(NamedTuple):
    """One instruction; `yes` and `no` are the numbers of steps that are skipped."""

    code: int
    yes: int
    no: int
    value: int


def program(given: Iterable[Rule], machine: str) -> list[Step]:
    """The program that denies what the rules say on this kind of machine. Raises OSError where it is not known."""
    known = _MACHINES.get(machine)
    if known is None or sys.byteorder != "little":
        raise OSError("the numbers of system calls are not known for {}".format(machine))
    steps = [
        Step(_LOAD, 0, 0, _ARCH_AT),
        Step(_EQUAL, 1, 0, known.arch),
        Step(_RETURN, 0, 0, _KILL),
        Step(_LOAD, 0, 0, _NUMBER_AT),
        Step(_AT_LEAST, 0, 1, _X32),
        Step(_RETURN, 0, 0, _KILL),
    ]
    by_number: dict[int, list[Rule]] = {}
    for rule in given:
        number = _NUMBERS[rule.call][known.column]
        if number is not None:
            by_number.setdefault(number, []).append(rule)
    for number, those in sorted(by_number.items()):
        block = [step for rule in those for step in _denied(rule)]
        if those[-1].where:
            block.append(Step(_RETURN, 0, 0, _ALLOW))
        steps += [Step(_EQUAL, 0, len(block), number), *block]
    return [*steps, Step(_RETURN, 0, 0, _ALLOW)]


def _denied(rule: Rule) -> list[Step]:
    """Return an error if all conditions hold, else go on behind these steps."""
    steps = [Step(_RETURN, 0, 0, _FAIL | rule.error)]
    for where in reversed(rule.where):
        steps = _unless_skip(where, len(steps)) + steps
    return steps


def _unless_skip(where: Where, behind: int) -> list[Step]:
    load = Step(_LOAD, 0, 0, _ARGUMENTS_AT + where.argument * _ARGUMENT_BYTES)
    if where.mask:
        return [load, Step(_SET, 0, behind, where.mask)]
    values = where.is_in or where.is_not_in
    tests = []
    for place, value in enumerate(values):
        left = len(values) - place - 1
        if where.is_in:
            tests.append(Step(_EQUAL, left, 0 if left else behind, value))
        else:
            tests.append(Step(_EQUAL, left + behind, 0, value))
    return [load, *tests]


# -- its installation -------------------------------------------------------------------------------------------------

_SET_FILTER, _ACTION_AVAILABLE = 1, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def install(given: Sequence[Rule]) -> None:
    """Filter the calls of this thread, and of all that it will start, for good. ``no_new_privs`` must have been set.

    Raises OSError where the kernel or the machine does not allow it.
    """
    machine = os.uname().machine
    steps = program(given, machine)
    packed = b"".join(struct.pack("=HBBI", *step) for step in steps)
    filtering = _Program(len(steps), packed)
    syscall(_MACHINES[machine].filter_call, _SET_FILTER, 0, ctypes.byref(filtering))


def is_available() -> bool:
    """Whether this kernel has filters, and the machine is one whose calls are known."""
    known = _MACHINES.get(os.uname().machine)
    try:
        return known is not None and syscall(known.filter_call, _ACTION_AVAILABLE, 0, _packed_action()) == 0
    except OSError:
        return False


def _packed_action() -> bytes:
    return struct.pack("=I", _KILL)
