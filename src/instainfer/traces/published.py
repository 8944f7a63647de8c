"""What was published about the functions of Azure in July 2019: the figures that `traces.population` follows.

Sources, by the letters that stand beside each figure:

P   Shahrad et al., "Serverless in the Wild", ATC 2020: the text, on the whole platform.
R   The notebook that compares the paper with the released part of the trace (Azure/AzurePublicDataset on GitHub,
    ``analysis/AzureFunctionsDataset2019-Trace_Analysis.md``; CC-BY 4.0): its tables, and its figures read off to 0.01.
S   The distributions per application computed from the release by ServerlessBench (SJTU-IPADS/ServerlessBench on
    GitHub, test case 3; Mulan PSL).
D   Counted by us in 500 functions over 8 hours of the release (samples of eth-easl/dirigent on GitHub).

A distribution is a tuple of points (value, share at or below it); two points at one value are a jump.
"""

from __future__ import annotations

from typing import NamedTuple

Points = tuple[tuple[float, float], ...]

APPS, FUNCTIONS, OWNERS = 24_274, 72_359, 14_681
"""In the release, over its 14 days. (R)"""
DAYS = 14

FUNCTIONS_PER_APP: Points = ((1, 0.54), (10, 0.95), (100, 0.9996), (298, 1.0))
"""Share of the applications with at most so many functions. (P; the largest: S)"""

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
"""Share of the functions with on average at most so many calls a day, up to one a second. (R, figure 5a; that
the least is one call in the release's 14 days is in its nature)"""
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
"""The same of applications. (R, figure 5a)"""
MOST_CALLS_PER_DAY = 128_592_666
"""Of the busiest application. (S)"""
SHARE_OF_THE_BUSIEST: Points = ((0.0001, 0.37), (0.001, 0.70), (0.01, 0.93))
"""Share of all calls that go to the busiest so many of the functions. (R, figure 5b)"""

TIMERS_PER_DAY: Points = (
    (1, 0.04),
    (24, 0.031),
    (48, 0.007),
    (96, 0.021),
    (144, 0.017),
    (288, 0.045),
    (1_440, 0.03),
)
"""Calls a day of timers, and the share of all functions that are called so often, to the minute: the jumps of
`CALLS_PER_DAY`. (That they are at a day, an hour, 30, 15, 5 minutes and one: P. How high at 5 and 1: R, figure 5a. The
others: D, but for the daily ones, of which 8 hours show too few; theirs is our choice.)"""
TIMERS_AT_MOST_EACH_MINUTE = 0.95
"""Share of the timers that fire once a minute or less. (P)"""


class Trigger(NamedTuple):
    """What starts functions, and how common it is in the release."""

    name: str
    functions: float
    """Percent of the functions. The seven add up to 105.7 as they were published; they are taken as proportions."""
    calls: float
    """Percent of the calls."""
    apps: float
    """Percent of the applications with at least one such function."""


TRIGGERS = {
    "H": Trigger("http", 43.3, 22.5, 67.97),
    "T": Trigger("timer", 28.5, 1.8, 26.95),
    "Q": Trigger("queue", 15.1, 42.4, 20.84),
    "S": Trigger("storage", 2.3, 0.8, 6.01),
    "E": Trigger("event", 2.6, 30.9, 5.73),
    "O": Trigger("orchestration", 8.2, 1.4, 2.90),
    "o": Trigger("others", 5.7, 0.1, 8.16),
}
"""By the letters of the paper. (R, figures 2 and 3a)"""

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
"""Percent of the applications whose functions have these triggers and no others; 13.16 have other sets.
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
"""Share of the applications whose gaps between calls have at most this coefficient of variation. (S; that it ends at
100 is ours: the largest is 1448)"""

MEAN_DURATION_S_MU, MEAN_DURATION_S_SIGMA = -0.38, 2.36
"""The mean duration of a function in seconds is lognormal, cold starts left out. (P)"""
MOST_DURATION_S = 1_571.6
"""Longest mean duration. (S)"""
LONGEST_CALL_S: Points = ((3.0, 0.50), (10.0, 0.75), (60.0, 0.90))
"""Share of the functions whose longest call took at most so long. (P)"""

MEMORY_MB_C, MEMORY_MB_K, MEMORY_MB_SCALE = 11.652, 0.221, 107.083
"""The mean memory of an application in MB has Burr's twelfth distribution. (P)"""
MOST_MEMORY_MB = 1_500.0
"""More was not to be had. (P)"""
MEMORY_MB: Points = ((100, 0.061), (120, 0.320), (140, 0.507), (170, 0.617), (200, 0.877), (300, 0.972), (405, 0.990))
"""What was measured: in the upper tail less than the distribution above gives. (S)"""

CALLS_BY_HOUR = (
    *(487, 478, 478, 476, 475, 493, 507, 524, 521, 524, 525, 526),
    *(544, 566, 566, 558, 547, 558, 562, 539, 527, 520, 507, 489),
)
"""Millions of calls in the hours 0 to 23 of the day (UTC), over 14 days. (R)"""
