"""The manager's part of streamed answers: passes the values of the call that is being served to the invoker.

A process may send what it likes. It is held to the window: a process that sends a value while too much is on its way,
or while no value is wanted at all, is ended. So what the manager keeps for a slow caller is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..wire import calls
from ..wire.bounds import MAX_VALUE_BYTES, WINDOW_BYTES, cost_bytes
from ..wire.framing import ProtocolError
from ..wire.messages import Enough, Run, Taken, Value
from .resident import Resident


class Passing:
    """Knows the call that streams its answer, if there is one, and what of it is on its way."""

    def __init__(self, report: Callable[[Any], None]) -> None:
        self._report = report
        self._run: Run | None = None
        """The call whose function has got the request. None when there is none, or when it does not stream."""
        self._resident: Resident | None = None
        self._on_way_bytes = 0
        self._unwanted: set[str] = set()
        """Activations of which nobody wants further values. Their functions need not have got the request yet."""

    def begin(self, run: Run, resident: Resident) -> None:
        """The request was sent to the function."""
        if run.streams:
            self._run, self._resident, self._on_way_bytes = run, resident, 0
            if run.activation in self._unwanted:
                self._send(calls.Enough())

    def end(self, run: Run) -> None:
        """The call has ended, whether its function had got the request or not."""
        self._run = self._resident = None
        self._unwanted.discard(run.activation)

    def yielded(self, message: calls.Yielded) -> None:
        """Take a value from the process of the function that runs."""
        if self._run is None:
            raise ProtocolError("it streams an answer, which nobody has asked for")
        if len(message.value) > MAX_VALUE_BYTES:
            raise ProtocolError(
                "a value of {} bytes is above the limit of {}".format(len(message.value), MAX_VALUE_BYTES)
            )
        if self._on_way_bytes >= WINDOW_BYTES:
            raise ProtocolError("it has not waited until its values were taken")
        self._on_way_bytes += cost_bytes(message.value)
        self._report(Value(self._run.activation, message.value))

    def taken(self, command: Taken) -> None:
        """Let the function go on. A command about a call that has ended meanwhile means nothing."""
        if self._run is not None and self._run.activation == command.activation:
            self._on_way_bytes -= command.taken_bytes
            self._send(calls.Taken(command.taken_bytes))

    def enough(self, command: Enough) -> None:
        """Let the function end. The call must be one that waits or runs."""
        self._unwanted.add(command.activation)
        if self._run is not None and self._run.activation == command.activation:
            self._send(calls.Enough())

    def may_be_cancelled(self, run: Run) -> bool:
        """Whether the function has been told that nobody wants further values."""
        return run.activation in self._unwanted

    def _send(self, message: Any) -> None:
        assert self._resident is not None
        self._resident.channel.send(calls.TO_PROCESS.encode(message))
