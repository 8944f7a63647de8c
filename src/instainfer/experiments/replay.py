"""Open-loop replay: every call is sent at its time, whether or not earlier calls have ended, and each gets a record.

Calls are blocking, so the answer contains the record. When the platform answers 202, because the call took too long for
a blocking one, the record is fetched by the activation's id. When the connection breaks before the id is known, the
call is settled at the end: it must be an activation of the function that belongs to no other call of this replay.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from ..address import base_url, basic_auth
from ..core.model import Phases
from ..report.records import LOST, PHASES, CallRecord

_ACTIONS = "/api/v1/namespaces/_/actions"
_ACTIVATIONS = "/api/v1/namespaces/_/activations"

_FOLLOW_UP_S = 600.0
"""A call may still end this long after its last sign of life: longer than the longest time limit of a function."""
_FOLLOW_UP_EVERY_S = 0.5
"""After a 202 the API cannot report an activation's end, so its record is requested at this interval."""
_IDLE_CONNECTION_S = 2.0
"""Shorter than servers keep idle connections (usually 5 s): if one closed while we send, it would look broken."""
_PAGE = 200


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of a replay."""

    at_s: float
    """When to send the call, in seconds since the replay began."""
    function: str
    args: bytes
    """The request as a JSON object."""


class Watcher:
    """Gets the progress of a replay; subclasses override what they need."""

    def sent(self, call: PlannedCall) -> None: ...

    def ended(self, record: CallRecord) -> None: ...


@dataclass(slots=True)
class _Sent:
    """A call that was sent, and what is known of it before its record."""

    call: PlannedCall
    sent_s: float
    activation_id: str = ""
    client_s: float = 0.0


async def replay(
    calls: Sequence[PlannedCall], api_host: str, auth: str, duration_s: float = 0.0, watcher: Watcher | None = None
) -> list[CallRecord]:
    """Send all calls at their times; return one record per call, in the order of sending.

    Ends when every call has ended, but not before `duration_s`. Nothing that happens to a call raises an exception.
    """
    async with httpx2.AsyncClient(
        base_url=base_url(api_host),
        auth=basic_auth(auth),
        timeout=httpx2.Timeout(None, connect=10.0),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_IDLE_CONNECTION_S),
        trust_env=False,
    ) as http:
        return await _Replay(http, watcher or Watcher()).run(calls, duration_s)


class _Replay:
    def __init__(self, http: httpx2.AsyncClient, watcher: Watcher) -> None:
        self._http = http
        self._watcher = watcher
        self._begin = 0.0
        self._began_at_ms = 0
        self._broken: list[_Sent] = []

    async def run(self, calls: Sequence[PlannedCall], duration_s: float) -> list[CallRecord]:
        self._begin = time.monotonic()
        self._began_at_ms = int(time.time() * 1000)
        async with asyncio.TaskGroup() as group:
            tasks = []
            for call in sorted(calls, key=lambda call: call.at_s):
                await self._until(call.at_s)
                tasks.append(group.create_task(self._one(call)))
            await self._until(duration_s)
        # Only now do we know every id that belongs to one of our calls.
        records = [task.result() for task in tasks]
        settled = await self._settle({record.activation_id for record in records if record is not None})
        for record in settled:
            self._watcher.ended(record)
        return sorted([*(record for record in records if record is not None), *settled], key=lambda r: r.sent_s)

    def _now(self) -> float:
        return time.monotonic() - self._begin

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self._now()))

    async def _one(self, call: PlannedCall) -> CallRecord | None:
        """Send one call; return None when its connection broke before its id was known."""
        sent = _Sent(call, self._now())
        self._watcher.sent(call)
        try:
            response = await self._http.post(
                f"{_ACTIONS}/{call.function}?blocking=true",
                content=call.args,
                headers={"Content-Type": "application/json"},
            )
        except httpx2.TransportError:
            self._broken.append(sent)
            return None
        sent.client_s = self._now() - sent.sent_s
        record = await self._record(sent, response)
        self._watcher.ended(record)
        return record

    async def _record(self, sent: _Sent, response: httpx2.Response) -> CallRecord:
        body = _object(response)
        if "response" in body:
            return _from_activation(sent, body)
        if "activationId" in body:
            sent.activation_id = body["activationId"]
            return await self._follow(sent)
        text = body.get("error", f"HTTP {response.status_code}")
        return _unrecorded(sent, status=f"refused: {text}")

    async def _follow(self, sent: _Sent) -> CallRecord:
        """Fetch the record of a call whose id is known, once the call has ended."""
        give_up_s = self._now() + _FOLLOW_UP_S
        while self._now() < give_up_s:
            try:
                response = await self._http.get(f"{_ACTIVATIONS}/{sent.activation_id}")
            except httpx2.TransportError:
                body: Mapping[str, Any] = {}
            else:
                body = _object(response)
            if "end" in body:
                sent.client_s = self._now() - sent.sent_s
                return _from_activation(sent, body)
            await asyncio.sleep(_FOLLOW_UP_EVERY_S)
        return _unrecorded(sent, status=LOST)

    async def _settle(self, known: set[str]) -> list[CallRecord]:
        """Match each call whose connection broke with its function's oldest activation that no other call has."""
        unclaimed: dict[str, list[str]] = {}
        for function in {sent.call.function for sent in self._broken}:
            unclaimed[function] = [id_ for id_ in await self._activation_ids(function) if id_ not in known]
        records = []
        for sent in sorted(self._broken, key=lambda sent: sent.sent_s):
            left = unclaimed[sent.call.function]
            if left:
                sent.activation_id = left.pop(0)
                records.append(await self._follow(sent))
            else:
                records.append(_unrecorded(sent, status=LOST))
        return records

    async def _activation_ids(self, function: str) -> list[str]:
        """Return the ids of the function's activations since the replay began, oldest first; none without an answer."""
        ids: list[str] = []
        while True:
            params: dict[str, str | int] = {
                "name": function,
                "since": self._began_at_ms,
                "limit": _PAGE,
                "skip": len(ids),
            }
            try:
                page = (await self._http.get(_ACTIVATIONS, params=params)).json()
            except (httpx2.TransportError, ValueError):
                page = []
            ids += [item["activationId"] for item in page] if isinstance(page, list) else []
            if len(page) < _PAGE:
                return list(dict.fromkeys(reversed(ids)))


def _object(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        body = json.loads(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _from_activation(sent: _Sent, activation: Mapping[str, Any]) -> CallRecord:
    annotations = {item["key"]: item["value"] for item in activation.get("annotations", ())}
    phases = annotations.get("phases") or {}
    return replace(
        _unrecorded(sent, status=activation["response"]["status"]),
        activation_id=activation["activationId"],
        container=annotations.get("container") or "",
        start_kind=annotations.get("startKind"),
        phases=Phases(**{name: float(phases.get(name, 0.0)) for name in PHASES}),
    )


def _unrecorded(sent: _Sent, status: str) -> CallRecord:
    return CallRecord(
        function=sent.call.function,
        scheduled_s=sent.call.at_s,
        sent_s=sent.sent_s,
        activation_id=sent.activation_id,
        status=status,
        client_s=sent.client_s,
    )
