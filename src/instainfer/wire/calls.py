"""The messages between a container's manager and a function's process.

The manager sends `Prepare`. The process sends `Jailed`, then `Imported` if there is a model to load, then `Prepared`,
or `Unloadable` if the load fails. From then on the manager sends one message at a time: an `Ask`, which the process
answers with `Answered`, or a `Warm`, which it answers with `Warmed`.

An `Ask` whose answer may be streamed is answered with any number of `Yielded` before that. The process keeps to
`bounds.WINDOW_BYTES`: it counts what its values cost, and `Taken` says what of that has reached the caller. After
`Enough` it sends no further value. Both may also come when it has answered already; then they mean nothing.

A function template (ADR 21) goes on by itself after `Prepared`. It sends `Standing` when it can be forked; or `Unfit`,
or `Proven`, and ends. A standing one is sent `Fork` messages, each with three descriptors: the socket, stdout and
stderr of the process to be forked. The template does not answer them. The forked process sends `Born` and `Prepared`
over its own socket, and is sent an `Ask` like any other process.

The process sends nothing that the manager can measure itself. So every duration is the time between two messages on
the manager's clock.
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
    REASON,
    RUN_FAILURE,
    SIZE,
    UID,
)
from .codec import Fields, Vocabulary, nested
from .messages import FUNCTION, Failure, Function
from .schema import boolean, optional

RESIDENT_FOLDER = "resident-{}"
"""Name of the folder of a process forked from a function template. The processes are numbered from 1."""


class Prepare(NamedTuple):
    """Load this function. `scratch` is a private folder of the process."""

    function: Function
    scratch: str
    env: dict[str, str] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    """For a forked process, the environment variables that replace those of its template."""
    learns: bool = False
    """Whether `Prepared` is to list the modules of the environment that the process has imported."""
    own_uid: bool = False
    """For a forked process, whether the manager can give it a user id of its own (see `Apart`)."""
    stands: bool = False
    """Whether the process is to become a function template."""
    proves: bool = False
    """Whether it answers the function's ``sample.json`` first, and shows that forked processes answer alike."""
    uid: int = 0
    """For a process started from nothing, the user id that it takes. 0: none of its own."""


class Ask(NamedTuple):
    env: dict[str, str]
    args: bytes
    only_warms: bool = False
    """Whether the function is to be warmed up in place of a call. The answer is an empty object."""
    streams: bool = False
    """Whether the values of a generator are to be sent one by one. Otherwise they are gathered into a list."""


class Taken(NamedTuple):
    """The caller has got values that cost so much, so further ones may be sent."""

    taken_bytes: int


class Enough(NamedTuple):
    """Nobody wants further values. The generator is closed where it stands, and the run ends."""


class Born(NamedTuple):
    """This connection's process has been forked. It leads its own process group and will be a child of the manager."""

    pid: int


class Apart(NamedTuple):
    """A forked process has entered a user namespace of its own, and waits for a user id in that namespace."""


class Mapped(NamedTuple):
    uid: int
    """The user id, which is the same inside and outside the namespace. The group id is the same number."""


class Jailed(NamedTuple):
    """Texts about the rights that the process could give up, and those that it could not.

    Sent once, before any code of the environment or the function runs, because such code could forge messages. In a
    forked process, packages of the environment have run already; see `runtime.resident.Resident.is_jailed`.
    """

    isolation: list[str]


class Imported(NamedTuple):
    """The function's imports are done, and its model is loaded next. Not sent when the function has no model."""


class Prepared(NamedTuple):
    """The function waits for requests."""

    modules: list[str] = []  # noqa: RUF012 - a default of a named tuple, never changed
    """If `Prepare.learns` was set, the modules of the environment that the process itself has imported, in order."""


class Unloadable(NamedTuple):
    failure: Failure


class Warm(NamedTuple):
    """Run the function's own ``warmup()``, if the function has one, so that its first request is fast.

    Only sent to functions that were loaded in the background, and for which no call waits.
    """


class Warmed(NamedTuple):
    """``warmup()`` has ended. If it failed, the function's log says so, and the function serves calls all the same."""


class Standing(NamedTuple):
    """The function is warmed up, and this process can be forked. It stops itself now."""


class Proven(NamedTuple):
    """The process and others that were forked from it have answered the function's sample alike.

    The process ends: it is not as it was loaded any more. A template is made anew, which answers no sample.
    """


class Unfit(NamedTuple):
    """This process has loaded its function and cannot be forked. It ends."""

    reason: str
    """For the author of the function."""


class Fork(NamedTuple):
    """Fork a process that answers requests. Its folder is the next `RESIDENT_FOLDER` in that of the template."""


class Yielded(NamedTuple):
    """One value of a streamed answer, as JSON."""

    value: bytes


class Answered(NamedTuple):
    failure: Failure | None
    last: bool
    """Whether the process ends after this answer, because the end of a script was reached."""
    answer: bytes
    """Empty when the values that were sent before are the answer."""


TO_PROCESS = Vocabulary(
    {
        "prepare": Fields(
            Prepare,
            function=FUNCTION,
            scratch=PATH,
            env=ENV,
            learns=boolean(),
            own_uid=boolean(),
            stands=boolean(),
            proves=boolean(),
            uid=UID,
        ),
        "mapped": Fields(Mapped, uid=UID),
        "fork": Fields(Fork),
        "ask": Fields(Ask, "args", env=ENV, only_warms=boolean(), streams=boolean()),
        "taken": Fields(Taken, taken_bytes=SIZE),
        "enough": Fields(Enough),
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
        "standing": Fields(Standing),
        "proven": Fields(Proven),
        "unfit": Fields(Unfit, reason=REASON),
        "yielded": Fields(Yielded, "value"),
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
