"""The filter of system calls: what it says of a call, on both machines that it is made for."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

import pytest

from instainfer.runtime import seccomp

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOWED = 0
NEW_NET, NEW_USER, THREAD = 0x40000000, 0x10000000, 0x003D0F00
O_CREAT, O_TMPFILE = 0o100, 0o20200000
PACKET, NETLINK = 17, 16

CALLS = [
    # name, numbers, arguments, what the filter answers
    ("getpid", (39, 172), (), ALLOWED),
    ("ptrace", (101, 117), (16, 1), errno.EPERM),
    ("mount", (165, 40), (), errno.EPERM),
    ("io_uring_setup", (425, 425), (), errno.ENOSYS),
    ("clone3", (435, 435), (), errno.ENOSYS),
    ("a thread", (56, 220), (THREAD,), ALLOWED),
    ("clone with a network", (56, 220), (THREAD | NEW_NET,), errno.EPERM),
    ("unshare a network", (272, 97), (NEW_NET,), errno.EPERM),
    ("unshare a network and users", (272, 97), (NEW_NET | NEW_USER,), errno.EPERM),
    ("unshare files", (272, 97), (0x400,), ALLOWED),
    ("own limits", (302, 261), (0, 7), ALLOWED),
    ("limits of others", (302, 261), (77, 7), errno.EPERM),
    ("fchmod", (91, 52), (3, 0o755), ALLOWED),
    ("fchmod setuid", (91, 52), (3, 0o4755), errno.EPERM),
    ("fchmodat setgid", (268, 53), (3, 0, 0o2755), errno.EPERM),
    ("fchmodat2 setuid", (452, 452), (3, 0, 0o4755), errno.EPERM),
    ("openat reads, whatever is in the last register", (257, 56), (3, 0, 0, 0o7777), ALLOWED),
    ("openat makes a file", (257, 56), (3, 0, O_CREAT, 0o644), ALLOWED),
    ("openat makes a setuid file", (257, 56), (3, 0, O_CREAT, 0o4755), errno.EPERM),
    ("openat makes a nameless setuid file", (257, 56), (3, 0, O_TMPFILE, 0o4755), errno.EPERM),
    ("asks for its personality", (135, 92), (0xFFFFFFFF,), ALLOWED),
    ("switches randomised addresses off", (135, 92), (0x0040000,), errno.EPERM),
    ("a Unix socket", (41, 198), (1,), ALLOWED),
    ("an IPv6 socket", (41, 198), (10,), ALLOWED),
    ("the kernel's own", (41, 198), (NETLINK,), ALLOWED),
    ("raw packets", (41, 198), (PACKET,), errno.EAFNOSUPPORT),
]


def said(filtering: Sequence[bytes], audit: int, number: int, arguments: Sequence[int] = ()) -> int:
    """What the filter answers: an error's number, or `ALLOWED`. This runs it as the kernel does."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    call = struct.pack("=iIQ6Q", number, audit, 0, *padded)
    at = value = 0
    while True:
        operation, if_so, if_not, operand = struct.unpack("=HBBI", filtering[at])
        at += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("=I", call, operand)
        elif operation == 0x06:
            return ALLOWED if operand == 0x7FFF0000 else operand & 0xFFFF
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[operation]
            at += if_so if holds else if_not


@pytest.mark.parametrize(("column", "machine"), list(enumerate(MACHINES)))
@pytest.mark.parametrize(("numbers", "arguments", "answer"), [call[1:] for call in CALLS], ids=[c[0] for c in CALLS])
def test_what_is_forbidden(
    machine: str, column: int, numbers: tuple[int, int], arguments: tuple[int, ...], answer: int
) -> None:
    filtering = seccomp.program(machine, user_namespaces=False)
    assert said(filtering, MACHINES[machine], numbers[column], arguments) == answer


@pytest.mark.parametrize(("column", "machine"), list(enumerate(MACHINES)))
def test_a_template_may_enter_a_user_namespace_and_no_other(machine: str, column: int) -> None:
    filtering = seccomp.program(machine, user_namespaces=True)
    unshare, clone = (272, 97)[column], (56, 220)[column]
    assert said(filtering, MACHINES[machine], unshare, (NEW_USER,)) == ALLOWED
    assert said(filtering, MACHINES[machine], unshare, (NEW_USER | NEW_NET,)) == errno.EPERM
    assert said(filtering, MACHINES[machine], clone, (NEW_USER,)) == errno.EPERM


def test_calls_for_other_machines_do_not_exist() -> None:
    filtering = seccomp.program("x86_64", user_namespaces=False)
    assert said(filtering, 0x40000003, 20) == errno.ENOSYS  # the 32-bit machine, where 20 is getpid
    assert said(filtering, MACHINES["x86_64"], 0x40000000 + 39) == errno.ENOSYS


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="no filter is made for this machine")
def test_it_is_there_on_this_machine() -> None:
    assert seccomp.is_known()
