"""A function as a program sees it: something to call, to send many requests to, or to ask and come back to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from ..errors import BadInput, shown
from .results import Result, arguments
from .steps import Calls, Steps

T = TypeVar("T")

CONCURRENCY = 8
"""Calls that `map` has under way at a time, unless told otherwise."""


class Run(Protocol):
    """Carries out steps, and returns what they come to."""

    def __call__(self, steps: Steps[T]) -> T: ...


class AsyncRun(Protocol):
    """The same without blocking."""

    def __call__(self, steps: Steps[T]) -> Coroutine[Any, Any, T]: ...


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

    def __init__(self, name: str, calls: Calls, run: Run, timeout_s: float | None) -> None:
        self.name = name
        self._calls = calls
        self._run = run
        self._timeout_s = timeout_s

    def __call__(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> Result:
        return self._run(self._calls.answer(self.name, arguments(args, named), self._timeout_s))

    def submit(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> Call:
        """Send a call and do not wait for its answer. The platform has it on disk when this returns."""
        activation_id = self._run(self._calls.submit(self.name, arguments(args, named)))
        return Call(self.name, activation_id, self._calls, self._run)

    def map(self, requests: Iterable[Mapping[str, Any]], *, concurrency: int = CONCURRENCY) -> list[Result]:
        """The answers to many requests, in their order, with at most `concurrency` calls under way at a time.

        Raises the error of the first request that has one; calls that have not begun are then not made.
        """
        pool = ThreadPoolExecutor(_checked(concurrency))
        try:
            return list(pool.map(self, requests))
        finally:
            pool.shutdown(cancel_futures=True)


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


class AsyncFunction:
    """As `Function`, for use on an event loop. A call whose task is cancelled goes on at the platform."""

    def __init__(self, name: str, calls: Calls, run: AsyncRun, timeout_s: float | None) -> None:
        self.name = name
        self._calls = calls
        self._run = run
        self._timeout_s = timeout_s

    async def __call__(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> Result:
        return await self._run(self._calls.answer(self.name, arguments(args, named), self._timeout_s))

    async def submit(self, args: Mapping[str, Any] | None = None, /, **named: Any) -> AsyncCall:
        """Send a call and do not wait for its answer. The platform has it on disk when this returns."""
        activation_id = await self._run(self._calls.submit(self.name, arguments(args, named)))
        return AsyncCall(self.name, activation_id, self._calls, self._run)

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
