"""A function as a program sees it: something to call, to send many requests to, or to ask and come back to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import httpx2

from ..errors import BadInput, StillRunning, shown
from .answers import Silence
from .results import Ended, Reading, Result, arguments
from .steps import Calls, Steps

T = TypeVar("T")

MAX_VALUE_LINE_BYTES = 64 * 1024 * 1024
"""Longest line of a streamed answer. The only value of a function that does not yield may have many megabytes."""
CONCURRENCY = 8
"""Calls that `map` has under way at a time, unless told otherwise."""


class Run(Protocol):
    """Carries out steps, and returns what they come to."""

    def __call__(self, steps: Steps[T]) -> T: ...


class AsyncRun(Protocol):
    """The same without blocking."""

    def __call__(self, steps: Steps[T]) -> Coroutine[Any, Any, T]: ...


class ReadLines(Protocol):
    """Reads an open answer line by line, and closes it in the end. No line may be longer than `most_bytes`."""

    def __call__(self, response: httpx2.Response, most_bytes: int) -> Iterator[bytes]: ...


class AsyncReadLines(Protocol):
    """The same without blocking."""

    def __call__(self, response: httpx2.Response, most_bytes: int) -> AsyncGenerator[bytes, None]: ...


class Call:
    """A call that was sent and is not waited for. It goes on when the program ends."""

    def __init__(self, name: str, activation_id: str, calls: Calls, run: Run) -> None:
        self.activation_id = activation_id
        self._name = name
        self._calls = calls
        self._run = run

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return "response" in self._run(self._calls.activation(self.activation_id))

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for its answer. Raises `CallFailed`, and after `timeout_s` seconds `StillRunning`."""
        return self._run(self._calls.result(self._name, self.activation_id, timeout_s))


class Function:
    """A deployed function. Call it with a dict, with named arguments, or with both.

    Arrays of NumPy, tensors of PyTorch, bytes and images of Pillow are sent as such. A call waits for the answer, for
    `timeout_s` seconds at most if that is given. It raises `CallFailed` when the function fails, `StillRunning` when
    the time is over, and the other errors of `instainfer.errors` when the platform refuses the call or does not answer.
    May be used by several threads.
    """

    def __init__(self, name: str, calls: Calls, run: Run, lines: ReadLines, timeout_s: float | None) -> None:
        self.name = name
        self._calls = calls
        self._run = run
        self._lines = lines
        self._timeout_s = timeout_s

    def __call__(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> Result:
        return self._run(self._calls.answer(self.name, arguments(args, named), self._timeout_s))

    def submit(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> Call:
        """Send a call and do not wait for its answer. The platform has it on disk when this returns."""
        activation_id = self._run(self._calls.submit(self.name, arguments(args, named)))
        return Call(self.name, activation_id, self._calls, self._run)

    def stream(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> Stream:
        """Call it and get its values as they come; a function that does not yield has one, its answer.

        Returns with the first value. `timeout_s` is for each value, not for all of them.
        """
        response = self._run(self._calls.stream(self.name, arguments(args, named), self._timeout_s))
        lines = self._lines(response, MAX_VALUE_LINE_BYTES)
        return Stream(_reading(self.name, self._calls, response), lines, response.close)

    def map(self, requests: Iterable[Mapping[str, Any]], *, concurrency: int = CONCURRENCY) -> list[Result]:
        """The answers to many requests, in their order, with at most `concurrency` calls under way at a time.

        Raises the error of the first request that has one; calls that have not begun are then not made.
        """
        pool = ThreadPoolExecutor(_checked(concurrency))
        try:
            return list(pool.map(self, requests))
        finally:
            pool.shutdown(cancel_futures=True)


class Stream(Iterator[Any]):
    """The values of a streamed answer, as they come. Leaving its ``with`` block before the end ends the call.

    Raises `CallFailed` when the function fails, after the values that it yielded before; `StillRunning` when there is
    no further value in time.
    """

    def __init__(self, reading: Reading, lines: Iterator[bytes], close: Callable[[], None]) -> None:
        self._reading = reading
        self._values = self._read(lines)
        self._close = close

    @property
    def activation_id(self) -> str:
        return self._reading.activation_id

    @property
    def result(self) -> Ended:
        """How the call began, where its time went, and what was printed. Known when all values have been read."""
        return _known(self._reading)

    def __next__(self) -> Any:
        return next(self._values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no further values. If the call still runs, it ends with its next one."""
        self._values.close()
        self._close()

    def _read(self, lines: Iterator[bytes]) -> Generator[Any, None, None]:
        try:
            for line in lines:
                yield from self._reading.take(line)
        except Silence as error:
            raise _too_slow(self._reading) from error
        self._reading.checked_end()


class AsyncCall:
    """As `Call`."""

    def __init__(self, name: str, activation_id: str, calls: Calls, run: AsyncRun) -> None:
        self.activation_id = activation_id
        self._name = name
        self._calls = calls
        self._run = run

    async def done(self) -> bool:
        """Whether it has ended, well or not."""
        return "response" in await self._run(self._calls.activation(self.activation_id))

    async def result(self, timeout_s: float | None = None) -> Result:
        """Wait for its answer. Raises `CallFailed`, and after `timeout_s` seconds `StillRunning`."""
        return await self._run(self._calls.result(self._name, self.activation_id, timeout_s))


Opened: TypeAlias = tuple[Reading, AsyncIterator[bytes], Callable[[], Coroutine[Any, Any, None]]]
"""A streamed answer that has begun: what reads its lines, the lines, and what closes its connection."""


class AsyncStream(AsyncIterator[Any]):
    """As `Stream`, for use on an event loop with ``async with`` and ``async for``."""

    def __init__(self, open_: Callable[[], Coroutine[Any, Any, Opened]]) -> None:
        self._open = open_
        self._reading: Reading | None = None
        self._values = self._read()
        self._close: Callable[[], Coroutine[Any, Any, None]] | None = None

    @property
    def activation_id(self) -> str:
        """Known when the first value has come."""
        return "" if self._reading is None else self._reading.activation_id

    @property
    def result(self) -> Ended:
        """How the call began, where its time went, and what was printed. Known when all values have been read."""
        return _known(self._reading)

    async def __anext__(self) -> Any:
        return await anext(self._values)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Take no further values. If the call still runs, it ends with its next one."""
        await self._values.aclose()
        if self._close is not None:
            await self._close()

    async def _read(self) -> AsyncGenerator[Any, None]:
        self._reading, lines, self._close = await self._open()
        try:
            async for line in lines:
                for value in self._reading.take(line):
                    yield value
        except Silence as error:
            raise _too_slow(self._reading) from error
        self._reading.checked_end()


class AsyncFunction:
    """As `Function`, for use on an event loop. A call whose task is cancelled goes on at the platform."""

    def __init__(self, name: str, calls: Calls, run: AsyncRun, lines: AsyncReadLines, timeout_s: float | None) -> None:
        self.name = name
        self._calls = calls
        self._run = run
        self._lines = lines
        self._timeout_s = timeout_s

    async def __call__(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> Result:
        return await self._run(self._calls.answer(self.name, arguments(args, named), self._timeout_s))

    async def submit(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> AsyncCall:
        """Send a call and do not wait for its answer. The platform has it on disk when this returns."""
        activation_id = await self._run(self._calls.submit(self.name, arguments(args, named)))
        return AsyncCall(self.name, activation_id, self._calls, self._run)

    def stream(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> AsyncStream:
        """Call it and get its values as they come; a function that does not yield has one, its answer.

        The call is made when the first value is asked for. `timeout_s` is for each value, not for all of them.
        """
        content = arguments(args, named)

        async def open_() -> Opened:
            response = await self._run(self._calls.stream(self.name, content, self._timeout_s))
            lines = self._lines(response, MAX_VALUE_LINE_BYTES)
            return _reading(self.name, self._calls, response), lines, response.aclose

        return AsyncStream(open_)

    async def map(self, requests: Iterable[Mapping[str, Any]], *, concurrency: int = CONCURRENCY) -> list[Result]:
        """The answers to many requests, in their order, with at most `concurrency` calls under way at a time.

        Raises the first error that comes; the other calls are then not waited for.
        """
        waiting = enumerate(requests)
        results: dict[int, Result] = {}

        async def work() -> None:
            for number, request in waiting:
                results[number] = await self(request)

        workers = [asyncio.ensure_future(work()) for _ in range(_checked(concurrency))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return [results[number] for number in sorted(results)]


def _checked(concurrency: int) -> int:
    if concurrency < 1:
        raise BadInput(f"{shown(concurrency)} calls at a time is none; give concurrency=1 or more")
    return concurrency


def _reading(name: str, calls: Calls, response: httpx2.Response) -> Reading:
    return Reading(name, response.headers.get("x-openwhisk-activation-id", ""), calls.api_host)


def _known(reading: Reading | None) -> Ended:
    if reading is None or reading.ended is None:
        raise BadInput("how a streamed call went is known at its end; read all its values before that")
    return reading.ended


def _too_slow(reading: Reading) -> StillRunning:
    return StillRunning("no further value came in time; the call ends with its next one", reading.activation_id)
