"""A world that keeps the backends' contract and is otherwise as unhelpful as it can be.

Commands travel to containers and reports travel back; when each arrives is for the test to choose, so that every race
between the two can happen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    MIB,
    Failure,
    FailureKind,
    Verdict,
    function_template_key,
    is_function_template,
    is_template,
    template_key,
    templated_function,
)
from instainfer.core.node import NodeState
from instainfer.core.story import Entry

DIED = Failure(FailureKind.CRASHED, "killed by the test")
STARVED = Failure(FailureKind.OUT_OF_MEMORY, "it took more than the test allows")


@dataclass
class WorldContainer:
    id: str
    started: bool = False
    dead: bool = False
    residents: dict[str, bool] = field(default_factory=dict)
    """Function -> whether it is loaded."""
    running: tuple[str, str] | None = None
    """Activation and function."""
    dying: list[str] = field(default_factory=list)
    """Functions that run no code any more and whose memory is not free yet."""
    stuck: bool = False
    """Its manager does nothing any more; only the backend can end it."""
    commands: deque[d.Decision] = field(default_factory=deque)
    reports: deque[e.Event] = field(default_factory=deque)


class World:
    def __init__(self, node: NodeState) -> None:
        self.node = node
        self.at = node.books.at
        self.containers: dict[str, WorldContainer] = {}
        self.answered: dict[str, d.Reply | d.Refuse] = {}
        self.accepted: set[str] = set()
        self.wake_at: float | None = None
        self.entries: list[Entry] = []
        self.seen_by_user_code: list[tuple[str, str, set[str]]] = []
        self.forgotten: list[str] = []
        self.judged: list[tuple[str, Verdict]] = []
        self.unfit: set[str] = set()
        """Function templates that could not be made, since their functions were registered last."""

    # -- the node's side -------------------------------------------------------------------------------------------

    def feed(self, event: e.Event) -> list[d.Decision]:
        if isinstance(event, e.LoadFailed) and is_function_template(event.function):
            self.unfit.add(event.function)
        elif isinstance(event, e.FunctionRegistered):
            self.unfit.discard(function_template_key(event.function.key))
            if event.verdict is not None and not event.verdict.fit:
                self.unfit.add(function_template_key(event.function.key))
        decisions = self.node.handle(event)
        self.entries.append(self.node.story.last)
        self.node.check()
        for decision in decisions:
            match decision:
                case d.StartContainer():
                    assert decision.container not in self.containers
                    self.containers[decision.container] = WorldContainer(decision.container)
                case d.Load() | d.Offload() | d.Run() | d.StopContainer():
                    if isinstance(decision, d.Load):
                        assert decision.function not in self.unfit, "an unfit function template is never made again"
                    self.containers[decision.container].commands.append(decision)
                case d.ResizeContainer():
                    assert decision.container in self.containers
                case d.Reply() | d.Refuse():
                    assert decision.activation not in self.answered, "answered twice"
                    self.answered[decision.activation] = decision
                case d.WakeAt():
                    self.wake_at = decision.when
                case d.Remember():
                    pass
                case d.Judged(function, verdict):
                    self.judged.append((function, verdict))
                case d.Forget():
                    self.forgotten.append(decision.function)
        return decisions

    def call(self, activation: str, function: str) -> None:
        self.accepted.add(activation)
        self.feed(e.RequestArrived(self.at, activation, function))

    def pass_time(self, seconds: float) -> None:
        target = self.at + seconds
        while self.wake_at is not None and self.wake_at <= target:
            self.at, self.wake_at = max(self.at, self.wake_at), None
            self.feed(e.TimerFired(self.at))
        self.at = target

    # -- the containers' side --------------------------------------------------------------------------------------

    def deliver_report(self, container: WorldContainer) -> None:
        event = replace(container.reports.popleft(), at=self.at)
        if isinstance(event, e.ContainerGone | e.ContainerStartFailed):
            del self.containers[container.id]
        self.feed(event)

    def start(self, container: WorldContainer, *, ok: bool) -> None:
        if ok:
            container.started = True
            container.reports.append(e.ContainerStarted(0, container.id))
        else:
            container.dead = True
            container.reports.append(
                e.ContainerStartFailed(0, container.id, Failure(FailureKind.CONTAINER_START_FAILED, "no luck"))
            )

    def process_command(self, container: WorldContainer) -> None:
        match container.commands.popleft():
            case d.Load(_, function):
                container.residents.setdefault(function, False)
            case d.Offload(_, function):
                if function in container.residents:
                    del container.residents[function]
                    container.reports.append(e.ResidentGone(0, container.id, function))
            case d.Run(_, activation, function, _, _):
                for other in [key for key in container.residents if key != function and not is_template(key)]:
                    del container.residents[other]
                    container.dying.append(other)
                for key, loaded in container.residents.items():
                    if is_function_template(key) and not loaded:
                        assert templated_function(key) == function, "it would run its function's code beside the call"
                container.residents.setdefault(function, False)
                container.running = (activation, function)
            case d.StopContainer():
                self.lose(container, None)

    def lose(self, container: WorldContainer, failure: Failure | None) -> None:
        container.dead = True
        container.residents.clear()
        container.running = None
        container.dying.clear()
        container.commands.clear()
        container.reports.append(e.ContainerGone(0, container.id, failure))

    def free(self, container: WorldContainer) -> None:
        """The memory of one that was ended for a run is free."""
        container.reports.append(e.ResidentGone(0, container.id, container.dying.pop(0)))

    def end_load(
        self,
        container: WorldContainer,
        function: str,
        *,
        size_mib: int,
        ok: bool,
        template: bool = False,
        starved: bool = False,
    ) -> None:
        """`template`: a template is made on the way, if there is none. `starved`: a load that fails dies of memory."""
        known = self.node.books.functions.get(templated_function(function))
        namespace = templated_function(function).split("/", maxsplit=1)[0]
        key = known.function.template if known is not None else template_key(namespace, "env")
        if is_function_template(function):
            self._end_making(container, function, size_mib=size_mib, ok=ok)
            return
        forked = container.residents.get(key, False) and not is_template(function)
        if template and ok and key not in container.residents and not is_template(function):
            container.residents[key] = forked = True
            container.reports.append(e.LoadFinished(0, container.id, key, 1.0, 0.0, 60 * MIB))
        waiting = container.running is not None and container.running[1] == function
        if ok:
            container.residents[function] = True
            source = FROM_LIBRARIES if forked else FROM_NOTHING
            if container.residents.get(function_template_key(function), False):
                source = FROM_FUNCTION
            container.reports.append(e.LoadFinished(0, container.id, function, 1.0, 0.5, size_mib * MIB, source))
            return
        del container.residents[function]
        failure = STARVED if starved else Failure(FailureKind.LOAD_FAILED, "ImportError")
        container.reports.append(e.LoadFailed(0, container.id, function, failure))
        if waiting:
            assert container.running is not None
            container.reports.append(e.RunFinished(0, container.id, container.running[0], 0.0, 0, failure, alive=False))
            container.running = None

    def _end_making(self, container: WorldContainer, key: str, *, size_mib: int, ok: bool) -> None:
        """A function template stands, or is unfit."""
        if ok:
            container.residents[key] = True
            container.reports.append(e.LoadFinished(0, container.id, key, 1.0, 0.5, size_mib * MIB))
        else:
            del container.residents[key]
            failure = Failure(FailureKind.LOAD_FAILED, "a thread is left after warmup()")
            container.reports.append(e.LoadFailed(0, container.id, key, failure))

    def end_run(
        self, container: WorldContainer, *, size_mib: int, ok: bool, peak_mib: int = 0, why: Failure = DIED
    ) -> None:
        assert container.running is not None
        activation, function = container.running
        present = {key for key in container.residents if not is_template(key)}
        self.seen_by_user_code.append((container.id, function, present))
        container.running = None
        if ok:
            peak_bytes = (size_mib + peak_mib) * MIB
            ran = e.RunFinished(0, container.id, activation, 0.1, size_mib * MIB, peak_bytes=peak_bytes)
            container.reports.append(ran)
            return
        del container.residents[function]
        container.reports.append(e.RunFinished(0, container.id, activation, 0.0, 0, why, alive=False))
        container.reports.append(e.ResidentGone(0, container.id, function, why))

    def kill_resident(self, container: WorldContainer, function: str, why: Failure = DIED) -> None:
        del container.residents[function]
        container.reports.append(e.ResidentGone(0, container.id, function, why))

    def run_until_quiet(self) -> None:
        """Be helpful for once: let everything that is under way end well."""
        for _ in range(10_000):
            busy = False
            for container in list(self.containers.values()):
                if container.reports:
                    self.deliver_report(container)
                elif container.stuck and not container.dead:
                    if not any(isinstance(command, d.StopContainer) for command in container.commands):
                        continue
                    self.lose(container, None)
                elif container.dying:
                    self.free(container)
                elif container.commands and container.started and not container.dead:
                    self.process_command(container)
                elif not container.started and not container.dead:
                    # A stop can overtake the start.
                    if any(isinstance(c, d.StopContainer) for c in container.commands):
                        self.lose(container, None)
                    else:
                        self.start(container, ok=True)
                elif (loading := [f for f, loaded in container.residents.items() if not loaded]) and not container.dead:
                    self.end_load(container, loading[0], size_mib=100, ok=True)
                elif container.running is not None:
                    self.end_run(container, size_mib=100, ok=True)
                else:
                    continue
                busy = True
            if not busy:
                return
        raise AssertionError("it never comes to rest")
