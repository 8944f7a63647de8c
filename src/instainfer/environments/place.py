"""Where the tools run that make environments: on this machine, or wherever the environments will be used.

What a tool may see and use is the same everywhere (`jail`). How it is held to that is the place's own: this machine
has namespaces and Landlock (`this_machine`), Docker has containers (`backends.docker.place`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from .interpreters import Interpreter
from .jail import Jail
from .tools import Finished


class Place(Protocol):
    """Finds interpreters and runs tools. The folder of all environments has the same path there as here."""

    image: str
    """The image that tools run in, as `backends.base.ContainerSpec.image` names it. Empty: the usual one, or none."""

    async def of(self, image: str) -> Place:
        """The place for an image that a function names. Raises `BadInput` if functions may not name it."""
        ...

    async def isolation(self) -> list[str]:
        """Lines that say how tools are isolated there, and which layers cannot be given."""
        ...

    async def gives_uid(self) -> bool:
        """Whether tools can have a user id that is not the platform's."""
        ...

    async def interpreter(self, version: str | None) -> Interpreter:
        """The interpreter of a version such as ``"3.11"``; None means the usual one. Raises `HostError`."""
        ...

    def has(self, python: Path) -> bool:
        """Whether an interpreter is still there, or the interpreter that an environment links to."""
        ...

    def uv(self, installer: str) -> Path | None:
        """What `installers.find_uv` says of the place."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        jail: Jail,
        *,
        folder: Path | None,
        variables: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None],
    ) -> Finished:
        """Run a tool in a jail and wait for its end. It may write in the `folder` too.

        Its output is appended to `log`. When this is cancelled, the tool and all that it has started are ended first.
        Raises `HostError` when the tool cannot be started.
        """
        ...
