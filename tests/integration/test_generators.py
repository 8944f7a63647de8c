"""Functions that yield, in real processes: of which kinds they may be, and how they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.process_world import PATIENCE_S, Gate, World, oldest_python, world

from instainfer.backends.base import Call, FunctionSpec
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import LoadFinished, RunFinished
from instainfer.core.model import FROM_FUNCTION, FailureKind
from instainfer.wire.bounds import cost_bytes


async def streamed(
    w: World, container: ManagedContainer, spec: FunctionSpec, activation: str, args: Any = None
) -> tuple[RunFinished, list[Any]]:
    """Run it for a caller that takes each value at once."""
    values: list[bytes] = []

    def on_value(value: bytes) -> None:
        values.append(value)
        asyncio.get_running_loop().call_soon(container.taken, activation, cost_bytes(value))

    container.run(spec, Call(activation, spec.key, json.dumps(args or {}).encode(), on_value=on_value))
    ran = await w.ran(activation)
    return ran, list(map(json.loads, values))


KINDS = {
    "a generator": ("def main(args):\n    yield 1\n    yield [2]\n", "action"),
    "one that is returned": ("def main(args):\n    return (n if n == 1 else [n] for n in (1, 2))\n", "action"),
    "an asynchronous one": (
        "import asyncio\nasync def main(args):\n    yield 1\n    await asyncio.sleep(0)\n    yield [2]\n",
        "action",
    ),
    "one that a coroutine returns": (
        "async def main(args):\n    async def values():\n        yield 1\n        yield [2]\n    return values()\n",
        "action",
    ),
    "a script's": (
        "import instainfer\nwhile True:\n    instainfer.receive()\n    instainfer.reply(n for n in (1, [2]))\n",
        "script",
    ),
}


@pytest.mark.parametrize(("code", "style"), KINDS.values(), ids=KINDS)
def test_generators_of_all_kinds_are_streamed_or_gathered(tmp_path: Path, code: str, style: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(code, style=style)
            for n in range(2):
                ran, values = await streamed(w, container, f, f"s{n}")
                assert (ran.failure, values, w.answers[f"s{n}"].result) == (None, [1, [2]], b"")
                ran, result = await w.run(container, f, f"a{n}")
                assert (ran.failure, result) == (None, [1, [2]])

    asyncio.run(scenario())


@pytest.mark.skipif(oldest_python() is None, reason="there is no Python 3.9")
def test_the_oldest_python_streams_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            for name, code in {
                "f": "def main(args):\n    yield from range(1000)\n",
                "g": "async def main(args):\n    for n in range(1000):\n        yield n\n",
            }.items():
                f = w.function(code, name, python=oldest_python())
                ran, values = await streamed(w, container, f, name)
                assert (ran.failure, values) == (None, [*range(1000)])

    asyncio.run(scenario())


BAD = {
    "an exception": ("yield 1\n    raise ValueError('no')", FailureKind.RAISED, "ValueError: no"),
    "what is no JSON": (
        "yield 1\n    yield {'a': object()}",
        FailureKind.BAD_ANSWER,
        "value 2 of the answer of main()",
    ),
    "too much in one": ("yield 1\n    yield 'x' * (9 << 20)", FailureKind.BAD_ANSWER, "more than 8388608"),
    "an exit": ("yield 1\n    import os\n    os._exit(3)", FailureKind.CRASHED, "exit code 3"),
}


@pytest.mark.parametrize(("code", "kind", "says"), BAD.values(), ids=BAD)
def test_what_goes_wrong_comes_after_the_values_before_it(
    tmp_path: Path, code: str, kind: FailureKind, says: str
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(f"def main(args):\n    {code}\n")
            ran, values = await streamed(w, container, f, "a1")
            assert ran.failure is not None
            assert (ran.failure.kind, values) == (kind, [1])
            assert says in ran.failure.message
            ran, result = await w.run(container, f, "a2")
            assert ran.failure is not None
            assert (ran.failure.kind, result) == (kind, None)

    asyncio.run(scenario())


def test_a_time_limit_is_for_all_values_and_for_the_wait_of_a_slow_caller(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("def main(args):\n    while True:\n        yield 'x' * 100_000\n", timeout_s=0.5)
            values: list[bytes] = []
            container.run(f, Call("a1", f.key, b"{}", on_value=values.append))
            ran = await w.ran("a1")
            assert ran.failure is not None
            assert (ran.failure.kind, len(values)) == (FailureKind.TIMED_OUT, 3)

    asyncio.run(scenario())


def test_a_generator_that_is_closed_may_tidy_up_and_yield_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("""
                def main(args):
                    try:
                        yield 1
                        open("gate").read()
                        while True:  # the word that it is enough may come a little later than the gate opens
                            yield 2
                    finally:
                        print("tidied up")
                """)
            gate = Gate(f)
            values: asyncio.Queue[bytes] = asyncio.Queue()
            container.run(f, Call("a1", f.key, b"{}", on_value=values.put_nowait))
            async with asyncio.timeout(PATIENCE_S):
                assert await values.get() == b"1"
            await gate.reached()
            container.enough("a1")
            gate.open()
            ran = await w.ran("a1")
            assert ran.failure is not None
            assert (ran.failure.kind, ran.alive, values.empty()) == (FailureKind.CANCELLED, True, True)
            assert ("stdout", "tidied up") in w.texts("a1")

    asyncio.run(scenario())


def test_a_generator_is_forked_and_its_sample_proves_that_it_can_be(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("def main(args):\n    yield args\n    yield 2\n")
            (f.folder / "sample.json").write_text('{"n": 1}')
            container.load_function_template(f, proves=True)
            await w.wait_for(LoadFinished)
            ran, values = await streamed(w, container, f, "a1", {"n": 5})
            assert (ran.failure, values) == (None, [{"n": 5}, 2])
            assert sources(w, f) == [FROM_FUNCTION]

    asyncio.run(scenario())


def sources(w: World, f: FunctionSpec) -> Sequence[Any]:
    return [event.source for event in w.events if isinstance(event, LoadFinished) and event.function == f.key]
