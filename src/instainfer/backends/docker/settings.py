"""What the Engine is asked for when a container is created: its mounts, its limits, and the rights that it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...runtime.joining import FENCES, TOKEN
from ...runtime.process import OPERATORS
from ...wire.framing import MIB
from ..last_words import LOG
from .door import SOCKET

CODE = "/opt/instainfer/instainfer"
"""Where our images have the parts of this package that run inside containers."""
SCRATCH = "/run/instainfer"
"""Where the private folders of functions are: in memory, with room for as much as the container has."""
BESIDE_BYTES = 64 * MIB
"""Memory beyond a container's limit for its manager and for what the kernel keeps for it.

The manager holds functions to the limit by measuring, and says which one was ended and why. The kernel's limit, which
kills without saying why, is only reached by what is faster than that.
"""
MOST_PIDS = 2048
"""Limit on the processes and threads of a container. Those of libraries for numbers start a thread per processor."""
CAPABILITIES = (
    "CHOWN",  # a function's private folder becomes its own
    "DAC_OVERRIDE",  # and is removed after its end
    "FOWNER",
    "KILL",
    "SETGID",
    "SETUID",
    "SYS_NICE",  # what waits for a call has the lowest priority, and gets its own back
    "SYS_PTRACE",  # processes of other users are measured, and templates held
)
"""What the manager has. No process of a function keeps any of it."""
_TMP_BYTES = 64 * MIB
_TOOL_SHARES = 256
"""Of the processors, for a tool that builds an environment: a quarter of what a function of 1 GB has."""
_WORST_OOM_SCORE = 1000
_MOST_TOOL_FILES = 4096
_FEWEST_SHARES, _MOST_SHARES = 2, 262_144


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host that a container sees at the same place."""

    folder: Path
    writable: bool = False


def limits(limit_bytes: int) -> dict[str, int]:
    """Memory without swap, and a share of the processors that goes with it."""
    memory_bytes = limit_bytes + BESIDE_BYTES
    shares = min(max(limit_bytes // MIB, _FEWEST_SHARES), _MOST_SHARES)
    return {"Memory": memory_bytes, "MemorySwap": memory_bytes, "CpuShares": shares}


def manager_settings(
    image: str,
    limit_bytes: int,
    folder: Path,
    *,
    token: str,
    network: str,
    mounts: Sequence[Mount] = (),
    fences: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A container whose first process is a manager that comes to the door in `folder`, and says `token` there.

    `network` is the name of one, or ``none``; `fences` are the networks that are not reached through it.
    The processes of functions get `env`.
    """
    # The manager gives this one up before it starts anything.
    capabilities = [*CAPABILITIES, *(["NET_ADMIN"] if fences else [])]
    settings = sealed(image, [Mount(folder, writable=True), *mounts], network=network, capabilities=capabilities)
    joining = ["python3", "-I", "-S", f"{CODE}/runtime/boot.py", "joining"]
    settings["Entrypoint"] = [*joining, str(folder), SOCKET, LOG, str(limit_bytes), SCRATCH]
    settings["Env"] = [f"{TOKEN}={token}", f"{FENCES}={' '.join(fences)}"]
    settings["Env"] += (f"{OPERATORS}{name}={value}" for name, value in (env or {}).items())
    host = settings["HostConfig"]
    host |= limits(limit_bytes)
    host["ShmSize"] = limit_bytes
    host["AutoRemove"] = True
    host["LogConfig"] = {"Type": "none"}  # the manager writes into the folder
    # Libraries compile code there and load it, so it is not noexec.
    host["Tmpfs"][SCRATCH] = f"rw,exec,nosuid,nodev,mode=711,size={limit_bytes}"
    host["SecurityOpt"].append(f"seccomp={files(__package__).joinpath('seccomp.json').read_text(encoding='utf-8')}")
    return settings


def tool_settings(
    image: str,
    argv: Sequence[str],
    mounts: Sequence[Mount],
    *,
    user: str,
    cwd: Path,
    env: Mapping[str, str],
    memory_bytes: int,
    file_bytes: int,
) -> dict[str, Any]:
    """A container without network in which a tool builds an environment. All of it together has `memory_bytes`."""
    settings = sealed(image, mounts, network="none", user=user)
    settings |= {"Entrypoint": list(argv), "WorkingDir": str(cwd)}
    settings["Env"] = [f"{name}={value}" for name, value in env.items()]
    most = {"core": 0, "fsize": file_bytes, "nofile": _MOST_TOOL_FILES}
    settings["HostConfig"] |= {
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,
        "CpuShares": _TOOL_SHARES,
        "OomScoreAdj": _WORST_OOM_SCORE,
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in most.items()],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
    }
    return settings


def sealed(
    image: str, mounts: Sequence[Mount], *, network: str, user: str = "0:0", capabilities: Sequence[str] = ()
) -> dict[str, Any]:
    """A container that can write into nothing but its mounts and ``/tmp``, and can gain no rights."""
    return {
        "Image": image,
        "User": user,
        "WorkingDir": "/",
        "Cmd": [],
        "HostConfig": {
            "ReadonlyRootfs": True,
            "IpcMode": "private",
            "NetworkMode": network,
            "PidsLimit": MOST_PIDS,
            "CapDrop": ["ALL"],
            "CapAdd": list(capabilities),
            "SecurityOpt": ["no-new-privileges:true"],
            "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={_TMP_BYTES}"},
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": str(mount.folder),
                    "Target": str(mount.folder),
                    "ReadOnly": not mount.writable,
                    "BindOptions": {"Propagation": "rprivate"},
                }
                for mount in mounts
            ],
        },
    }
