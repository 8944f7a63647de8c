"""What a container's manager and a function's process say to each other.

The process is sent `Prepare` and says `Prepared` or `Unloadable`. Then, one at a time, it is sent an `Ask` and says
`Answered`.
"""

from __future__ import annotations

from typing import NamedTuple

from .codec import Fields, Vocabulary
from .messages import Failure, Function

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Bound on one answer inside a container; what a function may answer is the controller's to decide and far less."""


class Prepare(NamedTuple):
    """Load this function; `scratch` is a folder of its own."""

    function: Function
    scratch: str


class Ask(NamedTuple):
    env: dict[str, str]
    args: bytes


class Prepared(NamedTuple):
    """The function waits for requests."""

    model_s: float
    isolation: list[str]


class Unloadable(NamedTuple):
    failure: Failure


class Answered(NamedTuple):
    compute_s: float
    failure: Failure | None
    last: bool
    """The process ends with this answer (a script that came to its end)."""
    answer: bytes


TO_PROCESS = Vocabulary(
    {"prepare": Fields(Prepare, nested={"function": Function}), "ask": Fields(Ask, body="args")},
)

FROM_PROCESS = Vocabulary(
    {
        "prepared": Fields(Prepared),
        "unloadable": Fields(Unloadable, nested={"failure": Failure}),
        "answered": Fields(Answered, body="answer", nested={"failure": Failure}),
    }
)
