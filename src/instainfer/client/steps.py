"""How a function is called, as steps that a client carries out, blocking or not: requests and pauses.

A step is yielded; what came of a request is sent back: the answer, or the error that there is none. So retries and
waiting are written once, and tested without a network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias, TypeVar

import httpx2

from ..errors import StillRunning, Unreachable
from .answers import (
    LINES,
    OPENWHISK,
    READ_TIMEOUT_S,
    Json,
    NothingSent,
    checked,
    error_of,
    flag,
    is_stream,
    not_ours,
    quoted,
    value_of,
)
from .results import Result, result_of

T = TypeVar("T")

RETRIES = 3
LONGEST_PAUSE_S = 10.0
"""What asks for a longer pause before the next try is not tried again."""
_FIRST_RETRY_S = 0.1
_FIRST_LOOK_S, _LATER_LOOKS_S = 0.02, 1.0
"""Pauses between two looks whether a call has ended, that was not waited for: they grow from the first to the other."""
_LONGEST_WAIT_S = 60.0
"""A platform is not asked to wait longer with one request: it is OpenWhisk's bound, and ours unless configured."""
_BUSY = (httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    options: dict[str, Any]
    """As httpx2 takes them."""
    read_s: float | None = READ_TIMEOUT_S
    """Longest silence of the platform before its answer, in seconds; None: as long as it takes."""
    streams: bool = False
    """Whether an answer of lines is left open, to be read line by line. Its body is empty here then."""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Answer: TypeAlias = tuple[httpx2.Response, bytes]
Steps: TypeAlias = Generator[Request | Pause, Answer | Unreachable | None, T]


@dataclass(frozen=True, slots=True)
class Calls:
    """The steps of calls to one platform, each request repeated up to `retries` times where that is safe.

    That is where no connection could be made, and where the platform refused a request and said when to come again.
    """

    api_host: str
    retries: int

    def invoke(
        self, name: str, content: bytes, *, blocking: bool, wait_s: float | None = None, until_s: float = math.inf
    ) -> Steps[Json]:
        """Call a function. The record, or only its ``activationId`` if the call goes on.

        The platform waits for at most `wait_s` seconds. Retries end at `until_s` on the monotonic clock.
        """
        params = {"blocking": flag(blocking)}
        read_s = None
        if wait_s is not None:
            wait_s = min(wait_s, _LONGEST_WAIT_S)
            params["timeout"] = str(max(1, round(wait_s * 1000)))
            read_s = wait_s + READ_TIMEOUT_S
        response, body = yield from self._send(
            Request(
                "POST",
                f"{OPENWHISK}/actions/{quoted(name)}",
                {"params": params, "content": content, "headers": {"Content-Type": "application/json"}},
                read_s,
            ),
            until_s,
        )
        answer = value_of(body)
        if response.is_success and isinstance(answer, list):  # OpenWhisk answers a list without its record
            record = yield from self.activation(response.headers.get("x-openwhisk-activation-id", ""), until_s)
            if not isinstance(record.get("response"), dict):
                raise not_ours(self.api_host)
            record["response"]["result"] = answer
            return record
        # The answer for a failed function is 502 (or 500 for a failure of the platform) with the record: no error here.
        if isinstance(answer, dict) and "activationId" in answer:
            return answer
        raise error_of(response, body) if not response.is_success else not_ours(self.api_host)

    def activation(self, activation_id: str, until_s: float = math.inf) -> Steps[Json]:
        """The record of an activation, which has no ``response`` while it runs."""
        response, body = yield from self._send(
            Request("GET", f"{OPENWHISK}/activations/{quoted(activation_id)}", {}), until_s
        )
        record = checked(response, body)
        if not isinstance(record, dict) or "activationId" not in record:
            raise not_ours(self.api_host)
        return record

    def answer(self, name: str, content: bytes, timeout_s: float | None) -> Steps[Result]:
        """Call a function and wait for its answer, however long the platform lets it compute.

        Raises `CallFailed`, and after `timeout_s` seconds `StillRunning`.
        """
        until_s = _until_s(timeout_s)
        record = yield from self.invoke(name, content, blocking=True, wait_s=timeout_s, until_s=until_s)
        if "response" not in record:
            return (yield from self._ended(name, str(record["activationId"]), until_s))
        return result_of(name, record, self.api_host)

    def stream(self, name: str, content: bytes, timeout_s: float | None) -> Steps[httpx2.Response]:
        """Call a function and return the open answer, in which its values come one by one.

        There may be at most `timeout_s` seconds between two of them.
        """
        response, body = yield from self._send(
            Request(
                "POST",
                f"{OPENWHISK}/actions/{quoted(name)}",
                {
                    "params": {"blocking": flag(True)},
                    "content": content,
                    "headers": {"Content-Type": "application/json", "Accept": LINES},
                },
                timeout_s,
                streams=True,
            ),
            _until_s(timeout_s),
        )
        if is_stream(response):
            return response
        raise error_of(response, body) if not response.is_success else not_ours(self.api_host)

    def submit(self, name: str, content: bytes) -> Steps[str]:
        """Call a function and do not wait. The activation's ID."""
        record = yield from self.invoke(name, content, blocking=False)
        return str(record["activationId"])

    def result(self, name: str, activation_id: str, timeout_s: float | None) -> Steps[Result]:
        """Wait for the answer of a call. Raises as `answer`."""
        return (yield from self._ended(name, activation_id, _until_s(timeout_s)))

    def _ended(self, name: str, activation_id: str, until_s: float) -> Steps[Result]:
        pause_s = _FIRST_LOOK_S
        while True:
            record = yield from self.activation(activation_id, until_s)
            if "response" in record:
                return result_of(name, record, self.api_host)
            if time.monotonic() + pause_s > until_s:
                raise StillRunning(
                    f"{name} has not answered in time and goes on; see `instainfer activations {activation_id}` later",
                    activation_id,
                )
            yield Pause(pause_s)
            pause_s = min(1.5 * pause_s, _LATER_LOOKS_S)

    def _send(self, request: Request, until_s: float) -> Steps[Answer]:
        for tries in count():
            reply = yield request
            assert reply is not None
            pause_s = _pause_s(reply, tries)
            if tries < self.retries and time.monotonic() + pause_s <= until_s and pause_s <= LONGEST_PAUSE_S:
                yield Pause(pause_s)
            elif isinstance(reply, Unreachable):
                raise reply
            else:
                return reply
        raise AssertionError


def _until_s(timeout_s: float | None) -> float:
    return math.inf if timeout_s is None else time.monotonic() + timeout_s


def _pause_s(reply: Answer | Unreachable, tries: int) -> float:
    """Seconds to wait before the same request may be sent again; infinite if it may not."""
    if isinstance(reply, NothingSent):
        return _FIRST_RETRY_S * float(2**tries)
    if isinstance(reply, Unreachable) or reply[0].status_code not in _BUSY:
        return math.inf
    after: str = reply[0].headers.get("retry-after", "")
    return float(after) if after.isascii() and after.isdigit() else math.inf
