"""A synchronous client for both APIs of the platform: OpenWhisk's and InstaInfer's own.

Its methods return the plain JSON values of the API, which the documentation of the API describes. Failures are raised
as errors of `instainfer.errors`.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import httpx2

from .errors import (
    BadInput,
    Conflict,
    HostError,
    InstaInferError,
    NotAllowed,
    NotFound,
    Unreachable,
    UserError,
    several_lines,
    shown,
)
from .texts import read_text

Json: TypeAlias = dict[str, Any]

CREDENTIALS = "credentials"
"""A file in the platform's home, in the form of wsk's ``.wskprops``: the address and the first namespace's key."""

_OPENWHISK = "/api/v1/namespaces/_"
_NATIVE = "/instainfer/v1"
_CHUNK_BYTES = 1024 * 1024
_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0
"""Longest silence of the platform for requests that it can answer without waiting for other work."""
_MAX_ANSWER_BYTES = 1024 * 1024 * 1024
_MAX_LINE_BYTES = 4 * 1024 * 1024
_MAX_ITEMS = 100_000
_MAX_TEXT_LENGTH = 16 * 1024
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Socket options with which a vanished platform is noticed even while a long answer is awaited."""

_ERRORS: dict[int, type[InstaInferError]] = {
    400: BadInput,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: BadInput,
    415: BadInput,
    429: UserError,
    503: HostError,
    507: HostError,
}


def credentials(home: Path) -> tuple[str, str]:
    """The address and the key from `home`, else from ``$WSK_CONFIG_FILE`` or, if that is not set, ``~/.wskprops``.

    Raises `Unreachable` when no file names both.
    """
    places = (home / CREDENTIALS, Path(os.environ.get("WSK_CONFIG_FILE") or Path.home() / ".wskprops"))
    for place in places:
        properties = _properties(place)
        if "APIHOST" in properties and "AUTH" in properties:
            return properties["APIHOST"], properties["AUTH"]
    looked = " and ".join(map(str, places))
    raise Unreachable(
        f"no address and key of an InstaInfer in {looked}; start it with `instainfer up`, or name its home with --home"
    )


def _properties(path: Path) -> dict[str, str]:
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {error}; correct or remove it") from None
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def base_url(api_host: str) -> str:
    """The URL, without a slash at its end, for a URL or for ``host:port`` as in wsk's files."""
    return (api_host if "://" in api_host else f"http://{api_host}").rstrip("/")


def basic_auth(auth: str) -> tuple[str, str]:
    """Split ``uuid:secret`` into user and password. Raises `NotAllowed` for a text without a colon."""
    user, colon, secret = auth.partition(":")
    if not colon:
        raise NotAllowed("the key has no colon; it is written uuid:secret, see the credentials file of the platform")
    return user, secret


class Client:
    """Sends requests to one platform with one key. Use the client in ``with``, or call `close`.

    When the platform answers with an error, a method raises the matching error of `instainfer.errors` with the
    platform's text. When there is no answer, or the answer is not from an InstaInfer, a method raises `Unreachable`.
    Calls of functions, uploads and builds block for as long as the platform takes.
    """

    def __init__(self, api_host: str, auth: str, transport: httpx2.BaseTransport | None = None) -> None:
        self.api_host = base_url(api_host)
        user_and_secret = basic_auth(auth)
        try:
            self._http = httpx2.Client(
                base_url=self.api_host,
                auth=user_and_secret,
                timeout=_timeout(None),
                transport=transport or httpx2.HTTPTransport(socket_options=_KEEP_ALIVE, trust_env=False),
                trust_env=False,
            )
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise BadInput(f"{shown(api_host)} is no address: {error}; write it like http://127.0.0.1:3233") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # Actions

    def functions(self) -> list[Json]:
        """Summaries of all functions of the namespace, newest first."""
        return self._pages(f"{_OPENWHISK}/actions")

    def action(self, name: str, *, code: bool = False) -> Json:
        return self._object("GET", f"{_OPENWHISK}/actions/{_quoted(name)}", params={"code": _flag(code)})

    def put_action(self, name: str, action: Mapping[str, Any], *, overwrite: bool = True) -> Json:
        """Create a function, or replace it if it exists and `overwrite` is set."""
        url = f"{_OPENWHISK}/actions/{_quoted(name)}"
        return self._object("PUT", url, params={"overwrite": _flag(overwrite)}, json=dict(action))

    def delete_action(self, name: str) -> Json:
        return self._object("DELETE", f"{_OPENWHISK}/actions/{_quoted(name)}")

    def invoke(self, name: str, params: Mapping[str, Any] | None = None, *, blocking: bool = True) -> Json:
        """Call a function and return the activation's record, even when the function failed.

        The record is only ``{"activationId": ...}`` when the call is not blocking, or did not end within the
        platform's limit for a blocking call.
        """
        response, content = self._send(
            "POST",
            f"{_OPENWHISK}/actions/{_quoted(name)}",
            params={"blocking": _flag(blocking)},
            # What is no JSON, such as a half of a character, is the platform's to refuse: it says what and where.
            content=json.dumps(dict(params or {}), separators=(",", ":")).encode(),
            headers={"Content-Type": "application/json"},
        )
        body = _json(content)
        if response.is_success and isinstance(body, list):  # OpenWhisk answers a list without its record
            record = self.activation(response.headers.get("x-openwhisk-activation-id", ""))
            record["response"]["result"] = body
            return record
        # The answer for a failed function is 502 (or 500 for a failure of the platform) with the record: no error here.
        if isinstance(body, dict) and "activationId" in body:
            return body
        raise _error(response, content) if not response.is_success else _not_ours(self.api_host)

    # Activations

    def activations(
        self,
        *,
        limit: int = 30,
        name: str | None = None,
        skip: int = 0,
        since: int | None = None,
        ended_since: int | None = None,
        docs: bool = False,
    ) -> list[Json]:
        """Summaries of activations, or with `docs` whole records, latest first.

        Only those that began at `since` or later, and those that have ended at `ended_since` or later, both in
        milliseconds since the epoch.
        """
        params: dict[str, str | int] = {"limit": limit, "skip": skip}
        given = {"name": name, "since": since, "endedSince": ended_since, "docs": _flag(docs) if docs else None}
        params |= {key: value for key, value in given.items() if value is not None}
        return self._array("GET", f"{_OPENWHISK}/activations", params=params)

    def activation(self, activation_id: str) -> Json:
        return self._object("GET", f"{_OPENWHISK}/activations/{_quoted(activation_id)}", needs="activationId")

    # InstaInfer's own

    def status(self) -> Json:
        """The nodes with their containers, residents and memory."""
        return self._object("GET", f"{_NATIVE}/status", needs="nodes")

    def details(self) -> list[Json]:
        """All functions of the namespace with what is known of them: costs, and whether they can be forked."""
        return self._array("GET", f"{_NATIVE}/functions")

    def detail(self, name: str) -> Json:
        """One function as `details` has it, with its packages and weights."""
        return self._object("GET", f"{_NATIVE}/functions/{quote(name)}", needs="key")

    def why(self, name: str) -> Json:
        """Why a function is loaded or not: what each node expects of it, holds of it, and decided on it lately."""
        return self._object("GET", f"{_NATIVE}/functions/{quote(name)}/why", needs="nodes")

    def preload(self, name: str, *, places: int, for_s: float) -> Json:
        """Ask for places of a function to be ready for `for_s` seconds. Returns what is wanted and what is ready."""
        wanted = {"places": places, "for_s": for_s}
        return self._object("POST", f"{_NATIVE}/functions/{quote(name)}/preload", needs="wanted", json=wanted)

    def offload(self, name: str) -> Json:
        """End what is idle of a function. Returns what is wanted and what is ready."""
        return self._object("POST", f"{_NATIVE}/functions/{quote(name)}/offload", needs="wanted")

    def secrets(self, name: str) -> list[Json]:
        """The secrets of a function: the key of each, and when it was set. The platform tells nobody their values."""
        return self._array("GET", f"{_NATIVE}/functions/{quote(name)}/secrets")

    def set_secret(self, name: str, key: str, value: str) -> Json:
        """Set a secret, an environment variable of a function, which need not be deployed yet."""
        url = f"{_NATIVE}/functions/{quote(name)}/secrets/{_quoted(key)}"
        return self._object("PUT", url, needs="key", json={"value": value})

    def unset_secret(self, name: str, key: str) -> Json:
        url = f"{_NATIVE}/functions/{quote(name)}/secrets/{_quoted(key)}"
        return self._object("DELETE", url, needs="key")

    def put_checked(self, name: str, action: Mapping[str, Any]) -> Iterator[Json]:
        """Create or replace a function when its new version has been tried.

        Yields ``progress`` events, then one ``deployed`` or ``failed``.
        """
        for event in self._events(f"{_NATIVE}/functions/{quote(name)}", dict(action), "PUT"):
            if event["event"] == "refused":
                status = event.get("status")
                raise _kind(status if isinstance(status, int) else 500)(
                    several_lines(str(event.get("error"))[:_MAX_TEXT_LENGTH])
                )
            yield event

    def has_blob(self, digest: str) -> bool:
        response, body = self._send("HEAD", f"{_NATIVE}/blobs/{_quoted(digest)}")
        if response.status_code == httpx2.codes.NOT_FOUND:
            return False
        _check(response, body)
        return True

    def put_blob(self, digest: str, path: Path, sent: Callable[[int], None] = lambda _: None) -> None:
        """Upload a file in pieces as it is read. `sent` is called with the number of bytes of each piece."""
        size_bytes = path.stat().st_size
        response, body = self._send(
            "PUT",
            f"{_NATIVE}/blobs/{_quoted(digest)}",
            content=_pieces(path, sent),
            headers={"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"},
        )
        _check(response, body)

    def build_environment(self, requirements: str, no_deps: tuple[str, ...], python: str | None) -> Iterator[Json]:
        """Ask for an environment. Yields ``progress`` events while it is built, then one ``ready`` or ``failed``."""
        wanted = {"requirements": requirements, "no_deps": list(no_deps), "python": python}
        yield from self._events(f"{_NATIVE}/environments", wanted)

    def clean(self, *, dry_run: bool, unused_for_s: float | None) -> Iterator[Json]:
        """Let the platform remove unused files. Yields ``progress``, ``freed`` and ``failed`` events, then ``done``."""
        wanted: Json = {"dry_run": dry_run}
        if unused_for_s is not None:
            wanted["unused_for_s"] = unused_for_s
        yield from self._events(f"{_NATIVE}/clean", wanted)

    # Requests and answers

    def _events(self, url: str, wanted: Json, method: str = "POST") -> Iterator[Json]:
        with self._reaching(), self._http.stream(method, url, json=wanted) as response:
            if not response.is_success:
                raise _error(response, self._read(response))
            for line in self._lines(response):
                if line:
                    yield _decode_event(line)

    def _send(self, method: str, url: str, **request: Any) -> tuple[httpx2.Response, bytes]:
        """Send a request and return the answer and its body."""
        if method in ("GET", "HEAD", "DELETE"):
            request["timeout"] = _timeout(_READ_TIMEOUT_S)
        with self._reaching(), self._http.stream(method, url, **request) as response:
            return response, self._read(response)

    def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > _MAX_ANSWER_BYTES:
                raise _not_ours(self.api_host)
        return bytes(body)

    def _lines(self, response: httpx2.Response) -> Iterator[bytes]:
        rest = bytearray()
        for piece in response.iter_bytes():
            *whole, last = piece.split(b"\n")
            for line in whole:
                yield bytes(rest + line)
                rest.clear()
            rest += last
            if len(rest) > _MAX_LINE_BYTES:
                raise _not_ours(self.api_host)
        yield bytes(rest)

    def _reaching(self) -> _Reaching:
        return _Reaching(self.api_host)

    def _object(self, method: str, url: str, needs: str | None = None, **request: Any) -> Json:
        body = _checked_body(*self._send(method, url, **request))
        if not isinstance(body, dict) or (needs is not None and needs not in body):
            raise _not_ours(self.api_host)
        return body

    def _array(self, method: str, url: str, **request: Any) -> list[Json]:
        body = _checked_body(*self._send(method, url, **request))
        if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
            raise _not_ours(self.api_host)
        return body

    def _pages(self, url: str, page: int = 200) -> list[Json]:
        everything: list[Json] = []
        while True:
            found = self._array("GET", url, params={"limit": page, "skip": len(everything)})
            everything += found
            if len(found) < page:
                return everything
            if len(everything) > _MAX_ITEMS:
                raise _not_ours(self.api_host)


class _Reaching:
    """Turns every error that means a missing answer into `Unreachable`."""

    def __init__(self, api_host: str) -> None:
        self._api_host = api_host

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            raise Unreachable(f"no InstaInfer at {self._api_host}; start it with `instainfer up`") from error
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            raise Unreachable(
                f"{self._api_host} took the request and says nothing; see whether `instainfer up` still answers"
            ) from error
        if isinstance(error, httpx2.RequestError | httpx2.InvalidURL | httpx2.StreamError):
            raise Unreachable(
                f"the connection to {self._api_host} broke ({error}); see whether `instainfer up` still runs"
            ) from error


def _quoted(name: str) -> str:
    """A name as a part of a path."""
    try:
        return quote(name)
    except UnicodeEncodeError:
        raise BadInput(f"{shown(name)} is not the name of anything: it is not UTF-8; correct it") from None


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _pieces(path: Path, sent: Callable[[int], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece
            sent(len(piece))


def _timeout(read_s: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S, read=read_s)


def _decode_event(line: bytes) -> Json:
    event = _json(line)
    if not isinstance(event, dict) or "event" not in event:
        raise Unreachable(
            f"what was sent is not an event: {shown(line)}; correct the address, or start `instainfer up`"
        )
    return event


def _json(text: bytes) -> Any:
    """The value of a JSON text; None if the text is not JSON or is nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _checked_body(response: httpx2.Response, body: bytes) -> Any:
    _check(response, body)
    return _json(body)


def _check(response: httpx2.Response, body: bytes) -> None:
    if not response.is_success:
        raise _error(response, body)


def _error(response: httpx2.Response, body: bytes) -> InstaInferError:
    """The error for an unsuccessful answer, with the platform's text."""
    answer = _json(body)
    text = answer.get("error") if isinstance(answer, dict) else None
    kind = _kind(response.status_code)
    if not isinstance(text, str):
        return kind(
            f"HTTP {response.status_code} from {response.url}, without a word of why; see whether that is InstaInfer's "
            "address"
        )
    return kind(several_lines(text[:_MAX_TEXT_LENGTH]))


def _kind(status: int) -> type[InstaInferError]:
    return _ERRORS.get(status, HostError if httpx2.codes.is_server_error(status) else UserError)


def _not_ours(api_host: str) -> Unreachable:
    return Unreachable(f"what answers at {api_host} is not InstaInfer; correct the address, or start `instainfer up`")
