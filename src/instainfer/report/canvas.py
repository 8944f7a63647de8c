"""Has the parts of all figures: colours with the same meaning everywhere on a page, and the conversion to SVG text.

Figures need matplotlib, which comes with ``instainfer[report]``. The colours are from the palettes of Okabe and Ito and
of Paul Tol, which people with any colour vision can tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HostError
from .records import PHASES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN = 10.0

_RUN_COLOURS = {
    "stateless": "#8a8a8a",
    "keep-alive": "#e69f00",
    "instainfer": "#0072b2",
    "instainfer+templates": "#009e73",
}
_OTHER_RUNS = ("#cc79a7", "#56b4e9", "#d55e00", "#332288")

PHASE_COLOURS = dict(zip(PHASES, ("#bbbbbb", "#aa4499", "#cc6677", "#ddcc77", "#332288", "#44aa99"), strict=True))

_FUNCTION_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#882255", "#999933")
TEMPLATE_COLOUR = "#777777"


def run_colours(labels: Sequence[str]) -> dict[str, str]:
    """Return a colour for each run; a known label has the same colour in every report."""
    others = [label for label in labels if label not in _RUN_COLOURS]
    return {label: _RUN_COLOURS.get(label) or _OTHER_RUNS[others.index(label) % len(_OTHER_RUNS)] for label in labels}


def function_colours(functions: Sequence[str]) -> dict[str, str]:
    return {
        name: _FUNCTION_COLOURS[index % len(_FUNCTION_COLOURS)] for index, name in enumerate(sorted(set(functions)))
    }


@dataclass(frozen=True, slots=True)
class Style:
    """How one system is drawn in every figure of a report."""

    colour: str
    dash: str
    """Line style of the system's lines, for matplotlib."""
    marker: str
    fill: str
    """Colour of the system's bars."""
    hatch: str


_FAMILIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#882255", "#777777")
_MARKERS = "osD^vPX*"
_LINES = {"solid": ("-", 0.0, ""), "dashed": ("--", 0.55, ""), "dotted": (":", 0.8, "////")}
"""The line style for each name of a line, how pale the bars are (0 to 1), and the hatch of the bars."""


def styles(members: Iterable[tuple[str, str, str]]) -> dict[str, Style]:
    """Return a style for each (label, family, line); a family shares a colour, its members differ in their lines."""
    known: dict[str, str] = {}
    result = {}
    for label, family, line in members:
        colour = known.setdefault(family, _FAMILIES[len(known) % len(_FAMILIES)])
        dash, pale, hatch = _LINES[line]
        marker = _MARKERS[list(known).index(family) % len(_MARKERS)]
        result[label] = Style(colour, dash, marker, _paler(colour, pale), hatch)
    return result


def _paler(colour: str, share: float) -> str:
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def new_figure(height_in: float) -> Figure:
    """Return an empty figure. Raises `HostError` when matplotlib is missing."""
    try:
        # Not pyplot, which would keep every figure in memory and choose a display.
        from matplotlib.figure import Figure
    except ImportError:
        raise HostError("figures need matplotlib; install it with: pip install 'instainfer[report]'") from None
    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def svg(figure: Figure, name: str) -> str:
    """Return the figure as an ``<svg>`` element; ids contain `name`, so that figures on one page have different ids."""
    import matplotlib

    out = io.StringIO()
    # Text remains text, which is small and selectable; the fixed salt makes equal figures give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG file. Raises `OSError`."""
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})
