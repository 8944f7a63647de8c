"""A function that waits for memory makes nobody else wait: the other functions' warm calls are answered at once."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

import pytest
from support.process_world import PATIENCE_S

from instainfer.backends.base import Call, FunctionSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.process import ProcessBackend
from instainfer.core.model import MIB, Function
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import Policies
from instainfer.invoker.driver import Invoker
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.opportunistic import Opportunistic

OVERTAKE_S = 0.5
"""So long a request waits for memory before it claims a busy container. Until then, and after it, others go on."""
CALLS = 50

UNTIL_TOLD = """
import time
from pathlib import Path
def main(args):
    while not Path(args["file"]).exists():
        time.sleep(0.01)
    return {}
"""
AT_ONCE = "def main(args): return {}"


class Node:
    """An invoker on real processes, with functions of two namespaces in 512 MiB."""

    def __init__(self, folder: Path) -> None:
        clock = LoopClock()
        policies = Policies(Fixed(600.0), Poisson(), Opportunistic())
        self.backend = ProcessBackend(clock, scratch=folder / "scratch")
        settings = NodeSettings(512 * MIB, overtake_s=OVERTAKE_S)
        self.invoker = Invoker(NodeState(settings, policies), self.backend, clock)
        self._functions = folder / "functions"

    def deploy(self, key: str, memory_bytes: int, code: str) -> None:
        namespace, name = key.split("@", maxsplit=1)[0].split("/")
        folder = self._functions / name
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(code)
        spec = FunctionSpec(key, folder, Path(sys.executable), "handler")
        self.invoker.register(Function(key, namespace, "env", memory_bytes, 60.0, 60 * MIB), spec)

    async def call(self, activation: str, key: str, args: bytes = b"{}") -> float:
        """Seconds until the answer."""
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            outcome = await self.invoker.invoke(Call(activation, key, args))
        assert outcome.failure is None
        return time.monotonic() - began


@pytest.mark.parametrize("waiting_mib", [384, 400], ids=["for one container", "for both containers"])
def test_warm_calls_are_answered_at_once_while_another_function_waits_for_memory(
    tmp_path: Path, waiting_mib: int
) -> None:
    """Fault D1: they waited until the running call of a third function had ended."""

    async def scenario() -> None:
        node = Node(tmp_path)
        node.deploy("t1/f@1", 384 * MIB, UNTIL_TOLD)
        node.deploy("t1/f2@1", waiting_mib * MIB, AT_ONCE)
        node.deploy("t2/g@1", 128 * MIB, AT_ONCE)
        told = tmp_path / "functions" / "f" / "told"  # of the files here, the function sees those in its folder
        await node.call("g0", "t2/g@1")
        running = asyncio.ensure_future(node.call("f0", "t1/f@1", f'{{"file": "{told}"}}'.encode()))
        queued = asyncio.ensure_future(node.call("f2", "t1/f2@1"))
        took_s = []
        began = time.monotonic()
        while len(took_s) < CALLS or time.monotonic() < began + 2 * OVERTAKE_S:
            took_s.append(await node.call(f"g{len(took_s) + 1}", "t2/g@1"))
        assert not running.done()
        assert not queued.done(), "there is no memory for it beside the other two"
        told.touch()
        await running
        await queued
        assert statistics.median(took_s) < 0.05
        assert max(took_s) < OVERTAKE_S, "none of them has waited for it"
        node.invoker.state.check()
        await node.invoker.drain()
        await node.backend.close()

    asyncio.run(scenario())
