"""The contract of streamed answers (`instainfer.backends.base`), for every backend."""

from __future__ import annotations

import json
from typing import Any

from backend_stages import LARGE_VALUE, Does, Play, Stage

from instainfer.core.events import RunFinished
from instainfer.core.model import FailureKind
from instainfer.wire.bounds import WINDOW_BYTES, cost_bytes


def test_values_are_handed_on_in_order_before_the_end_and_are_the_answer(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.STREAM)
        stage.stream(container, f, "a1")
        assert not stage.values["a1"]
        taken = 0
        while taken < 11:
            await stage.until(lambda: len(stage.values["a1"]) > taken)  # noqa: B023 - it is asked before that changes
            assert "RunFinished a1" not in stage.told() or len(stage.values["a1"]) == 11
            container.taken("a1", cost_bytes(stage.values["a1"][taken]))
            taken += 1
        await stage.until_told("RunFinished a1")
        assert stage.values["a1"] == [b'{"n":1}', *[LARGE_VALUE] * 10]
        assert stage.answers["a1"].result == b""
        ran = stage.one(RunFinished, "a1")
        assert (ran.failure, ran.alive, ran.has_yielded) == (None, True, True)

    play(scene)


def test_a_call_that_wants_one_answer_gets_the_list_of_them(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.STREAM)
        ran = await stage.ran(container, f, "a1")
        assert json.loads(stage.answers["a1"].result or b"null") == [{"n": 1}, *["x" * (100 << 10)] * 10]
        assert not ran.has_yielded

    play(scene)


def test_a_function_that_is_no_generator_answers_a_streaming_call_as_any(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        stage.stream(container, f, "a1")
        await stage.until_told("RunFinished a1")
        assert (stage.answers["a1"].result, stage.values["a1"]) == (b'{"got":{"n":1}}', [])

    play(scene)


def test_the_first_value_comes_before_the_function_goes_on(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.STREAM_AND_WAIT)
        stage.stream(container, f, "a1")
        await stage.until(lambda: stage.values["a1"] == [b"0"])
        await stage.reached(f)
        assert stage.values["a1"] == [b"0"]
        stage.let_go(f)
        await stage.until(lambda: stage.values["a1"][:2] == [b"0", b"1"])

    play(scene)


def test_a_run_ends_when_nobody_wants_more_and_its_process_stays(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.STREAM_AND_WAIT)
        stage.stream(container, f, "a1")
        await stage.until(lambda: bool(stage.values["a1"]))
        await stage.reached(f)
        container.enough("a1")
        stage.let_go(f)
        await stage.until_told("RunFinished a1")
        ran = stage.one(RunFinished, "a1")
        assert ran.failure.kind is FailureKind.CANCELLED
        assert (ran.alive, stage.values["a1"]) == (True, [b"0"])
        container.enough("a1")
        container.taken("a1", 5)
        stage.stream(container, f, "a2")
        await stage.until(lambda: stage.values["a2"] == [b"0"])

    play(scene)


def test_a_run_that_nobody_wants_from_the_start_yields_nothing(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.STREAM)
        stage.stream(container, f, "a1")
        container.enough("a1")
        await stage.until_told("RunFinished a1")
        ran = stage.one(RunFinished, "a1")
        assert (ran.failure.kind, ran.has_yielded) == (FailureKind.CANCELLED, False)
        assert stage.values["a1"] == []

    play(scene)


def test_a_caller_that_takes_nothing_gets_no_more_than_the_window(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.STREAM)
        stage.stream(container, f, "a1")
        await stage.until(lambda: sum(map(cost_bytes, stage.values["a1"])) >= WINDOW_BYTES)
        sent = len(stage.values["a1"])
        container.enough("a1")
        await stage.until_told("RunFinished a1")
        assert sent == len(stage.values["a1"]) == 4

    play(scene)


def test_what_was_yielded_before_an_error_was_handed_on(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.STREAM_AND_RAISE)
        stage.stream(container, f, "a1")
        await stage.until_told("RunFinished a1")
        ran = stage.one(RunFinished, "a1")
        assert ran.failure.kind is FailureKind.RAISED
        assert (stage.values["a1"], ran.alive, ran.has_yielded) == ([b"1"], True, True)
        assert stage.answers["a1"].result is None
        stage.run(container, f, "a2")
        await stage.until_told("RunFinished a2")
        assert stage.one(RunFinished, "a2").failure.kind is FailureKind.RAISED

    play(scene)
