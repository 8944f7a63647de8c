"""Times of the week: when they are open, and when that changes next."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instainfer.environments.windows import DAYS, Window, is_open, next_change, window

BERLIN = "Europe/Berlin"
ZONES = ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]


def at(text: str, zone: str = BERLIN) -> float:
    """The moment at which clocks of a zone show this."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def open_at(text: str, *moments: str) -> list[bool]:
    return [is_open([window(f"{text} {BERLIN}")], at(moment)) for moment in moments]


def test_working_days() -> None:
    """2026-11-06 is a Friday."""
    assert open_at(
        "mon-fri 08:00-18:00", "2026-11-06T07:59", "2026-11-06T08:00", "2026-11-06T17:59", "2026-11-06T18:00"
    ) == [False, True, True, False]
    assert open_at("mon-fri 08:00-18:00", "2026-11-07T12:00", "2026-11-09T12:00") == [False, True]


def test_days_may_go_over_the_end_of_the_week_and_times_over_midnight() -> None:
    assert open_at("sat-mon 09:00-10:00", "2026-11-06T09:30", "2026-11-08T09:30", "2026-11-09T09:30") == [
        False,
        True,
        True,
    ]
    assert open_at(
        "sun 22:00-02:00", "2026-11-08T21:59", "2026-11-08T23:00", "2026-11-09T01:59", "2026-11-09T02:00"
    ) == [
        False,
        True,
        True,
        False,
    ]
    assert open_at("fri 00:00-24:00", "2026-11-06T00:00", "2026-11-06T23:59", "2026-11-07T00:00") == [True, True, False]


def test_the_next_change() -> None:
    windows = [window(f"mon-fri 08:00-18:00 {BERLIN}"), window(f"sat 09:00-12:00 {BERLIN}")]
    moments = [at("2026-11-06T07:00")]
    while len(moments) < 6:
        moments.append(next_change(windows, moments[-1]) or 0.0)
    assert moments[1:] == [
        at(text)
        for text in (
            "2026-11-06T08:00",
            "2026-11-06T18:00",
            "2026-11-07T09:00",
            "2026-11-07T12:00",
            "2026-11-09T08:00",
        )
    ]
    assert next_change([], 0.0) is None


def test_clocks_that_are_put_forward_and_back() -> None:
    """In Berlin on 2026-03-29, two o'clock is three o'clock; on 2026-10-25, half past two comes twice."""
    nightly = [window(f"mon-sun 02:30-04:00 {BERLIN}")]
    assert next_change(nightly, at("2026-03-29T00:00")) == at("2026-03-29T03:30")
    begin = next_change(nightly, at("2026-10-25T00:00"))
    assert begin == at("2026-10-25T02:30")
    end = next_change(nightly, begin)
    assert end == at("2026-10-25T04:00")
    assert end - begin == 2.5 * 3600


@pytest.mark.parametrize("text", ["", "mon", "mon 08:00", "mon 08:00-18:00 x y", "mon-fri-sat 08:00-09:00", "x" * 1000])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="not written like"):
        window(text)


windows = st.builds(
    Window,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 24 * 60 - 1),
    st.integers(1, 24 * 60),
    st.sampled_from([*ZONES, None]),
).filter(lambda each: each.begins_min != each.ends_min)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)).map(lambda m: m.replace(tzinfo=UTC).timestamp())  # noqa: DTZ001


@settings(max_examples=300, deadline=None)
@given(st.lists(windows, min_size=1, max_size=3), moments, st.floats(0.0, 1.0, exclude_max=True))
def test_nothing_changes_before_the_next_change(some: list[Window], moment: float, part: float) -> None:
    change = next_change(some, moment)
    assert change is not None
    assert moment < change <= moment + 8 * 86_400
    before = min(moment + part * (change - moment), math.nextafter(change, moment))  # the sum may be rounded up
    assert is_open(some, before) == is_open(some, moment)


@settings(max_examples=300, deadline=None)
@given(windows, moments)
def test_a_window_is_open_when_clocks_show_it(each: Window, moment: float) -> None:
    """But for the hours around a change of the clocks, this is what anybody would read off the wall."""
    zone = None if each.zone is None else ZoneInfo(each.zone)
    seen = datetime.fromtimestamp(moment, zone)
    offsets = {datetime.fromtimestamp(moment + hours * 3600, zone).astimezone().utcoffset() for hours in (-49, 0, 49)}
    own = {datetime.fromtimestamp(moment + hours * 3600, zone or UTC).utcoffset() for hours in (-49, 0, 49)}
    if len(own) > 1 or (zone is None and len(offsets) > 1):
        return
    minutes = seen.hour * 60 + seen.minute
    day, before = seen.weekday(), (seen - timedelta(days=1)).weekday()
    if each.ends_min > each.begins_min:
        expected = day in each.days and each.begins_min <= minutes < each.ends_min
    else:
        expected = (day in each.days and minutes >= each.begins_min) or (
            before in each.days and minutes < each.ends_min
        )
    assert is_open([each], moment) == expected


@settings(max_examples=200, deadline=None)
@given(windows.filter(lambda each: each.begins_min < 24 * 60))
def test_what_is_written_is_read(each: Window) -> None:
    for day in each.days:
        begins, ends = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (each.begins_min, each.ends_min))
        text = f"{DAYS[day]} {begins}-{ends} {each.zone or ''}"
        assert window(text) == Window(frozenset([day]), each.begins_min, each.ends_min, each.zone)
