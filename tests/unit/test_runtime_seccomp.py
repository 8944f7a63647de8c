"""The filter of system calls: its program, run here as the kernel runs it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pytest

from instainfer.runtime.seccomp import _NUMBERS, Step, program, rules

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
ALLOWED, KILLED = 0x7FFF0000, 0x80000000
LOAD, EQUAL, AT_LEAST, SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def verdict(steps: Sequence[Step], arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer for a call, after the kernel's own definition of these instructions."""
    padded = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    place, value = 0, 0
    while True:
        code, yes, no, operand = steps[place]
        place += 1
        if code == RETURN:
            return operand
        if code == LOAD:
            (value,) = struct.unpack_from("=I", data, operand)
            continue
        holds = {EQUAL: value == operand, AT_LEAST: value >= operand, SET: bool(value & operand)}[code]
        place += yes if holds else no


def answer(machine: str, call: str, *arguments: int, user_namespaces: bool = False) -> int | str:
    """The error that a call ends with, 0 if it is made."""
    number = _NUMBERS[call][COLUMN[machine]]
    assert number is not None
    got = verdict(program(rules(user_namespaces=user_namespaces), machine), ARCH[machine], number, *arguments)
    return 0 if got == ALLOWED else errno.errorcode[got & 0xFFFF]


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("ptrace", (16, 1), "EPERM"),
        ("mount", (), "EPERM"),
        ("clone3", (), "ENOSYS"),
        ("io_uring_setup", (), "ENOSYS"),
        ("clone", (0x01200011,), 0),  # fork, as the C library makes it
        ("clone", (0x003D0F00,), 0),  # a thread
        ("clone", (0x10000011,), "EPERM"),
        ("clone", (0x00020011,), "EPERM"),
        ("unshare", (0x400,), 0),
        ("unshare", (0x10000000,), "EPERM"),
        ("unshare", (0x80,), "EPERM"),
        ("prlimit64", (0, 7), 0),
        ("prlimit64", (1, 7), "EPERM"),
        ("personality", (0xFFFFFFFF,), 0),
        ("personality", (-1,), 0),
        ("personality", (0x0040000,), "EPERM"),
        ("fchmodat", (-100, 0, 0o755), 0),
        ("fchmodat", (-100, 0, 0o4755), "EPERM"),
        ("fchmodat2", (-100, 0, 0o2755), "EPERM"),
        ("fchmod", (3, 0o6755), "EPERM"),
        ("openat", (-100, 0, 0o102, 0o4755), "EPERM"),
        ("openat", (-100, 0, 0o102, 0o644), 0),
        ("openat", (-100, 0, 0, 0o4755), 0),  # without O_CREAT this argument is anything
        ("socket", (1, 1, 0), 0),
        ("socket", (10, 1, 6), 0),
        ("socket", (16, 3, 0), 0),
        ("socket", (16, 3, 9), "EAFNOSUPPORT"),
        ("socket", (17, 3, 0), "EAFNOSUPPORT"),
        ("socket", (40, 1, 0), "EAFNOSUPPORT"),
    ],
)
def test_what_is_denied(machine: str, call: str, arguments: tuple[int, ...], expected: int | str) -> None:
    assert answer(machine, call, *arguments) == expected


def test_a_template_may_make_user_namespaces_and_no_others(machine: str) -> None:
    assert answer(machine, "unshare", 0x10000000, user_namespaces=True) == 0
    assert answer(machine, "unshare", 0x10020000, user_namespaces=True) == "EPERM"
    assert answer(machine, "clone", 0x10000011, user_namespaces=True) == "EPERM"


def test_a_call_that_no_rule_names_is_made(machine: str) -> None:
    steps = program(rules(), machine)
    named = {numbers[COLUMN[machine]] for numbers in _NUMBERS.values()}
    assert all(verdict(steps, ARCH[machine], number) == ALLOWED for number in set(range(470)) - named)


def test_calls_of_a_foreign_abi_end_the_process() -> None:
    steps = program(rules(), "x86_64")
    assert verdict(steps, ARCH["aarch64"], 0) == KILLED
    assert verdict(steps, 0x40000003, 11) == KILLED, "32 bits"
    assert verdict(steps, ARCH["x86_64"], 0x40000000 | 101) == KILLED, "x32"


def test_an_unknown_machine_is_said() -> None:
    with pytest.raises(OSError, match="sparc"):
        program(rules(), "sparc")


def test_each_jump_ends_within_the_program(machine: str) -> None:
    steps = program(rules(), machine)
    for place, step in enumerate(steps):
        assert place + 1 + max(step.yes, step.no) < len(steps) or step.code in (LOAD, RETURN)
        assert max(step.yes, step.no) < 256
    assert len(steps) < 4096
