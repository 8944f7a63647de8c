"""Fires triggers: calls the action of each active rule, without waiting for its end, and records what came of that."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from uuid import uuid4

import msgspec
from starlette.exceptions import HTTPException

from ..errors import HostError, InstaInferError
from .auth import Identity
from .invocations import Invocations
from .layers import merged, merged_onto
from .packages import Packages
from .records import APPLICATION_ERROR, SUCCESS, WHISK_ERROR, ActivationRecord, Rule, Trigger
from .responses import encode, printable
from .sequences import Sequences
from .store import Store

log = logging.getLogger(__name__)


class Firing:
    """Calls what rules lead to."""

    def __init__(self, packages: Packages, invocations: Invocations, sequences: Sequences, store: Store) -> None:
        self._packages = packages
        self._invocations = invocations
        self._sequences = sequences
        self._store = store

    async def fire(
        self,
        trigger: Trigger,
        rules: list[Rule],
        given: bytes,
        caller: Identity,
        transaction: str,
        *,
        arrived_s: float,
    ) -> str:
        """Call the actions of a trigger's rules, and return the id of the activation that records this.

        `given` is a JSON object. The calls are on disk when this returns. One that is refused is told by the record. It
        has one line for each rule in place of logs.
        """
        record = ActivationRecord(
            id=uuid4().hex,
            namespace=caller.namespace,
            name=trigger.path.name,
            version=trigger.version,
            start_ms=_wall_ms(),
            annotations=encode([{"key": "path", "value": str(trigger.path)}, {"key": "kind", "value": "trigger"}]),
        )
        await self._store.accepted(record)
        args = merged_onto(trigger.parameters, given)
        told = await asyncio.gather(
            *(self._call(rule, args, caller, transaction, arrived_s=arrived_s) for rule in rules)
        )
        ended = msgspec.structs.replace(
            record,
            end_ms=_wall_ms(),
            duration_ms=0,
            status_code=SUCCESS,
            result=given,
            logs=encode([encode(each).decode() for each in told]),
        )
        self._store.finished(ended)
        return record.id

    async def _call(
        self, rule: Rule, args: bytes, caller: Identity, transaction: str, *, arrived_s: float
    ) -> dict[str, Any]:
        """What came of a rule, as OpenWhisk's records of triggers tell it."""
        names = {"rule": str(rule.path), "action": str(rule.action)}
        if not rule.is_active:
            text = f"Rule '{rule.path}' is inactive, action '{rule.action}' was not activated."
            return _failed(APPLICATION_ERROR, text, names)
        try:
            resolved = self._packages.resolve(caller.namespace, rule.action)
            action = resolved.deployed.action
            if action.components is not None:
                calls: Invocations | Sequences = self._sequences
            else:
                calls, args = self._invocations, merged(action, resolved.inherited, args)
            id_ = await calls.non_blocking(resolved, args, caller, transaction, arrived_s=arrived_s)
        except HTTPException as refused:
            return _failed(WHISK_ERROR if refused.status_code >= 500 else APPLICATION_ERROR, refused.detail, names)
        except InstaInferError as error:
            return _failed(WHISK_ERROR if isinstance(error, HostError) else APPLICATION_ERROR, str(error), names)
        except Exception as error:  # the activation needs its end even if there is a bug
            log.exception("the rule %s failed in an unexpected way", rule.path)
            return _failed(WHISK_ERROR, f"The platform failed: {error!r}.", names)
        return {"statusCode": SUCCESS, "success": True, "activationId": id_, **names}


def _failed(status: int, error: str, names: dict[str, str]) -> dict[str, Any]:
    return {"statusCode": status, "success": False, "error": printable(error), **names}


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
