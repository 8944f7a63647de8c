"""The client that blocks, for both APIs of the platform: OpenWhisk's and InstaInfer's own.

Except for `Client.function`, its methods return the plain JSON values of the API, which the documentation of the API
describes. Failures are raised as errors of `instainfer.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2

from ..address import found
from ..errors import Unreachable
from .answers import (
    KEEP_ALIVE,
    MAX_ANSWER_BYTES,
    MAX_EVENT_BYTES,
    Json,
    Lines,
    Reaching,
    event_of,
    http_options,
    is_stream,
    no_address,
    not_ours,
    pieces,
    timeout,
)
from .api import Api, checked_event
from .functions import MAX_VALUE_LINE_BYTES, Function
from .results import arguments
from .steps import RETRIES, Answer, Calls, Pause, Request, Steps

T = TypeVar("T")


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
        self._api = Api(self.api_host)
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
        return self._run(self._api.functions())

    def action(self, name: str, *, code: bool = False) -> Json:
        return self._run(self._api.action(name, code=code))

    def put_action(self, name: str, action: Mapping[str, Any], *, overwrite: bool = True) -> Json:
        """Create a function, or replace it if it exists and `overwrite` is set."""
        return self._run(self._api.put_action(name, action, overwrite=overwrite))

    def delete_action(self, name: str) -> Json:
        return self._run(self._api.delete_action(name))

    def function(self, name: str, *, timeout_s: float | None = None) -> Function:
        """The function of this name, to be called. Nothing is sent yet."""
        return Function(name, self._calls, self._run, self._lines, timeout_s)

    def invoke(self, name: str, params: Mapping[str, Any] | None = None, *, blocking: bool = True) -> Json:
        """Call a function and return the activation's record, even when the function failed.

        The record is only ``{"activationId": ...}`` when the call is not blocking, or did not end within the
        platform's limit for a blocking call.
        """
        return self._run(self._calls.invoke(name, arguments(params, {}), blocking=blocking))

    def stream(self, name: str, params: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """Call a function and yield the events of its answer as they come, even when the function fails.

        There is a ``value`` for each value of a function that yields, and in the end one ``result`` or ``error``.
        """
        response = self._run(self._calls.stream(name, arguments(params, {}), None))
        return map(event_of, self._lines(response, MAX_VALUE_LINE_BYTES))

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
        return self._run(
            self._api.activations(limit=limit, name=name, skip=skip, since=since, ended_since=ended_since, docs=docs)
        )

    def activation(self, activation_id: str) -> Json:
        return self._run(self._calls.activation(activation_id))

    # InstaInfer's own

    def status(self) -> Json:
        """The nodes with their containers, residents and memory."""
        return self._run(self._api.status())

    def details(self) -> list[Json]:
        """All functions of the namespace with what is known of them: costs, and whether they can be forked."""
        return self._run(self._api.details())

    def detail(self, name: str) -> Json:
        """One function as `details` has it, with its packages and weights."""
        return self._run(self._api.detail(name))

    def why(self, name: str) -> Json:
        """Why a function is loaded or not: what each node expects of it, holds of it, and decided on it lately."""
        return self._run(self._api.why(name))

    def preload(self, name: str, *, places: int, for_s: float) -> Json:
        """Ask for places of a function to be ready for `for_s` seconds. Returns what is wanted and what is ready."""
        return self._run(self._api.preload(name, places=places, for_s=for_s))

    def offload(self, name: str) -> Json:
        """End what is idle of a function. Returns what is wanted and what is ready."""
        return self._run(self._api.offload(name))

    def secrets(self, name: str) -> list[Json]:
        """The secrets of a function: the key of each, and when it was set. The platform tells nobody their values."""
        return self._run(self._api.secrets(name))

    def set_secret(self, name: str, key: str, value: str) -> Json:
        """Set a secret, an environment variable of a function, which need not be deployed yet."""
        return self._run(self._api.set_secret(name, key, value))

    def unset_secret(self, name: str, key: str) -> Json:
        return self._run(self._api.unset_secret(name, key))

    def rotate_key(self) -> Json:
        """Have the secrets of all functions sealed with a new key."""
        return self._run(self._api.rotate_key())

    def put_checked(self, name: str, action: Mapping[str, Any]) -> Iterator[Json]:
        """Create or replace a function when its new version has been tried.

        Yields ``progress`` events, then one ``deployed`` or ``failed``.
        """
        return map(checked_event, self._events(self._api.put_checked(name, action)))

    def has_blob(self, digest: str) -> bool:
        return self._run(self._api.has_blob(digest))

    def put_blob(self, digest: str, path: Path, sent: Callable[[int], None] = lambda _: None) -> None:
        """Upload a file in pieces as it is read. `sent` is called with the number of bytes of each piece."""
        self._run(self._api.put_blob(digest, path.stat().st_size, pieces(path, sent)))

    def build_environment(
        self,
        requirements: str,
        no_deps: tuple[str, ...],
        python: str | None,
        image: str = "",
        *,
        from_source: bool = False,
    ) -> Iterator[Json]:
        """Ask for an environment. Yields ``progress`` events while it is built, then one ``ready`` or ``failed``."""
        asked = self._api.build_environment(requirements, no_deps, python, image, from_source=from_source)
        return self._events(asked)

    def clean(self, *, dry_run: bool, unused_for_s: float | None) -> Iterator[Json]:
        """Let the platform remove unused files. Yields ``progress``, ``freed`` and ``failed`` events, then ``done``."""
        return self._events(self._api.clean(dry_run=dry_run, unused_for_s=unused_for_s))

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
                    reply = self._send(step)
                except Unreachable as error:
                    reply = error

    def _events(self, steps: Steps[httpx2.Response]) -> Iterator[Json]:
        for line in self._lines(self._run(steps), MAX_EVENT_BYTES):
            if line:
                yield event_of(line)

    def _lines(self, response: httpx2.Response, most_bytes: int) -> Iterator[bytes]:
        lines = Lines(self.api_host, most_bytes)
        with closing(response), Reaching(self.api_host):
            for piece in response.iter_bytes():
                yield from lines.feed(piece)
            yield from lines.rest()

    def _send(self, request: Request) -> Answer:
        """Send a request and return the answer and its body, or the open answer."""
        with Reaching(self.api_host):
            sending = self._http.build_request(
                request.method, request.url, timeout=timeout(request.read_s), **request.options
            )
            response = self._http.send(sending, stream=True)
            if request.streams and (response.is_success or is_stream(response)):
                return response, b""
            with closing(response):
                return response, self._read(response)

    def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise not_ours(self.api_host)
        return bytes(body)
