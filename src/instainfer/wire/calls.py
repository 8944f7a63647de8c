"""What a container's manager and a function's process say to each other.

The process is sent `Prepare` and says `Prepared` or `Unloadable`. Then, one at a time, it is sent an `Ask` and says
`Answered`, or is sent `Warm` and says `Warmed`.
"""

from __future__ import annotations

from typing import NamedTuple

from .codec import Fields, Vocabulary
from .messages import FAILURE, FUNCTION, Failure, Function

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Bound on one answer inside a container; what a function may answer is the controller's to decide and far less."""


class Prepare(NamedTuple):
    """Load this function; `scratch` is a folder of its own."""

    function: Function
    scratch: str
    env: dict[str, str] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    """For a forked process, in the place of its template's variables."""
    learns: bool = False
    """Whether to say which modules of the environment it has imported."""
    own_uid: bool = False
    """For a forked process: whether it can be given a user id of its own (see `Apart`)."""


class Ask(NamedTuple):
    env: dict[str, str]
    args: bytes


class Born(NamedTuple):
    """A process has been forked for this; it leads a group of its own and will be a child of the manager."""

    pid: int


class Apart(NamedTuple):
    """A forked process has entered a user namespace of its own and waits for an id in there."""


class Mapped(NamedTuple):
    uid: int
    """The same inside and outside; also its group's."""


class Prepared(NamedTuple):
    """The function waits for requests."""

    model_s: float
    isolation: list[str]
    modules: list[str] = []  # noqa: RUF012 - a default of a named tuple, never changed
    """If it `learns`: modules of the environment that it has imported itself, in order."""


class Unloadable(NamedTuple):
    failure: Failure


class Warm(NamedTuple):
    """Run the function's own ``warmup()``, if it has one, so that its first request finds everything ready.

    For functions that were loaded in the background and that nobody waits for.
    """


class Warmed(NamedTuple):
    """``warmup()`` has ended. If it failed that is in the function's log, and the function serves all the same."""


class Answered(NamedTuple):
    compute_s: float
    failure: Failure | None
    last: bool
    """The process ends with this answer (a script that came to its end)."""
    answer: bytes


TO_PROCESS = Vocabulary(
    {
        "prepare": Fields(Prepare, nested={"function": FUNCTION}),
        "mapped": Fields(Mapped),
        "ask": Fields(Ask, body="args"),
        "warm": Fields(Warm),
    }
)

FROM_PROCESS = Vocabulary(
    {
        "born": Fields(Born),
        "apart": Fields(Apart),
        "prepared": Fields(Prepared),
        "unloadable": Fields(Unloadable, nested={"failure": FAILURE}),
        "warmed": Fields(Warmed),
        "answered": Fields(Answered, body="answer", nested={"failure": FAILURE}),
    }
)
