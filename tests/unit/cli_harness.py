"""What the tests of the commands share: a platform without processes or sockets, and a way to run a command on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from typer.testing import CliRunner, Result

from instainfer.cli.doors import Doors
from instainfer.cli.main import app
from instainfer.client import Client

Run = Callable[..., Result]

KEY = "uuid:secret"
AT = ["--api-host", "http://here:1", "--auth", KEY]
ID = "0123456789abcdef" * 2
NOW_MS = int(time.time() * 1000)

PHASES = {"queue": 0.0, "container": 0.0, "libraries": 0.0, "model": 0.001, "handoff": 0.0031, "compute": 0.031}
ACTION = {
    "namespace": "guest",
    "name": "resnet50",
    "version": "0.0.1",
    "publish": False,
    "updated": NOW_MS,
    "limits": {"timeout": 60000, "memory": 2048, "logs": 10},
    "annotations": [{"key": "exec", "value": "python:3"}],
    "exec": {"binary": True},
}
DETAILS = {
    "name": "resnet50",
    "version": "0.0.1",
    "key": "guest/resnet50@0.0.1",
    "forked": {"fit": None, "reason": None},
    "places": None,
    "cache_bytes": None,
}
"""The function as ``GET /instainfer/v1/functions`` describes it, as far as commands read that."""


def record(result: Any, status: str = "success", kind: str | None = "preloaded") -> dict[str, Any]:
    return {
        "namespace": "guest",
        "name": "resnet50",
        "activationId": ID,
        "start": NOW_MS,
        "end": NOW_MS + 35,
        "duration": 35,
        "response": {"status": status, "success": status == "success", "result": result},
        "logs": ["2026-11-02T07:57:28.123450Z     stdout: loaded"],
        "annotations": [
            {"key": "path", "value": "guest/resnet50"},
            {"key": "startKind", "value": kind},
            {"key": "phases", "value": PHASES},
        ],
    }


PLACES = {"wanted": 2, "ready": 1, "until_ms": None, "unmet": "it needs 2 x 2048 MB, the node has 2048 MB"}


class Lines(list[Any]):
    """An answer of lines of JSON."""


@dataclass
class Platform:
    """Answers like the controller, from a dictionary, and remembers what it was asked."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """By method and path below ``/api/v1/namespaces/_/`` or ``/instainfer/v1/``."""
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.headers.get("authorization") is None:
            return httpx2.Response(401, json={"error": "no key", "code": "x"})
        path = unquote(request.url.path).removeprefix("/api/v1/namespaces/_/").removeprefix("/instainfer/v1/")
        asked = f"{request.method} {path}"
        self.asked.append((asked, dict(request.url.params), json.loads(request.content or b"null")))
        missing = (404, {"error": "The requested resource does not exist.", "code": "x"})
        nothing = (200, []) if request.method == "GET" and path.endswith("/secrets") else missing
        status, body = self.answers.get(asked, nothing)
        if isinstance(body, Lines):
            text = "".join(json.dumps(line) + "\n" for line in body)
            return httpx2.Response(status, text=text, headers={"content-type": "application/x-ndjson"})
        return httpx2.Response(status, json=body, headers={"x-openwhisk-activation-id": ID})


def runner(platform: Platform, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder, for a user without any configuration, by the real client."""
    monkeypatch.chdir(folder)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(folder))
    for name in ("INSTAINFER_API_HOST", "INSTAINFER_AUTH", "INSTAINFER_HOME", "WSK_CONFIG_FILE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def connect(api_host: str, auth: str) -> Client:
        return Client(api_host, auth, transport=httpx2.MockTransport(platform))

    def run(*args: str, stdin: str | bytes = "", **doors: Any) -> Result:
        return CliRunner().invoke(app, args, input=stdin, obj=Doors(**{"connect": connect, **doors}))

    return run
