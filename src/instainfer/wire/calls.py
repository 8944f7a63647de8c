"""What a container's manager and a function's process say to each other.

The process is sent `Prepare` and says `Jailed`, then `Imported` if it has a model to load, then `Prepared`; or
`Unloadable`. Then, one at a time, it is sent an `Ask` and says `Answered`, or is sent `Warm` and says `Warmed`.

Nothing that the manager can measure itself is among what the process says: how long something took is the time between
two messages, on the manager's clock.
"""

from __future__ import annotations

from typing import NamedTuple

from .bounds import (
    ENV,
    ISOLATION,
    LOAD_FAILURE,
    MAX_ANSWER_BYTES,
    MAX_ARGS_BYTES,
    MAX_COMMAND_HEADER_BYTES,
    MAX_SAID_HEADER_BYTES,
    MESSAGE,
    MODULES,
    PATH,
    PID,
    RUN_FAILURE,
    UID,
)
from .codec import Fields, Vocabulary, nested
from .messages import FUNCTION, Failure, Function
from .schema import boolean, optional


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


class Jailed(NamedTuple):
    """What the process could give up and what not, in words.

    Said once, before anything of the environment or the function runs: what is said later may be the function's words.
    In a forked process the environment's packages have run already, see `runtime.resident.Resident.is_jailed`.
    """

    isolation: list[str]


class Imported(NamedTuple):
    """The function's imports are done and its model is loaded from here on. Not said where there is no model."""


class Prepared(NamedTuple):
    """The function waits for requests."""

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
    failure: Failure | None
    last: bool
    """The process ends with this answer (a script that came to its end)."""
    answer: bytes


TO_PROCESS = Vocabulary(
    {
        "prepare": Fields(Prepare, function=FUNCTION, scratch=PATH, env=ENV, learns=boolean(), own_uid=boolean()),
        "mapped": Fields(Mapped, uid=UID),
        "ask": Fields(Ask, "args", env=ENV),
        "warm": Fields(Warm),
    },
    MAX_COMMAND_HEADER_BYTES,
    MAX_ARGS_BYTES,
)

FROM_PROCESS = Vocabulary(
    {
        "born": Fields(Born, pid=PID),
        "apart": Fields(Apart),
        "jailed": Fields(Jailed, isolation=ISOLATION),
        "imported": Fields(Imported),
        "prepared": Fields(Prepared, modules=MODULES),
        "unloadable": Fields(Unloadable, failure=nested(Fields(Failure, kind=LOAD_FAILURE, message=MESSAGE))),
        "warmed": Fields(Warmed),
        "answered": Fields(
            Answered,
            "answer",
            failure=optional(nested(Fields(Failure, kind=RUN_FAILURE, message=MESSAGE))),
            last=boolean(),
        ),
    },
    MAX_SAID_HEADER_BYTES,
    MAX_ANSWER_BYTES,
)
