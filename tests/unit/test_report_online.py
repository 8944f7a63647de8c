"""Figures made online stay within their promise."""

from __future__ import annotations

import math
import random

import pytest

from instainfer.core.model import Phases, StartKind
from instainfer.report.online import ACCURACY, Sketch, Tally


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


def test_nothing_at_all_has_figures_too() -> None:
    summary = Tally().summary()
    assert (summary.calls, summary.preload_rate, summary.e2e, summary.phases_s.total) == (0, 0.0, None, 0.0)
