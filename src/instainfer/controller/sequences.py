"""Calls of sequences: their parts run one after the other, each with the answer of the one before as its arguments.

A part is a call like any other: it is admitted, limited and recorded as such. Its record names the activation of the
sequence as its `cause`. The record of the sequence has the last answer, and the ids of its parts in place of logs. A
part that fails ends the sequence, with its status. A part may be a sequence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

import msgspec
from starlette.exceptions import HTTPException

from ..core.model import Phases
from ..errors import BadInput, Conflict, NotAllowed, NotFound
from ..links.base import Outcome
from .auth import Identity
from .bodies import LARGE_BYTES, checked_object
from .invocations import Ended, Invocations
from .layers import merged
from .packages import Packages, Resolved
from .paths import EntityPath
from .records import (
    APPLICATION_ERROR,
    SEQUENCE,
    SUCCESS,
    WHISK_ERROR,
    ActivationRecord,
    Origin,
)
from .responses import STOPPED, encode, is_array, printable, without_large_result
from .sequence_puts import MOST_PARTS, NO_COMPONENT, TOO_LONG
from .store import Store

_NO_OBJECT = "The answer of {} is an array, but a part of a sequence takes an object. Let it answer an object."

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Spent:
    """What the parts of a call have used so far, those of sequences in it included."""

    parts: int = 0
    phases: list[Phases] = field(default_factory=list)


@dataclass(slots=True)
class _Flight:
    """One call of a sequence."""

    activation: str
    resolved: Resolved
    origin: Origin
    args: bytes
    caller: Identity
    transaction: str
    arrived_s: float
    start_ms: int
    spent: _Spent
    depth: int = 0
    """How many sequences it is in."""
    kept: bool = False
    """Whether the caller knows the activation id, or is about to. Then the call must end with a record."""
    parts: list[str] = field(default_factory=list)
    """The activations of its parts."""
    duration_ms: int = 0
    memory_mb: int = 0
    """The largest limit of a part."""


class Sequences:
    """All calls of sequences. `now` is the clock of `Invocations`."""

    def __init__(
        self,
        packages: Packages,
        invocations: Invocations,
        store: Store,
        now: Callable[[], float],
        *,
        max_recorded_bytes: int,
    ) -> None:
        self._packages = packages
        self._invocations = invocations
        self._store = store
        self._now = now
        self._max_recorded_bytes = max_recorded_bytes
        self._tasks: dict[str, asyncio.Task[Ended]] = {}

    async def blocking(
        self,
        resolved: Resolved,
        args: bytes,
        caller: Identity,
        transaction: str,
        *,
        arrived_s: float,
        timeout_s: float,
    ) -> Ended | str:
        """Run a sequence and wait for its end. If it takes longer than `timeout_s`, it goes on, and its id is returned.

        Raises `NotAllowed` when the caller may not call one of its parts, `HTTPException` 429 or 503 when the call or
        its first part is refused, and 503 when the platform stops meanwhile.
        """
        flight = self._flight(resolved, args, caller, transaction, arrived_s)
        task = self._start(flight)
        await asyncio.wait((task,), timeout=timeout_s)
        if not task.done():
            flight.kept = True
            await self._store.accepted(_record(flight))
            return flight.activation
        if task.cancelled():
            raise HTTPException(503, STOPPED)
        return task.result()

    async def non_blocking(
        self, resolved: Resolved, args: bytes, caller: Identity, transaction: str, *, arrived_s: float
    ) -> str:
        """Start a sequence, and return its id when the call is on disk.

        Raises `NotAllowed` when the caller may not call one of its parts, `HTTPException` 429 or 503 when the call is
        refused, and `HostError` when the disk refuses. Then nothing runs.
        """
        flight = self._flight(resolved, args, caller, transaction, arrived_s)
        flight.kept = True
        await self._store.accepted(_record(flight))
        self._start(flight)
        return flight.activation

    async def idle(self) -> None:
        """Return when no sequence is in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def stop(self) -> int:
        """End all sequences in flight, each with a record that says so. Returns their number."""
        cut_short = list(self._tasks.values())
        for task in cut_short:
            task.cancel()
        await self.idle()
        return len(cut_short)

    def _flight(self, resolved: Resolved, args: bytes, caller: Identity, transaction: str, arrived_s: float) -> _Flight:
        for component in resolved.deployed.action.components or ():
            try:
                self._packages.resolve(caller.namespace, EntityPath.parsed(component, caller.namespace))
            except (NotFound, Conflict):
                continue  # the record of the call will tell, since what runs before that has its effect
        self._invocations.admit_empty(resolved.deployed.action, caller)
        origin = Origin(caller.namespace, resolved.package, resolved.binding, None)
        return _Flight(uuid4().hex, resolved, origin, args, caller, transaction, arrived_s, _wall_ms(), spent=_Spent())

    def _start(self, flight: _Flight) -> asyncio.Task[Ended]:
        task = asyncio.get_running_loop().create_task(self._run(flight))
        self._tasks[flight.activation] = task
        task.add_done_callback(partial(self._done, flight))
        return task

    def _done(self, flight: _Flight, task: asyncio.Task[Ended]) -> None:
        # This is not done in the task itself, because a task that is cancelled before its first step runs no code.
        del self._tasks[flight.activation]
        if task.cancelled():
            self._conclude(flight, WHISK_ERROR, _error(STOPPED))
        else:
            task.exception()  # marks the error as seen, since asyncio logs an error that no caller waits for

    async def _run(self, flight: _Flight) -> Ended:
        record = self._conclude(flight, *await self._outcome(flight))
        phases = self._phases(flight)
        key = flight.resolved.deployed.action.key
        return Ended(record, Outcome(flight.activation, key, "", None, phases, None, record.result), phases)

    async def _outcome(self, flight: _Flight) -> tuple[int, bytes]:
        """Run the parts. Returns the status and the answer of the sequence."""
        answer = flight.args
        for component in flight.resolved.deployed.action.components or ():
            if flight.spent.parts >= MOST_PARTS or flight.depth > MOST_PARTS:
                return APPLICATION_ERROR, _error(TOO_LONG)
            try:
                ended = await self._part(flight, component, answer)
            except (NotFound, Conflict):
                return APPLICATION_ERROR, _error(NO_COMPONENT)
            except (BadInput, NotAllowed) as error:
                return APPLICATION_ERROR, _error(str(error))
            except HTTPException as refused:
                if not flight.parts and not flight.kept:
                    raise  # nothing was run, and the caller is still there to be told
                return WHISK_ERROR, _error(refused.detail)
            except Exception as error:  # the activation needs a record even if there is a bug
                log.exception("activation %s: a part of the sequence failed in an unexpected way", flight.activation)
                return WHISK_ERROR, _error(f"The platform failed: {error!r}.")
            flight.parts.append(ended.id)
            flight.duration_ms += ended.duration_ms or 0
            answer = ended.result or b"{}"
            if ended.status_code != SUCCESS:
                return WHISK_ERROR if ended.status_code is None else ended.status_code, answer
        return SUCCESS, answer

    async def _part(self, flight: _Flight, component: str, args: bytes) -> ActivationRecord:
        """The record of a part that has ended."""
        caller = flight.caller
        resolved = self._packages.resolve(caller.namespace, EntityPath.parsed(component, caller.namespace))
        if flight.parts:
            if is_array(args):
                raise BadInput(_NO_OBJECT.format(f"activation {flight.parts[-1]}"))
            # An answer may be nested deeper than arguments may be.
            args = checked_object(args) if len(args) < LARGE_BYTES else await asyncio.to_thread(checked_object, args)
        action = resolved.deployed.action
        if action.components is not None:
            return await self._inner(flight, resolved, args)
        given = merged(action, resolved.inherited, args)
        flight.spent.parts += 1
        ended = await self._invocations.blocking(
            resolved,
            given,
            caller,
            flight.transaction,
            arrived_s=self._now(),
            timeout_s=None,
            cause=flight.activation,
        )
        assert isinstance(ended, Ended)  # since it was waited for without a limit
        flight.memory_mb = max(flight.memory_mb, action.limits.memory)
        flight.spent.phases.append(ended.phases)
        return ended.record

    async def _inner(self, outer: _Flight, resolved: Resolved, args: bytes) -> ActivationRecord:
        """The record of a sequence in a sequence."""
        origin = Origin(outer.caller.namespace, resolved.package, resolved.binding, outer.activation)
        flight = _Flight(
            uuid4().hex,
            resolved,
            origin,
            args,
            outer.caller,
            outer.transaction,
            self._now(),
            _wall_ms(),
            spent=outer.spent,
            depth=outer.depth + 1,
        )
        try:
            status, answer = await self._outcome(flight)
        except asyncio.CancelledError:
            self._conclude(flight, WHISK_ERROR, _error(STOPPED))
            raise
        outer.memory_mb = max(outer.memory_mb, flight.memory_mb)
        return self._conclude(flight, status, answer)

    def _conclude(self, flight: _Flight, status: int, answer: bytes) -> ActivationRecord:
        end_ms = _wall_ms()
        record = msgspec.structs.replace(
            _record(flight),
            end_ms=end_ms,
            duration_ms=flight.duration_ms,
            status_code=status,
            result=answer,
            logs=encode(flight.parts),
        )
        kept = record if flight.kept else without_large_result(record, self._max_recorded_bytes)
        self._store.finished(kept)
        return record

    def _phases(self, flight: _Flight) -> Phases:
        """The phases of all parts together. The time between them counts as hand-off."""
        parts = flight.spent.phases
        measured = Phases(*(sum(getattr(each, name) for each in parts) for name in Phases.__dataclass_fields__))
        return self._invocations.with_own_share(measured, self._now() - flight.arrived_s)


def _record(flight: _Flight) -> ActivationRecord:
    """The record of a sequence that has not ended."""
    action, origin = flight.resolved.deployed.action, flight.origin
    limits = msgspec.structs.replace(action.limits, memory=flight.memory_mb or action.limits.memory)
    annotations = [
        {"key": "topmost", "value": flight.depth == 0},
        {"key": "path", "value": str(action.path)},
        {"key": "kind", "value": SEQUENCE},
        {"key": "limits", "value": limits},
        *origin.annotations(),
    ]
    return ActivationRecord(
        id=flight.activation,
        namespace=origin.namespace,
        package=origin.package,
        name=action.name,
        version=action.version,
        cause=origin.cause,
        start_ms=flight.start_ms,
        annotations=encode(annotations),
    )


def _error(text: str) -> bytes:
    return encode({"error": printable(text)})


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
