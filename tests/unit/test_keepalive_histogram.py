"""The worked examples of the hybrid histogram, and which of its cases applies when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.nodes import A, CheckedNode, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, StartKind
from instainfer.core.ports import Idle, Use
from instainfer.policy.keepalive.histogram import LEAST_FORECAST, HybridHistogram

MINUTE_S, HOUR_S = 60.0, 3600.0
STANDARD = (0.0, 4 * HOUR_S)


def use(at: float, *, after_call: bool = True) -> Use:
    return Use(at, "c1", A, after_call, 256 * MIB, 1.0)


def idle_times(policy: HybridHistogram, times_s: Sequence[float], run_s: float = 7.0) -> float:
    """Runs with these idle times between them; returns when the last one ends, which the policy has not been told."""
    at = 0.0
    for idle_s in times_s:
        policy.called(A, at)
        policy.idle(use(at + run_s))
        at += run_s + idle_s
    policy.called(A, at)
    return at + run_s


def window(policy: HybridHistogram, times_s: Sequence[float]) -> tuple[float, float]:
    """From when until when after the end of a run a container is there, in seconds."""
    at = idle_times(policy, times_s)
    idle = policy.idle(use(at))
    assert idle.shared_at == float("inf")
    if idle.prewarm_at is None:
        return 0.0, idle.expires_at - at
    assert idle.expires_at == at, "it goes while it is not expected to be called"
    back = policy.idle(use(idle.prewarm_at + 0.4, after_call=False))
    assert back.prewarm_at is None
    return idle.prewarm_at - at, back.expires_at - at


def test_the_worked_example() -> None:
    assert window(HybridHistogram(), [5.5 * MINUTE_S] * 20) == pytest.approx((4.5 * MINUTE_S, 6.6 * MINUTE_S))


def test_the_worked_example_out_of_bounds() -> None:
    assert window(HybridHistogram(), [10 * HOUR_S] * 5) == pytest.approx((8.5 * HOUR_S, 11.5 * HOUR_S))


def test_head_and_tail_are_percentiles_rounded_outwards_to_bins() -> None:
    # Of 100: five of 2.5 min (the 5th percentile), 94 of 10.5 min (to the 99th), one of 200.5 min.
    times_s = [2.5 * MINUTE_S] * 5 + [10.5 * MINUTE_S] * 94 + [200.5 * MINUTE_S]
    assert window(HybridHistogram(), times_s) == pytest.approx((0.9 * 2 * MINUTE_S, 1.1 * 11 * MINUTE_S))
    # Four of 2.5 min are not the 5th percentile, and two of 200.5 min are beyond the 99th.
    times_s = [2.5 * MINUTE_S] * 4 + [10.5 * MINUTE_S] * 94 + [200.5 * MINUTE_S] * 2
    assert window(HybridHistogram(), times_s) == pytest.approx((0.9 * 10 * MINUTE_S, 1.1 * 201 * MINUTE_S))


def test_percentiles_margins_and_bins_are_those_asked_for() -> None:
    policy = HybridHistogram(bin_s=10.0, range_s=1000.0, head=0.2, tail=0.8)
    assert window(policy, [15.0] * 2 + [55.0] * 6 + [505.0] * 2) == pytest.approx((0.9 * 10.0, 1.1 * 60.0))


def test_a_container_does_not_go_when_calls_may_come_at_once() -> None:
    assert window(HybridHistogram(), [30.0] * 20) == pytest.approx((0.0, 1.1 * MINUTE_S))


def test_too_few_idle_times_tell_nothing() -> None:
    assert window(HybridHistogram(), [5.5 * MINUTE_S] * 3) == STANDARD
    assert window(HybridHistogram(), [10 * HOUR_S] * 3) == STANDARD
    assert window(HybridHistogram(), [5.5 * MINUTE_S] * 4) != STANDARD


def test_a_histogram_without_a_peak_tells_nothing() -> None:
    # One idle time in each of 48 bins: the square of the coefficient of variation is 240 / 48 - 1 = 4; in 49, below.
    spread_s = [(n + 0.5) * MINUTE_S for n in range(49)]
    assert window(HybridHistogram(), spread_s) == STANDARD
    assert window(HybridHistogram(), spread_s[:48]) != STANDARD


def test_out_of_bounds_is_what_most_of_them_are() -> None:
    half = [5.5 * MINUTE_S] * 5 + [10 * HOUR_S] * 5
    assert window(HybridHistogram(), half) == pytest.approx((4.5 * MINUTE_S, 6.6 * MINUTE_S))
    assert window(HybridHistogram(), [*half, 12 * HOUR_S]) == pytest.approx((8.5 * HOUR_S, 11.5 * HOUR_S))


def test_four_hours_are_out_of_bounds() -> None:
    assert window(HybridHistogram(), [4 * HOUR_S] * 5) == pytest.approx((3.4 * HOUR_S, 4.6 * HOUR_S))
    just_below = window(HybridHistogram(), [4 * HOUR_S - 1.0] * 5)
    assert just_below == pytest.approx((0.9 * 239 * MINUTE_S, 1.1 * 240 * MINUTE_S))


def test_the_forecast_is_asked_when_it_has_enough_to_go_by() -> None:
    seen: list[list[float]] = []

    def forecast(times_s: Sequence[float]) -> float:
        seen.append(list(times_s))
        return 20 * HOUR_S

    policy = HybridHistogram(forecast=forecast)
    assert window(policy, [10 * HOUR_S] * (LEAST_FORECAST - 1)) == pytest.approx((8.5 * HOUR_S, 11.5 * HOUR_S))
    assert seen == []
    policy = HybridHistogram(forecast=forecast)
    assert window(policy, [10 * HOUR_S] * LEAST_FORECAST) == pytest.approx((17 * HOUR_S, 23 * HOUR_S))
    assert seen == [[10 * HOUR_S] * LEAST_FORECAST], "not asked again for the same idle times"


def test_an_idle_time_begins_at_the_latest_end_and_is_counted_once() -> None:
    policy = HybridHistogram()
    for n in range(8):
        at = n * HOUR_S
        policy.called(A, at)
        policy.called(A, at + 5.0)
        policy.idle(use(at + 10.0))
        policy.idle(use(at + HOUR_S - 5.5 * MINUTE_S))
    assert policy.idle(use(8 * HOUR_S)).prewarm_at == pytest.approx(8 * HOUR_S + 4.5 * MINUTE_S)


def test_a_container_that_nobody_owns_is_kept_for_the_range() -> None:
    assert HybridHistogram().idle(Use(5.0, "c1", None, False, 256 * MIB, 1.0)) == Idle(5.0 + 4 * HOUR_S)


def test_on_a_node_the_container_goes_and_is_back_before_the_call() -> None:
    policy = HybridHistogram()
    node = CheckedNode(512, templates=False, keepalive=policy)
    idle_times(policy, [5.5 * MINUTE_S] * 20)
    node.serve(10_000.0, "node-c1", "a1", A)
    ended = 10_002.0
    assert only(node.advance(ended), d.StopContainer).container == "node-c1"
    node.tell(e.ContainerGone(ended + 0.1, "node-c1"))
    start = only(node.advance(ended + 4.5 * MINUTE_S), d.StartContainer)
    node.started(ended + 4.5 * MINUTE_S + 0.4, start.container)
    none(node.advance(ended + 6.5 * MINUTE_S), d.StopContainer)
    assert only(node.advance(ended + 6.7 * MINUTE_S), d.StopContainer).container == start.container


def test_on_a_node_a_call_in_the_window_finds_the_container() -> None:
    policy = HybridHistogram()
    node = CheckedNode(512, templates=False, keepalive=policy)
    idle_times(policy, [5.5 * MINUTE_S] * 20)
    node.serve(10_000.0, "node-c1", "a1", A)
    node.advance(10_002.0)
    node.tell(e.ContainerGone(10_002.1, "node-c1"))
    start = only(node.advance(10_002.0 + 4.5 * MINUTE_S), d.StartContainer)
    node.started(10_300.0, start.container)
    assert only(node.call(10_002.0 + 5.5 * MINUTE_S, "a2", A), d.Run).start_kind is StartKind.PREWARMED
