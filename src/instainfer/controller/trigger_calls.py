"""The handlers of OpenWhisk's routes of triggers and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .auth import Identity, Keyring
from .bodies import Budget, arguments, check_content_type, read_body
from .collections import API, Handler, header, json_response, one_route_per_path, private
from .firing import Firing
from .parameters import flag, page
from .paths import EntityPath, entity_name
from .trigger_puts import MAX_TRIGGER_BYTES, decode_rule, decode_switch, decode_trigger
from .triggers import RULES, TRIGGERS, Triggers, rule_json, trigger_json, trigger_summary

_NAMESPACE = f"{API}/namespaces/{{namespace}}"


class TriggerCalls:
    """The handlers of the routes that `routes` lists. `now` is the clock of `Invocations`."""

    def __init__(
        self,
        keyring: Keyring,
        triggers: Triggers,
        firing: Firing,
        budget: Budget,
        *,
        now: Callable[[], float],
        max_body_bytes: int,
    ) -> None:
        self._keyring = keyring
        self._triggers = triggers
        self._firing = firing
        self._budget = budget
        self._now = now
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        def own(method: str, path: str, handler: Handler) -> tuple[str, str, Any]:
            return method, f"{_NAMESPACE}/{path}", private(self._keyring, handler)

        entries = [
            own("GET", "triggers/{name}", self._get_trigger),
            own("PUT", "triggers/{name}", self._put_trigger),
            own("DELETE", "triggers/{name}", self._delete_trigger),
            own("POST", "triggers/{name}", self._fire),
            own("GET", "rules/{name}", self._get_rule),
            own("PUT", "rules/{name}", self._put_rule),
            own("DELETE", "rules/{name}", self._delete_rule),
            own("POST", "rules/{name}", self._switch),
        ]
        for slash in ("", "/"):
            entries += [
                own("GET", f"{TRIGGERS}{slash}", self._list_triggers),
                own("GET", f"{RULES}{slash}", self._list_rules),
            ]
        return one_route_per_path(entries)

    async def _list_triggers(self, request: Request, caller: Identity) -> Response:
        return _listed(request, TRIGGERS, self._triggers.triggers_of(caller.namespace), trigger_summary)

    async def _list_rules(self, request: Request, caller: Identity) -> Response:
        return _listed(request, RULES, self._triggers.rules_of(caller.namespace), rule_json)

    async def _get_trigger(self, request: Request, caller: Identity) -> Response:
        trigger = self._triggers.trigger(_path(request, caller))
        return json_response(trigger_json(trigger, self._triggers.rules_from(trigger)))

    async def _put_trigger(self, request: Request, caller: Identity) -> Response:
        path, overwrite = _path(request, caller), flag(request.query_params, "overwrite", False)
        wanted = decode_trigger(await self._body(request))
        trigger = await self._triggers.put_trigger(path, wanted, overwrite=overwrite)
        return json_response(trigger_json(trigger, self._triggers.rules_from(trigger)))

    async def _delete_trigger(self, request: Request, caller: Identity) -> Response:
        trigger = self._triggers.trigger(_path(request, caller))
        answer = trigger_json(trigger, self._triggers.rules_from(trigger))
        await self._triggers.delete_trigger(trigger)
        return json_response(answer)

    async def _fire(self, request: Request, caller: Identity) -> Response:
        arrived_s = self._now()
        path = _path(request, caller)
        with self._budget.lease() as lease:
            length = header(request, b"content-length")
            body = await read_body(request.receive, length, self._max_body_bytes, lease, "server.max_body_bytes")
            given = await arguments(body, header(request, b"content-type"))
            trigger = self._triggers.trigger(path)
            rules = self._triggers.rules_from(trigger)
            if not any(rule.is_active for rule in rules):
                return Response(status_code=204)
            transaction = request.scope["transaction"]
            id_ = await self._firing.fire(trigger, rules, given, caller, transaction, arrived_s=arrived_s)
        answer = json_response({"activationId": id_}, 202)
        answer.headers["x-openwhisk-activation-id"] = id_
        return answer

    async def _get_rule(self, request: Request, caller: Identity) -> Response:
        return json_response(rule_json(self._triggers.rule(_path(request, caller))))

    async def _put_rule(self, request: Request, caller: Identity) -> Response:
        path, overwrite = _path(request, caller), flag(request.query_params, "overwrite", False)
        wanted = decode_rule(await self._body(request), caller.namespace)
        return json_response(rule_json(await self._triggers.put_rule(path, wanted, overwrite=overwrite)))

    async def _delete_rule(self, request: Request, caller: Identity) -> Response:
        rule = self._triggers.rule(_path(request, caller))
        await self._triggers.delete_rule(rule)
        return json_response({**rule_json(rule), "status": "inactive"})

    async def _switch(self, request: Request, caller: Identity) -> Response:
        path = _path(request, caller)
        is_active = decode_switch(await self._body(request))
        rule = await self._triggers.switch(self._triggers.rule(path), is_active=is_active)
        return json_response(rule_json(rule))

    async def _body(self, request: Request) -> bytes | bytearray:
        check_content_type(header(request, b"content-type"))
        with self._budget.lease() as lease:
            return await read_body(request.receive, header(request, b"content-length"), MAX_TRIGGER_BYTES, lease)


def _listed(
    request: Request, collection: str, found: Sequence[Any], summary: Callable[[Any], dict[str, Any]]
) -> Response:
    wanted = page(request.query_params, collection)
    if wanted.only_count:
        return json_response({collection: max(0, len(found) - wanted.skip)})
    return json_response(list(map(summary, found[wanted.skip : wanted.skip + wanted.limit])))


def _path(request: Request, caller: Identity) -> EntityPath:
    return EntityPath(caller.namespace, None, entity_name(request.path_params["name"]))
