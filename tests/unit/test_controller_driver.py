"""The controller's hold on its nodes, where one of them is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from instainfer.backends.base import Call, FunctionSpec
from instainfer.controller.driver import ClusterDriver
from instainfer.core.cluster import ClusterState, Limits, Refuse
from instainfer.core.model import FailureKind, Function, FunctionKey, Profile, Verdict
from instainfer.links.base import Outcome
from instainfer.policy.routing.home import HomeRouting

F = "guest/f@0.0.1"


class Silent:
    """A node that never answers."""

    name = "n1"

    def register(
        self, function: Function, spec: FunctionSpec, profile: Profile | None, verdict: Verdict | None
    ) -> None: ...

    def unregister(self, function: FunctionKey) -> None: ...

    def want(self, function: FunctionKey, places: int) -> None: ...

    def offload(self, function: FunctionKey) -> None: ...

    def places(self, function: FunctionKey) -> Mapping[str, Any]:
        return {}

    def invoke(self, call: Call) -> asyncio.Future[Outcome]:
        return asyncio.get_running_loop().create_future()

    def snapshot(self) -> Mapping[str, Any]:
        return {}


def test_calls_on_a_node_that_is_lost_end_with_it_and_count_no_longer() -> None:
    async def scene() -> None:
        driver = ClusterDriver(ClusterState(Limits(concurrent=2, per_minute=100), HomeRouting()), lambda: 1.0)
        node = Silent()
        driver.join(node)
        assert driver.admit("a", "guest", F) is node
        assert driver.admit("b", "guest", F) is node
        refused = driver.admit("c", "guest", F)
        assert isinstance(refused, Refuse)
        running = asyncio.create_task(driver.run(node, Call("a", F, b"{}")))
        await asyncio.sleep(0)
        driver.lose("n1")
        late = await driver.run(node, Call("b", F, b"{}"))  # it had not been handed over yet
        for outcome in (await running, late):
            assert outcome.failure is not None
            assert outcome.failure.kind is FailureKind.CONTAINER_LOST
            assert "n1 is gone" in outcome.failure.message
        for activation in "ab":
            driver.finish(activation)
        assert driver.in_flight == 0
        driver.join(node)
        assert driver.admit("d", "guest", F) is node

    asyncio.run(scene())


def test_a_caller_that_gives_up_is_not_told_that_the_node_is_gone() -> None:
    async def scene() -> None:
        driver = ClusterDriver(ClusterState(Limits(concurrent=2, per_minute=100), HomeRouting()), lambda: 1.0)
        node = Silent()
        driver.join(node)
        driver.admit("a", "guest", F)
        running = asyncio.create_task(driver.run(node, Call("a", F, b"{}")))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        driver.finish("a")
        assert driver.in_flight == 0

    asyncio.run(scene())
