"""The messages between a container's manager and a template's process.

The manager sends `Make`. The process sends `Jailed`, then `Made`; or it sends `Unfit` instead of `Made`, and ends. Then
the manager sends any number of `Fork`, each with three file descriptors: the socket, stdout and stderr of the process
to be forked. The template does not answer a `Fork`. The forked process sends messages over its own socket, and
`calls.Born` is the first of them.
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
    UID,
)
from .calls import Jailed
from .codec import Fields, Vocabulary

FORK_FDS = 3


class Make(NamedTuple):
    modules: list[str]
    """Full dotted names of the modules to import, in this order."""
    folders: list[str]
    """Folders that must be readable for the functions that may be forked from the template."""
    scratch: str
    """A folder in which each of these functions gets a private folder."""
    caches: str = ""
    """The folder with the caches of their namespace. Empty if they have none."""
    uid: int = 0
    """The user id that the template takes. 0: none of its own."""


class Fork(NamedTuple):
    pass


class Made(NamedTuple):
    """The template is ready to be forked."""

    skipped: dict[str, str]
    """Modules that could not be imported, with the reasons."""


class Unfit(NamedTuple):
    """The import of `module` has made forking impossible. An import cannot be undone, so the template ends."""

    module: str
    reason: str


TO_TEMPLATE = Vocabulary(
    {"make": Fields(Make, modules=MODULES, folders=FOLDERS, scratch=PATH, caches=PATH, uid=UID), "fork": Fields(Fork)},
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
