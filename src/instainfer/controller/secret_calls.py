"""The part of InstaInfer's own API that is about the secrets of functions. It tells their keys and never their values.

``GET functions/{name}/secrets``             the keys of a function's secrets, and when each was set
``PUT functions/{name}/secrets/{key}``       set one; the body is ``{"value": "..."}``
``DELETE functions/{name}/secrets/{key}``    remove one
``POST secrets/rotate-key``                  seal all values with a new key
"""

from __future__ import annotations

from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import BadInput
from .actions import Actions
from .auth import Identity, Keyring
from .bodies import MALFORMED, Budget, check_content_type, read_body
from .catalog import Catalog
from .collections import header, json_response, one_route_per_path, private
from .function_secrets import MOST_VALUE_BYTES, SecretChange, Secrets
from .native import NATIVE
from .paths import EntityPath

_ESCAPED = 6
"""Most bytes that JSON needs for one byte of text: its escape."""
_MOST_BODY_BYTES = _ESCAPED * MOST_VALUE_BYTES + 1000
_FUNCTION = f"{NATIVE}/functions/{{name}}/secrets"


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    value: str


_decode_given = msgspec.json.Decoder(_Given).decode


class SecretCalls:
    """The handlers of the routes that `routes` lists."""

    def __init__(self, keyring: Keyring, catalog: Catalog, actions: Actions, secrets: Secrets, budget: Budget) -> None:
        self._keyring = keyring
        self._catalog = catalog
        self._actions = actions
        self._secrets = secrets
        self._budget = budget

    def routes(self) -> list[Route]:
        return one_route_per_path(
            [
                ("GET", _FUNCTION, private(self._keyring, self._list)),
                ("PUT", f"{_FUNCTION}/{{key}}", private(self._keyring, self._set)),
                ("DELETE", f"{_FUNCTION}/{{key}}", private(self._keyring, self._unset)),
                ("POST", f"{NATIVE}/secrets/rotate-key", private(self._keyring, self._rotate_key)),
            ]
        )

    async def _list(self, request: Request, caller: Identity) -> Response:
        path = _path(request, caller)
        secrets = await self._secrets.listed(path)
        if not secrets:
            self._catalog.get(path)  # says so if there is no such function
        return json_response([{"key": each.key, "updated_ms": each.updated_ms} for each in secrets])

    async def _set(self, request: Request, caller: Identity) -> Response:
        check_content_type(header(request, b"content-type"))
        with self._budget.lease() as lease:
            length = header(request, b"content-length")
            value = _value(await read_body(request.receive, length, _MOST_BODY_BYTES, lease))
            return await self._change(request, caller, value)

    async def _unset(self, request: Request, caller: Identity) -> Response:
        return await self._change(request, caller, None)

    async def _rotate_key(self, _request: Request, _caller: Identity) -> Response:
        rotation = await self._secrets.rotate_key()
        return json_response({"resealed": rotation.resealed, "unreadable": rotation.unreadable})

    async def _change(self, request: Request, caller: Identity, value: str | None) -> Response:
        path, key = _path(request, caller), unquote(request.path_params["key"])
        change = SecretChange(path, key, value)
        change.check()
        await self._actions.change_secret(change)
        function = self._catalog.find(path)
        problem = function.problem if function is not None else ""
        return json_response({"key": key, "deployed": function is not None, "problem": problem or None})


def _path(request: Request, caller: Identity) -> EntityPath:
    return EntityPath.within(caller.namespace, unquote(request.path_params["name"]))


def _value(body: bytes | bytearray) -> str:
    """The value in the body. Raises `BadInput`, which quotes nothing of the body, as other refusals do."""
    try:
        body.decode("utf-8")
        return _decode_given(body).value
    except (msgspec.DecodeError, ValueError):
        raise BadInput(f'{MALFORMED}send {{"value": "..."}}, JSON in UTF-8') from None
