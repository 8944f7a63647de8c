"""The queue of requests that wait for a container."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from .model import FunctionKey
from .requests import Request


class RequestQueue:
    """The requests in the order of their arrival.

    Requests of one function leave the queue in that order. A request of another function may overtake them when it
    can be placed and they cannot.
    """

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self._counts: dict[FunctionKey, int] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def count(self, function: FunctionKey) -> int:
        """Number of requests of a function in the queue."""
        return self._counts.get(function, 0)

    def append(self, request: Request) -> None:
        self._requests.append(request)
        self._counts[request.function] = self.count(request.function) + 1

    def remove(self, request: Request) -> None:
        self._requests.remove(request)
        self._strike(request)

    def offer(self, take: Callable[[Request], bool]) -> None:
        """Offer the requests to `take` in order. Remove those for which it returns True, and keep the others.

        When `take` refuses a request, the later requests of the same function are not offered. So `take` refuses at
        most one request of each function, however long the queue is.
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
