"""Published figures about the functions of Azure in July 2019, which `traces.population` follows.

The letter beside each figure names its source:

P   Shahrad et al., "Serverless in the Wild", ATC 2020: the text, about the whole platform.
R   The notebook that compares the paper with the released part of the trace (Azure/AzurePublicDataset on GitHub,
    ``analysis/AzureFunctionsDataset2019-Trace_Analysis.md``; CC-BY 4.0): its tables, and its figures, read to 0.01.
S   The distributions per application that ServerlessBench computed from the released trace (SJTU-IPADS/ServerlessBench
    on GitHub, test case 3; Mulan PSL).
D   Our own counts over 500 functions and 8 hours of the released trace (samples of eth-easl/dirigent on GitHub).

A distribution is a tuple of points (value, share at or below the value); two points at the same value make a jump.
"""

from __future__ import annotations

from typing import NamedTuple

Points = tuple[tuple[float, float], ...]

APPS, FUNCTIONS, OWNERS = 24_274, 72_359, 14_681
"""Numbers in the released trace, over its 14 days. (R)"""
DAYS = 14

FUNCTIONS_PER_APP: Points = ((1, 0.54), (10, 0.95), (100, 0.9996), (298, 1.0))
"""Share of the applications with at most so many functions. (P; the largest application: S)"""

CALLS_PER_DAY: Points = (
    (1 / DAYS, 0.0),
    (1, 0.33),
    (10, 0.54),
    (24, 0.63),
    (288, 0.79),
    (288, 0.835),
    (1_440, 0.90),
    (1_440, 0.93),
    (10_000, 0.97),
    (86_400, 0.99),
)
"""Share of the functions with at most so many calls a day on average, up to one call a second. (R, figure 5a; the
smallest value, one call in 14 days, follows from the length of the released trace)"""
APP_CALLS_PER_DAY: Points = (
    (1, 0.20),
    (10, 0.37),
    (24, 0.45),
    (288, 0.61),
    (288, 0.67),
    (1_440, 0.80),
    (1_440, 0.83),
    (10_000, 0.925),
)
"""Share of the applications with at most so many calls a day on average. (R, figure 5a)"""
MOST_CALLS_PER_DAY = 128_592_666
"""Calls a day of the busiest application. (S)"""
SHARE_OF_THE_BUSIEST: Points = ((0.0001, 0.37), (0.001, 0.70), (0.01, 0.93))
"""Pairs (share of the functions, share of all calls that go to the busiest functions of that share). (R, figure 5b)"""

TIMERS_PER_DAY: Points = (
    (1, 0.04),
    (24, 0.031),
    (48, 0.007),
    (96, 0.021),
    (144, 0.017),
    (288, 0.045),
    (1_440, 0.03),
)
"""Pairs (calls a day of a timer, share of all functions that are timers of this rate): the jumps of `CALLS_PER_DAY`.
(The intervals of a day, an hour, and 30, 15, 5 and 1 minutes: P. The shares at 5 minutes and 1 minute: R, figure 5a.
The other shares: D, but the share of daily timers is our choice, because 8 hours show too few of them.)"""
TIMERS_AT_MOST_EACH_MINUTE = 0.95
"""Share of the timers that fire once a minute or less often. (P)"""


class Trigger(NamedTuple):
    """A kind of trigger, and how common it is in the released trace."""

    name: str
    functions: float
    """Percent of the functions. The seven published figures add up to 105.7, so we use them as proportions."""
    calls: float
    """Percent of the calls."""
    apps: float
    """Percent of the applications that have at least one function with this trigger."""


TRIGGERS = {
    "H": Trigger("http", 43.3, 22.5, 67.97),
    "T": Trigger("timer", 28.5, 1.8, 26.95),
    "Q": Trigger("queue", 15.1, 42.4, 20.84),
    "S": Trigger("storage", 2.3, 0.8, 6.01),
    "E": Trigger("event", 2.6, 30.9, 5.73),
    "O": Trigger("orchestration", 8.2, 1.4, 2.90),
    "o": Trigger("others", 5.7, 0.1, 8.16),
}
"""By the paper's letters. (R, figures 2 and 3a)"""

COMBINATIONS = {
    "H": 47.54,
    "T": 11.90,
    "Q": 7.65,
    "HT": 4.43,
    "HQ": 3.85,
    "E": 3.02,
    "S": 2.49,
    "HTQ": 2.21,
    "TQ": 1.89,
    "Ho": 1.86,
}
"""Percent of the applications whose functions have exactly these triggers; the other 13.16 % have other sets.
(R, figure 3b)"""

APP_COV: Points = (
    (0.0, 0.227),
    (0.021, 0.25),
    (0.5, 0.492),
    (1.0, 0.619),
    (2.0, 0.755),
    (4.0, 0.874),
    (4.99, 0.90),
    (10.0, 0.955),
    (33.3, 0.99),
    (100.0, 1.0),
)
"""Share of the applications whose gaps between calls have at most this coefficient of variation. (S; we cut it off at
100, although the largest value is 1448)"""

MEAN_DURATION_S_MU, MEAN_DURATION_S_SIGMA = -0.38, 2.36
"""The mean duration of a function in seconds, without cold starts, is lognormal with these parameters. (P)"""
MOST_DURATION_S = 1_571.6
"""Longest mean duration. (S)"""
LONGEST_CALL_S: Points = ((3.0, 0.50), (10.0, 0.75), (60.0, 0.90))
"""Share of the functions whose longest call took at most so many seconds. (P)"""

MEMORY_MB_C, MEMORY_MB_K, MEMORY_MB_SCALE = 11.652, 0.221, 107.083
"""The mean memory of an application in MB has a Burr type XII distribution with these parameters. (P)"""
MOST_MEMORY_MB = 1_500.0
"""The largest memory limit that Azure offered. (P)"""
MEMORY_MB: Points = ((100, 0.061), (120, 0.320), (140, 0.507), (170, 0.617), (200, 0.877), (300, 0.972), (405, 0.990))
"""Measured memory of the applications; its upper tail is lighter than that of the fitted distribution above. (S)"""

CALLS_BY_HOUR = (
    *(487, 478, 478, 476, 475, 493, 507, 524, 521, 524, 525, 526),
    *(544, 566, 566, 558, 547, 558, 562, 539, 527, 520, 507, 489),
)
"""Millions of calls in the hours 0 to 23 of the day (UTC), summed over 14 days. (R)"""
