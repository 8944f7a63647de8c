"""The handlers of OpenWhisk's REST routes. The call of an action is in `instainfer.controller.gateway`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ..config import Config
from ..errors import BadInput, NotFound
from .actions import Actions
from .activations import GROUP_BYTES, Activations
from .auth import Identity, Keyring
from .bodies import Budget, check_content_type, read_body
from .catalog import UNKNOWN, Catalog
from .deployment import DEFAULT_KIND, MAX_LOGS_MB, kinds
from .gateway import authenticated, own_namespace
from .packages import Packages, with_inherited
from .parameters import activation_filter, activation_id, flag, page
from .paths import EntityPath, entity_path, namespace_named
from .puts import MAX_PARAMETERS_BYTES
from .queries import ActivationSummary
from .records import ActivationRecord
from .responses import action_json, action_summary, activation_json, encode, result_json, summary_json
from .sequence_puts import MOST_PARTS

API = "/api/v1"
_NAMESPACE = f"{API}/namespaces/{{namespace}}"
_DESCRIPTION = "InstaInfer: serverless inference that starts instantly, behind OpenWhisk's API"
_MB = 1024 * 1024

Handler = Callable[[Request, Identity], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]
Entry = tuple[str, str, Endpoint]
"""Method, path and handler of a route."""


def json_response(value: Any, status: int = 200) -> Response:
    return Response(value if isinstance(value, bytes) else encode(value), status, media_type="application/json")


def private(keyring: Keyring, handler: Handler, *, shared: bool = False) -> Endpoint:
    """Wrap `handler` so that it serves only authenticated callers, and each caller only in the caller's namespace.

    `shared`: the handler itself decides what of other namespaces a caller may read.
    """

    async def endpoint(request: Request) -> Response:
        caller = authenticated(keyring, header(request, b"authorization"))
        if not shared and "namespace" in request.path_params:
            own_namespace(caller, request.path_params["namespace"])
        return await handler(request, caller)

    return endpoint


class Collections:
    """The handlers of the routes that `routes` lists."""

    def __init__(
        self,
        config: Config,
        keyring: Keyring,
        catalog: Catalog,
        packages: Packages,
        actions: Actions,
        *,
        activations: Activations,
        budget: Budget,
    ) -> None:
        self._config = config
        self._keyring = keyring
        self._catalog = catalog
        self._packages = packages
        self._actions = actions
        self._activations = activations
        self._budget = budget

    def routes(self) -> list[Route]:
        def own(path: str, handler: Handler, method: str = "GET") -> Entry:
            return method, path, private(self._keyring, handler)

        entries = [
            ("GET", "/", self.describe_host),
            ("GET", "/ping", self.ping),
            own(f"{API}/namespaces", self.namespaces),
            own(f"{_NAMESPACE}/limits", self.limits),
            own("/runtime/namespaces/{namespace}/logForwarding", self.log_forwarding),
            own(f"{_NAMESPACE}/activations/{{id}}", self.get_activation),
            own(f"{_NAMESPACE}/activations/{{id}}/result", self.get_result),
            own(f"{_NAMESPACE}/activations/{{id}}/logs", self.get_logs),
        ]
        for one in (f"{_NAMESPACE}/actions/{{name}}", f"{_NAMESPACE}/actions/{{package}}/{{name}}"):
            entries += [
                ("GET", one, private(self._keyring, self.get_action, shared=True)),
                own(one, self.put_action, "PUT"),
                own(one, self.delete_action, "DELETE"),
                # For the header `Allow` alone: `Gateway` answers calls itself.
                own(one, self.not_here, "POST"),
            ]
        for slash in ("", "/"):
            entries += [
                ("GET", f"{API}{slash}", self.describe_api),
                own(f"{_NAMESPACE}/actions{slash}", self.list_actions),
                own(f"{_NAMESPACE}/activations{slash}", self.list_activations),
            ]
        return one_route_per_path(entries)

    async def describe_host(self, request: Request) -> Response:
        limits = self._config.limits_in_force
        runtimes = [
            {"kind": kind, "default": kind == DEFAULT_KIND, "deprecated": False, "image": {}} for kind in kinds()
        ]
        return json_response(
            {
                "description": _DESCRIPTION,
                "support": {"github": "", "slack": ""},
                "api_paths": [API],
                "limits": {
                    "actions_per_minute": limits.invocations_per_minute,
                    "triggers_per_minute": limits.invocations_per_minute,
                    "concurrent_actions": limits.concurrent_invocations,
                    "sequence_length": MOST_PARTS,
                    "default_action_duration": limits.default_timeout_ms,
                    "min_action_duration": limits.min_timeout_ms,
                    "max_action_duration": limits.max_timeout_ms,
                    "default_action_memory": limits.default_memory_mb * _MB,
                    "min_action_memory": limits.min_memory_mb * _MB,
                    "max_action_memory": limits.max_memory_mb * _MB,
                    "default_action_logs": MAX_LOGS_MB * _MB,
                    "min_action_logs": 0,
                    "max_action_logs": MAX_LOGS_MB * _MB,
                    # Of ours, by the names that they have in the configuration.
                    "max_body_bytes": self._config.server.max_body_bytes,
                    "max_result_bytes": self._config.server.max_result_bytes,
                    "max_code_bytes": self._config.server.max_code_bytes,
                    "max_parameters_bytes": MAX_PARAMETERS_BYTES,
                },
                # One client (aio-lib-runtime) looks every kind up under this language, and fails where it is not there.
                "runtimes": {"python": runtimes, "nodejs": runtimes},
            }
        )

    async def describe_api(self, request: Request) -> Response:
        from .. import __version__

        return json_response(
            {
                "description": "OpenWhisk API",
                "api_version": "1.0.0",
                "api_version_path": "v1",
                "build": __version__,
                "buildno": __version__,
                "swagger_paths": {"ui": "/docs", "api-docs": "/api-docs"},
            }
        )

    async def ping(self, request: Request) -> Response:
        return PlainTextResponse("pong")

    async def namespaces(self, request: Request, caller: Identity) -> Response:
        return json_response([caller.namespace])

    async def limits(self, request: Request, caller: Identity) -> Response:
        limits = self._config.limits_in_force
        return json_response(
            {
                "invocationsPerMinute": limits.invocations_per_minute,
                "concurrentInvocations": limits.concurrent_invocations,
                "firesPerMinute": limits.invocations_per_minute,
                "allowedKinds": list(kinds()),
                "storeActivations": True,
                "minActionMemory": limits.min_memory_mb,
                "maxActionMemory": limits.max_memory_mb,
                "minActionLogs": 0,
                "maxActionLogs": MAX_LOGS_MB,
                "minActionTimeout": limits.min_timeout_ms,
                "maxActionTimeout": limits.max_timeout_ms,
                "minActionConcurrency": 1,
                "maxActionConcurrency": 1,
                "maxParameterSize": MAX_PARAMETERS_BYTES,
                "maxPayloadSize": self._config.server.max_body_bytes,
            }
        )

    async def log_forwarding(self, request: Request, caller: Identity) -> Response:
        """Where logs go; ``aio rt activation logs`` asks for this first. The answer means that records have them."""
        return json_response({"adobe_io_runtime": {}})

    async def list_actions(self, request: Request, caller: Identity) -> Response:
        wanted = page(request.query_params, "actions")
        own = self._catalog.of_namespace(caller.namespace)
        if wanted.only_count:
            return json_response({"actions": max(0, len(own) - wanted.skip)})
        shown = own[wanted.skip : wanted.skip + wanted.limit]
        return json_response([action_summary(self._actions.shown(deployed.action)) for deployed in shown])

    async def get_action(self, request: Request, caller: Identity) -> Response:
        action = with_inherited(self._packages.resolve(caller.namespace, _path(request, caller)))
        if not flag(request.query_params, "code", True):
            return json_response(action_json(self._actions.shown(action), None))
        return await self._actions.with_code(action)

    async def put_action(self, request: Request, caller: Identity) -> Response:
        path = _path(request, caller)
        overwrite = flag(request.query_params, "overwrite", False)
        check_content_type(header(request, b"content-type"))
        # Base64 is a third larger than the code. The exact limits of the parts are checked after decoding.
        longest = self._config.server.max_code_bytes * 4 // 3 + 2 * MAX_PARAMETERS_BYTES
        with self._budget.lease() as lease:
            length = header(request, b"content-length")
            body = await read_body(request.receive, length, longest, lease, "server.max_code_bytes")
            wanted = await self._actions.decoded(body)
            del body  # its lease ends here, and `put` takes a lease for the decoded code
        return await self._actions.with_code(await self._actions.put(path, wanted, overwrite=overwrite))

    async def not_here(self, request: Request, caller: Identity) -> Response:
        raise NotFound(UNKNOWN)

    async def delete_action(self, request: Request, caller: Identity) -> Response:
        path = _path(request, caller)
        self._packages.check_home(path)
        return await self._actions.delete(self._catalog.get(path).action)

    async def list_activations(self, request: Request, caller: Identity) -> Response:
        given = request.query_params
        wanted = page(given, "activations")
        chosen = activation_filter(given, caller.namespace)
        docs = flag(given, "docs", False)
        if wanted.only_count:
            if docs:
                raise BadInput("The parameter 'docs' is not permitted with 'count'.")
            return json_response({"activations": max(0, await self._activations.count(chosen) - wanted.skip)})
        listed = await self._activations.list(chosen, wanted)
        if not docs:
            return json_response([summary_json(record) for record in listed])
        if sum(record.rest_bytes for record in listed) > GROUP_BYTES:
            return StreamingResponse(self._whole(listed), media_type="application/json")
        return json_response([activation_json(record) async for record in self._activations.whole(listed)])

    async def get_activation(self, request: Request, caller: Identity) -> Response:
        record = await self._activations.get(caller.namespace, activation_id(request.path_params["id"]))
        return json_response(activation_json(record))

    async def get_result(self, request: Request, caller: Identity) -> Response:
        return json_response(result_json(await self._ended(request, caller)))

    async def get_logs(self, request: Request, caller: Identity) -> Response:
        record = await self._ended(request, caller)
        return json_response({"logs": msgspec.Raw(record.logs)})

    async def _whole(self, listed: list[ActivationSummary]) -> AsyncIterator[bytes]:
        """The pieces of a JSON array of whole records, which are read group by group while the client reads."""
        between = b"["
        async for record in self._activations.whole(listed):
            yield between
            yield bytes(activation_json(record))
            between = b","
        yield b"]" if between == b"," else b"[]"

    async def _ended(self, request: Request, caller: Identity) -> ActivationRecord:
        return await self._activations.get_ended(caller.namespace, activation_id(request.path_params["id"]))


def _path(request: Request, caller: Identity) -> EntityPath:
    return entity_path(namespace_of(request, caller), request.path_params["name"], request.path_params.get("package"))


def namespace_of(request: Request, caller: Identity) -> str:
    """The namespace in a request's path, where ``_`` is the caller's own."""
    return namespace_named(request.path_params["namespace"], caller.namespace)


def header(request: Request, name: bytes) -> bytes | None:
    return next((value for key, value in request.scope["headers"] if key == name), None)


def one_route_per_path(entries: Iterable[Entry]) -> list[Route]:
    """Join the handlers of each path in one route.

    Starlette answers 405 with the methods of only the first route that fits a path.
    """
    by_path: dict[str, dict[str, Endpoint]] = {}
    for method, path, endpoint in entries:
        by_path.setdefault(path, {})[method] = endpoint
    return [_route(path, endpoints) for path, endpoints in by_path.items()]


def _route(path: str, endpoints: Mapping[str, Endpoint]) -> Route:
    async def endpoint(request: Request) -> Response:
        # Starlette also accepts HEAD for each route with GET.
        return await endpoints[request.method if request.method in endpoints else "GET"](request)

    return Route(path, endpoint, methods=list(endpoints))
