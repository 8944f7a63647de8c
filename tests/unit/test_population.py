"""A made-up population is like Azure 2019: every published statistic, with the distance that is allowed.

`MANY` are enough functions for the rare ones to be seen; samples of n are within 1.6 / sqrt(n) of their source.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, takewhile
from statistics import NormalDist, fmean

import pytest

from instainfer.errors import BadInput
from instainfer.traces import published
from instainfer.traces.classes import ArrivalClass, classify, cov
from instainfer.traces.curves import Curve
from instainfer.traces.population import (
    CALL_SIGMA,
    MEAN_DURATION_S,
    MEMORY_MB,
    Member,
    Population,
    population,
    to_counts,
)
from instainfer.traces.published import TRIGGERS, Points
from instainfer.traces.renewal import by_the_hour, renewals

DAY_S = 86_400.0
MANY = population(50_000, 60.0, seed=3).members
APPS = [list(members) for _, members in groupby(MANY, key=lambda member: member.app)]
TIMER = TRIGGERS["T"].name


def at_points(values: Iterable[float], points: Points) -> float:
    """Greatest distance to a published distribution, at its points; above and below its jumps."""
    ordered = sorted(values)
    lower = dict(reversed(points))
    upper = dict(points)
    above = (abs(bisect_right(ordered, value) / len(ordered) - upper[value]) for value in upper)
    below = (
        abs(bisect_left(ordered, value) / len(ordered) - lower[value]) for value in upper if lower[value] < upper[value]
    )
    return max(*above, *below)


def everywhere(values: Iterable[float], share_up_to: Callable[[float], float]) -> float:
    """The Kolmogorov-Smirnov distance to a distribution without jumps."""
    ordered = sorted(values)
    n = len(ordered)
    return max(max(abs(share_up_to(v) - i / n), abs(share_up_to(v) - (i + 1) / n)) for i, v in enumerate(ordered))


def of_the_busiest(members: Sequence[Member], share: float) -> float:
    rates = sorted((member.calls_per_day for member in members), reverse=True)
    return sum(rates[: round(share * len(rates))]) / sum(rates)


# What is drawn


def test_functions_of_an_application() -> None:
    assert at_points(map(len, APPS), published.FUNCTIONS_PER_APP) < 0.01
    assert len(MANY) / len(APPS) == pytest.approx(published.FUNCTIONS / published.APPS, rel=0.1)


def test_owners() -> None:
    owners = {member.owner for member in MANY}
    assert len(owners) / len(APPS) == pytest.approx(published.OWNERS / published.APPS, abs=0.01)
    assert len({member.name for member in MANY}) == len(MANY)
    assert len({(member.owner, member.app) for member in MANY}) == len(APPS)


@pytest.mark.parametrize("members", [MANY, MANY[:5000]], ids=len)
def test_calls_a_day_of_functions(members: Sequence[Member]) -> None:
    assert at_points((member.calls_per_day for member in members), published.CALLS_PER_DAY) < 0.02


def test_calls_a_day_of_applications_which_are_not_fitted() -> None:
    rates = [sum(member.calls_per_day for member in members) for members in APPS]
    # A multiple of two timers is no jump, so only what is at or below a value is compared.
    assert at_points(rates, tuple(dict(published.APP_CALLS_PER_DAY).items())) < 0.04


def test_timers_make_the_jumps() -> None:
    exactly = Counter((member.calls_per_day, member.trigger) for member in MANY)
    for rate, share in published.TIMERS_PER_DAY:
        assert exactly[rate, TIMER] / len(MANY) == pytest.approx(share, abs=0.005), rate
    timers = [member for member in MANY if member.trigger == TIMER]
    at_most = sum(member.calls_per_day <= 1440 for member in timers) / len(timers)
    assert at_most == pytest.approx(published.TIMERS_AT_MOST_EACH_MINUTE, abs=0.01)


def test_a_few_functions_have_nearly_all_the_calls() -> None:
    for (share, calls), allowed in zip(published.SHARE_OF_THE_BUSIEST, (0.15, 0.08, 0.03), strict=True):
        assert of_the_busiest(MANY, share) == pytest.approx(calls, abs=allowed), share
    assert of_the_busiest(MANY, 0.1) > 0.99
    assert max(member.calls_per_day for member in MANY) <= published.MOST_CALLS_PER_DAY


@pytest.mark.parametrize("letter", TRIGGERS)
def test_triggers(letter: str) -> None:
    trigger = TRIGGERS[letter]
    every = sum(trigger.functions for trigger in TRIGGERS.values())
    functions = sum(member.trigger == trigger.name for member in MANY) / len(MANY)
    apps = sum(any(member.trigger == trigger.name for member in members) for members in APPS) / len(APPS)
    busy = [member.trigger for member in MANY if member.calls_per_day > DAY_S]
    assert functions == pytest.approx(trigger.functions / every, abs=0.015)
    assert apps == pytest.approx(trigger.apps / 100, abs=0.015)
    assert busy.count(trigger.name) / len(busy) == pytest.approx(trigger.calls / 100, abs=0.06)


def test_combinations_of_triggers() -> None:
    letters = {trigger.name: letter for letter, trigger in TRIGGERS.items()}
    seen = Counter(frozenset(letters[member.trigger] for member in members) for members in APPS)
    for combination, percent in published.COMBINATIONS.items():
        assert seen[frozenset(combination)] / len(APPS) == pytest.approx(percent / 100, abs=0.01), combination


def test_durations() -> None:
    assert everywhere((member.mean_duration_s for member in MANY), MEAN_DURATION_S.at) < 0.01
    assert at_points((member.mean_duration_s for member in MANY), ((1.0, 0.50), (60.0, 0.96))) < 0.07
    assert max(member.mean_duration_s for member in MANY) <= published.MOST_DURATION_S


def test_the_longest_calls_which_are_not_fitted() -> None:
    # Of a day, as in the paper. The greatest of n independent calls is below x by the n-th power of one's chance.
    def below(member: Member, longest_s: float) -> float:
        calls = max(1.0, member.calls_per_day)
        normal = NormalDist(math.log(member.mean_duration_s) - CALL_SIGMA**2 / 2, CALL_SIGMA)
        return normal.cdf(math.log(longest_s)) ** calls

    for longest_s, share in published.LONGEST_CALL_S:
        assert fmean(below(member, longest_s) for member in MANY[:5000]) == pytest.approx(share, abs=0.1), longest_s


def test_memory() -> None:
    memory = [members[0].memory_mb for members in APPS]
    assert everywhere(memory, MEMORY_MB.at) < 0.015
    # The paper's own fit is that far from what was measured.
    assert at_points(memory, published.MEMORY_MB) < 0.1
    assert max(memory) <= published.MOST_MEMORY_MB
    assert all(member.memory_mb == members[0].memory_mb for members in APPS for member in members)


def test_what_the_paper_says_in_words() -> None:
    # Not from `published`, so that a slip there shows too.
    rates = sorted((sum(member.calls_per_day for member in members) for members in APPS), reverse=True)
    shares = {
        "have one function": (fmean(len(members) == 1 for members in APPS), 0.54),
        "have at most 10": (fmean(len(members) <= 10 for members in APPS), 0.95),
        "are called once an hour at most": (fmean(rate <= 24 for rate in rates), 0.45),
        "are called once a minute at most": (fmean(rate <= 1440 for rate in rates), 0.81),
        "have no timer, or others too": (fmean(any(m.trigger != TIMER for m in members) for members in APPS), 0.86),
        "use at most the median memory": (fmean(members[0].memory_mb <= 140 for members in APPS), 0.50),
        # It says 0.50 as well, of the measurements; 0.56 is its lognormal distribution.
        "run for less than a second": (fmean(member.mean_duration_s < 1 for member in MANY), 0.56),
        "run for less than a minute": (fmean(member.mean_duration_s < 60 for member in MANY), 0.96),
        "calls of the most popular 18.6 %": (sum(rates[: round(0.186 * len(rates))]) / sum(rates), 0.996),
    }
    for what, (here, expected) in shares.items():
        assert here == pytest.approx(expected, abs=0.03), what


# When calls come


@pytest.mark.parametrize("wanted", [0.0, 0.3, 0.8, 1.0, 2.0, 4.0])
def test_a_stream_has_the_cov_and_the_mean_that_are_asked_for(wanted: float) -> None:
    times = list(itertools.islice(renewals(10.0, wanted, random.Random(5)), 40_000))
    assert times == sorted(times)
    assert cov(times) == pytest.approx(wanted, rel=0.06, abs=1e-6)
    assert times[-1] / len(times) == pytest.approx(10.0, rel=0.08)


@pytest.mark.parametrize("wanted", [0.0, 0.3, 0.8, 2.0, 4.0])
def test_a_stream_is_in_equilibrium_from_its_first_moment(wanted: float) -> None:
    rng = random.Random(5)
    first = [sum(1 for _ in takewhile(lambda at_s: at_s < 5.0, renewals(10.0, wanted, rng))) for _ in range(10_000)]
    assert fmean(first) == pytest.approx(0.5, abs=0.06)


def measured_covs(apps: Iterable[list[Member]]) -> list[float]:
    """Of applications with ten calls at least in 14 days; at most some 1,500 calls are looked at."""
    found = []
    for members in apps:
        rate = sum(member.calls_per_day for member in members)
        drawn = Population(members, min(published.DAYS, 1500 / rate) * DAY_S, seed=1)
        times = sorted(itertools.chain(*(drawn.times(number) for number in range(len(members)))))
        value = cov(times)
        if len(times) >= 10 and value is not None:
            found.append(value)
    return found


def test_classes_of_applications() -> None:
    covs = measured_covs(APPS[:2000])
    assert len(covs) > 1500
    assert at_points((round(value, 2) for value in covs), published.APP_COV) < 0.04
    kinds = Counter(map(classify, covs))
    for kind, share in ((ArrivalClass.PREDICTABLE, 0.62), (ArrivalClass.NORMAL, 0.26), (ArrivalClass.BURSTY, 0.13)):
        assert kinds[kind] / len(covs) == pytest.approx(share, abs=0.04), kind


def test_timers_are_regular_and_others_mostly_not() -> None:
    drawn = population(300, DAY_S, seed=4, min_per_day=100, max_per_day=1440)
    for number, member in enumerate(drawn.members):
        if member.trigger == TIMER:
            times = list(drawn.times(number))
            assert cov(times) == pytest.approx(0.0, abs=1e-6)
            assert len(times) == pytest.approx(member.calls_per_day, abs=1)
    others = [member.cov for member in MANY if member.trigger != TIMER]
    assert fmean(value >= 1 for value in others) == pytest.approx(0.59, abs=0.02)


def test_expected_calls_are_made() -> None:
    drawn = population(1500, DAY_S, seed=4, min_per_day=24, max_per_day=300)
    assert drawn.calls == pytest.approx(sum(member.calls_per_day for member in drawn.members), rel=0.03)


@pytest.mark.parametrize("start_hour", [0, 6])
def test_hours_of_the_day(start_hour: int) -> None:
    # Instead of functions that are called as often as others, one of each kind for all of its kind.
    regular = fmean(member.cov == 0 for member in MANY if member.trigger != TIMER)
    pair = [
        Member("o", "a", name, "http", 200_000 * share, value, 1.0, 100.0)
        for name, value, share in (("regular", 0.0, regular), ("other", 0.5, 1 - regular))
    ]
    drawn = Population(pair, DAY_S, seed=1, start_hour=start_hour)
    times = itertools.chain(drawn.times(0), drawn.times(1))
    hours = Counter((int(at_s // 3600) + start_hour) % 24 for at_s in times)
    for hour, millions in enumerate(published.CALLS_BY_HOUR):
        expected = millions / sum(published.CALLS_BY_HOUR)
        assert hours[hour] / hours.total() == pytest.approx(expected, rel=0.02), hour


def test_a_stream_by_the_hour_by_hand() -> None:
    # Twice as quick in the first hour, half as quick in the second: there are 2 h, then half an hour, of the stream.
    shape = (2.0, 0.5, *([21.5 / 22] * 22))
    assert list(by_the_hour(iter([1800.0, 7200.0, 8100.0, 9000.0, 95_400.0]), shape, 0)) == pytest.approx(
        [900.0, 3600.0, 5400.0, 7200.0, 93_600.0]
    )


# The trace


def test_the_seed_decides_and_larger_populations_begin_with_smaller() -> None:
    drawn = population(40, 7200.0, seed=7, max_per_minute=5)
    again = population(40, 7200.0, seed=7, max_per_minute=5)
    assert drawn.members == again.members == population(200, 60.0, seed=7).members[:40] == MANY_OF_7[:40]
    assert list(drawn.arrivals(1)) == list(again.arrivals(2)) == list(drawn.arrivals(1))
    assert drawn.members != population(40, 7200.0, seed=8).members
    longer = population(40, 3 * 7200.0, seed=7, max_per_minute=5)
    assert [call for call in longer.arrivals(1) if call.at_s < 7200.0] == list(drawn.arrivals(1))


MANY_OF_7 = population(300, 60.0, seed=7).members


def test_arrivals_are_those_of_the_functions_with_their_durations() -> None:
    drawn = population(60, 3.5 * 3600.0, seed=5, min_per_day=100, max_per_day=5000)
    calls = list(drawn.arrivals(1))
    assert calls == sorted(calls)
    assert drawn.calls == len(calls) > 1000
    for number, member in enumerate(drawn.members):
        own = [call for call in calls if call.function == number]
        assert [call.at_s for call in own] == list(drawn.times(number))
        if len(own) > 300:
            durations = [call.duration_s or 0.0 for call in own]
            assert fmean(durations) == pytest.approx(member.mean_duration_s, rel=0.25)
    assert all(0 <= call.at_s < drawn.duration_s for call in calls)


def test_counts_are_those_of_the_calls() -> None:
    drawn = population(30, 90 * 60.0 + 20, seed=5, min_per_day=100, max_per_day=5000, start_hour=2)
    trace = to_counts(drawn)
    assert (trace.minutes, trace.first_minute, trace.calls) == (91, 121, drawn.calls)
    assert [function.trigger for function in trace.functions] == [member.trigger for member in drawn.members]
    for number, function in enumerate(trace.functions):
        minutes = Counter(int(at_s // 60) for at_s in drawn.times(number))
        assert function.counts == tuple(minutes[minute] for minute in range(91))


def test_functions_outside_of_the_bounds_are_left_out() -> None:
    inside = population(200, 60.0, seed=7, min_per_day=24, max_per_day=1440).members
    assert all(24 <= member.calls_per_day <= 1440 for member in inside)
    # Timers at the bounds are inside, and others are the same as without bounds.
    assert {24.0, 1440.0} <= {member.calls_per_day for member in inside}
    kept = [member for member in MANY_OF_7 if 24 <= member.calls_per_day <= 1440]
    assert list(inside[: len(kept)]) == kept


def test_busy_functions_are_slowed_down_and_counted() -> None:
    wild = Population(MANY[:2000], 600.0, seed=1)
    assert (list(wild.slowed), wild.calls_kept) == ([], 1.0)
    slow = Population(MANY[:2000], 600.0, seed=1, max_per_minute=2)
    busy = [member for member in MANY[:2000] if member.calls_per_day > 2880]
    assert list(slow.slowed) == busy
    kept = sum(min(2880.0, member.calls_per_day) for member in MANY[:2000])
    assert slow.calls_kept == pytest.approx(kept / sum(member.calls_per_day for member in MANY[:2000]))
    assert slow.calls == pytest.approx(kept * 600 / DAY_S, rel=0.15)


@pytest.mark.parametrize("bounds", [(20.0, 20.1), (200.0, 20.0), (1e9, math.inf), (0.0, 0.01)])
def test_bounds_without_functions_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(BadInput, match="hardly any function is called"):
        population(5, 60.0, seed=1, min_per_day=bounds[0], max_per_day=bounds[1])


def test_curves_by_hand() -> None:
    curve = Curve(((1, 0.0), (10, 0.5), (10, 0.75), (1000, 1.0)), log=True)
    assert [curve.at(value) for value in (0, 1, 10, 100, 1000, 5000)] == pytest.approx([0, 0, 0.75, 0.875, 1, 1])
    assert [curve.below(value) for value in (0, 10, 100)] == pytest.approx([0, 0.5, 0.875])
    assert [curve.quantile(share) for share in (0, 0.25, 0.5, 0.6, 0.75, 0.875, 1)] == pytest.approx(
        [1, 10**0.5, 10, 10, 10, 100, 1000]
    )
    for distribution in (MEAN_DURATION_S, MEMORY_MB):
        assert distribution.at(distribution.quantile(0.7)) == pytest.approx(0.7)
        assert (distribution.at(0), distribution.at(1e9)) == (0.0, 1.0)
