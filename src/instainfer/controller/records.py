"""The data that the controller stores of an action and of an activation, in the tables of `schema`."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from ..environments.manifest import AUTO
from .paths import EntityPath

SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR, WHISK_ERROR = range(4)
"""OpenWhisk's status codes of an activation."""

STATUS_TEXTS = ("success", "application error", "action developer error", "whisk internal error")


SEQUENCE: Final = "sequence"
"""The kind of an action that has no code and calls other actions."""

MEMORY: Final = "memory"
"""The annotation of an action whose memory is learned; its value is ``auto``."""


class Origin(NamedTuple):
    """Who calls an action, and by which name."""

    namespace: str
    """That of the caller, whose activation it is."""
    package: str
    """The package by the name that the caller gave. Empty: the action is in none."""
    binding: EntityPath | None
    """The binding by which the action was found, if it was one."""
    cause: str | None
    """The activation of the sequence whose part this call is."""

    def annotations(self) -> list[dict[str, Any]]:
        """What the record of the call says of this."""
        found: list[dict[str, Any]] = []
        if self.binding is not None:
            found.append({"key": "binding", "value": str(self.binding)})
        if self.cause is not None:
            found.append({"key": "causedBy", "value": SEQUENCE})
        return found


class ActivationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One activation. `end_ms`, `duration_ms`, `status_code` and `result` are None while it runs.

    `start_ms` and `end_ms` are in milliseconds since the epoch.
    """

    id: str
    namespace: str
    package: str = ""
    """The package of the action, as its caller named it. Empty: it is in none."""
    name: str
    version: str
    cause: str | None = None
    """The activation of the sequence that this is a part of."""
    start_ms: int
    end_ms: int | None = None
    duration_ms: int | None = None
    """Milliseconds of loading and running the function. OpenWhisk's duration includes loading as well."""
    status_code: int | None = None
    annotations: bytes
    """JSON array of ``{"key", "value"}``."""
    result: bytes | None = None
    """JSON object or array."""
    logs: bytes = b"[]"
    """JSON array of lines."""


class ActionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one action, in the units of OpenWhisk's API."""

    timeout: int
    """ms"""
    memory: int
    """MB"""
    logs: int
    """MB"""
    concurrency: int = 1


class AskedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that the PUT of an action asked for. For None the manifest decides, or else the platform's default."""

    timeout: int | None = None
    memory: int | Literal["auto"] | None = None
    """In MB. ``auto``: it is learned."""
    logs: int | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an action. Its code is stored separately, under `code_digest`; a sequence has none."""

    path: EntityPath
    version: str
    key: str
    """The key that names this version in the core and on the nodes (see `instainfer.controller.keys`)."""
    updated_ms: int
    publish: bool
    kind: str
    main: str | None
    binary: bool
    code_digest: str
    components: list[str] | None = None
    """The parts of a sequence, as fully qualified names. None: it is a function."""
    parameters: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    asked: AskedLimits
    limits: ActionLimits

    @property
    def namespace(self) -> str:
        return self.path.namespace

    @property
    def name(self) -> str:
        return self.path.name

    def annotation(self, key: str) -> Any:
        return next((pair["value"] for pair in self.annotations if pair["key"] == key), None)

    def variables(self, api_host: str) -> dict[str, str]:
        """The environment variables that all processes and calls of this version have, named as in OpenWhisk."""
        return {
            "__OW_API_HOST": api_host,
            "__OW_NAMESPACE": self.namespace,
            "__OW_ACTION_NAME": f"/{self.path}",
            "__OW_ACTION_VERSION": self.version,
        }

    @property
    def is_auto(self) -> bool:
        """Whether its memory is learned."""
        return bool(self.annotation(MEMORY) == AUTO)

    @property
    def wants_api_key(self) -> bool:
        """Whether runs receive the key of their caller. The annotation ``provide-api-key`` asks for this."""
        return self.annotation("provide-api-key") is True


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger. Its rules are in `Rule`."""

    path: EntityPath
    version: str
    updated_ms: int
    publish: bool
    parameters: list[dict[str, Any]]
    annotations: list[dict[str, Any]]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What is called when a trigger is fired."""

    path: EntityPath
    version: str
    updated_ms: int
    publish: bool
    annotations: list[dict[str, Any]]
    trigger: EntityPath
    action: EntityPath
    is_active: bool


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A package, or a binding of one."""

    path: EntityPath
    """It is in no package itself."""
    version: str
    updated_ms: int
    publish: bool
    """Whether other namespaces may read it, bind it and call its actions."""
    parameters: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    binding: EntityPath | None
    """The package that this one stands for. None: it is a package itself."""
