"""Deploys a function's folder: packs it, sends missing weights, builds the environment, registers the function.

The platform can be told to try the new version before callers get it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from .client import Client, Json
from .environments.manifest import AUTO, Memory
from .environments.package import Package, pack
from .errors import BadFunction, CheckFailed, EnvironmentBuildError, HostError, one_line

KIND = "python:3"


class Progress(Protocol):
    """Receives the progress of a deployment."""

    def step(self, text: str) -> None:
        """A step has begun, or there is news of the current one."""
        ...

    def sent(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        """`sent_bytes` of the weights file `name` have been sent."""
        ...


class Silent:
    """A `Progress` that ignores everything."""

    def step(self, text: str) -> None: ...

    def sent(self, name: str, sent_bytes: int, total_bytes: int) -> None: ...


def deploy(
    client: Client,
    folder: Path,
    weights_dir: Path | None = None,
    progress: Progress | None = None,
    *,
    name: str | None = None,
    memory_mb: Memory | None = None,
    timeout_ms: int | None = None,
    check: bool = False,
) -> Json:
    """Deploy a function's folder and return the platform's action.

    `name`, `memory_mb` and `timeout_ms` win over the values in ``function.toml``. Where neither names the memory, it is
    learned ("auto"). With `check`, the new version is
    tried before callers get it, and the action has the record of that call under ``check``. Raises `BadFunction` for an
    invalid folder, `EnvironmentBuildError` when its requirements cannot be installed, `CheckFailed` when the new
    version fails, and the errors of `Client`.
    """
    progress = progress if progress is not None else Silent()
    progress.step(f"packing {folder}")
    package = pack(folder, weights_dir)
    name = name or package.manifest.name
    if name is None:
        raise BadFunction(f'{folder} has no name; write name = "..." into its function.toml, or give one with --name')
    _send_weights(client, package, progress)
    _build_environment(client, package, progress)
    action = _action(package, memory_mb, timeout_ms)
    if check:
        return _put_checked(client, name, action, progress)
    progress.step(f"registering {name}")
    return client.put_action(name, action)


def _send_weights(client: Client, package: Package, progress: Progress) -> None:
    for path, file in package.weights.items():
        digest = package.digests[path]
        if client.has_blob(digest):
            progress.step(f"{path} is there already")
        else:
            _send(client, path, file, digest, progress)


def _send(client: Client, path: str, file: Path, digest: str, progress: Progress) -> None:
    total_bytes = file.stat().st_size
    sent_bytes = 0

    def sent(count: int) -> None:
        nonlocal sent_bytes
        sent_bytes += count
        progress.sent(path, sent_bytes, total_bytes)

    progress.step(f"sending {path} ({total_bytes / 1e6:,.0f} MB)")
    client.put_blob(digest, file, sent)


def _build_environment(client: Client, package: Package, progress: Progress) -> None:
    wanted = package.manifest.requirements
    asked = client.build_environment(
        wanted.text, wanted.no_deps, wanted.python, wanted.image, from_source=wanted.from_source
    )
    for event in asked:
        match event["event"]:
            case "progress":
                progress.step(f"{event.get('step')}: {event.get('text')}")
            case "ready":
                progress.step("environment is there already" if event.get("cached") else "environment is built")
                return
            case "failed":
                raise EnvironmentBuildError(str(event.get("error")), str(event.get("log_tail") or ""))
    raise HostError(
        "the platform ended the build of an environment without saying how it went; see whether `instainfer up` still "
        "runs, and deploy again"
    )


def _put_checked(client: Client, name: str, action: Mapping[str, Any], progress: Progress) -> Json:
    for event in client.put_checked(name, action):
        match event["event"]:
            case "progress":
                progress.step(str(event.get("text")))
            case "deployed":
                return {**event["action"], "check": event["record"]}
            case "failed":
                raise CheckFailed(_failed(name, event))
    raise HostError(
        "the platform ended the deployment without saying how it went; see whether `instainfer up` still runs, and "
        "deploy again"
    )


def _failed(name: str, event: Mapping[str, Any]) -> str:
    """What the author has to know: the error with its traceback, and the end of the logs."""
    lines = str(event.get("error") or "no error was given").splitlines()
    logs = event.get("logs")
    if isinstance(logs, list) and logs:
        lines += ["logs:", *map(str, logs)]
    lines.append("nothing has changed for callers; correct it, or deploy with --no-check")
    return "\n".join([f"{name} failed when it was tried:", *map(one_line, lines)])


def _action(package: Package, memory_mb: Memory | None, timeout_ms: int | None) -> Mapping[str, Any]:
    manifest = package.manifest
    limits = {
        "memory": memory_mb or manifest.memory_mb or AUTO,
        "timeout": timeout_ms if timeout_ms is not None else manifest.timeout_ms,
        "logs": manifest.logs_mb,
    }
    return {
        "exec": {"kind": KIND, "code": base64.b64encode(package.code).decode(), "binary": True},
        "limits": {key: value for key, value in limits.items() if value is not None},
    }
