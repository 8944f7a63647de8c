"""Nodes and functions for tests, and a node whose books are checked after every event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, Function, Profile
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import KeepAlive, Policies, Predictor, Preloader
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.none import NoPreloading

D = TypeVar("D", bound=d.Decision)

A, B, C = "t/a@1", "t/b@1", "t/c@1"


def function(key: str, memory_mib: int = 512, estimate_mib: int = 150) -> Function:
    return Function(key, key.split("/", maxsplit=1)[0], "env", memory_mib * MIB, 60.0, estimate_mib * MIB)


class CheckedNode:
    """A node, with shorthands for telling it things. Its policies answer everything, unless `policies_fail`."""

    def __init__(
        self,
        budget_mib: int = 2048,
        *,
        keys: Iterable[str] = (A, B, C),
        preloader: Preloader | None = None,
        keepalive: KeepAlive | None = None,
        predictor: Predictor | None = None,
        ttl_s: float = 600.0,
        profile: Profile | None = None,
        policies_fail: bool = False,
        **settings: object,
    ) -> None:
        self.wake_at: float | None = None
        self.policies_fail = policies_fail
        self.preloader = preloader or NoPreloading()
        self.node = NodeState(
            NodeSettings(budget_mib * MIB, **settings),  # type: ignore[arg-type]
            Policies(keepalive or Fixed(ttl_s), predictor or Poisson(), self.preloader),
        )
        for key in keys:
            self.tell(e.FunctionRegistered(0.0, function(key), profile))

    def tell(self, event: e.Event) -> list[d.Decision]:
        if isinstance(event, e.TimerFired):
            self.wake_at = None
        decisions = self.node.handle(event)
        self.node.check()
        if not self.policies_fail:
            assert self.node.books.guard.failures == {}
        for decision in decisions:
            if isinstance(decision, d.WakeAt):
                self.wake_at = decision.when
        return decisions

    def advance(self, at: float) -> list[d.Decision]:
        """Let all its timers go off until then, and once more then; returns all that it decides meanwhile."""
        decided: list[d.Decision] = []
        while (when := self.wake_at) is not None and when < at:
            decided += self.tell(e.TimerFired(max(when, self.node.books.at)))
        return decided + self.tell(e.TimerFired(at))

    def call(self, at: float, activation: str, key: str) -> list[d.Decision]:
        return self.tell(e.RequestArrived(at, activation, key))

    def started(self, at: float, container: str) -> list[d.Decision]:
        return self.tell(e.ContainerStarted(at, container))

    def loaded(self, at: float, container: str, key: str, mib: int = 100) -> list[d.Decision]:
        return self.tell(e.LoadFinished(at, container, key, 1.0, 0.5, mib * MIB))

    def ran(
        self, at: float, container: str, activation: str, mib: int = 100, compute_s: float = 0.1
    ) -> list[d.Decision]:
        return self.tell(e.RunFinished(at, container, activation, compute_s, mib * MIB))

    def gone(self, at: float, container: str, key: str) -> list[d.Decision]:
        return self.tell(e.ResidentGone(at, container, key))

    def serve(self, at: float, container: str, activation: str, key: str) -> d.Reply:
        """A cold call from beginning to end, two seconds long; the container must be new."""
        assert only(self.call(at, activation, key), d.StartContainer).container == container
        only(self.started(at + 0.4, container), d.Run)
        self.loaded(at + 1.9, container, key)
        return only(self.ran(at + 2.0, container, activation), d.Reply)


def only(decisions: list[d.Decision], kind: type[D]) -> D:
    """The one decision of a kind."""
    found = [decision for decision in decisions if isinstance(decision, kind)]
    assert len(found) == 1, decisions
    return found[0]


def none(decisions: list[d.Decision], *kinds: type[d.Decision]) -> None:
    assert not [decision for decision in decisions if isinstance(decision, kinds)], decisions
