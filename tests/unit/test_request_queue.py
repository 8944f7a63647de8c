"""The queue: first in, first out within a function, and no more work than there are functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from instainfer.core.queue import RequestQueue
from instainfer.core.requests import Request


def queue_of(functions: str) -> RequestQueue:
    queue = RequestQueue()
    for n, function in enumerate(functions):
        queue.append(Request(f"{function}{n}", function, float(n)))
    return queue


def names(queue: RequestQueue) -> list[str]:
    return [request.activation for request in queue]


def test_of_a_function_that_cannot_be_placed_only_the_first_is_tried() -> None:
    queue = queue_of("aabab")
    tried: list[str] = []

    def take(request: Request) -> bool:
        tried.append(request.activation)
        return request.function == "b"

    queue.offer(take)
    assert tried == ["a0", "b2", "b4"]
    assert names(queue) == ["a0", "a1", "a3"]
    assert (queue.count("a"), queue.count("b")) == (3, 0)


def test_what_nobody_can_take_costs_no_more_than_a_look_for_each_function() -> None:
    queue = queue_of("ab" + "a" * 10_000)
    tried: list[str] = []
    queue.offer(lambda request: bool(tried.append(request.activation)))
    assert tried == ["a0", "b1"]
    assert names(queue)[:3] == ["a0", "b1", "a2"]


@given(st.text("abc", max_size=12), st.sets(st.sampled_from("abc")))
def test_the_order_stays_and_the_counts_are_true(functions: str, placeable: set[str]) -> None:
    queue = queue_of(functions)
    before = names(queue)
    queue.offer(lambda request: request.function in placeable)
    assert names(queue) == [name for name in before if name[0] not in placeable]
    for function in "abc":
        assert queue.count(function) == sum(name[0] == function for name in names(queue))
    for request in list(queue):
        queue.remove(request)
    assert len(queue) == 0
