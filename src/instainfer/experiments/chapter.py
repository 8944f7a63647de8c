"""What all chapters of a campaign's report share: their form, names of parameters and metrics, and texts of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..report.canvas import Style, styles
from ..report.grid import NOTHING, Grid, number, ratio, times
from ..report.pooled import Metric, Pooled
from .cells import Cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "the paper"

UNITS: Mapping[Metric, str] = {"e2e": "end-to-end latency, s", "startup": "start-up latency, s"}
WORDS: Mapping[Metric, str] = {"e2e": "end-to-end", "startup": "start-up"}
AHEAD = "ahead, ms a call"
"""Head of the column of `ahead`."""
AHEAD_NOTE = "ahead: processor time of the loads and templates that were made ahead of calls."
_PARAMETERS = {
    "keepalive.ttl_s": ("keep-alive", "s"),
    "keepalive.range_s": ("longest keep-alive", "s"),
    "keepalive.memory_price_s": ("price of memory", "s/GB·s"),
    "memory_gb": ("memory for containers", "GB"),
    "preload.p_load": ("P_load", ""),
    "preload.p_offload": ("P_offload", ""),
    "preload.window": ("W", ""),
    "workload.calls_per_minute": ("calls per minute", ""),
    "workload.functions": ("functions", ""),
    "workload.scale": ("scale of the rates", ""),
}
"""Name and unit of each parameter."""


@dataclass(frozen=True, slots=True)
class Chapter:
    title: str
    caption: str
    grids: Sequence[Grid]
    draw: Callable[[], Figure] | None = None
    """Draws the figure; raises `HostError` when matplotlib is missing."""
    findings: Sequence[str] = field(default=())


def word(parameter: str) -> str:
    """Return the name of a parameter for column heads and axes."""
    name, unit = _PARAMETERS.get(parameter, (parameter, ""))
    return f"{name}, {unit}" if unit else name


def value_text(value: object) -> str:
    """Format a parameter's value for a column that has only values."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def with_unit(parameter: str, value: object) -> str:
    """Format a parameter's value with its unit: 600 s."""
    _, unit = _PARAMETERS.get(parameter, (parameter, ""))
    return f"{value_text(value)} {unit}".rstrip()


def told(point: Mapping[str, object]) -> str:
    """Format parameters with their values: W = 10, keep-alive = 600 s."""
    names = (_PARAMETERS.get(parameter, (parameter, ""))[0] for parameter in point)
    values = (with_unit(parameter, value) for parameter, value in point.items())
    return ", ".join(f"{name} = {value}" for name, value in zip(names, values, strict=True))


def system_styles(cells: Cells) -> dict[str, Style]:
    return styles((each.label, each.family or each.label, each.line) for each in cells.scenario.system)


def mean(found: Pooled | None, metric: Metric) -> float | None:
    return found.whole.mean_ms(metric) if found is not None else None


def ahead(found: Pooled | None) -> str:
    """Format the processor time that a call costs ahead of it, in ms."""
    return number(found.ahead_ms) if found is not None else NOTHING


def with_speedup(value: float | None, base: float | None) -> str:
    """Format a mean in ms and how many times lower than `base` it is, as in the paper's tables."""
    gain = ratio(base, value)
    return number(value) if gain is None or value == base else f"{number(value)} ({times(gain)})"
