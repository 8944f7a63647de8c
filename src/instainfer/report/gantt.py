"""Draws a run's timeline: a lane for each container, with a bar for each resident and a mark for each call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .canvas import TEMPLATE_COLOUR, function_colours, new_figure, svg
from .timeline import CallMark, ContainerSpan, ResidentSpan, Stage, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS: dict[Stage, tuple[float, str]] = {
    Stage.PRELOADING: (0.15, "//////"),
    Stage.LOADING: (0.15, "xxxxxx"),
    Stage.PRELOADED: (0.6, ""),
    Stage.WARM: (0.3, ""),
    Stage.RUNNING: (1.0, ""),
    Stage.TEMPLATE: (0.8, ""),
}
"""Strength of the colour (0 to 1) and the hatch of each stage."""
_TEMPLATE_ROW = 0.4
"""Height of a template's row; a function's row has height 1."""
_BAND = "#f1f1f1"
_BRIEF_S = 0.2
"""Residents may share a row if they overlap for at most this time, because that is too short for a row of its own."""
_MARGIN = 0.45
_GAP = 0.5
_ROW_IN = 0.2


@dataclass(frozen=True, slots=True)
class Stay:
    """A resident from its beginning to its end in one container."""

    spans: tuple[ResidentSpan, ...]

    @property
    def start_s(self) -> float:
        return self.spans[0].start_s

    @property
    def end_s(self) -> float:
        return self.spans[-1].end_s

    def is_at(self, at_s: float) -> bool:
        return self.start_s <= at_s <= self.end_s


@dataclass(frozen=True, slots=True)
class Lane:
    """Everything that is drawn for one container."""

    container: ContainerSpan
    rows: tuple[tuple[Stay, ...], ...]
    """Rows with the residents of functions; the residents in one row follow each other."""
    templates: tuple[tuple[Stay, ...], ...]
    calls: tuple[CallMark, ...]

    @property
    def height(self) -> float:
        return max(1, len(self.rows)) + _TEMPLATE_ROW * len(self.templates) + _MARGIN

    def row_of(self, call: CallMark) -> int:
        """Return the row of the resident that served a call; 0 when there is none."""
        for number, row in enumerate(self.rows):
            for stay in row:
                if stay.spans[0].function == call.function and stay.is_at(call.at_s):
                    return number
        return 0


def lanes(told: Timeline) -> list[Lane]:
    """Return a lane for each container, in the order of their beginnings, with as few rows as its residents need."""
    found = []
    for container in told.containers:
        stays = _stays(span for span in told.residents if span.container == container.container)
        functions = [stay for stay in stays if not stay.spans[0].template]
        templates = [stay for stay in stays if stay.spans[0].template]
        calls = tuple(call for call in told.calls if call.container == container.container)
        found.append(Lane(container, _rows(functions), _rows(templates), calls))
    return found


def timeline(told: Timeline, functions: Sequence[str], name: str) -> str:
    """Return the figure as SVG text; `functions` are those of all runs, so that each has one colour everywhere."""
    drawn = lanes(told)
    figure = new_figure(1.4 + _ROW_IN * sum(lane.height + _GAP for lane in drawn))
    axes = figure.subplots()
    colours = function_colours([*functions, *(span.function for span in told.residents if not span.template)])
    ticks: list[tuple[float, str]] = []
    top = 0.0
    for lane in drawn:
        _draw(axes, lane, top, colours)
        ticks.append((top + lane.height / 2, lane.container.container))
        top += lane.height + _GAP
    axes.set_yticks([at for at, _ in ticks], [label[-14:] for _, label in ticks], fontsize=8)
    axes.set_ylim(max(top, 1.0), -_GAP)
    axes.set_xlim(min(0.0, *(lane.container.start_s for lane in drawn)) if drawn else 0.0, max(told.end_s, 1.0))
    axes.set_xlabel("seconds since the replay began")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _legends(figure, colours, templates=any(lane.templates for lane in drawn))
    return svg(figure, f"timeline-{name}")


def _stays(spans: Iterable[ResidentSpan]) -> list[Stay]:
    """Join the spans of one container where a span ends as the next one of the same resident begins."""
    stays: list[Stay] = []
    latest: dict[tuple[str, bool], int] = {}
    for span in spans:
        key = (span.function, span.template)
        index = latest.get(key)
        if index is not None and stays[index].end_s == span.start_s:
            stays[index] = Stay((*stays[index].spans, span))
        else:
            latest[key] = len(stays)
            stays.append(Stay((span,)))
    return stays


def _rows(stays: Iterable[Stay]) -> tuple[tuple[Stay, ...], ...]:
    rows: list[list[Stay]] = []
    for stay in sorted(stays, key=lambda stay: stay.start_s):
        free = next((row for row in rows if row[-1].end_s <= stay.start_s + _BRIEF_S), None)
        if free is None:
            rows.append([stay])
        else:
            free.append(stay)
    return tuple(tuple(row) for row in rows)


def _draw(axes: Axes, lane: Lane, top: float, colours: dict[str, str]) -> None:
    span = lane.container
    band: dict[str, Any] = {"color": _BAND, "edgecolor": "#c9c9c9", "linewidth": 0.6, "zorder": 1}
    axes.barh(top + lane.height / 2, span.end_s - span.start_s, left=span.start_s, height=lane.height, **band)
    first = top + _MARGIN / 2 + 0.5
    for number, row in enumerate(lane.rows):
        for part in (part for stay in row for part in stay.spans):
            _bar(axes, part, first + number, 0.82, colours[part.function])
    under = top + _MARGIN / 2 + max(1, len(lane.rows)) + _TEMPLATE_ROW / 2
    for number, row in enumerate(lane.templates):
        for part in (part for stay in row for part in stay.spans):
            _bar(axes, part, under + number * _TEMPLATE_ROW, 0.22, TEMPLATE_COLOUR)
    for hit in (True, False):
        marked = [call for call in lane.calls if call.hit is hit]
        places = [first + lane.row_of(call) - 0.41 for call in marked]
        axes.plot([call.at_s for call in marked], places, **_mark(hit=hit))


def _bar(axes: Axes, span: ResidentSpan, y: float, height: float, colour: str) -> None:
    length_s = span.end_s - span.start_s
    axes.barh(y, length_s, left=span.start_s, height=height, zorder=2, **_filling(span.stage, colour))


def _filling(stage: Stage, colour: str) -> dict[str, Any]:
    from matplotlib.colors import to_rgb

    share, hatch = _LOOKS[stage]
    # The colour is mixed, not translucent, because translucency would make the hatch pale too.
    face = tuple(share * own + (1 - share) * behind for own, behind in zip(to_rgb(colour), to_rgb(_BAND), strict=True))
    return {"facecolor": face, "edgecolor": colour, "linewidth": 0, "hatch": hatch}


def _mark(*, hit: bool) -> dict[str, Any]:
    face = "white" if hit else "black"
    return {
        "linestyle": "none",
        "marker": "v",
        "markersize": 4.5,
        "markerfacecolor": face,
        "markeredgecolor": "black",
        "markeredgewidth": 0.7,
        "zorder": 3,
    }


def _legends(figure: Figure, colours: dict[str, str], *, templates: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    what: list[Any] = [Patch(color=colour, label=function) for function, colour in colours.items()]
    if templates:
        what.append(Patch(color=TEMPLATE_COLOUR, label=Stage.TEMPLATE.value))
    how: list[Any] = [
        Patch(label=stage.value, **_filling(stage, "#444444")) for stage in _LOOKS if stage is not Stage.TEMPLATE
    ]
    how += [
        Line2D([], [], label="call that found its function loaded", **_mark(hit=True)),
        Line2D([], [], label="call that had to wait for a load", **_mark(hit=False)),
    ]
    figure.legend(handles=what, loc="outside upper center", ncols=min(5, len(what) or 1), frameon=False, fontsize=8)
    figure.legend(handles=how, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
