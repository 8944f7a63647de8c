"""A controller with a node whose answers a test scripts, and ways to ask it things."""

from __future__ import annotations

import asyncio
import base64
import io
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx2

from instainfer.backends.base import Call, FunctionSpec
from instainfer.config import Config
from instainfer.controller.app import Controller, Rooms, create_app, open_controller
from instainfer.controller.auth import CREDENTIALS, read_credentials
from instainfer.core.model import Failure, FailureKind, Function, FunctionKey, Phases, Profile, StartKind, Verdict
from instainfer.environments.builder import Environment, Progress
from instainfer.environments.content import ContentStore
from instainfer.environments.folders import FunctionFolders
from instainfer.environments.requirements import Requirements
from instainfer.links.base import Measures, Outcome

ACTIONS = "/api/v1/namespaces/_/actions"
ACTIVATIONS = "/api/v1/namespaces/_/activations"
NATIVE = "/instainfer/v1"
HELLO = "def main(args):\n    return {'hello': args.get('name', 'you')}\n"

QUICK = Phases(handoff=0.001, compute=0.002)

Script: TypeAlias = Callable[[Call], Outcome]


def outcome(
    call: Call,
    result: bytes | None = b'{"ok":true}',
    *,
    start_kind: StartKind | None = StartKind.WARM,
    phases: Phases = QUICK,
    failure: Failure | None = None,
    container: str = "c1",
    logs: tuple[str, ...] = (),
) -> Outcome:
    result = None if failure is not None else result
    return Outcome(call.activation, call.function, container, start_kind, phases, failure, result, logs)


def failing(kind: FailureKind, message: str = "boom", **details: Any) -> Script:
    return lambda call: outcome(call, failure=Failure(kind, message), **details)


def answering(result: bytes, **details: Any) -> Script:
    return lambda call: outcome(call, result, **details)


class Clock:
    """Time that a test moves."""

    def __init__(self, now_s: float = 600.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class FakeLink:
    """A node that answers as `script` says, at once; or, while `holding`, when a test releases the call."""

    def __init__(self, name: str = "node-1") -> None:
        self.name = name
        self.script: Script = outcome
        self.functions: dict[FunctionKey, tuple[Function, FunctionSpec, Profile | None]] = {}
        self.verdicts: dict[FunctionKey, Verdict | None] = {}
        """What was known of them when they were registered."""
        self.called_ago_s: dict[FunctionKey, Sequence[float]] = {}
        """How long ago they had been called when they were registered."""
        self.wanted: dict[FunctionKey, int] = {}
        self.room = 64
        """Places that it can have of each function."""
        self.unmet: str | None = None
        """Why it cannot have more."""
        self.history: list[str] = []
        self.calls: list[Call] = []
        self.taken_bytes: Counter[str] = Counter()
        """What the callers of streamed calls have taken."""
        self.unwanted: list[str] = []
        """Activations of which nobody wants further values."""
        self.holding = False
        self.held: dict[str, tuple[Call, asyncio.Future[Outcome]]] = {}
        self._arrived = asyncio.Event()

    def register(
        self,
        function: Function,
        spec: FunctionSpec,
        profile: Profile | None,
        verdict: Verdict | None,
        called_ago_s: Sequence[float] = (),
    ) -> None:
        self.functions[function.key] = (function, spec, profile)
        self.verdicts[function.key] = verdict
        self.called_ago_s[function.key] = called_ago_s
        self.history.append(f"+{function.key}")

    def unregister(self, function: FunctionKey) -> None:
        del self.functions[function]
        self.history.append(f"-{function}")

    def want(self, function: FunctionKey, places: int) -> None:
        assert function in self.functions
        self.wanted[function] = places
        self.history.append(f"{places}x{function}")

    def offload(self, function: FunctionKey) -> None:
        assert function in self.functions
        self.history.append(f"offload {function}")

    def places(self, function: FunctionKey) -> Mapping[str, Any]:
        wanted = self.wanted.get(function, 0)
        return {"wanted": wanted, "ready": min(wanted, self.room), "unmet": self.unmet}

    def invoke(self, call: Call) -> Awaitable[Outcome]:
        self.calls.append(call)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if call.function not in self.functions:
            future.set_result(outcome(call, failure=Failure(FailureKind.UNKNOWN_FUNCTION, call.function)))
        elif self.holding:
            self.held[call.activation] = (call, future)
        else:
            future.set_result(self.script(call))
        self._arrived.set()
        return future

    def taken(self, activation: str, taken_bytes: int) -> None:
        self.taken_bytes[activation] += taken_bytes

    def enough(self, activation: str) -> None:
        self.unwanted.append(activation)

    def say(self, *values: bytes) -> None:
        """Yield values from the call that came last."""
        on_value = self.calls[-1].on_value
        assert on_value is not None
        for value in values:
            on_value(value)

    async def arrived(self, count: int = 1) -> None:
        """Return when `count` calls have come in all."""
        while len(self.calls) < count:
            self._arrived.clear()
            await self._arrived.wait()

    def release(self) -> None:
        for call, future in self.held.values():
            if not future.done():
                future.set_result(self.script(call))
        self.held.clear()

    def measures(self) -> Measures:
        return {"queue_length": {(): len(self.held)}}

    def snapshot(self) -> Mapping[str, Any]:
        return {"name": self.name, "containers": []}


class FakeEnvironments:
    """Environments that are there at once, or fail as told, or wait for `gate`."""

    def __init__(self) -> None:
        self.asked: list[Requirements] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.called = asyncio.Event()

    async def ensure(
        self, requirements: Requirements, progress: Callable[[Progress], None] | None = None
    ) -> Environment:
        self.asked.append(requirements)
        self.called.set()
        if progress is not None:
            progress(Progress("lock", "resolving", 0.25))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        digest = f"env-{len(requirements.lines)}-{requirements.python or 'own'}"
        return Environment(digest, Path("/usr/bin/python3"), tuple(requirements.lines), True)


@dataclass
class Stand:
    """A controller under test."""

    controller: Controller
    link: FakeLink
    environments: FakeEnvironments
    content: ContentStore
    app: Any
    http: httpx2.AsyncClient
    """Authenticated."""

    async def put(self, name: str, code: str = HELLO, *, overwrite: bool = False, **body: Any) -> httpx2.Response:
        body = {"exec": {"kind": "python:3", "code": code}, **body}
        return await self.http.put(f"{ACTIONS}/{name}", params={"overwrite": overwrite}, json=body)

    async def invoke(self, name: str, args: Any = None, **params: Any) -> httpx2.Response:
        params = {"blocking": "true", **params}
        return await self.http.post(f"{ACTIONS}/{name}", params=params, json={} if args is None else args)

    async def record(self, activation: str) -> dict[str, Any]:
        response = await self.http.get(f"{ACTIVATIONS}/{activation}")
        assert response.status_code == 200, response.text
        record: dict[str, Any] = response.json()
        return record


def config(home: Path, **parts: Any) -> Config:
    # Many tests make records of 1970, which the sweep at start would remove at a moment of its own.
    parts.setdefault("retention", {"records_max_age_s": 0.0})
    return Config(home=home / "home", **parts)


def rooms(home: Path, environments: FakeEnvironments) -> Rooms:
    content = ContentStore(home / "content")
    return Rooms(content, FunctionFolders(home / "functions", content), environments)


def key_of(home: Path) -> tuple[str, str]:
    user, _, password = read_credentials(home / "home" / CREDENTIALS)["AUTH"].partition(":")
    return user, password


@asynccontextmanager
async def standing(
    home: Path,
    *,
    link: FakeLink | None = None,
    environments: FakeEnvironments | None = None,
    now: Callable[[], float] = time.monotonic,
    **parts: Any,
) -> AsyncIterator[Stand]:
    """A controller on `home`, asked without sockets; `parts` are those of the configuration."""
    link = link or FakeLink()
    environments = environments or FakeEnvironments()
    given = rooms(home, environments)
    controller = await open_controller(config(home, **parts), [link], given, isolation=["none: a test"], now=now)
    app = create_app(controller)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", auth=key_of(home)) as http:
            yield Stand(controller, link, environments, given.content, app, http)
    finally:
        await controller.close()


def archive(files: Mapping[str, str]) -> str:
    """Base64 of a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        for name, text in files.items():
            writing.writestr(name, text)
    return base64.b64encode(packed.getvalue()).decode()


def annotation(record: Mapping[str, Any], key: str) -> Any:
    return next((pair["value"] for pair in record["annotations"] if pair["key"] == key), None)
