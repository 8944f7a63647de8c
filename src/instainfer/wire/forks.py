"""What a container's manager and a template's process say to each other.

The process is sent `Make` and says `Jailed`, then `Made`, or `Unfit` and ends. Then it is sent any number of `Fork`,
each with three descriptors beside it: the socket of the process to be forked, its stdout and its stderr. It does not
answer those; the forked process speaks for itself, over its own socket, beginning with `calls.Born`.
"""

from __future__ import annotations

from typing import NamedTuple

from .bounds import (
    FOLDERS,
    ISOLATION,
    MAX_COMMAND_HEADER_BYTES,
    MAX_SAID_HEADER_BYTES,
    MODULE,
    MODULES,
    PATH,
    REASON,
    SKIPPED,
)
from .calls import Jailed
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

    skipped: dict[str, str]
    """Modules that could not be imported, and why."""


class Unfit(NamedTuple):
    """After this import it can no longer be forked from; what has been imported cannot be taken back, so it ends."""

    module: str
    reason: str


TO_TEMPLATE = Vocabulary(
    {"make": Fields(Make, modules=MODULES, folders=FOLDERS, scratch=PATH), "fork": Fields(Fork)},
    MAX_COMMAND_HEADER_BYTES,
    0,
)

FROM_TEMPLATE = Vocabulary(
    {
        "jailed": Fields(Jailed, isolation=ISOLATION),
        "made": Fields(Made, skipped=SKIPPED),
        "unfit": Fields(Unfit, module=MODULE, reason=REASON),
    },
    MAX_SAID_HEADER_BYTES,
    0,
)
