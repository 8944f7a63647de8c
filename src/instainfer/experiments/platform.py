"""Starts a platform as a process for each run, waits until it is ready, and ends it with everything in it."""

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

from ..address import credentials
from ..client import Client
from ..config import KeepAliveConfig, PreloadConfig
from ..errors import BadInput, HostError
from .interruption import sigterm_as_exit

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.05
_LOG_TAIL_LINES = 20

_ORDERLY = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit statuses of a process that ended when it was asked to."""

_KEEP_ALIVE_TTL_S = 600.0
_POLICIES = ("INSTAINFER_PRELOAD", "INSTAINFER_KEEPALIVE")


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The complete configuration of a platform's policies."""

    keepalive: KeepAliveConfig
    preload: PreloadConfig
    replace: bool
    """Same meaning as ``node.replace``."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Configuration of a platform for one run of a comparison."""

    label: str
    retain: bool
    """Whether a function's process outlives its call."""
    preload: str
    templates: bool
    """Whether functions are forked from templates and ``fast_init`` is honoured. If not, libraries and models are
    loaded completely every time, as on other platforms."""
    ttl_s: float = _KEEP_ALIVE_TTL_S
    """How long idle containers are kept, in seconds."""
    function_templates: bool = False
    """Same meaning as ``node.function_templates``."""
    policies: PolicySettings | None = None
    """If given, replaces `preload`, `ttl_s` and whatever the user has configured for the policies."""

    @property
    def keepalive(self) -> str:
        return f"fixed:{self.ttl_s:g}" if self.policies is None else self.policies.keepalive.in_short()


COMPARISON = (
    Setting("stateless", retain=False, preload="none", templates=False),
    Setting("keep-alive", retain=True, preload="none", templates=False),
    Setting("instainfer", retain=True, preload="opportunistic", templates=False),
    Setting("instainfer+templates", retain=True, preload="opportunistic", templates=True, function_templates=True),
)
"""The paper's baseline; the fair baseline; the fair one with pre-loading; and that with both kinds of templates, which
is the default configuration. All have the same keep-alive policy."""


def chosen(labels: Sequence[str]) -> tuple[Setting, ...]:
    """Return the settings with these labels, in the order of `COMPARISON`; without labels, all settings.

    Raises `BadInput` for an unknown label.
    """
    known = [setting.label for setting in COMPARISON]
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise BadInput(f"no run {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    return tuple(setting for setting in COMPARISON if not labels or setting.label in labels)


@dataclass(frozen=True, slots=True)
class Platform:
    """A running platform that accepts calls."""

    api_host: str
    auth: str
    pid: int
    folder: Path
    """Folder of its files: home, story and log."""

    @property
    def story(self) -> Path:
        return self.folder / "story.jsonl"

    def client(self) -> Client:
        return Client(self.api_host, self.auth)


@contextlib.contextmanager
def running(
    setting: Setting, folder: Path, cache: Path, memory_mb: int, backend: str | None = None
) -> Iterator[Platform]:
    """Start a fresh platform, and end it when the block is left.

    The platform has a new home; `cache` (environments and weights) is shared between runs. Without `backend`, its
    containers are made as configured. Raises `HostError` with the end of the platform's log when it does not start, or
    does not stop as it should.
    """
    folder.mkdir(parents=True)
    ready, log, home = folder / "ready.json", folder / "server.log", folder / "home"
    command = [sys.executable, "-m", "instainfer.cli.main", "up"]
    command += ["--ready-file", str(ready), "--story", str(folder / "story.jsonl")]
    with log.open("wb") as output:
        # The platform has its own session, so Ctrl-C reaches only us, and we end the platform in order.
        process = subprocess.Popen(
            command,
            env={
                **_inherited(setting),
                **_environment(setting, home, cache, memory_mb),
                **({"INSTAINFER_NODE__BACKEND": backend} if backend else {}),
            },
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
    except BaseException:  # for any exception, Ctrl-C too, no platform must be left behind
        _end(process)
        raise
    if _end(process) not in _ORDERLY:
        raise HostError(f"the platform of the {setting.label} run did not end in order; its last words:\n{_tail(log)}")


def _inherited(setting: Setting) -> dict[str, str]:
    """Return our own environment variables, without those that would override policies that are given completely."""
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
        "INSTAINFER_NODE__FUNCTION_TEMPLATES": str(setting.function_templates).lower(),
        "INSTAINFER_NODE__FAST_INIT": str(setting.templates).lower(),
        **policies,
    }


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    give_up = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < give_up:
        # We wait for the process instead of sleeping, so that we notice at once if it dies.
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(_LOOK_EVERY_S)
            raise HostError(f"the platform ended with status {status} while starting; its last words:\n{_tail(log)}")
        # These errors mean that the file is missing or not complete yet.
        with contextlib.suppress(FileNotFoundError, ValueError):
            return str(json.loads(ready.read_bytes())["api_host"])
    raise HostError(f"the platform did not start within {_READY_TIMEOUT_S:.0f} s; its last words:\n{_tail(log)}")


def _end(process: subprocess.Popen[bytes]) -> int:
    """Send SIGTERM, which lets the platform end what it started, and kill what is left after the time-out."""
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
    """Memory and pre-load figures from a ``status``, summed over its nodes."""

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
            preloads={
                key: sum(load[key] for load in loads) for key in ("started", "finished", "failed", "hits", "templates")
            },
        )

    def since(self, earlier: Books) -> Books:
        """Return the same figures with integrals and counters taken since `earlier`."""
        return Books(
            self.committed_gb_s - earlier.committed_gb_s,
            self.used_gb_s - earlier.used_gb_s,
            self.committed_bytes,
            self.used_bytes,
            self.budget_bytes,
            {key: value - earlier.preloads[key] for key, value in self.preloads.items()},
        )
