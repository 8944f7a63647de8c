"""The errors of the core itself; the whole tree is printed in `instainfer.errors`."""

from __future__ import annotations


class InstaInferError(Exception):
    """Base of everything that InstaInfer raises on purpose."""


class InternalError(InstaInferError):
    """A bug of ours."""


class IllegalEvent(InternalError):
    """An event that cannot have happened in this state. The state is unchanged; the message carries the story."""
