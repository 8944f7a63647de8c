"""Requests that wait for a container, in the order of their arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from .model import FunctionKey
from .requests import Request


class RequestQueue:
    """First in, first out among the requests of one function; of different functions, whoever can be placed."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self._counts: dict[FunctionKey, int] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def count(self, function: FunctionKey) -> int:
        """How many requests of a function wait."""
        return self._counts.get(function, 0)

    def append(self, request: Request) -> None:
        self._requests.append(request)
        self._counts[request.function] = self.count(request.function) + 1

    def remove(self, request: Request) -> None:
        self._requests.remove(request)
        self._strike(request)

    def offer(self, take: Callable[[Request], bool]) -> None:
        """Offer the requests to `take` one by one, and keep those that it does not want.

        When a request is not taken, neither are the later ones of its function. So this costs as much as there are
        different functions among those that wait, and not as much as there are requests.
        """
        kept: list[Request] = []
        hopeless: set[FunctionKey] = set()
        while self._requests and len(hopeless) < len(self._counts):
            request = self._requests.popleft()
            if request.function not in hopeless and take(request):
                self._strike(request)
                continue
            kept.append(request)
            hopeless.add(request.function)
        self._requests.extendleft(reversed(kept))

    def _strike(self, request: Request) -> None:
        left = self._counts[request.function] - 1
        if left:
            self._counts[request.function] = left
        else:
            del self._counts[request.function]
