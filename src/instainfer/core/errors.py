"""The errors that the core raises. `instainfer.errors` shows the whole tree of error classes."""

from __future__ import annotations


class InstaInferError(Exception):
    """Base class of all errors that InstaInfer raises on purpose."""


class InternalError(InstaInferError):
    """A bug in InstaInfer."""


class IllegalEvent(InternalError):
    """An event that cannot have happened in this state. The state is unchanged; the message contains the story."""
