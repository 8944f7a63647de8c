"""The contract of `instainfer.backends.base`, row by row, for every backend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from backend_stages import Does, Play, Stage

from instainfer.backends.base import Call, FunctionSpec, TemplateSpec
from instainfer.core.events import (
    ContainerGone,
    ContainerStartFailed,
    LoadFailed,
    LoadFinished,
    ResidentGone,
    RunFinished,
)
from instainfer.core.model import FROM_LIBRARIES, FROM_NOTHING, MIB, FailureKind

# -- start ---------------------------------------------------------------------------------------------------------


def test_a_start_is_answered_once_and_never_from_inside_the_command(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = stage.start()
        assert stage.told() == []
        await stage.until_told("ContainerStarted c1")
        await stage.settle(container)
        assert stage.told() == ["ContainerStarted c1"]

    play(scene)


def test_a_start_that_fails_is_answered_once_and_leaves_nothing(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        stage.refuse_containers()
        stage.start()
        assert stage.told() == []
        await stage.until_told("ContainerStartFailed c1")
        failed = stage.one(ContainerStartFailed, "c1")
        assert failed.failure.kind is FailureKind.CONTAINER_START_FAILED
        assert failed.failure.message
        assert stage.backend.used_bytes() == 0

    play(scene)


# -- load ----------------------------------------------------------------------------------------------------------


def test_a_load_is_answered_once_and_what_is_loaded_or_loading_is_not_loaded_again(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        container.load(f)
        container.load(f)
        assert stage.told(1) == []
        await stage.until_told("LoadFinished t/f@1")
        container.load(f)
        await stage.settle(container)
        assert stage.told(1) == ["LoadFinished t/f@1"]
        loaded = stage.one(LoadFinished, "t/f@1")
        assert loaded.library_s > 0
        assert loaded.model_s >= 0
        assert loaded.resident_bytes > 0
        assert stage.backend.used_bytes() >= loaded.resident_bytes

    play(scene)


def test_a_load_that_fails_is_answered_once_and_may_be_tried_again(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.FAIL_TO_LOAD)
        container.load(f)
        await stage.until_told("LoadFailed t/f@1")
        assert stage.one(LoadFailed, "t/f@1").failure.kind is FailureKind.LOAD_FAILED
        await stage.settle(container)
        assert stage.told(1) == ["LoadFailed t/f@1"]
        container.load(f)
        await stage.until(lambda: stage.told(1) == ["LoadFailed t/f@1"] * 2)

    play(scene)


def test_a_load_cut_short_by_an_offload_reports_only_its_end(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.WAIT_IN_LOAD)
        container.load(f)
        await stage.reached(f)
        container.offload(f.key)
        assert stage.told(1) == []
        await stage.until_told("ResidentGone t/f@1")
        await stage.settle(container)
        assert stage.told(1) == ["ResidentGone t/f@1"]
        assert stage.one(ResidentGone, "t/f@1").failure is None

    play(scene)


def test_a_load_cut_short_by_the_run_of_another_reports_only_its_end(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f, other = await stage.started(), stage.function("f", Does.WAIT_IN_LOAD), stage.function("other")
        container.load(f)
        await stage.reached(f)
        await stage.ran(container, other, "a1")
        await stage.until_gone(f.key)
        await stage.settle(container)
        assert stage.told_in_order(1, beside=[f.key]) == ["LoadFinished t/other@1", "RunFinished a1"]

    play(scene)


# -- run -----------------------------------------------------------------------------------------------------------


def test_a_run_of_what_is_loaded_is_answered_once_with_result_and_logs(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        await stage.loaded(container, f)
        stage.run(container, f, "a1")
        assert stage.told(2) == []
        await stage.until_told("RunFinished a1")
        ran = await stage.ran(container, f, "a2")
        await stage.settle(container)
        assert stage.told(2) == ["RunFinished a1", "RunFinished a2"]
        assert (ran.failure, ran.alive) == (None, True)
        assert ran.compute_s > 0
        assert ran.resident_bytes > 0
        for activation in ("a1", "a2"):
            answer = stage.answers[activation]
            assert answer.result == b'{"got":{"n":1}}'
            assert len(answer.logs) == 1
            assert answer.logs[0].endswith("hello")

    play(scene)


def test_a_run_of_what_is_absent_loads_it_first(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        await stage.ran(container, f, "a1")
        await stage.settle(container)
        assert stage.told(1) == ["LoadFinished t/f@1", "RunFinished a1"]

    play(scene)


def test_a_run_that_only_warms_loads_and_answers_with_nothing(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f")
        container.run(f, Call("a1", f.key, b"{}", only_warms=True))
        await stage.until_told("RunFinished a1")
        assert stage.answers["a1"].result == b"{}"
        await stage.ran(container, f, "a2")
        assert stage.answers["a2"].result == b'{"got":{"n":1}}'
        await stage.settle(container)
        assert stage.told(1) == ["LoadFinished t/f@1", "RunFinished a1", "RunFinished a2"]

    play(scene)


def test_a_run_ends_every_other_resident(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        f, loaded, other = (stage.function(name) for name in ("f", "loaded", "other"))
        loading = stage.function("loading", Does.WAIT_IN_LOAD)
        await stage.loaded(container, f, loaded, other)
        container.load(loading)
        await stage.reached(loading)
        await stage.ran(container, f, "a1")
        others = [loaded.key, loading.key, other.key]
        await stage.until_gone(*others)
        await stage.settle(container)
        assert stage.told_in_order(4, beside=others) == ["RunFinished a1"]
        assert all(stage.one(ResidentGone, key).failure is None for key in others)

    play(scene)


def test_what_is_told_of_two_processes_of_one_function_does_not_mix(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        f, other = (stage.function(name) for name in ("f", "other"))
        await stage.loaded(container, f)
        await stage.ran(container, other, "a1")
        await stage.ran(container, f, "a2")
        await stage.until_gone(other.key)
        told = stage.told_in_order(2, beside=[other.key])
        own = [words for words in told if words.endswith(f.key)]
        assert own == ["ResidentGone t/f@1", "LoadFinished t/f@1"]

    play(scene)


def test_a_run_joins_a_load(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.WAIT_IN_LOAD)
        container.load(f)
        await stage.reached(f)
        stage.run(container, f, "a1")
        assert stage.told(1) == []
        stage.let_go(f)
        await stage.until_told("RunFinished a1")
        await stage.settle(container)
        assert stage.told(1) == ["LoadFinished t/f@1", "RunFinished a1"]

    play(scene)


@pytest.mark.parametrize("loading", [False, True], ids=["of its own", "that it joined"])
def test_a_load_that_fails_under_a_run_fails_the_run_too(play: Play, loading: bool) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.FAIL_TO_LOAD)
        if loading:
            container.load(f)
        ran = await stage.ran(container, f, "a1")
        await stage.settle(container)
        assert stage.told(1) == ["LoadFailed t/f@1", "RunFinished a1"]
        assert ran.failure is not None
        assert ran.failure.kind is FailureKind.LOAD_FAILED
        assert ran.failure == stage.one(LoadFailed, "t/f@1").failure
        assert (ran.alive, ran.resident_bytes) == (False, 0)
        assert stage.answers["a1"].result is None

    play(scene)


def test_a_run_that_raises_leaves_its_resident_alive(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.RAISE)
        for activation in ("a1", "a2"):
            ran = await stage.ran(container, f, activation)
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.RAISED
            assert ran.alive
            assert stage.answers[activation].result is None
        await stage.settle(container)
        assert stage.told(1) == ["LoadFinished t/f@1", "RunFinished a1", "RunFinished a2"]

    play(scene)


def test_a_crash_in_a_run_ends_run_and_resident_and_nothing_else(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f = await stage.started(), stage.function("f", Does.CRASH)
        ran = await stage.ran(container, f, "a1")
        await stage.until_told("ResidentGone t/f@1")
        assert stage.told(1) == ["LoadFinished t/f@1", "RunFinished a1", "ResidentGone t/f@1"]
        assert ran.failure is not None
        assert ran.failure.kind is FailureKind.CRASHED
        assert (ran.alive, ran.resident_bytes) == (False, 0)
        assert stage.answers["a1"].result is None

        await stage.ran(container, f, "a2")
        await stage.until(lambda: stage.told(4) == ["LoadFinished t/f@1", "RunFinished a2", "ResidentGone t/f@1"])
        await stage.settle(container)

    play(scene)


# -- templates -----------------------------------------------------------------------------------------------------

TEMPLATE = "template:t/e"


def family(stage: Stage[Any], *names: str) -> list[FunctionSpec]:
    """Functions that can be forked from one template."""
    functions = [stage.function(name) for name in names]
    folders = tuple(function.folder for function in functions)
    template = TemplateSpec(TEMPLATE, functions[0].python, ("json",), folders)
    return [replace(function, template=template) for function in functions]


def test_a_template_is_loaded_once_and_functions_are_forked_from_it(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        f, g = family(stage, "f", "g")
        assert f.template is not None
        container.load_template(f.template)
        container.load_template(f.template)
        assert stage.told(1) == []
        await stage.until_told(f"LoadFinished {TEMPLATE}")
        container.load_template(f.template)
        await stage.loaded(container, f, g)
        assert stage.told(1) == [f"LoadFinished {TEMPLATE}", "LoadFinished t/f@1", "LoadFinished t/g@1"]
        template = stage.one(LoadFinished, TEMPLATE)
        assert template.resident_bytes > 0
        assert template.model_s == 0
        assert template.source is FROM_NOTHING
        assert stage.one(LoadFinished, "t/f@1").source is FROM_LIBRARIES
        assert stage.one(LoadFinished, "t/g@1").source is FROM_LIBRARIES

    play(scene)


@pytest.mark.parametrize("asks", ["load", "run"])
def test_a_function_that_is_asked_for_brings_its_template_which_no_run_ends(play: Play, asks: str) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        f, g = family(stage, "f", "g")
        if asks == "load":
            container.load(f)
        else:
            stage.run(container, f, "a1")
        await stage.until_told("LoadFinished t/f@1")
        if asks == "run":
            await stage.until_told("RunFinished a1")
        before = len(stage.told())
        assert stage.told(1)[:2] == [f"LoadFinished {TEMPLATE}", "LoadFinished t/f@1"]
        await stage.ran(container, g, "a2")
        await stage.until_gone(f.key)
        assert stage.told_in_order(before, beside=[f.key]) == ["LoadFinished t/g@1", "RunFinished a2"]

    play(scene)


def test_a_template_that_is_offloaded_goes_once_and_what_was_forked_stays(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        (f,) = family(stage, "f")
        await stage.loaded(container, f)
        container.offload(TEMPLATE)
        container.offload(TEMPLATE)
        await stage.until_told(f"ResidentGone {TEMPLATE}")
        assert stage.one(ResidentGone, TEMPLATE).failure is None
        await stage.ran(container, f, "a1")
        assert stage.told(3) == [f"ResidentGone {TEMPLATE}", "RunFinished a1"]

    play(scene)


@pytest.mark.parametrize("asks", ["load", "run"])
def test_a_function_that_waits_for_a_template_which_is_offloaded_is_loaded_all_the_same(play: Play, asks: str) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        (f,) = family(stage, "f")
        if asks == "load":
            container.load(f)
        else:
            stage.run(container, f, "a1")
        container.offload(TEMPLATE)
        await stage.until_told("LoadFinished t/f@1")
        if asks == "run":
            await stage.until_told("RunFinished a1")

    play(scene)


# -- offload -------------------------------------------------------------------------------------------------------


def test_an_offload_is_answered_once_and_of_what_is_absent_not_at_all(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f, other = await stage.started(), stage.function("f"), stage.function("other")
        await stage.loaded(container, f, other)
        container.offload("t/unknown@1")
        container.offload(f.key)
        container.offload(f.key)
        assert stage.told(3) == []
        await stage.until_told("ResidentGone t/f@1")
        await stage.settle(container)
        assert stage.told(3) == ["ResidentGone t/f@1"]
        # It is really gone, and the other one is not.
        await stage.ran(container, other, "a1")
        await stage.ran(container, f, "a2")
        await stage.until_gone(other.key)
        told = stage.told_in_order(4, beside=[other.key])
        assert told == ["RunFinished a1", "LoadFinished t/f@1", "RunFinished a2"]

    play(scene)


# -- stop ----------------------------------------------------------------------------------------------------------


async def idle(stage: Stage[Any], container: Any) -> None:
    await stage.loaded(container, stage.function("f"), stage.function("other"))


async def loading(stage: Stage[Any], container: Any) -> None:
    f = stage.function("f", Does.WAIT_IN_LOAD)
    container.load(f)
    await stage.reached(f)


async def running(stage: Stage[Any], container: Any) -> None:
    f = stage.function("f", Does.WAIT_IN_RUN)
    stage.run(container, f, "a1")
    await stage.reached(f)


@pytest.mark.parametrize("busy", [idle, loading, running])
def test_a_stop_is_answered_once_and_ends_all_work_without_another_word(play: Play, busy: Any) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        await busy(stage, container)
        before = len(stage.told())
        container.stop()
        assert stage.told(before) == []
        await stage.until_told("ContainerGone c1")
        await stage.settle(container)
        assert stage.told(before) == ["ContainerGone c1"]
        assert stage.one(ContainerGone, "c1").failure is None
        assert stage.backend.used_bytes() == 0

    play(scene)


def test_a_stop_while_it_starts_is_answered_by_its_end(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = stage.start()
        container.stop()
        assert stage.told() == []
        await stage.until_told("ContainerGone c1")
        await stage.settle(container)
        assert stage.told() == ["ContainerGone c1"]

    play(scene)


# -- memory --------------------------------------------------------------------------------------------------------


def test_a_run_tells_the_most_memory_that_it_had(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f, takes = await stage.started(), stage.function("f"), stage.function("takes", Does.TAKE_MEMORY)
        ran = await stage.ran(container, f, "a1")
        assert ran.resident_bytes <= ran.peak_bytes < ran.resident_bytes + 100 * MIB
        stage.run(container, takes, "a2")
        await stage.reached(takes)
        stage.let_go(takes)
        await stage.until_told("RunFinished a2")
        ran = stage.one(RunFinished, "a2")
        assert ran.failure is None
        assert ran.resident_bytes + 150 * MIB < ran.peak_bytes < ran.resident_bytes + 300 * MIB

    play(scene)


def test_a_container_has_its_new_limit_at_once(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        # Two functions: the first may have come to where it waits before it is killed, and nobody meets it there.
        container, fat = await stage.started(), stage.function("fat", Does.TAKE_MEMORY)
        takes = stage.function("takes", Does.TAKE_MEMORY)
        container.resize(150 * MIB)
        ran = await stage.ran(container, fat, "a1")
        assert ran.failure is not None
        assert ran.failure.kind is FailureKind.OUT_OF_MEMORY
        assert (ran.alive, ran.resident_bytes, ran.peak_bytes) == (False, 0, 0)
        await stage.until_gone(fat.key)
        container.resize(1024 * MIB)
        stage.run(container, takes, "a2")
        await stage.reached(takes)
        stage.let_go(takes)
        await stage.until_told("RunFinished a2")
        await stage.settle(container)
        assert stage.one(RunFinished, "a2").failure is None

    play(scene)


# -- unasked -------------------------------------------------------------------------------------------------------


def test_an_idle_resident_that_dies_is_reported_with_a_failure_and_can_be_loaded_again(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container, f, other = await stage.started(), stage.function("f"), stage.function("other")
        await stage.loaded(container, f, other)
        await stage.kill(container, f)
        await stage.until_told("ResidentGone t/f@1")
        failure = stage.one(ResidentGone, "t/f@1").failure
        assert failure is not None
        assert failure.kind is FailureKind.CRASHED
        container.load(f)
        await stage.until(lambda: stage.told(3) == ["ResidentGone t/f@1", "LoadFinished t/f@1"])

    play(scene)


@pytest.mark.parametrize("busy", [idle, loading, running])
def test_a_container_that_dies_stands_for_everything_in_it(play: Play, busy: Any) -> None:
    async def scene(stage: Stage[Any]) -> None:
        container = await stage.started()
        await busy(stage, container)
        before = len(stage.told())
        await stage.lose(container)
        await stage.until_told("ContainerGone c1")
        await stage.settle(container)
        assert stage.told(before) == ["ContainerGone c1"]
        failure = stage.one(ContainerGone, "c1").failure
        assert failure is not None
        assert failure.kind is FailureKind.CONTAINER_LOST
        assert failure.message
        assert stage.backend.used_bytes() == 0

    play(scene)


def test_containers_know_nothing_of_each_other(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        one, two = await stage.started(), await stage.started()
        f = stage.function("f")
        await stage.loaded(one, f)
        two.stop()
        await stage.until_told("ContainerGone c2")
        await stage.ran(one, f, "a1")
        assert stage.told(2) == ["LoadFinished t/f@1", "ContainerGone c2", "RunFinished a1"]

    play(scene)


def test_it_says_what_isolation_there_is(play: Play) -> None:
    async def scene(stage: Stage[Any]) -> None:
        lines = stage.backend.isolation()
        assert lines
        assert all(line.strip() and "\n" not in line for line in lines)

    play(scene)
