"""The command ``instainfer doctor`` tries on this host what keeps functions apart."""

from __future__ import annotations

import os
from typing import NamedTuple

import typer

from .doors import Doors
from .options import Json
from .output import emit_json


class _Layer(NamedTuple):
    keeps: str
    remedy: str


_LAYERS = {
    "namespaces": _Layer(
        "a container has process ids, mounts, IPC, /tmp and /dev/shm of its own",
        "allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0), or "
        "start as root; in a container of another system, allow it to mount",
    ),
    "own uid": _Layer("each function has a user id of its own", "start the platform as root"),
    "own uid of forked processes": _Layer(
        "so has each one that is forked from a library template", "start as root, and allow user namespaces"
    ),
    "files": _Layer("a function reaches its own files only", "use a kernel with Landlock, Linux 5.13 or newer"),
    "signals": _Layer("a function signals its own processes only", "use a kernel with Landlock 6, Linux 6.12 or newer"),
    "calls": _Layer(
        "a function makes only the system calls that it needs",
        "use x86_64 or aarch64, and a kernel with seccomp filters",
    ),
    "holding": _Layer(
        "a function's template cannot run while calls of others do",
        "allow tracing (sysctl kernel.yama.ptrace_scope below 3)",
    ),
}


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Try what keeps functions apart on this host: what works, what is missing, and what to do about it.

    Each layer is really taken by a child process of this command. Run it as the user who starts the platform.
    """
    doors = ctx.ensure_object(Doors)
    found = doors.layers()
    if as_json:
        layers = [
            {"layer": name, "works": not reason, "reason": reason, "keeps": _LAYERS[name].keeps}
            | ({"remedy": _LAYERS[name].remedy} if reason else {})
            for name, reason in found.items()
        ]
        emit_json({"root": os.geteuid() == 0, "layers": layers})
        return
    for name, reason in found.items():
        layer = _LAYERS[name]
        if reason:
            print(f"missing  {name}: {reason}\n         without it, it does not hold that {layer.keeps}")
            print(f"         to have it: {layer.remedy}")
        else:
            print(f"works    {name}: {layer.keeps}")
