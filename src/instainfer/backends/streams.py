"""The streamed answers of one container's runs, as what its manager reports of them is checked.

The manager may have been taken over, and the function's own code may have written in the place of ours. A report that
cannot be true raises `ProtocolError`, which ends the container. A value that is no JSON is the function's fault, and
ends only its run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.model import ActivationId, Failure, FailureKind
from ..wire.bounds import MAX_VALUE_BYTES, WINDOW_BYTES, cost_bytes
from ..wire.framing import ProtocolError
from ..wire.messages import Ran, Value
from .base import Call
from .result import checked_result, checked_value


@dataclass(slots=True)
class _Stream:
    call: Call
    on_way_bytes: int = 0
    has_yielded: bool = False
    is_enough: bool = False
    failure: Failure | None = field(default=None)
    """Why its values are no answer, if one of them was none."""


class Streams:
    """Hands on the values of the calls that want them, in order, and says how such calls have ended."""

    def __init__(self) -> None:
        self._streams: dict[ActivationId, _Stream] = {}

    def begin(self, call: Call) -> None:
        if call.on_value is not None:
            self._streams[call.activation] = _Stream(call)

    def value(self, message: Value) -> bool:
        """Hand on a value. Returns False if the manager has to be told that no further one is wanted."""
        stream = self._streams.get(message.activation)
        if stream is None:
            raise ProtocolError(f"it reports a value of {message.activation:.100}, which nobody has asked for")
        if len(message.value) > MAX_VALUE_BYTES or stream.on_way_bytes >= WINDOW_BYTES:
            raise ProtocolError("it reports values that are too large, or that were not waited for")
        stream.on_way_bytes += cost_bytes(message.value)
        if stream.is_enough:
            return True  # it was on its way already
        stream.failure = checked_value(message.value)
        if stream.failure is not None:
            stream.is_enough = True
            return False
        stream.has_yielded = True
        assert stream.call.on_value is not None
        stream.call.on_value(message.value)
        return True

    def taken(self, activation: ActivationId, taken_bytes: int) -> bool:
        """Returns whether the manager has to be told. It has not for a run that has ended."""
        stream = self._streams.get(activation)
        if stream is not None:
            stream.on_way_bytes -= taken_bytes
        return stream is not None

    def enough(self, activation: ActivationId) -> bool:
        """The same for a run of which nobody wants further values."""
        stream = self._streams.get(activation)
        if stream is None or stream.is_enough:
            return False
        stream.is_enough = True
        return True

    def ran(self, message: Ran, failure: Failure | None) -> tuple[bytes | None, Failure | None, bool]:
        """The result or the failure of a run that has ended, and whether it has handed values on.

        `failure` is what the manager has reported. Empty bytes as a result: the values are.
        """
        stream = self._streams.pop(message.activation, None)
        if failure is not None and failure.kind is FailureKind.CANCELLED and (stream is None or not stream.is_enough):
            raise ProtocolError(f"it has cancelled {message.activation:.100}, which nobody has asked for")
        if stream is None:
            return (None, failure, False) if failure is not None else (*checked_result(message.answer), False)
        if stream.failure is not None:
            return None, stream.failure, stream.has_yielded
        if failure is not None:
            return None, failure, stream.has_yielded
        if not message.answer:
            return b"", None, stream.has_yielded
        result, failure = checked_result(message.answer)
        return result, failure, stream.has_yielded
