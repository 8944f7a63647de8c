"""A platform of its own for each run: started as a process, told when it is ready, ended with everything in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..client import Client, credentials
from ..config import KeepAliveConfig, PreloadConfig
from ..errors import BadInput, HostError
from .interruption import sigterm_as_exit

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.05
_LOG_TAIL_LINES = 20

_ORDERLY = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit statuses of a process that was asked to end and did."""

_KEEP_ALIVE_TTL_S = 600.0
_POLICIES = ("INSTAINFER_PRELOAD", "INSTAINFER_KEEPALIVE")


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """All that is configured of a platform's policies."""

    keepalive: KeepAliveConfig
    preload: PreloadConfig
    replace: bool
    """As ``node.replace``."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a platform is configured for one run of a comparison."""

    label: str
    retain: bool
    """Whether a function's process outlives its call."""
    preload: str
    templates: bool
    """Whether functions are forked from templates and ``fast_init`` is honoured; else every load is from nothing, as
    on any platform."""
    ttl_s: float = _KEEP_ALIVE_TTL_S
    """How long idle containers are kept."""
    policies: PolicySettings | None = None
    """In full, instead of `preload` and `ttl_s` with whatever the user has configured besides."""

    @property
    def keepalive(self) -> str:
        return f"fixed:{self.ttl_s:g}" if self.policies is None else self.policies.keepalive.in_short()


COMPARISON = (
    Setting("stateless", retain=False, preload="none", templates=False),
    Setting("keep-alive", retain=True, preload="none", templates=False),
    Setting("instainfer", retain=True, preload="opportunistic", templates=False),
    Setting("instainfer+templates", retain=True, preload="opportunistic", templates=True),
)
"""The paper's baseline, the fair baseline, the fair one with pre-loading, and that with templates, which is the default
configuration: one keep-alive policy for all."""


def chosen(labels: Sequence[str]) -> tuple[Setting, ...]:
    """The settings of these labels, in the order of `COMPARISON`; all of them when there are none.

    Raises `BadInput` for an unknown label.
    """
    known = [setting.label for setting in COMPARISON]
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise BadInput(f"no run {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    return tuple(setting for setting in COMPARISON if not labels or setting.label in labels)


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that takes calls."""

    api_host: str
    auth: str
    pid: int
    folder: Path
    """Its files: home, story and log."""

    @property
    def story(self) -> Path:
        return self.folder / "story.jsonl"

    def client(self) -> Client:
        return Client(self.api_host, self.auth)


@contextlib.contextmanager
def running(setting: Setting, folder: Path, cache: Path, memory_mb: int) -> Iterator[Platform]:
    """Start a fresh platform and end it when the block is left.

    Its home is new; `cache` (environments and weights) is shared between runs. Raises `HostError`, with the tail of
    its log, when it does not start or does not end as it should.
    """
    folder.mkdir(parents=True)
    ready, log, home = folder / "ready.json", folder / "server.log", folder / "home"
    command = [sys.executable, "-m", "instainfer.cli.main", "up"]
    command += ["--ready-file", str(ready), "--story", str(folder / "story.jsonl")]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches us first, and we end the platform in order.
        process = subprocess.Popen(
            command,
            env={**_inherited(setting), **_environment(setting, home, cache, memory_mb)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with sigterm_as_exit():
            api_host = _wait_until_ready(process, ready, log)
            _, auth = credentials(home)
            yield Platform(api_host, auth, process.pid, folder)
    except BaseException:  # whatever unwinds us, Ctrl-C too, leaves no platform behind
        _end(process)
        raise
    if _end(process) not in _ORDERLY:
        raise HostError(f"the platform of the {setting.label} run did not end in order; its last words:\n{_tail(log)}")


def _inherited(setting: Setting) -> dict[str, str]:
    """Our own environment, without what would win over policies that are given in full."""
    if setting.policies is None:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(_POLICIES)}


def _environment(setting: Setting, home: Path, cache: Path, memory_mb: int) -> dict[str, str]:
    if setting.policies is None:
        policies = {
            "INSTAINFER_PRELOAD__POLICY": setting.preload,
            "INSTAINFER_KEEPALIVE__POLICY": "fixed",
            "INSTAINFER_KEEPALIVE__TTL_S": f"{setting.ttl_s:g}",
        }
    else:
        policies = {
            "INSTAINFER_PRELOAD": setting.policies.preload.model_dump_json(),
            "INSTAINFER_KEEPALIVE": setting.policies.keepalive.model_dump_json(),
            "INSTAINFER_NODE__REPLACE": str(setting.policies.replace).lower(),
        }
    return {
        "INSTAINFER_HOME": str(home),
        "INSTAINFER_CACHE": str(cache),
        "INSTAINFER_SERVER__PORT": "0",
        "INSTAINFER_NODE__MEMORY_MB": str(memory_mb),
        "INSTAINFER_NODE__RETAIN": str(setting.retain).lower(),
        "INSTAINFER_NODE__TEMPLATES": str(setting.templates).lower(),
        "INSTAINFER_NODE__FAST_INIT": str(setting.templates).lower(),
        **policies,
    }


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    give_up = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < give_up:
        # Waiting for the process, not sleeping: one that dies at once is noticed at once.
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(_LOOK_EVERY_S)
            raise HostError(f"the platform ended with status {status} while starting; its last words:\n{_tail(log)}")
        # Not there, or not complete yet.
        with contextlib.suppress(FileNotFoundError, ValueError):
            return str(json.loads(ready.read_bytes())["api_host"])
    raise HostError(f"the platform did not start within {_READY_TIMEOUT_S:.0f} s; its last words:\n{_tail(log)}")


def _end(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM lets the platform end what it started; whatever outlives that is killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:])


@dataclass(frozen=True, slots=True)
class Books:
    """What the nodes' books say at one moment, summed over the nodes of a ``status``."""

    committed_gb_s: float
    used_gb_s: float
    committed_bytes: int
    used_bytes: int
    budget_bytes: int
    preloads: Mapping[str, int]

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Books:
        memory = [node["memory"] for node in status["nodes"]]
        loads = [node["preloads"] for node in status["nodes"]]
        return cls(
            committed_gb_s=sum(book["committed_gb_s"] for book in memory),
            used_gb_s=sum(book["used_gb_s"] for book in memory),
            committed_bytes=sum(book["committed_bytes"] for book in memory),
            used_bytes=sum(book["used_bytes"] for book in memory),
            budget_bytes=sum(book["budget_bytes"] for book in memory),
            preloads={key: sum(load[key] for load in loads) for key in ("started", "finished", "failed", "hits")},
        )

    def since(self, earlier: Books) -> Books:
        """The same with integrals and counters counted from an earlier moment."""
        return Books(
            self.committed_gb_s - earlier.committed_gb_s,
            self.used_gb_s - earlier.used_gb_s,
            self.committed_bytes,
            self.used_bytes,
            self.budget_bytes,
            {key: value - earlier.preloads[key] for key, value in self.preloads.items()},
        )
