"""What the opportunistic policy chooses among: candidates, places, and candidates in places, with their sizes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...core.lifecycle import LOADED
from ...core.model import ResidentKey
from ...core.ports import ContainerView, Contents, FunctionView, NodeView, Stand
from ..objective import HELD


@dataclass(slots=True, eq=False)
class Candidate:
    """A resident or a function template that may be loaded."""

    key: ResidentKey
    function: FunctionView
    is_template: bool
    rate: float
    """Calls per second that would use it."""
    saves_s: float
    """Seconds that it saves each of these calls."""
    gain: float
    """Its gain without neighbours."""
    density: float
    """`gain` per byte."""
    most_s: float
    """The most that it is expected to save within `TERM_S`. A resident serves one call; so does a template in a burst,
    since that call leaves a resident."""
    is_wanted: bool = False
    """Whether it makes a place that somebody has asked for."""


@dataclass(slots=True, eq=False)
class Place:
    """An idle container."""

    view: ContainerView
    contents: Contents
    holds: set[ResidentKey]
    """Everything that is there, in any state."""
    ready: set[ResidentKey]
    """What is loaded there and not being ended."""
    room_bytes: int
    """Bytes that are free now, or soon, without ending anything more."""
    functions: int
    """Number of functions that are resident there."""
    is_held: bool
    """Whether a resident there makes a place that somebody has asked for."""


@dataclass(slots=True, eq=False)
class Load:
    """A candidate in a place."""

    candidate: Candidate
    place: Place
    adds: float
    """By how much the sum of the gains grows."""
    size_bytes: int
    ends: Sequence[Stand]
    """What has to end to make room."""
    clears: Sequence[ResidentKey] = ()
    """What ends besides, so that no call of it ends what is loaded. The candidate may be there already."""


def place_of(container: ContainerView, view: NodeView) -> Place:
    residents = container.residents
    ready = {each.function for each in residents if each.state is LOADED}
    holds = {each.function for each in residents}
    room_bytes = container.free_bytes + container.freeing_bytes
    functions = sum(not each.is_template for each in residents)
    contents = view.contents(container)
    return Place(container, contents, holds, ready, room_bytes, functions, contents.loss_s >= HELD)


def bytes_in(candidate: Candidate, ready: Collection[ResidentKey]) -> int:
    """Size of a candidate where `ready` is loaded, with the library template that it brings there."""
    function = candidate.function
    if candidate.is_template:
        return template_bytes(function, ready)
    return function.forked_bytes if function.template in ready else function.resident_bytes


def template_bytes(function: FunctionView, ready: Collection[ResidentKey]) -> int:
    return function.own_bytes + (0 if function.library in ready else function.library_bytes)


def is_too_large(function: FunctionView) -> bool:
    """Whether a function template does not fit in the containers of its function. Then a resident may."""
    return template_bytes(function, ()) > (function.memory_bytes or math.inf)
