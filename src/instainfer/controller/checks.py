"""``PUT functions/{name}``: deploys a version that callers get only when it has been tried (ADR 26).

The body is that of OpenWhisk's ``PUT actions/{name}``, and an existing function is replaced. The new version is loaded
and answers the ``sample.json`` of its code; without one it is only loaded and warmed up. This is a call like any other:
it is admitted, limited and recorded as such. Until it has succeeded the version before answers callers, and also when
it fails. Progress comes as one JSON object a line::

    {"event": "progress", "text": ...}
    {"event": "deployed", "action": ..., "record": ...}    the record of the trying call, without result and logs
    {"event": "failed", "error": ..., "logs": [...], "activationId": ...}
    {"event": "refused", "status": ..., "error": ...}      as OpenWhisk's PUT would be, with this HTTP status
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ..config import ServerConfig
from ..environments.sample import SAMPLE, sample_request
from ..errors import BadFunction, NotFound
from .actions import Actions
from .auth import Identity, Keyring
from .bodies import Budget, check_content_type, read_body
from .catalog import Deployed
from .collections import header, one_route_per_path, private
from .gateway import error_answer
from .invocations import Invocations
from .layers import merged
from .native import NATIVE
from .packages import Packages, Resolved
from .paths import EntityPath
from .puts import ActionPut
from .records import SUCCESS, ActivationRecord
from .responses import action_json, activation_json
from .told import Lines, line, told

_PATIENCE_S = 60.0
"""Seconds that a check may wait for a container, beyond the time limits of the function's load and of its run."""
_MOST_LOG_LINES = 50
_MOST_LINE_CHARS = 2000
_MOST_ERROR_CHARS = 16_000


class _CheckFailed(Exception):
    def __init__(self, record: ActivationRecord) -> None:
        super().__init__(_error_of(record)[:_MOST_ERROR_CHARS])
        self.record = record


class CheckedPuts:
    """The handler of the route that `routes` lists. `now` is the clock of `Invocations`."""

    def __init__(
        self,
        keyring: Keyring,
        packages: Packages,
        actions: Actions,
        invocations: Invocations,
        budget: Budget,
        *,
        server: ServerConfig,
        now: Callable[[], float],
    ) -> None:
        self._keyring = keyring
        self._packages = packages
        self._actions = actions
        self._invocations = invocations
        self._budget = budget
        self._server = server
        self._now = now

    def routes(self) -> list[Route]:
        return one_route_per_path([("PUT", f"{NATIVE}/functions/{{name}}", private(self._keyring, self._put))])

    async def _put(self, request: Request, caller: Identity) -> Response:
        path = EntityPath.within(caller.namespace, unquote(request.path_params["name"]))
        check_content_type(header(request, b"content-type"))
        longest = self._server.max_code_bytes * 4 // 3 + 2 * self._server.max_body_bytes
        with self._budget.lease() as lease:
            body = await read_body(request.receive, header(request, b"content-length"), longest, lease)
            wanted = await self._actions.decoded(body)
        work = partial(self._deploy, caller, path, wanted, request.scope["transaction"])
        return StreamingResponse(told(work), media_type="application/x-ndjson")

    async def _deploy(
        self, caller: Identity, path: EntityPath, wanted: ActionPut, transaction: str, lines: Lines
    ) -> None:
        records: list[ActivationRecord] = []

        async def check(deployed: Deployed, folder: Path) -> None:
            records.append(await self._tried(deployed, folder, caller, transaction, lines))

        try:
            action = await self._actions.put(path, wanted, overwrite=True, check=check)
            record = msgspec.structs.replace(records[0], result=b"{}", logs=b"[]")
            event = line(event="deployed", action=action_json(action, None), record=activation_json(record))
        except _CheckFailed as failed:
            logs = [text[:_MOST_LINE_CHARS] for text in msgspec.json.decode(failed.record.logs)[-_MOST_LOG_LINES:]]
            event = line(event="failed", error=str(failed), logs=logs, activationId=failed.record.id)
        except Exception as error:  # whatever it is: the answer has begun, so it is told in there
            status, answer, _ = error_answer(error, transaction)
            event = line(event="refused", status=status, error=msgspec.json.decode(answer)["error"])
        lines.put_nowait(event)
        lines.put_nowait(None)

    async def _tried(
        self, deployed: Deployed, folder: Path, caller: Identity, transaction: str, lines: Lines
    ) -> ActivationRecord:
        """The record of a call that has succeeded. Raises `_CheckFailed` if it has not."""
        try:
            sample = await asyncio.to_thread(sample_request, folder)
        except NotFound:
            sample = None
        if sample is not None and len(sample) > self._server.max_body_bytes:
            raise BadFunction(f"{SAMPLE} is larger than the {self._server.max_body_bytes} bytes that a call may have")
        lines.put_nowait(line(event="progress", text=_doing(deployed, with_sample=sample is not None)))
        path = deployed.action.path
        inherited = self._packages.inherited(path)
        ended = await self._invocations.blocking(
            Resolved(deployed, path.package or "", None, inherited),
            merged(deployed.action, inherited, sample or b"{}"),
            caller,
            transaction,
            arrived_s=self._now(),
            timeout_s=2 * deployed.action.limits.timeout / 1000 + _PATIENCE_S,
            only_warms=sample is None,
        )
        if isinstance(ended, str):
            raise HTTPException(503, f"The platform found no room to try it; see activation {ended}, and deploy again.")
        if ended.record.status_code != SUCCESS:
            raise _CheckFailed(ended.record)
        return ended.record


def _doing(deployed: Deployed, *, with_sample: bool) -> str:
    action = deployed.action
    return f"loading {action.path.relative} {action.version}" + (
        f" and calling it with {SAMPLE}" if with_sample else ""
    )


def _error_of(record: ActivationRecord) -> str:
    """The text of the error in the result of a call that has failed."""
    result = msgspec.json.decode(record.result or b"{}")
    error = result.get("error") if isinstance(result, dict) else result
    return error if isinstance(error, str) else msgspec.json.encode(error).decode()
