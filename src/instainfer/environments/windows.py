"""Times of the week, as ``warm`` in ``function.toml`` names them: ``"mon-fri 08:00-18:00 Europe/Berlin"``.

A window begins on each of its days at the first time and ends at the second, or on the next day if the second is not
later: ``"fri 22:00-02:00"`` ends on Saturday. ``24:00`` is the end of the day. Without a zone, the times are those of
the host's own clock. A time that does not come because clocks are put forward counts as the moment that comes in its
place, and of one that comes twice, the first counts.

Moments are seconds since the epoch, in and out; nothing here reads a clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(DAYS)
_FORM = re.compile(
    rf"({_DAY})(?:-({_DAY}))? +([0-9]{{2}}):([0-9]{{2}})-([0-9]{{2}}):([0-9]{{2}})(?: +([A-Za-z0-9_+/-]{{1,64}}))?"
)
_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """One window of the week."""

    days: frozenset[int]
    """The days on which it begins; Monday is 0."""
    begins_min: int
    """Minutes from the beginning of the day to its begin."""
    ends_min: int
    """The same for its end, which is on the next day if it is not after the begin."""
    zone: str | None = None
    """A name of the IANA time zone database. None: the host's own time."""


def window(text: str) -> Window:
    """Read a window. Raises `ValueError`, which says what is wrong."""
    match = _FORM.fullmatch(text.strip().lower() if len(text) <= 100 else "")
    if match is None:
        raise ValueError('it is not written like "mon-fri 08:00-18:00"')
    first = DAYS.index(match[1])
    last = DAYS.index(match[2] or match[1])
    days = frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))
    begins_min, ends_min = _minutes(match[3], match[4]), _minutes(match[5], match[6])
    if begins_min in (ends_min, _DAY_MINUTES):
        raise ValueError("it has no length; a whole day is 00:00-24:00")
    zone = text.split()[2] if match[7] is not None else None
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{zone} is not a time zone that this host knows, such as Europe/Berlin") from None
    return Window(days, begins_min, ends_min, zone)


def is_open(windows: Iterable[Window], at: float) -> bool:
    """Whether a moment is in one of the windows."""
    return any(begin <= at < end for each in windows for begin, end in _near(each, at))


def next_change(windows: Iterable[Window], at: float) -> float | None:
    """The next moment after `at` at which one of the windows begins or ends. None without windows."""
    moments = (moment for each in windows for times in _near(each, at) for moment in times)
    return min((moment for moment in moments if moment > at), default=None)


def _minutes(hours: str, minutes: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > _DAY_MINUTES:
        raise ValueError(f"{hours}:{minutes} is not a time of the day")
    return total


def _near(window: Window, at: float) -> Iterator[tuple[float, float]]:
    """Begin and end of a window, each time that it comes from two days before `at` to nine days after it."""
    zone = None if window.zone is None else ZoneInfo(window.zone)
    today = datetime.fromtimestamp(at, zone).date()
    for ahead in range(-2, 10):
        day = today + timedelta(days=ahead)
        if day.weekday() in window.days:
            overnight = 0 if window.ends_min > window.begins_min else _DAY_MINUTES
            begin = _moment(day, window.begins_min, zone)
            end = _moment(day, window.ends_min + overnight, zone)
            if begin < end:
                yield begin, end


def _moment(day: date, minutes: int, zone: ZoneInfo | None) -> float:
    """The moment at which a clock shows this time. Without a zone, the host's own clock."""
    return (datetime.combine(day, time.min, zone) + timedelta(minutes=minutes)).timestamp()
