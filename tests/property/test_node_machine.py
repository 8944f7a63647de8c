"""`NodeState` against a world that does anything the contract allows, in any order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.world import DIED, STARVED, World, WorldContainer

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.lifecycle import IDLE, LOADED, STOPPING, UNLOADING
from instainfer.core.model import MIB, Failure, Function, Verdict, is_function_template, is_template
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import KeepAlive, Policies
from instainfer.core.story import Entry, dump_entry, load_entry
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.keepalive.objective import Objective
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.none import NoPreloading
from instainfer.policy.preload.opportunistic import Opportunistic

NAMES = ["t1/a@1", "t1/b@1", "t1/c@1", "t1/d@1", "t2/a@1", "t2/b@1"]
AUTO = {"t1/b@1", "t1/d@1", "t2/b@1"}
"""Functions whose memory is learned."""
IDEMPOTENT = {"t1/b@1", "t2/a@1"}
IMAGES = {"t1/d@1": "sha256:1"}
"""Functions whose containers are made from images of their own."""
SIZES = st.integers(min_value=50, max_value=700)
KEEPALIVES: dict[str, Callable[[], KeepAlive]] = {
    "fixed": lambda: Fixed(30.0),
    "objective": Objective,
    "objective, at a price": lambda: Objective(0.05),
}
#: Seconds before a registration at which a function was called, in the order of the calls.
PASTS: st.SearchStrategy[list[float]] = st.lists(st.sampled_from([0.0, 0.5, 20.0, 300.0, 5000.0]), max_size=6).map(
    lambda ago_s: sorted(ago_s, reverse=True)
)


def function(key: str, memory_mib: int = 512) -> Function:
    declared = Function(key, key.split("/", maxsplit=1)[0], "env", memory_mib * MIB, 60.0, 150 * MIB)
    declared = replace(declared, idempotent=key in IDEMPOTENT, image=IMAGES.get(key, ""))
    if key not in AUTO:
        return declared
    return replace(declared, memory_bytes=200 * MIB, most_bytes=2 * memory_mib * MIB, least_bytes=64 * MIB)


def new_node(
    *,
    retain: bool,
    preload: bool,
    templates: bool,
    function_templates: bool,
    replace: bool,
    keepalive: str,
    budget_mib: int,
) -> NodeState:
    return NodeState(
        NodeSettings(
            budget_mib * MIB,
            max_queue=5,
            max_loads=2,
            retain=retain,
            templates=templates,
            function_templates=function_templates,
            replace=replace,
        ),
        Policies(KEEPALIVES[keepalive](), Poisson(), Opportunistic() if preload else NoPreloading()),
    )


class NodeMachine(RuleBasedStateMachine):
    @initialize(
        retain=st.booleans(),
        preload=st.booleans(),
        templates=st.booleans(),
        function_templates=st.booleans(),
        replace=st.booleans(),
        keepalive=st.sampled_from(sorted(KEEPALIVES)),
        pasts=st.lists(PASTS, min_size=len(NAMES), max_size=len(NAMES)),
        budget_mib=st.sampled_from([512, 1100, 2048, 4096]),
    )
    def begin(
        self,
        *,
        retain: bool,
        preload: bool,
        templates: bool,
        function_templates: bool,
        replace: bool,
        keepalive: str,
        pasts: list[list[float]],
        budget_mib: int,
    ) -> None:
        self.templates = templates
        self.recipe: dict[str, Any] = {
            "retain": retain,
            "preload": preload,
            "templates": templates,
            "function_templates": function_templates,
            "replace": replace,
            "keepalive": keepalive,
            "budget_mib": budget_mib,
        }
        self.world = World(new_node(**self.recipe))
        self.calls = 0
        for index, key in enumerate(NAMES):
            calls = tuple(-ago_s for ago_s in pasts[index])
            self.world.feed(e.FunctionRegistered(0.0, function(key, 1024 if index == 3 else 512), None, None, calls))

    def pick(self, data: st.DataObject, wanted: list[WorldContainer]) -> WorldContainer:
        return data.draw(st.sampled_from(sorted(wanted, key=lambda c: c.id)))

    def alive(self) -> list[WorldContainer]:
        return [c for c in self.world.containers.values() if c.started and not c.dead and not c.stuck]

    @rule(name=st.sampled_from(NAMES))
    def call(self, name: str) -> None:
        self.calls += 1
        self.world.call(f"a{self.calls}", name)

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
    def serve(self, names: list[str]) -> None:
        """For once everything goes well for a while, so that what is rare otherwise comes about: standing templates."""
        for name in names:
            self.call(name)
            self.world.run_until_quiet()

    @rule(name=st.sampled_from(NAMES), places=st.integers(0, 3))
    def places_are_wanted(self, name: str, places: int) -> None:
        self.world.feed(e.PlacesWanted(self.world.at, name, places))

    @rule(name=st.sampled_from(NAMES))
    def off_load(self, name: str) -> None:
        self.world.feed(e.OffloadAsked(self.world.at, name))
        books = self.world.node.books
        for container, resident in books.pool.residents_of(name):
            assert container.state is not IDLE or resident.state is UNLOADING

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.5, 2.0, 10.0, 40.0]))
    def time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: any(c.reports for c in self.world.containers.values()))
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        self.world.deliver_report(self.pick(data, [c for c in self.world.containers.values() if c.reports]))

    @precondition(lambda self: any(c.commands for c in self.alive()))
    @rule(data=st.data())
    def command(self, data: st.DataObject) -> None:
        self.world.process_command(self.pick(data, [c for c in self.alive() if c.commands]))

    @precondition(lambda self: any(not c.started and not c.dead for c in self.world.containers.values()))
    @rule(data=st.data(), ok=st.sampled_from([True, True, True, False]))
    def start(self, data: st.DataObject, ok: bool) -> None:
        waiting = [c for c in self.world.containers.values() if not c.started and not c.dead]
        container = self.pick(data, waiting)
        if any(isinstance(command, d.StopContainer) for command in container.commands):
            self.world.lose(container, None)
        else:
            self.world.start(container, ok=ok)

    @precondition(lambda self: any(not loaded for c in self.alive() for loaded in c.residents.values()))
    @rule(
        data=st.data(),
        size=SIZES,
        ok=st.sampled_from([True, True, True, False]),
        template=st.booleans(),
        starved=st.booleans(),
    )
    def load_ends(self, data: st.DataObject, size: int, ok: bool, template: bool, starved: bool) -> None:
        container = self.pick(data, [c for c in self.alive() if not all(c.residents.values())])
        name = data.draw(st.sampled_from(sorted(f for f, loaded in container.residents.items() if not loaded)))
        template = template and self.templates
        self.world.end_load(container, name, size_mib=size, ok=ok, template=template, starved=starved)

    def running(self) -> list[WorldContainer]:
        return [c for c in self.alive() if c.running is not None and c.residents.get(c.running[1])]

    @precondition(lambda self: bool(self.running()))
    @rule(
        data=st.data(),
        size=SIZES,
        ok=st.sampled_from([True, True, True, False]),
        peak=st.sampled_from([0, 10, 600]),
        why=st.sampled_from([DIED, STARVED]),
    )
    def run_ends(self, data: st.DataObject, size: int, ok: bool, peak: int, why: Failure) -> None:
        self.world.end_run(self.pick(data, self.running()), size_mib=size, ok=ok, peak_mib=peak, why=why)

    @precondition(lambda self: bool(self.idle_residents()))
    @rule(data=st.data())
    def resident_dies(self, data: st.DataObject) -> None:
        container, name = data.draw(st.sampled_from(self.idle_residents()))
        self.world.kill_resident(self.world.containers[container], name)

    def idle_residents(self) -> list[tuple[str, str]]:
        return sorted(
            (c.id, f) for c in self.alive() if c.running is None for f, loaded in c.residents.items() if loaded
        )

    def idle_templates(self) -> list[tuple[str, str]]:
        return sorted(
            (c.id, key) for c in self.alive() for key, loaded in c.residents.items() if loaded and is_template(key)
        )

    @precondition(lambda self: bool(self.idle_templates()))
    @rule(data=st.data())
    def template_dies(self, data: st.DataObject) -> None:
        container, key = data.draw(st.sampled_from(self.idle_templates()))
        self.world.kill_resident(self.world.containers[container], key)

    def makings(self) -> list[tuple[str, str]]:
        return sorted(
            (c.id, key)
            for c in self.alive()
            for key, loaded in c.residents.items()
            if not loaded and is_function_template(key)
        )

    @precondition(lambda self: bool(self.makings()))
    @rule(data=st.data(), why=st.sampled_from([DIED, STARVED]))
    def making_dies(self, data: st.DataObject, why: Failure) -> None:
        container, key = data.draw(st.sampled_from(self.makings()))
        self.world.kill_resident(self.world.containers[container], key, why)

    @precondition(lambda self: any(c.dying for c in self.alive()))
    @rule(data=st.data())
    def memory_is_free(self, data: st.DataObject) -> None:
        self.world.free(self.pick(data, [c for c in self.alive() if c.dying]))

    @precondition(lambda self: bool(self.alive()))
    @rule(data=st.data())
    def manager_gets_stuck(self, data: st.DataObject) -> None:
        self.pick(data, self.alive()).stuck = True

    @precondition(lambda self: bool(self.alive()))
    @rule(data=st.data())
    def container_dies(self, data: st.DataObject) -> None:
        self.world.lose(self.pick(data, self.alive()), DIED)

    @precondition(lambda self: bool(self.idle_residents()))
    @rule(data=st.data(), size=SIZES)
    def measure(self, data: st.DataObject, size: int) -> None:
        container, name = data.draw(st.sampled_from(self.idle_residents()))
        report = e.MemoryMeasured(0.0, container, ((name, size * MIB),))
        self.world.containers[container].reports.append(report)

    @rule(
        name=st.sampled_from(NAMES),
        back=st.booleans(),
        fresh=st.booleans(),
        keep_alive_s=st.sampled_from([None, 0.0, 5.0, math.inf]),
        verdict=st.sampled_from([None, Verdict(True), Verdict(False, "a thread")]),
        past=PASTS,
    )
    def remove(
        self,
        *,
        name: str,
        back: bool,
        fresh: bool,
        keep_alive_s: float | None,
        verdict: Verdict | None,
        past: list[float],
    ) -> None:
        self.world.feed(e.FunctionRemoved(self.world.at, name))
        if back:
            again = replace(function(name), fresh=fresh, keep_alive_s=keep_alive_s)
            calls = tuple(self.world.at - ago_s for ago_s in past)
            self.world.feed(e.FunctionRegistered(self.world.at, again, None, verdict, calls))

    @invariant()
    def fresh_processes_serve_one_call(self) -> None:
        if hasattr(self, "world"):
            books = self.world.node.books
            for container in books.pool.containers.values():
                if container.state is STOPPING:
                    continue  # its processes serve nobody any more, and end with it
                for key, resident in container.residents.items():
                    if resident.state is LOADED and resident.served and not is_template(key):
                        assert not books.functions[key].function.fresh

    @invariant()
    def only_one_function_at_a_time(self) -> None:
        if not hasattr(self, "world"):
            return
        for _, name, present in self.world.seen_by_user_code:
            assert present == {name}

    @invariant()
    def sizes_are_within_their_bounds(self) -> None:
        if hasattr(self, "world"):
            books = self.world.node.books
            for record in books.functions.values():
                function = record.function
                if function.is_auto:
                    assert function.most_bytes <= books.pool.ledger.budget_bytes
                    assert min(function.least_bytes, 200 * MIB) <= function.memory_bytes <= function.most_bytes

    @invariant()
    def no_policy_has_failed(self) -> None:
        if hasattr(self, "world"):
            assert self.world.node.books.guard.failures == {}

    @invariant()
    def requests_are_somewhere(self) -> None:
        if hasattr(self, "world"):
            assert self.world.accepted == set(self.world.answered) | set(self.world.node.books.requests)
            assert not set(self.world.answered) & set(self.world.node.books.requests)

    def _wishes_are_met(self) -> None:
        """Where there is room for all places that are wanted, and nothing goes wrong any more, all are ready."""
        books = self.world.node.books
        wishes = {key: books.functions.view(key, books.pool) for key in books.functions.asked}
        lacking = set(books.functions.lacking(books.pool))
        needs_bytes = sum(view.wanted * view.memory_bytes for view in wishes.values() if view.wanted)
        helpful = self.recipe["preload"] and not any(c.stuck for c in self.world.containers.values())
        if helpful and 2 * needs_bytes <= books.settings.budget_bytes:
            assert not lacking, {key: wishes[key] for key in lacking}

    def teardown(self) -> None:
        """Every request ends, nothing is left after a drain, and the story tells the same again."""
        if not hasattr(self, "world"):
            return
        for _ in range(3):
            self.world.run_until_quiet()
            self.world.pass_time(1000.0)
        self.world.run_until_quiet()
        assert set(self.world.answered) == self.world.accepted, "a request was left behind"
        self._wishes_are_met()
        for name in NAMES:
            self.world.feed(e.FunctionRemoved(self.world.at, name))
        self.world.run_until_quiet()
        self.world.pass_time(1000.0)  # containers that are stuck are given up only once they owe something
        self.world.run_until_quiet()
        books = self.world.node.books
        assert not books.functions, "what was removed is still known"
        assert not books.functions.templates
        assert not books.pool.new_candidates
        self.world.feed(e.DrainAsked(self.world.at))
        self.world.run_until_quiet()
        assert self.world.node.drained
        replay(self.world.entries, new_node(**self.recipe))


def replay(entries: list[Entry], node: NodeState) -> None:
    for entry in entries:
        told = load_entry(dump_entry(entry))
        assert told == entry
        assert tuple(node.handle(told.event)) == told.decisions


NodeMachine.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=60, deadline=None, derandomize=True
)
TestNode = NodeMachine.TestCase
