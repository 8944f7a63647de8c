"""The client that blocks, for both APIs of the platform: OpenWhisk's and InstaInfer's own.

Except for `Client.function`, its methods return the plain JSON values of the API, which the documentation of the API
describes. Failures are raised as errors of `instainfer.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from ..address import found
from ..errors import Unreachable, several_lines
from .answers import (
    KEEP_ALIVE,
    MAX_ANSWER_BYTES,
    MAX_TEXT_LENGTH,
    NATIVE,
    OPENWHISK,
    READ_TIMEOUT_S,
    Json,
    Reaching,
    checked,
    error_of,
    event_of,
    flag,
    http_options,
    kind_of,
    no_address,
    not_ours,
    quoted,
    timeout,
)
from .functions import Function
from .results import arguments
from .steps import RETRIES, Answer, Calls, Pause, Steps

T = TypeVar("T")

_CHUNK_BYTES = 1024 * 1024
_MAX_LINE_BYTES = 4 * 1024 * 1024
_MAX_ITEMS = 100_000


class Client:
    """Sends requests to one platform with one key. Use the client in ``with``, or call `close`.

    When the platform answers with an error, a method raises the matching error of `instainfer.errors` with the
    platform's text. When there is no answer, or the answer is not from an InstaInfer, a method raises `Unreachable`.
    Calls of functions, uploads and builds block for as long as the platform takes.
    """

    def __init__(
        self,
        api_host: str = "",
        auth: str = "",
        *,
        home: Path | None = None,
        retries: int = RETRIES,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """What is not given is found as the command line finds it, in the environment or in the platform's `home`.

        A call of a function is tried up to `retries` times more where nothing can have been run: no connection could be
        made, or the platform refused the call and said when to come again.
        """
        address = found(api_host, auth, home)
        options = http_options(address)
        self.api_host: str = options["base_url"]
        self._calls = Calls(self.api_host, retries)
        try:
            self._http = httpx2.Client(
                transport=transport or httpx2.HTTPTransport(socket_options=KEEP_ALIVE, trust_env=False), **options
            )
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise no_address(address.api_host, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # Actions

    def functions(self) -> list[Json]:
        """Summaries of all functions of the namespace, newest first."""
        return self._pages(f"{OPENWHISK}/actions")

    def action(self, name: str, *, code: bool = False) -> Json:
        return self._object("GET", f"{OPENWHISK}/actions/{quoted(name)}", params={"code": flag(code)})

    def put_action(self, name: str, action: Mapping[str, Any], *, overwrite: bool = True) -> Json:
        """Create a function, or replace it if it exists and `overwrite` is set."""
        url = f"{OPENWHISK}/actions/{quoted(name)}"
        return self._object("PUT", url, params={"overwrite": flag(overwrite)}, json=dict(action))

    def delete_action(self, name: str) -> Json:
        return self._object("DELETE", f"{OPENWHISK}/actions/{quoted(name)}")

    def function(self, name: str, *, timeout_s: float | None = None) -> Function:
        """The function of this name, to be called. Nothing is sent yet."""
        return Function(name, self._calls, self._run, timeout_s)

    def invoke(self, name: str, params: Mapping[str, Any] | None = None, *, blocking: bool = True) -> Json:
        """Call a function and return the activation's record, even when the function failed.

        The record is only ``{"activationId": ...}`` when the call is not blocking, or did not end within the
        platform's limit for a blocking call.
        """
        return self._run(self._calls.invoke(name, arguments(params, {}), blocking=blocking))

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
        given = {"name": name, "since": since, "endedSince": ended_since, "docs": flag(docs) if docs else None}
        params |= {key: value for key, value in given.items() if value is not None}
        return self._array("GET", f"{OPENWHISK}/activations", params=params)

    def activation(self, activation_id: str) -> Json:
        return self._run(self._calls.activation(activation_id))

    # InstaInfer's own

    def status(self) -> Json:
        """The nodes with their containers, residents and memory."""
        return self._object("GET", f"{NATIVE}/status", needs="nodes")

    def details(self) -> list[Json]:
        """All functions of the namespace with what is known of them: costs, and whether they can be forked."""
        return self._array("GET", f"{NATIVE}/functions")

    def detail(self, name: str) -> Json:
        """One function as `details` has it, with its packages and weights."""
        return self._object("GET", f"{NATIVE}/functions/{quoted(name)}", needs="key")

    def why(self, name: str) -> Json:
        """Why a function is loaded or not: what each node expects of it, holds of it, and decided on it lately."""
        return self._object("GET", f"{NATIVE}/functions/{quoted(name)}/why", needs="nodes")

    def preload(self, name: str, *, places: int, for_s: float) -> Json:
        """Ask for places of a function to be ready for `for_s` seconds. Returns what is wanted and what is ready."""
        wanted = {"places": places, "for_s": for_s}
        return self._object("POST", f"{NATIVE}/functions/{quoted(name)}/preload", needs="wanted", json=wanted)

    def offload(self, name: str) -> Json:
        """End what is idle of a function. Returns what is wanted and what is ready."""
        return self._object("POST", f"{NATIVE}/functions/{quoted(name)}/offload", needs="wanted")

    def secrets(self, name: str) -> list[Json]:
        """The secrets of a function: the key of each, and when it was set. The platform tells nobody their values."""
        return self._array("GET", f"{NATIVE}/functions/{quoted(name)}/secrets")

    def set_secret(self, name: str, key: str, value: str) -> Json:
        """Set a secret, an environment variable of a function, which need not be deployed yet."""
        url = f"{NATIVE}/functions/{quoted(name)}/secrets/{quoted(key)}"
        return self._object("PUT", url, needs="key", json={"value": value})

    def unset_secret(self, name: str, key: str) -> Json:
        url = f"{NATIVE}/functions/{quoted(name)}/secrets/{quoted(key)}"
        return self._object("DELETE", url, needs="key")

    def put_checked(self, name: str, action: Mapping[str, Any]) -> Iterator[Json]:
        """Create or replace a function when its new version has been tried.

        Yields ``progress`` events, then one ``deployed`` or ``failed``.
        """
        for event in self._events(f"{NATIVE}/functions/{quoted(name)}", dict(action), "PUT"):
            if event["event"] == "refused":
                status = event.get("status")
                raise kind_of(status if isinstance(status, int) else 500)(
                    several_lines(str(event.get("error"))[:MAX_TEXT_LENGTH])
                )
            yield event

    def has_blob(self, digest: str) -> bool:
        response, body = self._send("HEAD", f"{NATIVE}/blobs/{quoted(digest)}")
        if response.status_code == httpx2.codes.NOT_FOUND:
            return False
        checked(response, body)
        return True

    def put_blob(self, digest: str, path: Path, sent: Callable[[int], None] = lambda _: None) -> None:
        """Upload a file in pieces as it is read. `sent` is called with the number of bytes of each piece."""
        size_bytes = path.stat().st_size
        response, body = self._send(
            "PUT",
            f"{NATIVE}/blobs/{quoted(digest)}",
            content=_pieces(path, sent),
            headers={"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"},
        )
        checked(response, body)

    def build_environment(
        self, requirements: str, no_deps: tuple[str, ...], python: str | None, *, from_source: bool = False
    ) -> Iterator[Json]:
        """Ask for an environment. Yields ``progress`` events while it is built, then one ``ready`` or ``failed``."""
        wanted = {"requirements": requirements, "no_deps": list(no_deps), "python": python, "from_source": from_source}
        yield from self._events(f"{NATIVE}/environments", wanted)

    def clean(self, *, dry_run: bool, unused_for_s: float | None) -> Iterator[Json]:
        """Let the platform remove unused files. Yields ``progress``, ``freed`` and ``failed`` events, then ``done``."""
        wanted: Json = {"dry_run": dry_run}
        if unused_for_s is not None:
            wanted["unused_for_s"] = unused_for_s
        yield from self._events(f"{NATIVE}/clean", wanted)

    # Requests and answers

    def _run(self, steps: Steps[T]) -> T:
        reply: Answer | Unreachable | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as ended:
                result: T = ended.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                reply = None
            else:
                try:
                    reply = self._send(step.method, step.url, timeout=timeout(step.read_s), **step.options)
                except Unreachable as error:
                    reply = error

    def _events(self, url: str, wanted: Json, method: str = "POST") -> Iterator[Json]:
        with Reaching(self.api_host), self._http.stream(method, url, json=wanted) as response:
            if not response.is_success:
                raise error_of(response, self._read(response))
            for line in self._lines(response):
                if line:
                    yield event_of(line)

    def _send(self, method: str, url: str, **request: Any) -> Answer:
        """Send a request and return the answer and its body."""
        if method in ("GET", "HEAD", "DELETE"):
            request.setdefault("timeout", timeout(READ_TIMEOUT_S))
        with Reaching(self.api_host), self._http.stream(method, url, **request) as response:
            return response, self._read(response)

    def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise not_ours(self.api_host)
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
                raise not_ours(self.api_host)
        yield bytes(rest)

    def _object(self, method: str, url: str, needs: str | None = None, **request: Any) -> Json:
        body = checked(*self._send(method, url, **request))
        if not isinstance(body, dict) or (needs is not None and needs not in body):
            raise not_ours(self.api_host)
        return body

    def _array(self, method: str, url: str, **request: Any) -> list[Json]:
        body = checked(*self._send(method, url, **request))
        if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
            raise not_ours(self.api_host)
        return body

    def _pages(self, url: str, page: int = 200) -> list[Json]:
        everything: list[Json] = []
        while True:
            found = self._array("GET", url, params={"limit": page, "skip": len(everything)})
            everything += found
            if len(found) < page:
                return everything
            if len(everything) > _MAX_ITEMS:
                raise not_ours(self.api_host)


def _pieces(path: Path, sent: Callable[[int], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece
            sent(len(piece))
