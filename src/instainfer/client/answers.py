"""What a platform's answer means: a value, or one of our errors. Nothing here sends or reads."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import httpx2

from ..address import Address, base_url, basic_auth
from ..errors import (
    BadInput,
    Conflict,
    HostError,
    InstaInferError,
    NotAllowed,
    NotFound,
    Throttled,
    Unreachable,
    UserError,
    several_lines,
    shown,
)

Json: TypeAlias = dict[str, Any]

LINES = "application/x-ndjson"
OPENWHISK = "/api/v1/namespaces/_"
NATIVE = "/instainfer/v1"
MAX_ANSWER_BYTES = 1024 * 1024 * 1024
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Longest line of an answer that tells how a piece of work goes on."""
MAX_TEXT_LENGTH = 16 * 1024
_CHUNK_BYTES = 1024 * 1024
_CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Longest silence of the platform for requests that it can answer without waiting for other work."""
KEEP_ALIVE = (
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
    429: Throttled,
    503: HostError,
    507: HostError,
}


class NothingSent(Unreachable):
    """There was no connection, so the platform knows nothing of the request: it can be sent again."""


class Silence(Unreachable):
    """The platform has said nothing for longer than it may."""


class Reaching:
    """Turns every error that means a missing answer into `Unreachable`."""

    def __init__(self, api_host: str) -> None:
        self._api_host = api_host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            raise NothingSent(f"no InstaInfer at {self._api_host}; start it with `instainfer up`") from error
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            raise Silence(
                f"{self._api_host} took the request and says nothing; see whether `instainfer up` still answers"
            ) from error
        if isinstance(error, httpx2.RequestError | httpx2.InvalidURL | httpx2.StreamError):
            raise Unreachable(
                f"the connection to {self._api_host} broke ({error}); see whether `instainfer up` still runs"
            ) from error


def http_options(address: Address) -> dict[str, Any]:
    """What a client of httpx2 is made with, blocking or not. Raises `NotAllowed` for a key that is none."""
    return {
        "base_url": base_url(address.api_host),
        "auth": basic_auth(address.auth),
        "timeout": timeout(None),
        "trust_env": False,
    }


def no_address(api_host: str, error: Exception) -> BadInput:
    return BadInput(f"{shown(api_host)} is no address: {error}; write it like http://127.0.0.1:3233")


def timeout(read_s: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S, read=read_s)


def quoted(name: str, *, slash: str = "/") -> str:
    """A name as a part of a path. Its slashes become `slash`."""
    try:
        return quote(name, safe="").replace("%2F", slash)
    except UnicodeEncodeError:
        raise BadInput(f"{shown(name)} is not the name of anything: it is not UTF-8; correct it") from None


def flag(value: bool) -> str:
    return "true" if value else "false"


def value_of(text: bytes) -> Any:
    """The value of a JSON text; None if the text is not JSON or is nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Lines:
    """The lines of an answer that comes in pieces, without their ends."""

    def __init__(self, api_host: str, most_bytes: int) -> None:
        """No line may be longer than `most_bytes`."""
        self._api_host = api_host
        self._most_bytes = most_bytes
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that end in the next piece. Raises `Unreachable` for a line that is too long."""
        *whole, last = piece.split(b"\n")
        for line in whole:
            yield bytes(self._rest + line)
            self._rest.clear()
        self._rest += last
        if len(self._rest) > self._most_bytes:
            raise not_ours(self._api_host)

    def rest(self) -> Iterator[bytes]:
        """What comes after the end of the last line, if anything does."""
        if self._rest:
            yield bytes(self._rest)


def is_stream(response: httpx2.Response) -> bool:
    """Whether the answer is lines of JSON, which are read one by one."""
    return bool(response.headers.get("content-type", "").startswith(LINES))


def event_of(line: bytes) -> Json:
    event = value_of(line)
    if not isinstance(event, dict) or "event" not in event:
        raise Unreachable(
            f"what was sent is not an event: {shown(line)}; correct the address, or start `instainfer up`"
        )
    return event


def checked(response: httpx2.Response, body: bytes) -> Any:
    """The value of a successful answer. Raises the error that an unsuccessful one means."""
    if not response.is_success:
        raise error_of(response, body)
    return value_of(body)


def error_of(response: httpx2.Response, body: bytes) -> InstaInferError:
    """The error for an unsuccessful answer, with the platform's text."""
    answer = value_of(body)
    text = answer.get("error") if isinstance(answer, dict) else None
    kind = kind_of(response.status_code)
    if not isinstance(text, str):
        return kind(
            f"HTTP {response.status_code} from {response.url}, without a word of why; see whether that is InstaInfer's "
            "address"
        )
    return kind(several_lines(text[:MAX_TEXT_LENGTH]))


def kind_of(status: int) -> type[InstaInferError]:
    return _ERRORS.get(status, HostError if httpx2.codes.is_server_error(status) else UserError)


def not_ours(api_host: str) -> Unreachable:
    return Unreachable(f"what answers at {api_host} is not InstaInfer; correct the address, or start `instainfer up`")


def pieces(path: Path, sent: Callable[[int], None]) -> Generator[bytes, None, None]:
    """A file in pieces. `sent` is called with the number of bytes of each piece when the next one is asked for."""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece
            sent(len(piece))
