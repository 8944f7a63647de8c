"""The paper's style of function: a script that waits in ``instainfer.receive()``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from support.process_world import oldest_python, world

from instainfer.core.events import LoadFailed, LoadFinished, ResidentGone
from instainfer.core.model import FailureKind

PREAMBLE = "import json, instainfer\n"
FAKE_TORCH = """
import time
def load(path, map_location=None):
    began = time.perf_counter()
    while time.perf_counter() - began < 0.1: pass
    return {"path": path, "where": map_location}
"""


def test_a_script_loads_waits_and_replies(tmp_path: Path) -> None:
    async def scenario() -> None:
        python = oldest_python() or Path(sys.executable)
        async with world(tmp_path, python) as w:
            container = await w.container()
            f = w.function(
                PREAMBLE
                + "print('imported')\n"
                + "model = instainfer.load('weights.pt')\n"
                + "calls = 0\n"
                + "while True:\n"
                + "    args = instainfer.receive()\n"
                + "    calls += 1\n"
                + "    print('working')\n"
                + "    instainfer.reply({'args': args, 'calls': calls, 'model': model, 'name': __name__})\n",
                style="script",
            )
            (f.folder / "torch.py").write_text(FAKE_TORCH)
            container.load(f)
            loaded = await w.wait_for(LoadFinished)
            assert loaded.model_s >= 0.1
            ran, result = await w.run(container, f, "a1", {"x": 1})
            model = {"path": "weights.pt", "where": "cpu"}
            assert result == {"args": {"x": 1}, "calls": 1, "model": model, "name": "__main__"}
            assert ran.alive
            assert (await w.run(container, f, "a2"))[1]["calls"] == 2
            assert w.texts("a1") == [("stdout", "imported"), ("stdout", "working")]
            assert w.texts("a2") == [("stdout", "working")]
            assert w.kinds() == ["LoadFinished", "RunFinished", "RunFinished"]

    asyncio.run(scenario())


def test_without_a_reply_the_last_printed_line_is_the_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                PREAMBLE
                + "while True:\n"
                + "    args = instainfer.receive()\n"
                + "    print('thinking')\n"
                + "    if args: print(json.dumps(args), end=args.get('end', '\\n\\n'))\n",
                style="script",
            )
            assert (await w.run(container, f, "a1", {"x": 1}))[1] == {"x": 1}
            assert (await w.run(container, f, "a2", {"x": 2, "end": ""}))[1] == {"x": 2, "end": ""}
            ran, _ = await w.run(container, f, "a3")
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.BAD_ANSWER
            assert "not JSON" in ran.failure.message
            assert "thinking" in ran.failure.message
            assert ran.alive

    asyncio.run(scenario())


def test_a_script_that_comes_to_its_end_answers_and_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(PREAMBLE + "print(json.dumps([instainfer.receive()]))\n", style="script")
            for activation in ("a1", "a2"):
                ran, result = await w.run(container, f, activation, {"x": activation})
                assert result == [{"x": activation}]
                assert not ran.alive
            await w.wait_for(ResidentGone, lambda event: event is w.told[-1] and len(w.told) == 7)
            assert w.kinds() == ["LoadFinished", "RunFinished", "ResidentGone"] * 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 1\n", "came to its end without calling instainfer.receive()"),
        ("import nothing_like_it\n", "handler.py raised ModuleNotFoundError"),
        ("instainfer.reply({})\n", "instainfer.reply() without a request"),
    ],
)
def test_a_script_that_never_waits_cannot_be_loaded(tmp_path: Path, code: str, says: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            container.load(w.function(PREAMBLE + code, style="script"))
            failed = await w.wait_for(LoadFailed)
            assert failed.failure.kind is FailureKind.LOAD_FAILED
            assert says in failed.failure.message

    asyncio.run(scenario())


def test_a_script_that_is_not_there_cannot_be_loaded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            container.load(w.function("", style="script", handler="absent"))
            failed = await w.wait_for(LoadFailed)
            assert "there is no absent.py in the function's folder" in failed.failure.message

    asyncio.run(scenario())


def test_an_exception_ends_a_script_and_its_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(PREAMBLE + "args = instainfer.receive()\nargs['missing']\n", style="script")
            ran, _ = await w.run(container, f)
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.CRASHED
            assert "handler.py raised KeyError: 'missing'" in ran.failure.message
            assert not ran.alive
            await w.wait_for(ResidentGone)

    asyncio.run(scenario())


def test_an_action_is_told_that_receive_is_for_scripts(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            ran, _ = await w.run(container, w.function("import instainfer\ndef main(args): instainfer.receive()\n"))
            assert ran.failure is not None
            assert "instainfer.receive() is for scripts" in ran.failure.message

    asyncio.run(scenario())
