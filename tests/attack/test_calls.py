"""Attacks by system calls that no function needs: on other processes, on the kernel, on who runs a file."""

from __future__ import annotations

import platform

import pytest
from support.attacks import attacked

from instainfer.runtime import seccomp

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(not seccomp.is_available(), reason="this kernel or machine has no filter for calls"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers below are those of x86_64"),
]

CALLS = """
import ctypes, errno, os, resource, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments])
    return 0 if got != -1 else errno.errorcode[ctypes.get_errno()]
"""


DENIED = {
    "ptrace": ((101, 0x4206, 1, 0, 0), "EPERM"),
    "process_vm_readv": ((310, 1, 0, 0, 0, 0, 0), "EPERM"),
    "prlimit": ((302, 1, 7, 0, 0), "EPERM"),
    "unshare": ((272, 0x10000000), "EPERM"),
    "clone3": ((435, 0, 0), "ENOSYS"),
    "mount": ((165, 0, 0, 0, 0, 0), "EPERM"),
    "bpf": ((321, 0, 0, 0), "EPERM"),
    "io_uring": ((425, 1, 0), "ENOSYS"),
    "keyctl": ((250, 0, -3, 0), "EPERM"),
    "userfaultfd": ((323, 0), "EPERM"),
    "packet socket": ((41, 17, 3, 0), "EAFNOSUPPORT"),
    "AF_ALG": ((41, 38, 5, 0), "EAFNOSUPPORT"),
    "personality": ((135, 0x0040000), "EPERM"),
}


@pytest.mark.parametrize("forked", [False, True], ids=["from-nothing", "function-template"])
def test_calls_that_no_function_needs_are_denied(user: int, forked: bool) -> None:
    code = f"""{CALLS}
calls = { {name: call for name, (call, _) in DENIED.items()} }
def main(args): return {{name: call(*arguments) for name, arguments in calls.items()}}
"""
    outcome = attacked(code, user=user, forked=forked)
    assert outcome.failure is None
    assert outcome.got == {name: error for name, (_, error) in DENIED.items()}
    assert any("by seccomp" in line for line in outcome.isolation)


def test_no_file_can_make_who_runs_it_somebody_else(user: int) -> None:
    code = """
        import shutil
        def main(args):
            path = os.path.join(os.environ["TMPDIR"], "sh")
            shutil.copy("/bin/sh", path)
            fd = os.open(path, os.O_RDWR)
            made = attempt(os.open, path + "2", os.O_CREAT | os.O_WRONLY, 0o4755)
            tried = [attempt(os.chmod, path, 0o4755), attempt(os.chmod, fd, 0o2755), made]
            return {"tried": tried, "mode": os.stat(path).st_mode & 0o7000}
    """
    outcome = attacked(code, user=user)
    assert outcome.failure is None
    assert outcome.got == {"tried": ["EPERM"] * 3, "mode": 0}


def test_calls_of_another_abi_end_the_process(user: int) -> None:
    outcome = attacked(f"{CALLS}\ndef main(args): return {{'got': call(0x40000000 + 39)}}\n", user=user)
    assert outcome.failure is not None
    assert "was killed by SIGSYS" in outcome.failure.message
