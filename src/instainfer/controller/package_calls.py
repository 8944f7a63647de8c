"""The handlers of OpenWhisk's routes of packages, and of the list of the actions in a package."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .actions import Actions
from .auth import Identity, Keyring
from .bodies import Budget, check_content_type, read_body
from .catalog import Catalog
from .collections import API, header, json_response, namespace_of, one_route_per_path, private
from .layers import merged_pairs
from .package_puts import MAX_PACKAGE_BYTES, decode_package
from .packages import Packages, contents_json, package_json, package_summary
from .parameters import flag, page
from .paths import EntityPath, entity_name
from .records import Package
from .responses import action_summary

_PACKAGES = f"{API}/namespaces/{{namespace}}/packages"


class PackageCalls:
    """The handlers of the routes that `routes` lists."""

    def __init__(
        self, keyring: Keyring, packages: Packages, catalog: Catalog, actions: Actions, budget: Budget
    ) -> None:
        self._keyring = keyring
        self._packages = packages
        self._catalog = catalog
        self._actions = actions
        self._budget = budget

    def routes(self) -> list[Route]:
        one = f"{_PACKAGES}/{{name}}"
        shared = [
            ("GET", _PACKAGES, self._list),
            ("GET", f"{_PACKAGES}/", self._list),
            ("GET", one, self._get),
            ("GET", f"{API}/namespaces/{{namespace}}/actions/{{name}}/", self._list_actions),
        ]
        own = [("PUT", one, self._put), ("DELETE", one, self._delete)]
        return one_route_per_path(
            [
                *((method, path, private(self._keyring, handler, shared=True)) for method, path, handler in shared),
                *((method, path, private(self._keyring, handler)) for method, path, handler in own),
            ]
        )

    async def _list(self, request: Request, caller: Identity) -> Response:
        wanted = page(request.query_params, "packages")
        found = self._packages.listed(caller.namespace, namespace_of(request, caller))
        if wanted.only_count:
            return json_response({"packages": max(0, len(found) - wanted.skip)})
        return json_response(list(map(package_summary, found[wanted.skip : wanted.skip + wanted.limit])))

    async def _get(self, request: Request, caller: Identity) -> Response:
        package = self._packages.get(caller.namespace, _path(request, caller))
        provider = self._packages.provider(caller.namespace, package)
        parameters = package.parameters
        if provider is not package:
            parameters = merged_pairs(provider.parameters, package.parameters)
        actions = self._packages.actions_of(provider)
        return json_response({**package_json(package, parameters), **contents_json(actions)})

    async def _list_actions(self, request: Request, caller: Identity) -> Response:
        wanted = page(request.query_params, "actions")
        package = self._packages.get(caller.namespace, _path(request, caller))
        found = self._packages.actions_of(self._packages.provider(caller.namespace, package))
        if wanted.only_count:
            return json_response({"actions": max(0, len(found) - wanted.skip)})
        shown = found[wanted.skip : wanted.skip + wanted.limit]
        return json_response([action_summary(self._actions.shown(deployed.action)) for deployed in shown])

    async def _put(self, request: Request, caller: Identity) -> Response:
        path = _path(request, caller)
        overwrite = flag(request.query_params, "overwrite", False)
        check_content_type(header(request, b"content-type"))
        with self._budget.lease() as lease:
            body = await read_body(request.receive, header(request, b"content-length"), MAX_PACKAGE_BYTES, lease)
            wanted = decode_package(body, caller.namespace)
        before = self._packages.find(path)
        package = await self._packages.put(path, wanted, overwrite=overwrite)
        if before is not None and _for_loading(before) != _for_loading(package):
            for deployed in self._packages.actions_of(package):
                await self._actions.renew(deployed.action)
        return json_response(package_json(package, package.parameters))

    async def _delete(self, request: Request, caller: Identity) -> Response:
        package = self._packages.get(caller.namespace, _path(request, caller))
        if package.binding is None and flag(request.query_params, "force", False):
            for deployed in self._packages.actions_of(package):
                await self._actions.remove(deployed.action)
        await self._packages.delete(package)
        return json_response(package_json(package, package.parameters))


def _path(request: Request, caller: Identity) -> EntityPath:
    return EntityPath(namespace_of(request, caller), None, entity_name(request.path_params["name"]))


def _for_loading(package: Package) -> list[object]:
    """The parameters that the processes of a package's actions have from their start."""
    return [pair for pair in package.parameters if pair.get("init")]
