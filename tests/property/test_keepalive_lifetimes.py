"""Pre-loading and keep-alive leave each other alone: what holds of containers whatever is loaded into them, and when.

Keep-alive is asked when a container falls idle, and what it has said stands until the container is used again. Nothing
that is loaded, off-loaded or fails to load meanwhile moves a deadline, makes a container or stops one. A pre-loader may
ask for a container, and gets it where keep-alive spends memory that nobody uses: one at a time, while no call waits.
Here a pre-loader that suggests anything at all, sense or nonsense, meets a world in which everything happens in any
order.

That the *lives* of containers are the same with and without pre-loading is more than that, and true under conditions
only, since a call goes to the container that holds its function: see `tests/parity/test_lifetimes.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import TypeAlias, TypeVar

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.nodes import A, B, C, CheckedNode, none, only
from support.world import World, WorldContainer

from instainfer.config import KeepAliveConfig
from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.lifecycle import ContainerState, ResidentState
from instainfer.core.model import (
    FROM_LIBRARIES,
    MIB,
    Failure,
    FailureKind,
    Function,
    FunctionKey,
    is_template,
    template_key,
)
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import (
    ContainerView,
    FunctionView,
    Idle,
    KeepAlive,
    KeptContainer,
    NodeView,
    Policies,
    PreloadPlan,
    Remembered,
    SuggestCreate,
    Suggestion,
    SuggestLoad,
    SuggestOffload,
    Use,
)
from instainfer.policy import catalog
from instainfer.policy.objective import Valued
from instainfer.policy.predict.poisson import Poisson

T = TypeVar("T")

NAMES = ("t/a@1", "t/b@1", "t/c@1", "u/a@1", "u/b@1")
#: So quick that deadlines pass within a history.
QUICK = {"ttl_s": 21.0, "bin_s": 1.0, "range_s": 40.0, "zygote_s": 4.0, "lifetime_s": 33.0}
KEEPALIVES = {
    **{name: KeepAliveConfig.model_validate({**QUICK, "policy": name}) for name in catalog.KEEPALIVES},
    "by namespace": KeepAliveConfig.model_validate({**QUICK, "namespaces": {"u": {"policy": "greedy_dual"}}}),
}
keepalives = pytest.mark.parametrize("config", KEEPALIVES.values(), ids=KEEPALIVES)

#: Long histories take minutes to shrink.
QUIETLY = hypothesis_settings(deadline=None, derandomize=True, phases=[Phase.generate])

#: What happens next, and a number that says to whom.
Step: TypeAlias = tuple[str, int]
SERVING = ("call", "command", "command", "report", "report", "load", "run", "time")
MEDDLING = ("command", "report", "load", "load fails", "dies", "measure", "register", "remove", "time")
PLANS = 60
MEDDLED = "a suggestion of the meddler"
BREATHS_S = (0.0, 0.01, 0.7, 3.0, 11.0, 40.0)


class Meddler(Valued):
    """A pre-loader that suggests whatever its numbers say, until it has made `PLANS` plans."""

    active = True

    def __init__(self, numbers: Sequence[int]) -> None:
        self._next = cycle(numbers).__next__
        self._plans = 0

    def plan(self, view: NodeView) -> PreloadPlan:
        self._plans += 1
        if self._plans > PLANS:
            return PreloadPlan()
        suggestions = [self._suggest(view, container) for container in view.containers for _ in range(self._next() % 3)]
        if self._next() % 4 == 0:
            suggestions.append(SuggestCreate(NAMES[self._next() % len(NAMES)], MEDDLED))
        return PreloadPlan(tuple(suggestions), wake_at=view.at + 1.0 + self._next() % 7)

    def _suggest(self, view: NodeView, container: ContainerView) -> Suggestion:
        number = self._next()
        residents = [resident.function for resident in container.residents]
        if number % 3 == 0 and residents:
            return SuggestOffload(container.id, residents[number // 3 % len(residents)], MEDDLED)
        keys = [*sorted(view.known.functions), template_key(container.namespace, "env")]
        victims = tuple(residents[: self._next() % 3])
        return SuggestLoad(container.id, keys[number // 3 % len(keys)], 100 * MIB, 1.0, victims, MEDDLED)

    def worth(self, function: FunctionView, at: float) -> float:
        return float(self._next() % 5)


class Overheard:
    """A keep-alive policy, with what it was asked on the event that is being handled."""

    def __init__(self, policy: KeepAlive) -> None:
        self.policy = policy
        self.asked: list[Use] = []

    def spends(self, namespace: str) -> bool:
        return self.policy.spends(namespace)

    def called(self, function: FunctionKey, at: float) -> None:
        self.policy.called(function, at)

    def idle(self, use: Use) -> Idle:
        self.asked.append(use)
        return self.policy.idle(use)

    def evicted(self, container: KeptContainer) -> None:
        self.policy.evicted(container)

    def ended(self, container: KeptContainer) -> None:
        self.policy.ended(container)

    def forget(self, function: FunctionKey) -> None:
        self.policy.forget(function)

    def remembered(self) -> Remembered:
        return self.policy.remembered()

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return self.policy.eviction_order(idle)


class Watched(World):
    """A world in which every event is held against what may come of it."""

    def __init__(self, config: KeepAliveConfig, numbers: Sequence[int], budget_mib: int, *, retain: bool) -> None:
        self.keepalive = Overheard(catalog.keepalive(config))
        settings = NodeSettings(budget_mib * MIB, max_loads=2, retain=retain)
        super().__init__(NodeState(settings, Policies(self.keepalive, Poisson(), Meddler(numbers))))
        for key in NAMES:
            self.feed(e.FunctionRegistered(0.0, function(key)))

    def feed(self, event: e.Event) -> list[d.Decision]:
        books, pool = self.node.books, self.node.books.pool
        idle = {c.id: (c.idle_since, c.expires_at, c.shared_at) for c in pool.idle.values()}
        waits = bool(books.queue)
        overdue = {c.id for c in pool.containers.values() if books.answer_due_at(c) <= event.at}
        fell_idle = self._falling_idle(event)
        due = {key for key, at in books.prewarm_at.items() if at <= event.at}
        self.keepalive.asked.clear()
        decisions = super().feed(event)
        if fell_idle is not None:
            assert [use.container for use in self.keepalive.asked] == fell_idle, f"keep-alive was asked on {event}"
        for name in idle.keys() & pool.idle.keys():
            container = pool.idle[name]
            assert (container.idle_since, container.expires_at, container.shared_at) == idle[name], event
        for made in (one for one in decisions if isinstance(one, d.StartContainer)):
            prewarmed = isinstance(event, e.TimerFired) and pool.containers[made.container].owner in due
            ahead = made.reason == MEDDLED and self._may_be_created_ahead(made)
            assert isinstance(event, e.RequestArrived) or waits or prewarmed or ahead, event
        for stopped in (one for one in decisions if isinstance(one, d.StopContainer)):
            expires_at = idle[stopped.container][1] if stopped.container in idle else None
            expired = isinstance(event, e.TimerFired) and (expires_at == event.at or stopped.container in overdue)
            assert isinstance(event, e.RequestArrived) or waits or expired, event
        self._nothing_is_overdue(event)
        assert books.guard.failures == {}
        return decisions

    def _may_be_created_ahead(self, made: d.StartContainer) -> bool:
        books = self.node.books
        ahead = [
            c.id for c in books.pool.containers.values() if c.state is ContainerState.STARTING and c.running is None
        ]
        alone = ahead == [made.container]
        return alone and not books.queue and self.keepalive.spends(made.namespace)

    def _falling_idle(self, event: e.Event) -> list[str] | None:
        """The container that this event leaves without a call, if there is one.

        None where that is not as it should be: `test_the_end_of_a_template_is_not_the_end_of_a_call`.
        """
        container = self.node.books.pool.containers.get(getattr(event, "container", ""))
        if container is None or container.state is ContainerState.STOPPING:
            return []
        match event:
            case e.ContainerStarted():
                falls = container.state is ContainerState.STARTING and container.running is None
            case e.RunFinished():
                # Of a function whose process ends with its call, the end of that process is waited for.
                resident = container.residents[container.owner or ""]
                falls = self._stays(event, resident.state) or resident.state is ResidentState.LOADING
            case e.ResidentGone() | e.LoadFailed():
                cleared = container.state is ContainerState.BUSY and container.running is None
                if cleared and is_template(event.function):
                    return None
                falls = cleared and event.function == container.owner
            case _:
                falls = False
        return [container.id] if falls else []

    def _stays(self, event: e.RunFinished, state: ResidentState) -> bool:
        books = self.node.books
        removed = books.functions[books.requests[event.activation].function].removed
        return event.alive and books.settings.retain and not removed and state is ResidentState.IN_USE

    def _nothing_is_overdue(self, event: e.Event) -> None:
        for container in self.node.books.pool.idle.values():
            assert container.expires_at >= event.at
            assert container.expires_at > event.at or not isinstance(event, e.TimerFired)


def function(key: FunctionKey) -> Function:
    return Function(key, key.split("/", maxsplit=1)[0], "env", 512 * MIB, 60.0, 150 * MIB)


def take(world: Watched, step: Step) -> None:
    """One step, if there is anything to take it with."""
    what, number = step
    containers = sorted(world.containers.values(), key=lambda container: container.id)
    alive = [c for c in containers if c.started and not c.dead]
    idle = [c for c in alive if c.running is None]
    key = NAMES[number % len(NAMES)]

    def one(among: Sequence[T]) -> T | None:
        return among[number % len(among)] if among else None

    match what:
        case "call":
            world.call(f"a{len(world.accepted)}", key)
        case "time":
            world.pass_time(BREATHS_S[number % len(BREATHS_S)])
        case "register":
            world.feed(e.FunctionRegistered(world.at, function(key)))
        case "remove":
            world.feed(e.FunctionRemoved(world.at, key))
        case "report" if (container := one([c for c in containers if c.reports])) is not None:
            world.deliver_report(container)
        case "command" if container := one([c for c in containers if not c.dead and (c.commands or not c.started)]):
            if container.started:
                world.process_command(container)
            elif any(isinstance(command, d.StopContainer) for command in container.commands):
                world.lose(container, None)
            else:
                world.start(container, ok=True)
        case "load" | "load fails" if (load := one(residents(alive, loaded=False))) is not None:
            # An off-load under way of a template that has died is not meant for one that is made meanwhile.
            quiet = not load[0].commands and not load[0].reports
            world.end_load(*load, size_mib=50 + number % 450, ok=what == "load", template=quiet and number % 3 == 0)
        case "run" if (container := one([c for c in alive if c.running and c.residents.get(c.running[1])])) is not None:
            world.end_run(container, size_mib=50 + number % 450, ok=number % 5 > 0)
        case "dies" if (
            resident := one([r for r in residents(idle, loaded=True) if not is_template(r[1])])
        ) is not None:
            world.kill_resident(*resident)
        case "measure" if (
            resident := one(residents([c for c in alive if c.running is None], loaded=True))
        ) is not None:
            container, name = resident
            container.reports.append(e.MemoryMeasured(0.0, container.id, ((name, number % 500 * MIB),)))


def residents(containers: Sequence[WorldContainer], *, loaded: bool) -> list[tuple[WorldContainer, str]]:
    return [(c, name) for c in containers for name, is_loaded in sorted(c.residents.items()) if is_loaded is loaded]


def steps(kinds: Sequence[str], count: int) -> st.SearchStrategy[list[Step]]:
    """That many: left to themselves, lists are short, and little happens in them."""
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 999)), min_size=count, max_size=count)


worlds = st.builds(
    lambda numbers, budget_mib, retain: partial(Watched, numbers=numbers, budget_mib=budget_mib, retain=retain),
    st.lists(st.integers(0, 999), min_size=1, max_size=20),
    st.sampled_from([512, 1100, 4096]),
    st.booleans(),
)


@keepalives
@hypothesis_settings(QUIETLY, max_examples=60)
@given(new_world=worlds, history=steps(SERVING + MEDDLING, 150))
def test_keepalive_is_asked_when_a_container_falls_idle_and_its_word_stands(
    config: KeepAliveConfig, new_world: Callable[[KeepAliveConfig], Watched], history: list[Step]
) -> None:
    world = new_world(config)
    for step in history:
        take(world, step)
    for _ in range(3):
        world.run_until_quiet()
        world.pass_time(400.0)
    world.run_until_quiet()
    assert set(world.answered) == world.accepted


@keepalives
@hypothesis_settings(QUIETLY, max_examples=40)
@given(
    new_world=worlds,
    calls=st.lists(st.sampled_from(NAMES[:1] * 4 + NAMES), min_size=1, max_size=9),
    history=steps(MEDDLING, 80),
)
def test_without_calls_containers_go_at_their_moment_and_none_comes_but_as_keepalive_said(
    config: KeepAliveConfig,
    new_world: Callable[[KeepAliveConfig], Watched],
    calls: list[FunctionKey],
    history: list[Step],
) -> None:
    world = new_world(config)
    for number, key in enumerate(calls):
        world.call(str(number), key)
        world.run_until_quiet()
        world.pass_time(7.0)
        world.run_until_quiet()
    moments = {container.id: container.expires_at for container in world.node.books.pool.idle.values()}
    started = len(world.entries)
    for step in history:
        take(world, step)
    told = [(entry.event.at, decision) for entry in world.entries[started:] for decision in entry.decisions]
    stopped = [(at, decision) for at, decision in told if isinstance(decision, d.StopContainer)]
    # This world may leave a command without an answer for so long that the container is given up.
    given_up = {decision.container for _, decision in stopped if "gave no sign" in decision.reason}
    stops = {decision.container: at for at, decision in stopped if decision.container not in given_up}
    assert {name: at for name, at in stops.items() if name in moments} == {
        name: at for name, at in moments.items() if at <= world.at and name not in given_up
    }


# -- what does not hold --------------------------------------------------------------------------------------------

TEMPLATE = template_key("t", "env")
LOST = Failure(FailureKind.CRASHED, "killed by the test")


class Once(Valued):
    """Loads one function into one container, when it is first asked."""

    active = True

    def __init__(self, function: FunctionKey, container: str) -> None:
        self.load = SuggestLoad(container, function, 100 * MIB, 1.0, (), "a test")

    def plan(self, view: NodeView) -> PreloadPlan:
        wanted = view.load_slots and any(each.id == self.load.container for each in view.containers)
        absent = any(each.key == self.load.function for each in view.candidates)
        return PreloadPlan((self.load,) if wanted and absent else ())

    def worth(self, function: FunctionView, at: float) -> float:
        return float(function.key != self.load.function)


def test_the_end_of_a_template_is_not_the_end_of_a_call() -> None:
    node = CheckedNode(512, keys=(A,))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.tell(e.LoadFinished(1.4, "node-c1", TEMPLATE, 1.0, 0.0, 60 * MIB))
    node.tell(e.LoadFinished(1.9, "node-c1", A, 0.1, 0.4, 100 * MIB, source=FROM_LIBRARIES))
    node.tell(e.RunFinished(2.0, "node-c1", "a1", 0.1, 0, LOST, alive=False))
    container = node.node.books.pool.containers["node-c1"]
    node.tell(e.ResidentGone(2.5, "node-c1", TEMPLATE, LOST))
    assert container.state is ContainerState.BUSY, "its function's process is still there"
    node.gone(3.0, "node-c1", A)
    assert (container.state, container.idle_since, container.expires_at) == (ContainerState.IDLE, 3.0, 603.0)


def test_the_end_of_a_pre_load_begins_no_container() -> None:
    d_key = "t/d@1"
    node = CheckedNode(2048, keys=(A, B, C, d_key), preloader=Once(d_key, "node-c2"))
    node.serve(0.0, "node-c1", "a1", A)
    node.call(10.0, "b1", B)
    node.started(10.4, "node-c2")
    node.loaded(11.9, "node-c2", B)
    assert only(node.ran(12.0, "node-c2", "b1"), d.Load).function == d_key
    only(node.call(20.0, "a2", A), d.Run)
    none(node.call(20.01, "a3", A), d.StartContainer)
    arrived = node.call(20.02, "c1", C)
    failed = node.tell(e.LoadFailed(20.03, "node-c2", d_key, LOST))
    assert [type(one) for one in failed if isinstance(one, d.StartContainer)] == []
    ended = node.ran(20.1, "node-c1", "a2")
    only(arrived + ended, d.StartContainer)


def test_a_container_with_one_resident_above_its_limit_may_be_ending_another() -> None:
    node = CheckedNode(512, keys=(A, B), preloader=Once(B, "node-c1"))
    node.serve(0.0, "node-c1", "a1", A)
    node.loaded(4.0, "node-c1", B)
    node.tell(e.MemoryMeasured(5.0, "node-c1", ((A, 600 * MIB),)))


def test_the_cost_of_a_cold_start_is_known_once_template_and_model_have_been_measured() -> None:
    node = CheckedNode(512, keys=(A,), guess_load_s=30.0)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.tell(e.LoadFinished(1.4, "node-c1", TEMPLATE, 1.0, 0.0, 60 * MIB))
    node.tell(e.LoadFinished(1.9, "node-c1", A, 0.1, 0.4, 100 * MIB, source=FROM_LIBRARIES))
    assert node.node.books.functions.load_s(A) == pytest.approx(1.4)


def test_a_request_does_not_wait_for_what_is_no_longer_there() -> None:
    node = CheckedNode(512, keys=(A, B))
    node.serve(0.0, "node-c1", "a1", A)
    node.call(10.0, "b1", B)
    node.gone(10.0, "node-c1", A)
    node.call(10.1, "a2", A)
    node.loaded(11.5, "node-c1", B)
    none(node.call(11.55, "b2", B), d.Run)
    only(node.ran(11.6, "node-c1", "b1"), d.Run)
    node.gone(11.6, "node-c1", B)
    node.loaded(11.7, "node-c1", A)
    assert only(node.ran(11.8, "node-c1", "a2"), d.Run).activation == "b2"
