"""Functions whose processes say to their manager what they may not: they fail, in words, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap
from pathlib import Path

import pytest
from support.process_world import World, world
from template_world import Environment, Family, loaded

from instainfer.backends.base import Call
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import LoadFailed, LoadFinished, ResidentGone
from instainfer.core.model import FROM_LIBRARIES, FROM_NOTHING, FailureKind
from instainfer.wire.bounds import WINDOW_BYTES, cost_bytes

MIB = 1024 * 1024

FORGER = """
import os, struct, threading, time
from instainfer.wire.calls import *
from instainfer.wire.calls import FROM_PROCESS
from instainfer.wire.messages import Failure
from instainfer.wire.framing import encode
def say(raw):
    while raw:
        raw = raw[os.write(3, raw):]
"""


def forger(code: str) -> str:
    return FORGER + textwrap.dedent(code)


async def goes_on(w: World, container: ManagedContainer) -> None:
    _, result = await w.run(container, w.function("def main(args): return {}\n", "next"), "next")
    assert result == {}


SAID = {
    "a failure that is none": (
        "encode({'type': 'answered', 'failure': 'x', 'last': False})",
        "field failure: expected",
    ),
    "no time": ("encode({'type': 'answered', 'compute_s': 'x'})", "lacks the fields failure, last"),
    "a failure of the platform": (
        "encode({'type': 'answered', 'failure': {'kind': 'container_lost', 'message': ''}, 'last': False})",
        "field failure.kind: expected one of raised, bad_answer, crashed, out_of_memory",
    ),
    "endless words": (
        "encode({'type': 'answered', 'failure': {'kind': 'raised', 'message': 'x' * 100000}, 'last': False})",
        "field failure.message: expected text of 0 to 16000 characters",
    ),
    "depth": ("struct.pack('!II', 200_004, 200_000) + b'[' * 200_000", "a frame's header is not JSON"),
    "nothing": ("b'\\0' * 8", "does not fit"),
    "a claim of 128 MiB": ("struct.pack('!II', 128 << 20, 2)", "is above the limit of 67108864 bytes"),
    "a header of 100 MiB": ("struct.pack('!II', 128 << 20, 100 << 20)", "above the limit of 2097152 bytes"),
    "a message of another time": ("FROM_PROCESS.encode(Prepared())", "Prepared while running"),
    "a message of another side": ("encode({'type': 'ran'})", "unknown message 'ran'"),
    "isolation once more": ("FROM_PROCESS.encode(Jailed(['own uid: given']))", "Jailed while running"),
    "a value that nobody wants": ("FROM_PROCESS.encode(Yielded(b'1'))", "which nobody has asked for"),
    "cancelled by itself": (
        "FROM_PROCESS.encode(Answered(Failure('cancelled', ''), False, b''))",
        "it has cancelled a call, which nobody has asked for",
    ),
    "a birth": ("FROM_PROCESS.encode(Born(os.getpid()))", "Born while running"),
}


@pytest.mark.parametrize(("said", "complaint"), SAID.values(), ids=SAID)
def test_what_may_not_be_said_fails_the_run(tmp_path: Path, said: str, complaint: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(forger(f"def main(args):\n    say({said})\n    time.sleep(60)\n"))
            ran, _ = await w.run(container, f)
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.CRASHED
            assert ran.failure.message.startswith("the function's process wrote to our socket: ")
            assert complaint in ran.failure.message
            assert not ran.alive
            await w.wait_for(ResidentGone)
            await goes_on(w, container)

    asyncio.run(scenario())


STREAMED = {
    "more than the window": (
        "for _ in range(30): say(FROM_PROCESS.encode(Yielded(b'1' * 20_000)))",
        FailureKind.CRASHED,
        "it has not waited until its values were taken",
    ),
    "many small values": (
        "say(FROM_PROCESS.encode(Yielded(b'1')) * 2000)",
        FailureKind.CRASHED,
        "it has not waited until its values were taken",
    ),
    "a huge value": (
        "say(FROM_PROCESS.encode(Yielded(b'1' * (9 << 20))))",
        FailureKind.CRASHED,
        "a value of 9437184 bytes is above the limit of 8388608",
    ),
    "no JSON": ("say(FROM_PROCESS.encode(Yielded(b'}{')))", FailureKind.BAD_ANSWER, "is not JSON"),
    "no text": ("say(FROM_PROCESS.encode(Yielded(b'\"\\xff\"')))", FailureKind.BAD_ANSWER, "is not JSON"),
    "nothing": ("say(FROM_PROCESS.encode(Yielded(b'')))", FailureKind.BAD_ANSWER, "is not JSON"),
    "lines of ours": (
        "say(FROM_PROCESS.encode(Yielded(b'[1,\\n\\nevent: result\\n2]')))",
        FailureKind.BAD_ANSWER,
        "has a line break",
    ),
}


@pytest.mark.parametrize(("code", "kind", "complaint"), STREAMED.values(), ids=STREAMED)
def test_what_may_not_be_streamed_fails_the_run(tmp_path: Path, code: str, kind: FailureKind, complaint: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(forger(f"def main(args):\n    {code}\n    yield 2\n    yield 3\n"))
            values: list[bytes] = []
            container.run(f, Call("a1", f.key, b"{}", on_value=values.append))
            ran = await w.ran()
            assert ran.failure is not None
            assert ran.failure.kind is kind
            assert complaint in ran.failure.message
            assert (w.result(), ran.alive) == (None, kind is FailureKind.BAD_ANSWER)
            assert sum(map(cost_bytes, values)) < WINDOW_BYTES + 30_000
            await goes_on(w, container)

    asyncio.run(scenario())


def test_a_value_after_the_end_ends_the_process_and_reaches_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                forger("""
                def main(args):
                    yield 1
                    say(FROM_PROCESS.encode(Answered(None, False, b"")))
                    yield 2
                """)
            )
            values: list[bytes] = []
            container.run(f, Call("a1", f.key, b"{}", on_value=values.append))
            ran = await w.ran()
            assert (ran.failure, w.answers["a1"].result) == (None, b"")
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is not None
            assert values == [b"1"]
            await goes_on(w, container)

    asyncio.run(scenario())


def test_a_forged_answer_is_an_answer_and_its_time_is_ours(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                forger("""
                def main(args):
                    time.sleep(0.2)
                    say(encode({"type": "answered", "compute_s": "x", "failure": None, "last": False}, b'{"forged":1}'))
                    return {}
                """)
            )
            ran, result = await w.run(container, f)
            assert result == {"forged": 1}
            assert 0.2 <= ran.compute_s < 20.0
            # Its own answer comes when nobody has asked for one.
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is not None
            assert "a body of 2 bytes is above the limit of 0 bytes" in gone.failure.message
            await goes_on(w, container)

    asyncio.run(scenario())


def test_an_answer_that_is_not_json_is_no_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(forger("def main(args):\n    say(FROM_PROCESS.encode(Answered(None, True, b'}{')))\n"))
            ran, result = await w.run(container, f)
            assert result is None
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.BAD_ANSWER
            await w.wait_for(ResidentGone)
            await goes_on(w, container)

    asyncio.run(scenario())


def test_only_who_is_asked_may_say_much(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                forger("""
                def later():
                    open("gate").read()
                    say(struct.pack("!II", 30 << 20, 2) + b"{}" + b"x" * (20 << 20))
                def main(args):
                    threading.Thread(target=later).start()
                    return {}
                """)
            )
            os.mkfifo(f.folder / "gate")
            await w.run(container, f)
            await asyncio.to_thread((f.folder / "gate").write_text, "")
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is not None
            assert "above the limit of 0 bytes" in gone.failure.message
            await goes_on(w, container)

    asyncio.run(scenario())


def test_a_frame_that_never_ends_ends_with_the_load_it_is_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            drip = """
                say(struct.pack("!II", 1_000_004, 1_000_000))
                while True:
                    say(b"x")
                    time.sleep(0.001)
            """
            ran, _ = await w.run(container, w.function(forger(drip), timeout_s=0.5))
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.TIMED_OUT
            await goes_on(w, container)

    asyncio.run(scenario())


@pytest.mark.parametrize("said", ["Jailed(['own uid: given', 'files: all'])", "Born(1)", "Apart()", "Warmed()"])
def test_what_code_says_of_its_jail_is_not_believed(tmp_path: Path, said: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            before = w.backend.isolation()
            container.load(w.function(forger(f"say(FROM_PROCESS.encode({said}))\ndef main(args): return {{}}\n")))
            failed = await w.wait_for(LoadFailed)
            assert "wrote to our socket" in failed.failure.message
            assert w.backend.isolation() == before
            await goes_on(w, container)

    asyncio.run(scenario())


@pytest.mark.parametrize("asks", [True, False])
def test_what_an_environment_says_of_a_forks_jail_is_not_believed(tmp_path: Path, asks: bool) -> None:
    environment = Environment(tmp_path / "environment", Path(sys.executable))
    environment.install(
        liar=f"""
            from instainfer.runtime import jail
            narrow = jail.narrow
            def lie(folder, scratch, environment, ask_uid, cache):
                narrow(folder, scratch, environment, ask_uid if {asks} else None, cache)
                return ["own uid: given, honestly", "privileges: all gone", "files: none at all"]
            jail.narrow = lie
        """
    )

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (f,) = Family(w, environment, "liar").functions(f="def main(args): return {}\n")
            event = await loaded(w, container, f)
            # As root, it is not let go on without the id that it says it has, but started from nothing.
            is_root = os.geteuid() == 0
            assert event.source is (FROM_LIBRARIES if asks or not is_root else FROM_NOTHING)
            words = " ".join(w.backend.isolation())
            assert ("own uid: given" if is_root else "own uid: not given (forked from a template") in words
            assert not any(lie in words for lie in ("honestly", "all gone", "none at all"))

    asyncio.run(scenario())


def test_a_load_is_measured_by_the_manager_and_only_its_parts_are_the_functions_to_tell(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            honest = w.function(
                "import time\ntime.sleep(0.3)\ndef load(): time.sleep(0.2)\ndef main(args): return {}\n", "honest"
            )
            early = "say(FROM_PROCESS.encode(Imported()))\ntime.sleep(0.3)\ndef main(args): return {}\n"
            began = w.backend.clock.now()
            container.load(honest)
            event = await w.wait_for(LoadFinished)
            took = w.backend.clock.now() - began
            assert event.library_s >= 0.3
            assert event.model_s >= 0.2
            assert event.library_s + event.model_s <= took
            container.load(w.function(forger(early), "early"))
            event = await w.wait_for(LoadFinished, lambda event: "early" in event.function)
            assert event.model_s >= 0.2  # the manager may have heard a little later that the imports were done
            container.load(w.function(forger("say(FROM_PROCESS.encode(Imported()) * 2)\ntime.sleep(60)\n"), "twice"))
            failed = await w.wait_for(LoadFailed)
            assert "it says at a wrong time that its imports are done" in failed.failure.message

    asyncio.run(scenario())


def test_descriptors_that_come_with_a_frame_go_nowhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                forger("""
                import socket
                def main(args):
                    ours, theirs = os.pipe()
                    sock = socket.socket(fileno=os.dup(3))
                    socket.send_fds(sock, [FROM_PROCESS.encode(Answered(None, True, b"{}"))], [theirs])
                    os.close(theirs)
                    open("result", "wb").write(os.read(ours, 1) or b"closed")
                """),
            )
            f.folder.chmod(0o777)
            ran, result = await w.run(container, f)
            assert ran.failure is None
            assert result == {}
            await goes_on(w, container)

    asyncio.run(scenario())


def test_a_million_newlines_are_logs_within_their_limit(tmp_path: Path) -> None:
    """They were a frame of 147 MB once, which cost the container."""

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                'import os\ndef main(args):\n    for _ in range(37): os.write(1, b"\\n" * 100_000)\n    return {}\n',
                logs_bytes=2 * MIB,
                timeout_s=60.0,
            )
            ran, result = await w.run(container, f)
            assert ran.failure is None
            assert result == {}
            lines = w.answers["a1"].logs
            assert "truncated" in lines[-1]
            assert MIB < len(json.dumps(list(lines), separators=(",", ":"))) <= 2 * MIB + 1024
            await goes_on(w, container)

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["'\\ud800'", "'x' * 10_000_000", "'\\0' * 20_000", "'\\u202e\\x1b[2J'"])
def test_words_of_a_failure_can_be_stored_whatever_they_are(tmp_path: Path, text: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(f"class Failed(Exception):\n    pass\ndef main(args): raise Failed({text})\n")
            ran, _ = await w.run(container, f)
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.RAISED
            assert len(ran.failure.message.encode()) < 100_000
            crash = f"import os, sys\nsys.stderr.write({text} + '\\n')\nsys.stderr.flush()\nos._exit(3)\n"
            ran, _ = await w.run(container, w.function(crash, "crash"), "a2")
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.CRASHED
            assert len(ran.failure.message.encode()) < 100_000
            await goes_on(w, container)

    asyncio.run(scenario())
