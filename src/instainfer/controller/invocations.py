"""Carries each call from its admission through its run on a node to its record.

A call runs in a task of its own, so that it goes on when its caller disconnects or has waited long enough. Before a
call is answered with only its activation id (202), it is on disk. A blocking call needs no row before it has ended: as
long as the connection is open, its caller knows that the call may still fail.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from starlette.exceptions import HTTPException

from ..backends.base import Call
from ..core.cluster import Refuse
from ..core.model import NO_TIME, Failure, FailureKind, Phases
from ..links.base import Link, Outcome
from .auth import Identity
from .bodies import LARGE_BYTES, Budget
from .counts import CallCounts
from .driver import ClusterDriver
from .packages import Resolved
from .records import Action, ActivationRecord, Origin
from .responses import STOPPED, Said, final_record, running_record, said_of, without_large_result
from .store import Store
from .streams import Stream

_NOT_ACCEPTED = frozenset({FailureKind.QUEUE_FULL, FailureKind.DRAINING})
"""With these failures a node has run nothing, so the caller can safely try again."""
_COME_AGAIN = {"Retry-After": "1"}
"""The header of a refusal with which nothing was run, so that clients may send the call again."""
_MANY_LINES = 5000
"""Logs with at least this many lines are encoded as JSON in a thread."""

log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """An activation that has ended."""

    record: ActivationRecord
    outcome: Outcome
    phases: Phases


class _Flight:
    """One admitted call."""

    __slots__ = ("arrived_s", "call", "deployed", "kept", "link", "origin", "values")

    def __init__(
        self,
        call: Call,
        resolved: Resolved,
        link: Link,
        arrived_s: float,
        *,
        namespace: str,
        cause: str | None = None,
        values: Stream | None = None,
    ) -> None:
        self.call = call
        self.deployed = resolved.deployed
        self.origin = Origin(namespace, resolved.package, resolved.binding, cause)
        self.link = link
        self.arrived_s = arrived_s
        self.kept = False
        """Whether the caller knows the activation id, or is about to. Then the call must end with a record."""
        self.values = values
        """Takes the values of a generator. None: the caller wants one answer."""


class Streaming:
    """A call whose values its caller takes as they come."""

    def __init__(self, activation: str, values: Stream, task: asyncio.Task[Ended], leave: Callable[[], None]) -> None:
        self.activation = activation
        self.values = values
        self._task = task
        self._leave = leave

    async def ended(self) -> Ended:
        """Wait for the end. Raises `HTTPException` 503 when nothing was run, or when the platform stops meanwhile."""
        await asyncio.wait((self._task,))
        if self._task.cancelled():
            raise HTTPException(503, STOPPED)
        return self._task.result()

    def leave(self) -> None:
        """The caller goes away. If the call still runs, it ends with its next value, and its record says so."""
        if not self._task.done() and not self.values.has_left():
            self._leave()
        self.values.leave()


class Invocations:
    """All calls between request and record.

    `now` is the monotonic clock in seconds from which `arrived_s` and the times of the cluster's events come.
    `api_host` is the URL of this API, which functions receive as an environment variable.
    """

    def __init__(
        self,
        driver: ClusterDriver,
        store: Store,
        budget: Budget,
        counts: CallCounts,
        now: Callable[[], float],
        *,
        max_result_bytes: int,
        max_recorded_bytes: int,
        api_host: str,
    ) -> None:
        self._driver = driver
        self._store = store
        self._budget = budget
        self._counts = counts
        self._now = now
        self._max_result_bytes = max_result_bytes
        self._max_recorded_bytes = max_recorded_bytes
        self.api_host = api_host
        self._tasks: dict[str, asyncio.Task[Ended]] = {}

    async def blocking(
        self,
        resolved: Resolved,
        args: bytes,
        caller: Identity,
        transaction: str,
        *,
        arrived_s: float,
        timeout_s: float | None,
        only_warms: bool = False,
        cause: str | None = None,
    ) -> Ended | str:
        """Run a call and wait for its end. If it takes longer than `timeout_s`, it goes on, and its id is returned.

        `timeout_s` None is no limit. `cause` is the activation of the sequence that the call is a part of.
        `only_warms`: load the function and warm it up, but do not run it. Raises `HTTPException` 429 or 503 when the
        call is refused, and 503 when the platform stops meanwhile.
        """
        flight = self._admit(resolved, args, caller, transaction, arrived_s, only_warms=only_warms, cause=cause)
        task = self._start(flight)
        await asyncio.wait((task,), timeout=timeout_s)
        if not task.done():
            flight.kept = True
            await self._store.accepted(self._running(flight))
            return flight.call.activation
        if task.cancelled():
            raise HTTPException(503, STOPPED)
        return task.result()

    def streaming(
        self, resolved: Resolved, args: bytes, caller: Identity, transaction: str, *, arrived_s: float
    ) -> Streaming:
        """Start a call whose caller takes the values of a generator as they come.

        Raises `HTTPException` 429 or 503 when the call is refused.
        """
        values = Stream(self._budget.lease(), min(self._max_recorded_bytes, self._max_result_bytes))
        flight = self._admit(resolved, args, caller, transaction, arrived_s, values=values)
        activation, link = flight.call.activation, flight.link
        values.on_taken = partial(link.taken, activation)
        task = self._start(flight)
        task.add_done_callback(lambda _: values.end())
        return Streaming(activation, values, task, partial(link.enough, activation))

    async def non_blocking(
        self, resolved: Resolved, args: bytes, caller: Identity, transaction: str, *, arrived_s: float
    ) -> str:
        """Start a call, and return its id when the call is on disk.

        Raises `HTTPException` 429 or 503 when the call is refused, and `HostError` when the disk refuses. In both cases
        nothing runs.
        """
        flight = self._admit(resolved, args, caller, transaction, arrived_s)
        flight.kept = True
        activation = flight.call.activation
        try:
            await self._store.accepted(self._running(flight))
        except BaseException:
            self._left(flight)
            raise
        self._start(flight)
        return activation

    async def idle(self) -> None:
        """Return when no call is in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def stop(self) -> int:
        """End all calls in flight, each with a record that says so. Returns their number."""
        cut_short = list(self._tasks.values())
        for task in cut_short:
            task.cancel()
        await self.idle()
        return len(cut_short)

    def _admit(
        self,
        resolved: Resolved,
        args: bytes,
        caller: Identity,
        transaction: str,
        arrived_s: float,
        *,
        only_warms: bool = False,
        cause: str | None = None,
        values: Stream | None = None,
    ) -> _Flight:
        action = resolved.deployed.action
        activation = uuid4().hex
        self._budget.take(len(args))
        admitted = self._driver.admit(
            activation, caller.namespace, action.key, owner=action.namespace, goes_on=cause is not None
        )
        if isinstance(admitted, Refuse):
            self._budget.give(len(args))
            raise self._refused(admitted)
        env = self._environment(action, activation, caller, transaction)
        call = Call(activation, action.key, args, env, only_warms, None if values is None else values.put)
        resolved.deployed.enter()
        return _Flight(call, resolved, admitted, arrived_s, namespace=caller.namespace, cause=cause, values=values)

    def admit_empty(self, action: Action, caller: Identity) -> None:
        """Count a call that runs nothing itself, as that of a sequence.

        Raises `HTTPException` 429 or 503 when the call is refused.
        """
        activation = uuid4().hex
        admitted = self._driver.admit(activation, caller.namespace, action.key, owner=action.namespace)
        if isinstance(admitted, Refuse):
            raise self._refused(admitted)
        self._driver.finish(activation)

    def _refused(self, refusal: Refuse) -> HTTPException:
        self._counts.refused(refusal.kind.value)
        return HTTPException(429 if refusal.kind.is_throttle else 503, refusal.message, _COME_AGAIN)

    def _left(self, flight: _Flight) -> None:
        self._budget.give(len(flight.call.args))
        self._driver.finish(flight.call.activation)
        flight.deployed.leave()

    def _environment(self, action: Action, activation: str, caller: Identity, transaction: str) -> dict[str, str]:
        env = {
            **action.variables(self.api_host),
            "__OW_ACTIVATION_ID": activation,
            "__OW_TRANSACTION_ID": transaction,
        }
        if action.wants_api_key and action.namespace == caller.namespace:  # a key is nothing to give to others
            env["__OW_API_KEY"] = caller.auth
        return env

    def _running(self, flight: _Flight) -> ActivationRecord:
        return running_record(flight.call.activation, flight.deployed.action, flight.origin, _wall_ms())

    def _start(self, flight: _Flight) -> asyncio.Task[Ended]:
        activation = flight.call.activation
        task = asyncio.get_running_loop().create_task(self._run(flight))
        self._tasks[activation] = task
        task.add_done_callback(partial(self._done, flight))
        return task

    def _done(self, flight: _Flight, task: asyncio.Task[Ended]) -> None:
        # This is not done in the task itself, because a task that is cancelled before its first step runs no code.
        if task.cancelled():
            self._conclude(flight, _failed(flight.call, FailureKind.CONTAINER_LOST, STOPPED))
        else:
            task.exception()  # marks the error as seen, since asyncio logs an error that no caller waits for

    async def _run(self, flight: _Flight) -> Ended:
        outcome = await self._outcome(flight)
        size = len(outcome.result or b"") + sum(map(len, outcome.logs))
        if size < LARGE_BYTES and len(outcome.logs) < _MANY_LINES:
            return self._conclude(flight, outcome)
        try:
            said = await asyncio.to_thread(said_of, outcome, flight.deployed.action.limits, self._max_result_bytes)
        except asyncio.CancelledError:  # the call itself has ended, so it still gets its own record
            said = None
        return self._conclude(flight, outcome, said)

    async def _outcome(self, flight: _Flight) -> Outcome:
        deployed, call = flight.deployed, flight.call
        waited_s = 0.0
        if not deployed.ready:
            began_s = self._now()
            await deployed.settled()
            waited_s = self._now() - began_s
            if deployed.problem:
                return _failed(call, FailureKind.CONTAINER_START_FAILED, deployed.problem, Phases(queue=waited_s))
        try:
            outcome = await self._driver.run(flight.link, call)
        except Exception as error:  # the activation needs a record even if the link has a bug
            log.exception("activation %s: the node %s broke its contract", call.activation, flight.link.name)
            return _failed(call, FailureKind.CONTAINER_LOST, f"The platform failed: {error!r}.")
        if flight.values is not None and outcome.result == b"":
            flight.values.is_answer = True
            outcome = replace(outcome, result=flight.values.answer())
        if waited_s:
            return replace(outcome, phases=replace(outcome.phases, queue=outcome.phases.queue + waited_s))
        return outcome

    def _conclude(self, flight: _Flight, outcome: Outcome, said: Said | None = None) -> Ended:
        """End a call and store its record. `said` is what `said_of` returns, if that has been called already."""
        del self._tasks[flight.call.activation]
        self._left(flight)
        failure = outcome.failure
        if failure is not None and failure.kind in _NOT_ACCEPTED and not flight.kept:
            self._counts.refused(failure.kind.value)
            raise HTTPException(503, failure.message, _COME_AGAIN)
        phases = self.with_own_share(outcome.phases, self._now() - flight.arrived_s)
        action = flight.deployed.action
        said = said or said_of(outcome, action.limits, self._max_result_bytes)
        record = final_record(outcome, action, flight.origin, phases, end_ms=_wall_ms(), said=said)
        is_small = flight.values is not None and flight.values.is_answer  # `Stream.answer` has seen to that
        is_kept = flight.kept or is_small
        self._store.finished(record if is_kept else without_large_result(record, self._max_recorded_bytes))
        if record.status_code is not None:
            self._counts.ended(str(action.path), outcome.start_kind, record.status_code, phases)
        return Ended(record, outcome, phases)

    @staticmethod
    def with_own_share(phases: Phases, end_to_end_s: float) -> Phases:
        """Phases that add up to `end_to_end_s`. Time that the node has not measured counts as hand-off."""
        handoff_s = end_to_end_s - phases.queue - phases.container - phases.libraries - phases.model - phases.compute
        return Phases(
            phases.queue,
            phases.container,
            phases.libraries,
            phases.model,
            max(phases.handoff, handoff_s),
            phases.compute,
        )


def _failed(call: Call, kind: FailureKind, message: str, phases: Phases = NO_TIME) -> Outcome:
    return Outcome(call.activation, call.function, "", None, phases, Failure(kind, message), None)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
