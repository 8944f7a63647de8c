"""The address of an entity: its namespace, its package if it has one, and its name.

Printed it is ``namespace/name`` or ``namespace/package/name``. No part contains a slash, so the text says which parts
there are. Refusals have the texts of OpenWhisk.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self
from urllib.parse import unquote

from ..errors import BadInput

MAX_NAME_LENGTH: Final = 256
"""Most characters of each part."""
OWN: Final = "_"
"""What stands for the caller's own namespace."""
_NAME = re.compile(r"\w|\w[\w@ .-]*[\w@.-]", re.ASCII)
_INCOMPLETE = (
    "The request content was malformed:\n"
    "The fully qualified name of the entity must contain at least the namespace and the name of the entity."
)


class EntityPath(NamedTuple):
    """The address of an action, or of anything else that has a name in a namespace."""

    namespace: str
    package: str | None
    """None: it is in no package, or as OpenWhisk says, in the default one."""
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.relative}"

    @property
    def relative(self) -> str:
        """The address within its namespace, ``name`` or ``package/name``."""
        return self.name if self.package is None else f"{self.package}/{self.name}"

    @property
    def folder(self) -> str:
        """What is before its name, ``namespace`` or ``namespace/package``. OpenWhisk's answers call it namespace."""
        return self.namespace if self.package is None else f"{self.namespace}/{self.package}"

    @classmethod
    def within(cls, namespace: str, relative: str) -> Self:
        """The address of ``name`` or ``package/name`` in a namespace. Raises `BadInput`."""
        package, slash, name = relative.rpartition("/")
        return cls(namespace, checked_name(package) if slash else None, checked_name(name))

    @classmethod
    def parsed(cls, text: str, own: str) -> Self:
        """The address in a fully qualified name, with or without a slash before it. `own` is what ``_`` stands for.

        Raises `BadInput`.
        """
        namespace, slash, relative = text.removeprefix("/").partition("/")
        if not slash:
            raise BadInput(_INCOMPLETE)
        return cls.within(own if namespace == OWN else checked_namespace(namespace), relative)


def checked_name(name: str) -> str:
    """The name of an entity. Raises `BadInput` for one that is too long or has characters that no name has."""
    if len(name) > MAX_NAME_LENGTH:
        raise BadInput(f"Name longer than allowed: {len(name)} > {MAX_NAME_LENGTH}.")
    if _NAME.fullmatch(name) is None:
        raise BadInput("The name of the entity contains illegal characters.")
    return name


def checked_namespace(name: str) -> str:
    """The name of a namespace. Raises `BadInput`."""
    if len(name) > MAX_NAME_LENGTH:
        raise BadInput(f"Namespace longer than allowed: {len(name)} > {MAX_NAME_LENGTH}.")
    if _NAME.fullmatch(name) is None:
        raise BadInput("The namespace contains illegal characters.")
    return name


def entity_name(encoded: str) -> str:
    """The name in one percent-encoded segment of a URL's path. Raises `BadInput`."""
    return checked_name(unquote(encoded))


def entity_path(namespace: str, name: str, package: str | None = None) -> EntityPath:
    """The address in percent-encoded segments of a URL's path, where `namespace` is plain. Raises `BadInput`."""
    return EntityPath(namespace, None if package is None else entity_name(package), entity_name(name))


def namespace_named(encoded: str, own: str) -> str:
    """The namespace in a percent-encoded segment of a URL, where ``_`` stands for `own`. It need not exist."""
    return own if encoded == OWN else unquote(encoded)


def is_relative(text: str) -> bool:
    """Whether a text is ``name`` or ``package/name``."""
    parts = text.split("/")
    return len(parts) <= 2 and all(_NAME.fullmatch(part) for part in parts)
