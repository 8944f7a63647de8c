"""What the controller remembers: one action, one activation, as they lie in the tables of `schema`."""

from __future__ import annotations

from typing import Any

import msgspec

SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR, WHISK_ERROR = range(4)
"""OpenWhisk's status codes of an activation."""

STATUS_TEXTS = ("success", "application error", "action developer error", "whisk internal error")


class ActivationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One activation. `end_ms`, `duration_ms`, `status_code` and `result` are None while it runs."""

    id: str
    namespace: str
    name: str
    version: str
    start_ms: int
    end_ms: int | None = None
    duration_ms: int | None = None
    """Includes loading the function, as OpenWhisk's does."""
    status_code: int | None = None
    annotations: bytes
    """JSON array of ``{"key", "value"}``."""
    result: bytes | None = None
    """JSON object or array."""
    logs: bytes = b"[]"
    """JSON array of lines."""


class ActionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one action, in the API's units."""

    timeout: int
    """ms"""
    memory: int
    """MB"""
    logs: int
    """MB"""
    concurrency: int = 1


class AskedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that were asked for when the action was put; None leaves one to its manifest or the platform."""

    timeout: int | None = None
    memory: int | None = None
    logs: int | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an action; its code lies apart, under `code_digest`."""

    namespace: str
    name: str
    version: str
    key: str
    """The core's name of this version."""
    updated_ms: int
    publish: bool
    kind: str
    main: str | None
    binary: bool
    code_digest: str
    parameters: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    asked: AskedLimits
    limits: ActionLimits

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.name}"

    def annotation(self, key: str) -> Any:
        return next((pair["value"] for pair in self.annotations if pair["key"] == key), None)

    @property
    def wants_api_key(self) -> bool:
        """Whether a run is given its caller's key; OpenWhisk asks for it by an annotation."""
        return self.annotation("provide-api-key") is True
