"""The settings of a node."""

from __future__ import annotations

from .values import value


@value(frozen=True, slots=True)
class NodeSettings:
    """The part of the configuration that the core needs."""

    budget_bytes: int
    """The most that the limits of all containers may add up to."""
    max_queue: int = 10_000
    """Requests that may wait in the queue; more are refused."""
    max_loads: int = 1
    """Pre-loads under way at a time."""
    calls_beside: int | None = None
    """Pre-loads begin only while at most this many calls are running. Even at low priority, a load slows down calls
    when they use all processors. None: no such limit."""
    processors: float | None = None
    """Number of processors: loads that are under way at a time share them. None: they are never short."""
    put_off_s: float = 2.0
    """Seconds after which a pre-load begins although `calls_beside` forbids it, since a busy node always runs calls."""
    retain: bool = True
    """Keep a function resident after its call. False: its process ends with the call, as in the paper's baseline."""
    overtake_s: float = 5.0
    """Seconds that a request waits for memory before it claims busy containers. When the calls in all of them have
    ended, their memory is kept for the request that claimed them."""
    templates: bool = True
    """Whether residents are forked from templates of their environments."""
    function_templates: bool = False
    """Whether function templates are made, and residents forked from them."""
    replace: bool = False
    """Whether a function gets a new container, ahead of its next call, when another function's call took its container.
    False: functions share the containers that exist, which takes least memory. True: each function has its own
    container, as under keep-alive alone, which gives the least latency."""
    guess_load_s: float = 1.0
    """Seconds that loading is assumed to take for a function that has never been loaded."""
    history: int = 64
    """Number of calls whose times are remembered for each function."""
    answer_grace_s: float = 15.0
    """Grace in seconds for a container's reports. A container is given up, and its call answered, when it has not
    reported the end of a call this long after the call's time limit, or of a resident this long after asking."""
