"""The ASGI application of the controller: parses and authenticates requests, and answers in OpenWhisk's format.

The call of an action is handled here, on a short path that makes it fast. Starlette routes all other requests. Every
answer carries a request id and the headers that allow browsers to read it (CORS). Every error has the body
``{"error": text, "code": request id}``.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple
from uuid import uuid4

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import (
    BadInput,
    Conflict,
    HostError,
    InstaInferError,
    NotAllowed,
    NotFound,
    UserError,
)
from .auth import Identity, Keyring
from .bodies import Budget, arguments, check_length, read_body
from .catalog import UNKNOWN
from .invocations import Invocations
from .layers import merged
from .packages import NOT_AUTHORIZED, Packages
from .parameters import invoke_options
from .paths import entity_path, namespace_named
from .responses import PIECE_BYTES, activation_pieces, encode, http_status, is_array, printable, story_headers
from .sequences import Sequences
from .streaming import stream, wanted_form

Headers = list[tuple[bytes, bytes]]
Pieces = tuple[bytes, ...]
"""The body of an answer, in pieces that follow each other."""

NOT_AUTHENTICATED = "The supplied authentication is invalid"
NO_AUTHENTICATION = "The resource requires authentication, which was not supplied with the request"
NO_TIMEOUT = (
    "The parameter timeout is for calls with one answer. A streamed one may take as long as its function may; "
    "close the connection to end it."
)
_UNAUTHENTICATED_HEADERS = {"WWW-Authenticate": 'Basic realm="OpenWhisk secure realm"'}
_MAX_ERROR_LENGTH = 16 * 1024
_REMEMBERED_LENGTH = 1024
"""Longest path whose target is cached. No valid name makes a longer one, unless many characters are encoded."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,128}")
_PACKAGE_IN_NAMESPACE = re.compile(rb"^(/api/v1/namespaces/[^/]+?)%2[Ff]([^/]+)/actions/([^/]+)$")
"""Clients that name an action by what a list tells of it send ``namespace%2Fpackage`` in the place of the namespace."""
_JSON = (b"content-type", b"application/json")
_CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, DELETE, POST, PUT, HEAD"),
    (
        b"access-control-allow-headers",
        b"Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent",
    ),
]
_STATUS_OF: tuple[tuple[type[InstaInferError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (NotAllowed, 403),
    (UserError, 400),
)

log = logging.getLogger(__name__)


class Target(NamedTuple):
    """The action that a URL's path names. All parts are still percent-encoded."""

    namespace: str
    package: str | None
    name: str


class _Head(NamedTuple):
    """The headers of a call that the gateway uses."""

    authorization: bytes | None
    content_type: bytes | None
    content_length: bytes | None
    request_id: bytes | None
    accept: bytes | None


class Gateway:
    """The ASGI application. `routes` are all routes except the call of an action.

    `blocking_timeout_s` is the longest wait of a blocking call in seconds, and `now` a monotonic clock in seconds.
    """

    def __init__(
        self,
        keyring: Keyring,
        packages: Packages,
        invocations: Invocations,
        budget: Budget,
        routes: Iterable[BaseRoute],
        *,
        sequences: Sequences,
        max_body_bytes: int,
        blocking_timeout_s: float,
        now: Callable[[], float],
    ) -> None:
        self._keyring = keyring
        self._packages = packages
        self._invocations = invocations
        self._sequences = sequences
        self._budget = budget
        self._max_body_bytes = max_body_bytes
        self._blocking_timeout_s = blocking_timeout_s
        self._now = now
        self._rest = _starlette(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"the API speaks HTTP, not {scope['type']}")
        if b"%2" in scope["raw_path"]:
            scope = {**scope, "raw_path": _PACKAGE_IN_NAMESPACE.sub(rb"\1/actions/\2/\3", scope["raw_path"])}
        if scope["method"] == "POST" and (target := action_of(scope["raw_path"])) is not None:
            await self._call(target, scope, receive, send)
            return
        transaction = request_id(scope["headers"])
        scope["transaction"] = transaction
        # Starlette gets the encoded path and splits it. Names are decoded later, so that a name may contain a slash.
        scope["path"] = scope["raw_path"].decode("ascii")
        if scope["method"] == "OPTIONS":
            await _answer(send, 200, (b"",), [*_CORS, (b"x-request-id", transaction.encode())])
            return
        await self._rest(scope, receive, _with_headers(send, transaction))

    async def _call(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_s = self._now()
        head = _head(scope["headers"])
        transaction = _request_id(head.request_id)
        try:
            answer = await self._invoke(
                target, scope, receive, send, head=head, transaction=transaction, arrived_s=arrived_s
            )
            if answer is None:
                return  # it was streamed
            status, body, headers = answer
        except Exception as error:  # without this, a bug would give the client no answer
            status, body, headers = _in_pieces(error_answer(error, transaction))
        headers += (_JSON, (b"x-request-id", transaction.encode()), *_CORS)
        with self._budget.lease() as lease:
            lease.hold(sum(map(len, body)))
            await _answer(send, status, body, headers)

    async def _invoke(
        self,
        target: Target,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        head: _Head,
        transaction: str,
        arrived_s: float,
    ) -> tuple[int, Pieces, Headers] | None:
        """The answer of a call. None if it was streamed, and so has been sent."""
        caller = authenticated(self._keyring, head.authorization)
        namespace = namespace_named(target.namespace, caller.namespace)
        path = entity_path(namespace, target.name, target.package)
        check_length(head.content_length, self._max_body_bytes, "server.max_body_bytes")
        self._packages.resolve(caller.namespace, path)
        options = invoke_options(scope["query_string"], self._blocking_timeout_s)
        with self._budget.lease() as lease:  # covers only reading; `Invocations` charges the arguments of the call
            body = await read_body(receive, head.content_length, self._max_body_bytes, lease, "server.max_body_bytes")
            given = await arguments(body, head.content_type)
        # Again, as the action may have changed while the body came.
        resolved = self._packages.resolve(caller.namespace, path)
        action = resolved.deployed.action
        calls: Invocations | Sequences = self._invocations if action.components is None else self._sequences
        # The parts of a sequence have their own parameters.
        args = given if action.components is not None else merged(action, resolved.inherited, given)
        if not options.blocking:
            activation = await calls.non_blocking(resolved, args, caller, transaction, arrived_s=arrived_s)
            return _in_pieces(_accepted(activation))
        if action.components is None and (form := wanted_form(head.accept)) is not None:
            if options.timeout_s is not None:
                raise BadInput(NO_TIMEOUT)
            streaming = self._invocations.streaming(resolved, args, caller, transaction, arrived_s=arrived_s)
            headers = [(b"x-request-id", transaction.encode()), *_CORS]
            await stream(streaming, form, receive, send, headers=headers, explain=partial(_told, transaction))
            return None
        timeout_s = self._blocking_timeout_s if options.timeout_s is None else options.timeout_s
        ended = await calls.blocking(resolved, args, caller, transaction, arrived_s=arrived_s, timeout_s=timeout_s)
        if isinstance(ended, str):
            return _in_pieces(_accepted(ended))
        result = ended.record.result or b"{}"
        # OpenWhisk answers an array without its record, even when the whole record was asked for.
        content = (result,) if options.result_only or is_array(result) else activation_pieces(ended.record)
        return http_status(ended.record), content, story_headers(ended.record, ended.outcome, ended.phases)


def _head(headers: Iterable[tuple[bytes, bytes]]) -> _Head:
    found = dict(headers)
    return _Head(
        found.get(b"authorization"),
        found.get(b"content-type"),
        found.get(b"content-length"),
        found.get(b"x-request-id"),
        found.get(b"accept"),
    )


def action_of(raw_path: bytes) -> Target | None:
    """The target of the path ``/api/v1/namespaces/{namespace}/actions/{name}``, or of one with ``{package}/{name}``.

    None for any other path.
    """
    # Long paths are not cached, because callers are not authenticated yet and could fill the memory.
    return _remembered(raw_path) if len(raw_path) <= _REMEMBERED_LENGTH else _action_of(raw_path)


def _action_of(raw_path: bytes) -> Target | None:
    match raw_path.decode("ascii").split("/"):
        case ["", "api", "v1", "namespaces", namespace, "actions", name] if namespace and name:
            return Target(namespace, None, name)
        case ["", "api", "v1", "namespaces", namespace, "actions", package, name] if namespace and package and name:
            return Target(namespace, package, name)
    return None


_remembered = lru_cache(maxsize=4096)(_action_of)


def authenticated(keyring: Keyring, authorization: bytes | None) -> Identity:
    caller = keyring.identify(authorization)
    if caller is None:
        text = NO_AUTHENTICATION if authorization is None else NOT_AUTHENTICATED
        raise HTTPException(401, text, headers=_UNAUTHENTICATED_HEADERS)
    return caller


def own_namespace(caller: Identity, namespace: str) -> str:
    """The caller's namespace. Raises `NotAllowed` if `namespace`, percent-encoded, is neither that name nor ``_``."""
    if namespace_named(namespace, caller.namespace) != caller.namespace:
        raise NotAllowed(NOT_AUTHORIZED)
    return caller.namespace


def error_answer(error: Exception, transaction: str) -> tuple[int, bytes, Headers]:
    """Status, body and extra headers of the response for any error. `transaction` is the request id."""
    headers: Headers = []
    status = 500
    text = str(error)
    if isinstance(error, HTTPException):
        status, text = error.status_code, error.detail
        headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    elif isinstance(error, HostError):
        status = 507 if _is_full_disk(error) else 500
        log.error("%s: %s", transaction, error)
    elif isinstance(error, InstaInferError):
        status = next((code for kind, code in _STATUS_OF if isinstance(error, kind)), 500)
    if status == 500 and not isinstance(error, HTTPException | HostError):
        log.error("%s: a request failed", transaction, exc_info=error)
        text = (
            "The requested action could not be carried out because of an internal error. Try again; "
            f"if it stays, report it with what the platform's log says of {transaction}."
        )
    if len(text) > _MAX_ERROR_LENGTH:
        text = f"{text[:_MAX_ERROR_LENGTH]}..."
    return status, encode({"error": printable(text), "code": transaction}), headers


def _told(transaction: str, error: Exception) -> str:
    """What the response for an error says."""
    _, body, _ = error_answer(error, transaction)
    return str(msgspec.json.decode(body)["error"])


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return _request_id(next((value for name, value in headers if name == b"x-request-id"), None))


def _request_id(wanted: bytes | None) -> str:
    if wanted is None or wanted.startswith(b"sid_") or _REQUEST_ID.fullmatch(wanted) is None:
        return uuid4().hex
    return wanted.decode("ascii")


def _is_full_disk(error: BaseException) -> bool:
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error) or "no space left" in str(error)


def _accepted(activation: str) -> tuple[int, bytes, Headers]:
    id_ = activation.encode()
    return 202, b'{"activationId":"%b"}' % id_, [(b"x-openwhisk-activation-id", id_)]


def _in_pieces(answer: tuple[int, bytes, Headers]) -> tuple[int, Pieces, Headers]:
    status, body, headers = answer
    return status, (body,), headers


async def _answer(send: Send, status: int, body: Pieces, headers: Headers) -> None:
    left_bytes = sum(map(len, body))
    headers.append((b"content-length", b"%d" % left_bytes))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in _short(body):
        left_bytes -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": left_bytes > 0})


def _short(body: Pieces) -> Iterator[bytes]:
    for piece in body:
        if len(piece) <= PIECE_BYTES:
            yield piece
        else:
            yield from (piece[start : start + PIECE_BYTES] for start in range(0, len(piece), PIECE_BYTES))


def _with_headers(send: Send, transaction: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", transaction.encode()), *_CORS]
        await send(message)

    return sending


def _starlette(routes: Iterable[BaseRoute]) -> ASGIApp:
    async def on_error(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 404:
            error = NotFound(UNKNOWN)
        elif isinstance(error, HTTPException) and error.status_code == 405:
            allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
            error.detail = f"HTTP method not allowed, supported methods: {', '.join(allowed)}"
        status, body, headers = error_answer(error, request.scope["transaction"])
        named = {name.decode(): value.decode() for name, value in headers}
        return Response(body, status, named, media_type="application/json")

    handlers: dict[int | type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        HTTPException: on_error,
        InstaInferError: on_error,
        Exception: on_error,
    }
    app = Starlette(routes=list(routes), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app
