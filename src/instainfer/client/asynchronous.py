"""The client for programs with an event loop. It calls functions; everything else is done with `Client`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self, TypeVar

import httpx2

from ..address import found
from ..errors import Unreachable
from .answers import KEEP_ALIVE, MAX_ANSWER_BYTES, Reaching, http_options, no_address, not_ours, timeout
from .functions import AsyncFunction
from .steps import RETRIES, Answer, Calls, Pause, Request, Steps

T = TypeVar("T")


class AsyncClient:
    """Calls functions of one platform with one key. Use the client in ``async with``, or call `close`.

    The arguments are those of `Client`. Connections are kept and shared by all calls.
    """

    def __init__(
        self,
        api_host: str = "",
        auth: str = "",
        *,
        home: Path | None = None,
        retries: int = RETRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        address = found(api_host, auth, home)
        options = http_options(address)
        self.api_host: str = options["base_url"]
        self._calls = Calls(self.api_host, retries)
        try:
            self._http = httpx2.AsyncClient(
                transport=transport or httpx2.AsyncHTTPTransport(socket_options=KEEP_ALIVE, trust_env=False), **options
            )
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise no_address(address.api_host, error) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    def function(self, name: str, *, timeout_s: float | None = None) -> AsyncFunction:
        """The function of this name, to be called. Nothing is sent yet."""
        return AsyncFunction(name, self._calls, self._run, timeout_s)

    async def _run(self, steps: Steps[T]) -> T:
        reply: Answer | Unreachable | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as ended:
                result: T = ended.value
                return result
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                reply = None
            else:
                try:
                    reply = await self._send(step)
                except Unreachable as error:
                    reply = error

    async def _send(self, request: Request) -> Answer:
        with Reaching(self.api_host):
            async with self._http.stream(
                request.method, request.url, timeout=timeout(request.read_s), **request.options
            ) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise not_ours(self.api_host)
                return response, bytes(body)
