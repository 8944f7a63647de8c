"""Tests of online summaries: their figures stay within the promised accuracy."""

from __future__ import annotations

import math
import random

import pytest

from instainfer.core.model import Phases, StartKind
from instainfer.report.online import ACCURACY, Sketch, Tally
from instainfer.report.records import HISTOGRAM_STEP, Latency, histogram


@pytest.mark.parametrize("draw", [lambda rng: rng.lognormvariate(-3, 2), lambda rng: rng.uniform(0.001, 9)])
def test_quantiles_are_as_accurate_as_promised_and_buckets_few(draw: object) -> None:
    rng, sketch = random.Random(1), Sketch()
    values = [draw(rng) for _ in range(20_000)]  # type: ignore[operator]
    for value in values:
        sketch.add(value)
    values.sort()
    for q in (0.0, 0.5, 0.95, 0.99, 1.0):
        assert sketch.quantile(q) == pytest.approx(values[math.floor(q * (len(values) - 1))], rel=ACCURACY * 1.01)
    assert len(sketch.buckets) < 2500
    latency = sketch.latency()
    assert latency is not None
    assert latency.mean == pytest.approx(1000 * sum(values) / len(values))


def test_no_time_is_a_duration_and_no_call_has_none() -> None:
    sketch = Sketch()
    assert sketch.latency() is None
    for value in (0.0, 0.0, 5.0):
        sketch.add(value)
    assert sketch.quantile(0.5) == 0.0
    assert sketch.quantile(1.0) == pytest.approx(5.0, rel=ACCURACY)


def test_tallies_merge_to_what_one_would_have_counted() -> None:
    rng = random.Random(2)
    parts, whole = [Tally() for _ in range(3)], Tally()
    for number in range(300):
        phases = Phases(queue=rng.random(), model=rng.random(), compute=rng.random())
        for tally in (parts[number % 3], whole):
            if number % 10 == 0:
                tally.did_not(StartKind.COLD if number % 20 else None)
            else:
                tally.succeeded(StartKind.PRELOADED, phases)
    merged, counted = Tally.merged(parts).summary(), whole.summary()
    assert (merged.calls, merged.failed, merged.preload_rate) == (300, 30, 0.9)
    assert merged.start_kinds == counted.start_kinds == {"cold": 15, "preloaded": 270}
    assert merged.e2e is not None
    assert counted.e2e is not None
    assert (merged.e2e.p50, merged.e2e.p99) == (counted.e2e.p50, counted.e2e.p99)
    assert merged.phases_s.queue == pytest.approx(counted.phases_s.queue)


def test_histograms_are_those_of_the_values_within_a_step_and_add_up() -> None:
    rng, sketch = random.Random(3), Sketch()
    values = [rng.lognormvariate(-3, 2) for _ in range(2000)] + [0.0] * 7
    for value in values:
        sketch.add(value)
    latency = sketch.latency()
    assert latency is not None
    ends = [end for end, _ in latency.histogram]
    assert ends == sorted(set(ends))
    assert ends[0] == 0.001
    assert sum(count for _, count in latency.histogram) == len(values)
    for end, _ in latency.histogram[:: len(ends) // 7]:
        below = sum(count for other, count in latency.histogram if other <= end)
        lowest = sum(1000 * value <= end / HISTOGRAM_STEP**2 for value in values)
        assert lowest <= below <= sum(1000 * value <= end * HISTOGRAM_STEP for value in values)
    exact = Latency.of(values)
    assert exact is not None
    assert {end for end, _ in exact.histogram} & set(ends), "the same buckets"
    assert Latency.of([0.0015, 0.0015, 0.5]).histogram == histogram([(1.5, 2), (500.0, 1)])  # type: ignore[union-attr]
    assert [count for _, count in histogram([(1.5, 2), (500.0, 1)])] == [2, 1]
    for (end, _), value in zip(histogram([(1.5, 2), (500.0, 1)]), (1.5, 500.0), strict=True):
        assert value <= end <= value * HISTOGRAM_STEP


def test_nothing_at_all_has_figures_too() -> None:
    summary = Tally().summary()
    assert (summary.calls, summary.preload_rate, summary.e2e, summary.phases_s.total) == (0, 0.0, None, 0.0)
