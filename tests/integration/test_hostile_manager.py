"""Managers that lie: each of them ends its own container, in words, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.process_world import PATIENCE_S, World, world

from instainfer.backends import managed, process, process_manager
from instainfer.backends.base import Answer, Call, FunctionSpec, TemplateSpec
from instainfer.core.events import ContainerGone, ContainerStartFailed, Event, LoadFinished, MemoryMeasured, RunFinished
from instainfer.core.model import FailureKind
from instainfer.wire import messages
from instainfer.wire.framing import encode

F, TEMPLATE = "guest/f@0.0.1", "template:guest/e"
READY = messages.Ready(1, ["files: none"], 1000)
LOADED = messages.Loaded(F, 0.0, 0.0, 1000, ["files: none"], 1000)
RAN = messages.Ran("a1", F, 0.0, 1000, 1000, True, None, 2, 1000, b"{}a line")
CRASHED = messages.Failure("crashed", "")


class Liar:
    """In the place of a `ManagerProcess`: says `at_start`, then `answer` to the first command that it is sent."""

    at_start: bytes = messages.REPORTS.encode(READY)
    answer: bytes = b""

    def __init__(self, python: Path, limit_bytes: int, folder: Path, env: Mapping[str, str], **options: bool) -> None:
        self.disconnected = asyncio.Event()
        self._end = asyncio.Event()
        self._ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)

    def kill(self) -> None:
        self._end.set()

    def resize(self, limit_bytes: int) -> None:
        pass

    async def run(self, protocol: asyncio.Protocol) -> str:
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=self._ours)
        talk = asyncio.ensure_future(self._talk())
        await self._end.wait()
        talk.cancel()
        await asyncio.wait([talk])
        self._theirs.close()
        async with asyncio.timeout(PATIENCE_S):
            await self.disconnected.wait()
        transport.abort()
        return "has ended"

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._theirs, self.at_start)
        if self.answer:
            await loop.sock_recv(self._theirs, 65536)
            await loop.sock_sendall(self._theirs, self.answer)
        await self._end.wait()


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What the managers of this test say to the first command."""

    def say(*answer: Any, at_start: bytes | None = None) -> None:
        monkeypatch.setattr(process, "ManagerProcess", Liar)
        raw = [part if isinstance(part, bytes) else messages.REPORTS.encode(part) for part in answer]
        monkeypatch.setattr(Liar, "answer", b"".join(raw))
        if at_start is not None:
            monkeypatch.setattr(Liar, "at_start", at_start)

    return say


def spec(folder: Path) -> FunctionSpec:
    return FunctionSpec(F, folder, Path(sys.executable), "handler")


def play(folder: Path, scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    unhandled: list[Mapping[str, Any]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        async with world(folder) as w:
            await scene(w)
        assert w.backend.containers == set()

    asyncio.run(scenario())
    assert unhandled == []


async def lost(w: World) -> str:
    gone = await w.wait_for(ContainerGone)
    assert gone.failure is not None
    assert gone.failure.kind is FailureKind.CONTAINER_LOST
    return gone.failure.message


LIES: dict[str, tuple[list[Any], str]] = {
    "a function that is not there": ([LOADED._replace(function="other/g@1")], "other/g@1 is loaded, which nobody has"),
    "a template that nobody needs": ([LOADED._replace(function=TEMPLATE)], "is loaded, which nobody has asked for"),
    "loaded twice": ([LOADED, LOADED], "is loaded already"),
    "forked without a template": ([LOADED._replace(source="libraries")], "was forked, which has no template"),
    "failed after it was loaded": ([LOADED, messages.LoadFailed(F, CRASHED, 1)], "loaded already"),
    "another activation": ([LOADED, RAN._replace(activation="a2")], "it has run a2, which nobody has asked for"),
    "another function's activation": ([LOADED, RAN._replace(function="other/g@1")], "it has run a1, which nobody"),
    "ran without being loaded": ([RAN], "which is not loaded"),
    "ran twice": ([LOADED, RAN, RAN], "it has run a1, which nobody has asked for"),
    "an end that nobody asked for": ([LOADED, messages.Gone(F, None, 1)], "which nobody has asked for"),
    "a value that nobody wants": (
        [LOADED, messages.Value("a1", b"1")],
        "reports a value of a1, which nobody has asked",
    ),
    "cancelled by itself": (
        [LOADED, RAN._replace(failure=messages.Failure("cancelled", ""))],
        "it has cancelled a1, which nobody has asked for",
    ),
    "the end of what was not there": ([messages.Gone("other/g@1", CRASHED, 1)], "is gone, which was not there"),
    "the memory of what is not there": ([messages.Measured({F: 1}, 1)], "has measured guest/f@0.0.1, which is not"),
    "ready twice": ([READY], "a second time that it is ready"),
    "isolation that is no text": (
        [encode({**LOADED._asdict(), "type": "loaded", "isolation": [1]})],
        "field isolation.an item: expected 1 to 400 printable characters, not 1",
    ),
    "a failure of the platform": (
        [encode({"type": "gone", "function": F, "failure": {"kind": "queue_full", "message": ""}, "total_bytes": 1})],
        "field failure.kind: expected one of load_failed, crashed",
    ),
    "depth": ([struct.pack("!II", 200_004, 200_000) + b"[" * 200_000], "a frame's header is not JSON"),
}


@pytest.mark.parametrize(("said", "complaint"), LIES.values(), ids=LIES)
def test_a_report_that_cannot_be_true_ends_the_container(
    tmp_path: Path, tell: Callable[..., None], said: list[Any], complaint: str
) -> None:
    tell(*said)

    async def scene(w: World) -> None:
        container = await w.container()
        w.ask(container, spec(tmp_path))
        message = await lost(w)
        assert message.startswith("the container's manager does not keep to the protocol: ")
        assert complaint in message

    play(tmp_path, scene)


def test_what_was_said_before_a_bad_frame_holds(tmp_path: Path, tell: Callable[..., None]) -> None:
    tell(LOADED, RAN, b"\0\0\0\0\0\0\0\0")

    async def scene(w: World) -> None:
        container = await w.container()
        _, result = await w.run(container, spec(tmp_path))
        assert result == {}
        assert w.answers["a1"].logs == ["a line"]
        assert "does not fit" in await lost(w)
        assert w.kinds() == ["LoadFinished", "RunFinished", "ContainerGone"]

    play(tmp_path, scene)


def test_a_manager_that_reports_before_it_is_ready_has_not_started(tmp_path: Path, tell: Callable[..., None]) -> None:
    tell(at_start=messages.REPORTS.encode(LOADED))

    async def scene(w: World) -> None:
        w.start()
        failed = await w.wait_for(ContainerStartFailed)
        assert "it reports before it is ready" in failed.failure.message

    play(tmp_path, scene)


def test_times_are_bounded_by_our_clock_and_sizes_by_the_machine(tmp_path: Path, tell: Callable[..., None]) -> None:
    huge = {"resident_bytes": 1 << 50, "total_bytes": 1 << 50}
    tell(
        LOADED._replace(library_s=1e9, model_s=1e9, **huge),
        RAN._replace(compute_s=1e9, **huge),
        messages.Measured({F: 1 << 50}, 1 << 50),
    )
    machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    async def scene(w: World) -> None:
        container = await w.container()
        began = w.backend.clock.now()
        ran, _ = await w.run(container, spec(tmp_path))
        loaded = await w.wait_for(LoadFinished)
        took = w.backend.clock.now() - began
        assert loaded.library_s + loaded.model_s <= took
        assert ran.compute_s <= took
        measured = await w.wait_for(MemoryMeasured)
        assert measured.resident_bytes == ((F, machine_bytes),)
        assert max(loaded.resident_bytes, ran.resident_bytes, w.backend.used_bytes()) <= machine_bytes
        container.kill()
        await lost(w)

    play(tmp_path, scene)


def test_values_that_were_not_waited_for_end_the_container(tmp_path: Path, tell: Callable[..., None]) -> None:
    tell(LOADED, *[messages.Value("a1", b"1" * 50_000)] * 8)

    async def scene(w: World) -> None:
        container = await w.container()
        values: list[bytes] = []
        container.run(spec(tmp_path), Call("a1", F, b"{}", on_value=values.append))
        assert "it reports values that are too large, or that were not waited for" in await lost(w)
        assert len(values) == 6

    play(tmp_path, scene)


@pytest.mark.parametrize("answer", [b"}{", b"", b'"text"', b'{"a": NaN}', b"[" * 5000, b'{"a": "\xff"}', b"{} {}"])
def test_an_answer_that_is_not_json_is_passed_on_to_nobody(
    tmp_path: Path, tell: Callable[..., None], answer: bytes
) -> None:
    tell(LOADED, RAN._replace(answer_bytes=len(answer), rest=answer + b"a line"))

    async def scene(w: World) -> None:
        container = await w.container()
        ran, result = await w.run(container, spec(tmp_path))
        assert result is None
        assert ran.failure is not None
        assert ran.failure.kind is FailureKind.BAD_ANSWER
        assert w.answers["a1"].logs == ["a line"]
        container.kill()
        await lost(w)

    play(tmp_path, scene)


LOGS = {"newlines": b"\n" * 400, "control characters": b"\x1b" * 400, "quotes": b'"' * 1000, "much": b"x" * 3000}


@pytest.mark.parametrize("logs", [*LOGS.values(), b"\xff"], ids=[*LOGS, "no UTF-8"])
def test_logs_above_the_functions_limit_are_nobodys_record(
    tmp_path: Path, tell: Callable[..., None], logs: bytes
) -> None:
    tell(LOADED, RAN._replace(rest=b"{}" + logs * (1 if logs == b"\xff" else 3)))

    async def scene(w: World) -> None:
        container = await w.container()
        w.ask(container, replace(spec(tmp_path), logs_bytes=1000))
        assert "logs " in await lost(w)

    play(tmp_path, scene)


def test_a_report_that_the_platform_cannot_take_ends_the_container(
    tmp_path: Path, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(LOADED, RAN)

    async def scene(w: World) -> None:
        report = w.report

        def broken(event: Event, answer: Answer | None) -> None:
            if isinstance(event, RunFinished):
                raise KeyError("a fault of ours")
            report(event, answer)

        monkeypatch.setattr(w, "report", broken)
        container = await w.container()
        w.ask(container, spec(tmp_path))
        assert "has reported what could not be taken: KeyError: 'a fault of ours'" in await lost(w)

    play(tmp_path, scene)


def test_an_end_that_cannot_be_told_leaves_nothing(tmp_path: Path, tell: Callable[..., None]) -> None:
    tell()

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
        async with world(tmp_path) as w:
            container = await w.container()

            def broken(event: Event, answer: Answer | None) -> None:
                raise KeyError("a fault of ours")

            container._report = broken
            container.kill()
            async with asyncio.timeout(PATIENCE_S):
                await container.ended.wait()
            assert w.backend.containers == set()
            assert list(w.backend.scratch.iterdir()) == []

    asyncio.run(scenario())


def test_a_manager_that_never_reads_is_not_written_to_for_ever(
    tmp_path: Path, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell()
    monkeypatch.setattr(managed, "_MOST_UNREAD_BYTES", 10_000_000)

    async def scene(w: World) -> None:
        container = await w.container()
        for number in range(20):
            container.run(spec(tmp_path), Call(f"a{number}", F, b" " * 1_000_000))
        assert "does not read what it is told" in await lost(w)

    play(tmp_path, scene)


def test_a_flood_of_reports_lets_others_have_their_turn(tmp_path: Path, tell: Callable[..., None]) -> None:
    flood = 20_000
    tell(LOADED, *[messages.Measured({F: number}, 1) for number in range(flood)])

    async def scene(w: World) -> None:
        container = await w.container()
        turns = 0
        container.load(spec(tmp_path))
        async with asyncio.timeout(PATIENCE_S):
            while not any(
                isinstance(e, MemoryMeasured) and e.resident_bytes == ((F, flood - 1),) for e in w.events[-1:]
            ):
                await asyncio.sleep(0)
                turns += 1
        assert turns >= flood / 64 / 2
        assert [e.resident_bytes[0][1] for e in w.events if isinstance(e, MemoryMeasured)] == list(range(flood))
        container.kill()
        await lost(w)

    play(tmp_path, scene)


def test_what_a_template_does_without_is_not_told_without_end(
    tmp_path: Path, tell: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    many = {f"module_{number}": "no" for number in range(9_000)}
    tell(LOADED._replace(function=TEMPLATE, left_out=many))

    async def scene(w: World) -> None:
        container = await w.container()
        container.load_template(TemplateSpec(TEMPLATE, Path(sys.executable), ("json",)))
        await w.wait_for(LoadFinished)
        assert len(w.backend.left_out[TEMPLATE]) == 9_000
        w.backend.note_left_out(TEMPLATE, {f"other_{number}": "no" for number in range(9_000)})
        assert len(w.backend.left_out[TEMPLATE]) == 10_000
        container.kill()
        await lost(w)

    play(tmp_path, scene)
    assert len(caplog.records) == 2 * 21
    assert caplog.records[20].getMessage() == f"{TEMPLATE} does without 8980 modules more"


def manager(folder: Path, code: str) -> Path:
    """An interpreter that runs this in the place of a manager."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable} -IS\nimport os, sys, time\n{code}\n")
    path.chmod(0o755)
    return path


def test_an_end_by_a_signal_without_a_name_is_told(tmp_path: Path) -> None:
    python = manager(tmp_path, f"os.kill(os.getpid(), {signal.SIGRTMIN + 6})")

    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            w.start()
            failed = await w.wait_for(ContainerStartFailed)
            assert f"was killed by signal {signal.SIGRTMIN + 6}" in failed.failure.message

    asyncio.run(scenario())


def test_who_keeps_a_connection_open_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody with the manager's user id could, from outside its session."""
    monkeypatch.setattr(process_manager, "_LAST_REPORTS_S", 0.05)
    python = manager(
        tmp_path,
        f"if os.fork() == 0: os.setsid(); open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        f"\nwhile not os.path.exists({str(tmp_path / 'pid')!r}): time.sleep(0.01)",
    )

    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            w.start()
            failed = await w.wait_for(ContainerStartFailed)
            assert "ended with exit code 0" in failed.failure.message
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    asyncio.run(scenario())
