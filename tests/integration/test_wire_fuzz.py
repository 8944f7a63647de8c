"""Enemies on both sides of the wire: of a manager, among its functions' processes; of the platform, as managers.

Seeded and bounded; `INSTAINFER_FUZZ_FRAMES` says how many frames each side is sent, in the place of a few thousand.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fuzz import Fuzzer
from support.nodes import function
from support.process_world import World, world

from instainfer.backends import process
from instainfer.backends.base import Call, FunctionSpec, TemplateSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.process import ProcessBackend
from instainfer.core.events import ContainerGone, RunFinished
from instainfer.core.model import MIB, FailureKind, template_key
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import Policies
from instainfer.invoker.driver import Invoker
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.opportunistic import Opportunistic
from instainfer.wire import messages
from instainfer.wire.calls import FROM_PROCESS, Answered, Imported, Jailed, Prepared

FRAMES = int(os.environ.get("INSTAINFER_FUZZ_FRAMES", "3000"))
SEED = int(os.environ.get("INSTAINFER_FUZZ_SEED", "20261109"))
PATIENCE_S = 30.0
FLAT_BYTES = 96 * MIB

pytestmark = pytest.mark.timeout(120 + FRAMES // 20)


def rss_bytes(pid: int | str = "self") -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Quiet:
    """Nothing may reach the loop's exception handler, and nothing be logged as an error."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._unhandled: list[Mapping[str, Any]] = []

    def listen(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._unhandled.append(context))

    def check(self) -> None:
        assert self._unhandled == []
        assert [record.getMessage() for record in self._caplog.records if record.levelno >= logging.ERROR] == []


# -- managers as enemies ----------------------------------------------------------------------------------------------

GOOD, BAD = "good/f@1", ["bad/f@1", "bad/g@1", "bad/h@1"]


class Enemy:
    """In the place of a `ManagerProcess`: does what a manager does, and mixes anything into it.

    The one that is first asked for a function of the good namespace is honest.
    """

    sent = 0
    rng = random.Random(SEED)

    def __init__(self, python: Path, limit_bytes: int, folder: Path, env: Mapping[str, str], **options: bool) -> None:
        self.disconnected = asyncio.Event()
        self._fuzzer = Fuzzer(self.rng)
        self._end = asyncio.Event()
        self._ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._left = self.rng.randint(2, 40)
        self._loaded: set[str] = set()
        self._activations = ["nobody's"]
        self._is_honest: bool | None = None

    def kill(self) -> None:
        self._end.set()

    def resize(self, limit_bytes: int) -> None:
        pass

    async def run(self, protocol: asyncio.Protocol) -> str:
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=self._ours)
        talk = asyncio.ensure_future(self._talk())
        await asyncio.wait({talk, asyncio.ensure_future(self._end.wait())}, return_when=asyncio.FIRST_COMPLETED)
        self._end.set()
        talk.cancel()
        with suppress(asyncio.CancelledError, OSError, TimeoutError):
            await talk
        self._theirs.close()
        async with asyncio.timeout(PATIENCE_S):
            await self.disconnected.wait()
        transport.abort()
        return "has ended"

    async def _talk(self) -> None:
        decoder = messages.COMMANDS.decoder()
        await self._say(messages.REPORTS.encode(messages.Ready(1, ["files: none"], 1000)))
        while data := await self._hear():
            for frame in decoder.feed(data):
                command = messages.COMMANDS.decode(frame)
                if self._is_honest is None:
                    self._is_honest = isinstance(command, messages.Define) and command.function.key == GOOD
                for said in self._obey(command):
                    await self._say(messages.REPORTS.encode(said))
                while not self._is_honest and self.rng.random() < 0.4:
                    await self._say(
                        self._fuzzer.report_frame([*BAD, GOOD, template_key("bad", "env")], self._activations)
                    )

    async def _hear(self) -> bytes:
        """The next commands. An enemy that is not told anything ends: silence is not a matter of the wire."""
        async with asyncio.timeout(None if self._is_honest is not False else 0.05):
            return await asyncio.get_running_loop().sock_recv(self._theirs, 65536)

    async def _say(self, frame: bytes) -> None:
        loop = asyncio.get_running_loop()
        if not self._is_honest:
            Enemy.sent += 1
            self._left -= 1
            if self._is_honest is False and self.rng.random() < 0.1:
                frame = self._fuzzer.spoiled(frame)
        if self.rng.random() < 0.2:
            place = self.rng.randrange(len(frame) + 1)
            await loop.sock_sendall(self._theirs, frame[:place])
            await asyncio.sleep(0)
            frame = frame[place:]
        await loop.sock_sendall(self._theirs, frame)
        if self._is_honest is False and self._left <= 0:
            raise OSError("it has said enough")

    def _obey(self, command: Any) -> list[Any]:
        match command:
            case messages.Load(function=key):
                return [self._load(key)] if key not in self._loaded else []
            case messages.LoadTemplate(template=template):
                return [self._load(template.key)] if template.key not in self._loaded else []
            case messages.Run(function=key, activation=activation):
                self._activations.append(activation)
                others = [other for other in self._loaded if other != key and not other.startswith("template:")]
                said: list[Any] = [messages.Gone(other, None, 0) for other in others]
                self._loaded -= set(others)
                if key not in self._loaded:
                    said.append(self._load(key))
                said.append(messages.Ran(activation, key, 0.001, 1000, 1000, True, None, 2, 1000, b"{}a line"))
                return said
            case messages.Offload(function=key) if key in self._loaded:
                self._loaded.discard(key)
                return [messages.Gone(key, None, 0)]
            case messages.Stop():
                self._end.set()
        return []

    def _load(self, key: str) -> Any:
        self._loaded.add(key)
        return messages.Loaded(key, 0.001, 0.001, 1000, ["files: none"], 1000)


def spec(key: str, folder: Path) -> FunctionSpec:
    template = TemplateSpec(
        template_key(key.split("/", maxsplit=1)[0], "env"), folder / "python", ("numpy",), (folder,)
    )
    return FunctionSpec(key, folder, folder / "python", "handler", template=template)


def test_whatever_managers_say_every_call_is_answered_and_neighbours_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "ManagerProcess", Enemy)
    Enemy.sent, Enemy.rng = 0, random.Random(SEED)
    caplog.set_level(logging.ERROR)
    quiet = Quiet(caplog)

    async def scenario() -> None:
        quiet.listen()
        backend = ProcessBackend(LoopClock(), scratch=tmp_path / "scratch")
        settings = NodeSettings(4096 * MIB)
        state = NodeState(settings, Policies(Fixed(60.0), Poisson(), Opportunistic()))
        invoker = Invoker(state, backend, backend.clock)
        for key in (GOOD, *BAD):
            invoker.register(function(key), spec(key, tmp_path))
        before_bytes = 0
        number = 0
        kinds: set[FailureKind | None] = set()
        while Enemy.sent < FRAMES:
            number += 1
            wants: list[Callable[[bytes], None] | None] = [None, lambda _: None]
            calls = [
                invoker.invoke(Call(f"a{number}.{n}", key, b"{}", on_value=wants[(number + n) % 2]))
                for n, key in enumerate(BAD)
            ]
            good = invoker.invoke(Call(f"good{number}", GOOD, b"{}"))
            async with asyncio.timeout(PATIENCE_S):
                outcomes = await asyncio.gather(*calls)
                outcome = await good
            assert outcome.failure is None, outcome
            assert outcome.result == b"{}"
            kinds |= {outcome.failure and outcome.failure.kind for outcome in outcomes}
            state.check()
            quiet.check()
            assert len(backend.containers) <= 20
            if number == 100:
                before_bytes = rss_bytes()
        assert kinds >= {None, FailureKind.CONTAINER_LOST}
        if before_bytes:
            assert rss_bytes() - before_bytes < FLAT_BYTES
        async with asyncio.timeout(PATIENCE_S):
            await invoker.drain()
            await backend.close()
        assert backend.containers == set()
        assert list((tmp_path / "scratch").iterdir()) == []
        print(f"{Enemy.sent} frames of hostile managers, {number} rounds, outcomes {sorted(map(str, kinds))}")

    asyncio.run(scenario())
    quiet.check()


# -- functions' processes as enemies ----------------------------------------------------------------------------------

HOSTILE_PROCESS = """\
import os, random, socket, sys, time
sock = socket.socket(fileno=os.dup(int(sys.argv[3])))
rng = random.Random(os.environ["SEED"])
sock.recv(65536)
with open(os.environ["STREAM"], "rb") as stream:
    said = stream.read()
print("about to say", len(said), "bytes")
way = rng.randrange(10)
try:
    while said:
        step = rng.choice([1, 7, 100, 5000, 1 << 20])
        if way == 0:
            # Descriptors along with it, which nobody asked for.
            socket.send_fds(sock, [said[:step]], [0, 1, 2])
        else:
            sock.sendall(said[:step])
        said = said[step:]
    if way == 1:
        time.sleep(60)
    if way == 2:
        sys.stdout.buffer.write(b"\\n" * 200000)
    if way != 3:
        sock.recv(65536)
except OSError:
    pass
os._exit(rng.choice([0, 1]))
"""

HONEST = "def main(args): return {'n': args['n']}\n"


def stream(rng: random.Random) -> tuple[bytes, int]:
    """What a process says, and of how many frames it is made: often as one should begin, then anything."""
    fuzzer = Fuzzer(rng)
    right = [Jailed(["own uid: given"]), Imported(), Prepared(), Answered(None, False, b"{}")]
    said = [FROM_PROCESS.encode(message) for message in right[: rng.randint(0, 4)]]
    while len(said) < 20:
        frame = fuzzer.process_frame()
        said.append(fuzzer.spoiled(frame) if rng.random() < 0.5 else frame)
    return b"".join(said), len(said)


def test_whatever_functions_say_they_harm_nobody_but_themselves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script: Callable[[Path], Path] = lambda path: path  # noqa: E731
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    hostile = script(environment / "bin" / "hostile")
    hostile.write_text(f"#!{sys.executable} -IS\n{HOSTILE_PROCESS}")
    hostile.chmod(0o755)
    said = environment / "said"
    quiet = Quiet(caplog)
    rng = random.Random(SEED)

    async def attack(w: World, number: int, f: FunctionSpec, container: Any) -> int:
        content, frames = stream(rng)
        path = said.with_name(f"said-{number}")
        path.write_bytes(content)
        spec = replace(f, python=hostile, timeout_s=1.0, env={"SEED": str(number), "STREAM": str(path)})
        on_value = (lambda _: None) if number % 2 else None
        container.run(spec, Call(f"bad{number}", spec.key, b"{}", on_value=on_value))
        await w.ran(f"bad{number}")
        path.unlink()
        return frames

    async def scenario() -> None:
        quiet.listen()
        async with world(tmp_path) as w:
            container, neighbour = await w.container(), await w.container()
            managers = [int(name) for name in os.listdir("/proc") if name.isdigit() and _is_manager(name)]
            f, g = w.function(HONEST, "f"), w.function(HONEST, "g")
            sent = number = 0
            before_bytes = 0
            while sent < FRAMES:
                number += 1
                before = len(w.events)
                sent += await attack(w, number, f, container)
                _, result = await w.run(neighbour, g, f"good{number}", {"n": number})
                assert result == {"n": number}
                assert not any(isinstance(event, ContainerGone) for event in w.events[before:])
                finished = [e for e in w.events[before:] if isinstance(e, RunFinished)]
                assert len(finished) == 2
                assert all(0.0 <= e.compute_s < PATIENCE_S for e in finished)
                quiet.check()
                del w.events[:]
                w.answers.clear()
                if number == 50:
                    before_bytes = sum(rss_bytes(pid) for pid in ("self", *managers))
            # The container serves on, and nothing of its enemies is left in it.
            _, result = await w.run(container, w.function(HONEST, "h"), "last", {"n": 0})
            assert result == {"n": 0}
            if before_bytes:
                assert sum(rss_bytes(pid) for pid in ("self", *managers)) - before_bytes < FLAT_BYTES
            print(f"{sent} frames of {number} hostile processes")
        assert not [name for name in os.listdir("/proc") if name.isdigit() and _runs(name, str(hostile))]

    asyncio.run(scenario())
    quiet.check()


def _is_manager(pid: str) -> bool:
    return _runs(pid, "boot.py") and _runs(pid, "keeper") and _runs(pid, str(os.getpid()))


def _runs(pid: str, what: str) -> bool:
    try:
        return any(what in part for part in Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"))
    except OSError:
        return False
