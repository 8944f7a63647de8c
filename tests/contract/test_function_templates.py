"""The rows on function templates in the contract of `instainfer.backends.base`, for every backend."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from backend_stages import Does, MemoryStage, Play, Stage

from instainfer.backends.base import FunctionSpec, TemplateSpec
from instainfer.core.events import LoadFailed, LoadFinished, ResidentGone
from instainfer.core.model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    Failure,
    FailureKind,
    ResidentKey,
    Source,
    function_template_key,
)


def own(function: FunctionSpec) -> ResidentKey:
    return function_template_key(function.key)


async def made(stage: Stage[Any], container: Any, function: FunctionSpec) -> None:
    container.load_function_template(function)
    await stage.until_told(f"LoadFinished {own(function)}")


def sources(stage: Stage[Any], function: FunctionSpec) -> list[Source]:
    return [e.source for e in stage.events if isinstance(e, LoadFinished) and e.function == function.key]


def test_a_function_template_is_answered_once_and_not_made_again(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        container.load_function_template(f)
        container.load_function_template(f)
        assert stage.told(1) == []
        await stage.until_told(f"LoadFinished {own(f)}")
        container.load_function_template(f)
        await stage.settle(container)
        assert stage.told(1) == [f"LoadFinished {own(f)}"]
        loaded = stage.one(LoadFinished, own(f))
        assert loaded.library_s + loaded.model_s > 0
        assert loaded.resident_bytes > 0
        assert stage.backend.used_bytes() >= loaded.resident_bytes

    play(scene)


def test_its_library_template_is_made_first(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        template = TemplateSpec("template:t/env", f.python, ("json",), (f.folder,))
        await made(stage, container, replace(f, template=template))
        assert stage.told(1) == ["LoadFinished template:t/env", f"LoadFinished {own(f)}"]
        assert stage.one(LoadFinished, own(f)).source is FROM_LIBRARIES

    play(scene)


def test_an_unfit_function_has_no_template_and_loads_as_before(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.LEAVE_A_THREAD)
        container.load_function_template(f)
        await stage.until_told(f"LoadFailed {own(f)}")
        assert "thread" in stage.one(LoadFailed, own(f)).failure.message
        await stage.ran(container, f, "a1")
        await stage.settle(container)
        assert stage.told(1) == [f"LoadFailed {own(f)}", f"LoadFinished {f.key}", "RunFinished a1"]
        assert FROM_FUNCTION not in sources(stage, f)

    play(scene)


def test_a_function_that_cannot_be_loaded_has_no_template(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.FAIL_TO_LOAD)
        container.load_function_template(f)
        await stage.until_told(f"LoadFailed {own(f)}")
        await stage.settle(container)
        assert stage.told(1) == [f"LoadFailed {own(f)}"]

    play(scene)


def test_loads_and_runs_are_forked_from_it_and_runs_leave_it_as_it_is(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f, other = await stage.started(), stage.function("f"), stage.function("other")
        await made(stage, container, f)
        await stage.ran(container, f, "a1")
        await stage.ran(container, other, "a2")
        await stage.until_gone(f.key)
        container.load(f)
        await stage.until(lambda: len(sources(stage, f)) == 2)
        ran = await stage.ran(container, f, "a3")
        await stage.until_gone(other.key)
        assert (ran.failure, ran.alive) == (None, True)
        assert sources(stage, f) == [FROM_FUNCTION, FROM_FUNCTION]
        assert f"ResidentGone {own(f)}" not in stage.told()
        assert stage.answers["a3"].result == b'{"got":{"n":1}}'

    play(scene)


def test_the_run_of_another_cuts_a_making_short(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f, other = await stage.started(), stage.function("f", Does.WAIT_IN_LOAD), stage.function("other")
        container.load_function_template(f)
        await stage.reached(f)
        await stage.ran(container, other, "a1")
        await stage.until_gone(own(f))
        await stage.settle(container)
        assert stage.told_in_order(1, beside=[own(f)]) == [f"LoadFinished {other.key}", "RunFinished a1"]
        assert stage.one(ResidentGone, own(f)).failure is None

    play(scene)


def test_an_offload_and_a_run_that_come_together_end_a_making_once(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f, other = await stage.started(), stage.function("f", Does.WAIT_IN_LOAD), stage.function("other")
        container.load_function_template(f)
        await stage.reached(f)
        container.offload(own(f))
        await stage.ran(container, other, "a1")
        await stage.until_gone(own(f))
        await stage.settle(container)
        assert stage.told().count(f"ResidentGone {own(f)}") == 1

    play(scene)


def test_the_run_of_its_own_function_leaves_a_making_alone(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        await stage.loaded(container, f)
        container.load_function_template(f)
        await stage.ran(container, f, "a1")
        await stage.until_told(f"LoadFinished {own(f)}")
        assert f"ResidentGone {own(f)}" not in stage.told()

    play(scene)


def test_what_was_forked_from_it_lives_on_when_it_ends(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        await made(stage, container, f)
        await stage.ran(container, f, "a1")
        container.offload(own(f))
        await stage.until_gone(own(f))
        ran = await stage.ran(container, f, "a2")
        await stage.settle(container)
        assert ran.failure is None
        assert sources(stage, f) == [FROM_FUNCTION]

    play(scene)


def test_without_it_a_function_is_loaded_in_the_other_ways(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        await made(stage, container, f)
        container.offload(own(f))
        await stage.until_gone(own(f))
        await stage.loaded(container, f)
        assert FROM_FUNCTION not in sources(stage, f)

    play(scene)


def test_a_stop_ends_it_without_a_report(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        await made(stage, container, f)
        container.stop()
        await stage.until_told(f"ContainerGone {container.id}")
        await stage.settle(container)
        assert stage.told(2) == [f"ContainerGone {container.id}"]
        assert stage.backend.used_bytes() == 0

    play(scene)


def test_one_that_dies_says_so() -> None:
    async def scene() -> None:
        stage = MemoryStage(end_s=0.01)
        container, f = await stage.started(), stage.function("f")
        await made(stage, container, f)
        container.kill(own(f), Failure(FailureKind.OUT_OF_MEMORY, "memory was short"))
        await stage.until_gone(own(f))
        assert stage.one(ResidentGone, own(f)).failure is not None
        await stage.loaded(container, f)
        assert FROM_FUNCTION not in sources(stage, f)

    asyncio.run(scene())


def test_a_function_template_that_proves_itself_is_answered_once(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        container.load_function_template(f, proves=True)
        await stage.until_told(f"LoadFinished {own(f)}")
        container.load(f)
        await stage.until_told(f"LoadFinished {f.key}")
        await stage.settle(container)
        assert stage.told(1) == [f"LoadFinished {own(f)}", f"LoadFinished {f.key}"]
        assert sources(stage, f) == [FROM_FUNCTION]

    play(scene)
