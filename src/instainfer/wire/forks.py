"""What a container's manager and a template's process say to each other.

The process is sent `Make` and says `Made`, or `Unfit` and ends. Then it is sent any number of `Fork`, each with three
descriptors beside it: the socket of the process to be forked, its stdout and its stderr. It does not answer those;
the forked process speaks for itself, over its own socket, beginning with `calls.Born`.
"""

from __future__ import annotations

from typing import NamedTuple

from .codec import Fields, Vocabulary

FORK_FDS = 3


class Make(NamedTuple):
    modules: list[str]
    """To be imported in this order, full dotted names."""
    folders: list[str]
    """What the functions that may be forked from it need to read."""
    scratch: str
    """A folder in which each of them gets its own."""


class Fork(NamedTuple):
    pass


class Made(NamedTuple):
    """It waits to be forked from."""

    isolation: list[str]
    skipped: dict[str, str]
    """Modules that could not be imported, and why."""


class Unfit(NamedTuple):
    """After this import it can no longer be forked from; what has been imported cannot be taken back, so it ends."""

    module: str
    reason: str


TO_TEMPLATE = Vocabulary({"make": Fields(Make), "fork": Fields(Fork)})

FROM_TEMPLATE = Vocabulary({"made": Fields(Made), "unfit": Fields(Unfit)})
