"""The clocks of the backends."""

from __future__ import annotations

import asyncio

import pytest

from instainfer.backends.base import Clock
from instainfer.backends.clock import LoopClock, ManualClock


def test_timers_fire_in_order_at_their_own_times() -> None:
    clock = ManualClock(100.0)
    seen: list[tuple[str, float]] = []
    for name, when in (("late", 103.0), ("first", 101.0), ("second of 101", 101.0), ("beyond", 110.0)):
        clock.call_at(when, lambda name=name: seen.append((name, clock.now())))
    clock.advance(5.0)
    assert seen == [("first", 101.0), ("second of 101", 101.0), ("late", 103.0)]
    assert clock.now() == 105.0
    assert clock.next_at() == 110.0


def test_cancelled_timer_does_not_fire() -> None:
    clock = ManualClock()
    seen: list[str] = []
    cancel = clock.call_at(1.0, lambda: seen.append("cancelled"))
    clock.call_at(2.0, lambda: seen.append("kept"))
    cancel()
    cancel()
    assert clock.next_at() == 2.0
    clock.run()
    assert seen == ["kept"]
    assert clock.next_at() is None


def test_timer_may_set_and_cancel_timers_that_fall_due_in_the_same_advance() -> None:
    clock = ManualClock()
    seen: list[float] = []
    victim = clock.call_at(3.0, lambda: seen.append(-1.0))

    def tick() -> None:
        seen.append(clock.now())
        if clock.now() < 3.0:
            clock.call_at(clock.now() + 1.0, tick)
        victim()

    clock.call_at(1.0, tick)
    clock.advance(10.0)
    assert seen == [1.0, 2.0, 3.0]


def test_timer_of_the_past_fires_at_the_next_advance_and_never_turns_time_back() -> None:
    clock = ManualClock(5.0)
    seen: list[float] = []
    clock.call_at(1.0, lambda: seen.append(clock.now()))
    assert seen == []
    clock.advance(0.0)
    assert seen == [5.0]


def test_time_cannot_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        ManualClock(5.0).advance_to(4.0)


def test_loop_clock_is_the_loops_time_and_its_timers_can_be_cancelled() -> None:
    async def scenario() -> list[str]:
        clock: Clock = LoopClock()
        seen: list[str] = []
        fired = asyncio.Event()
        cancel = clock.call_at(clock.now() + 0.001, lambda: seen.append("cancelled"))
        cancel()
        clock.call_at(clock.now() + 0.002, lambda: (seen.append("fired"), fired.set())[0])
        assert abs(clock.now() - asyncio.get_running_loop().time()) < 1.0
        await asyncio.wait_for(fired.wait(), 5.0)
        return seen

    assert asyncio.run(scenario()) == ["fired"]
