"""The `Invoker` holds a `NodeState`, carries out its decisions, and tells it the outcomes.

Everything happens in the thread of the event loop, one event at a time. An event goes into the state. Each decision
becomes a command to the backend, an answer to a waiting call, or a timer. The reports of the backend are the next
events.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..backends.base import Answer, Backend, Call, Clock, Container, ContainerSpec, FunctionSpec, TemplateSpec
from ..core.decisions import (
    Decision,
    Forget,
    Judged,
    Load,
    Offload,
    Refuse,
    Remember,
    Reply,
    ResizeContainer,
    Run,
    StartContainer,
    StopContainer,
    WakeAt,
)
from ..core.errors import IllegalEvent, InternalError
from ..core.events import (
    ContainerGone,
    ContainerStartFailed,
    DrainAsked,
    Event,
    FunctionRegistered,
    FunctionRemoved,
    OffloadAsked,
    PlacesWanted,
    RequestArrived,
    RunFinished,
    TimerFired,
)
from ..core.model import (
    ActivationId,
    ContainerId,
    Function,
    FunctionKey,
    Profile,
    ResidentKey,
    Verdict,
    is_function_template,
    is_template,
    templated_function,
)
from ..core.node import NodeState
from ..core.story import Entry
from .measures import Tally
from .outcome import Outcome

log = logging.getLogger(__name__)


class Invoker:
    """Runs one node.

    `fast_init` tells whether functions that ask for a fast initialisation get it. `on_profile` is called with every
    profile and `on_verdict` with every verdict that should be stored. `on_entry` is called with every event and its
    decisions.
    """

    def __init__(
        self,
        state: NodeState,
        backend: Backend,
        clock: Clock,
        *,
        fast_init: bool = True,
        on_profile: Callable[[ResidentKey, Profile], None] | None = None,
        on_verdict: Callable[[FunctionKey, Verdict], None] | None = None,
        on_entry: Callable[[Entry], None] | None = None,
    ) -> None:
        self.state = state
        self.backend = backend
        self.clock = clock
        self.tally = Tally()
        self._fast_init = fast_init
        self._on_profile = on_profile
        self._on_verdict = on_verdict
        self._policy_failures = 0
        self._on_entry = on_entry
        self._specs: dict[FunctionKey, FunctionSpec] = {}
        """Specs of functions as they were registered, without templates."""
        self._templates: dict[ResidentKey, tuple[tuple[FunctionKey, ...], TemplateSpec]] = {}
        """Specs of templates, each with the functions that it was made for."""
        self._complete: dict[FunctionKey, FunctionSpec] = {}
        """Specs of functions together with the templates that they are forked from."""
        self._containers: dict[ContainerId, Container] = {}
        self._calls: dict[ActivationId, Call] = {}
        self._waiting: dict[ActivationId, asyncio.Future[Outcome]] = {}
        self._answers: dict[ActivationId, Answer] = {}
        self._streaming: dict[ActivationId, Container] = {}
        """The containers of the calls whose values are wanted one by one, once they run."""
        self._unwanted: set[ActivationId] = set()
        """Those of which nobody wants further values."""
        self._inbox: deque[Event] = deque()
        self._feeding = False
        self._cancel_wake: Callable[[], None] | None = None
        self._drained: asyncio.Event | None = None
        self._effects: dict[type, Callable[..., None]] = {
            StartContainer: self._start_container,
            ResizeContainer: self._resize_container,
            StopContainer: self._stop_container,
            Load: self._load,
            Offload: self._offload,
            Run: self._run,
            Reply: self._reply,
            Refuse: self._refuse,
            Remember: self._remember,
            Judged: self._judged,
            Forget: self._forget,
            WakeAt: self._wake_at,
        }

    def register(
        self,
        function: Function,
        spec: FunctionSpec,
        profile: Profile | None = None,
        verdict: Verdict | None = None,
        called_ago_s: Sequence[float] = (),
    ) -> None:
        """Make a function known to the node. `called_ago_s` tells how long ago its past calls were, oldest first."""
        now = self.clock.now()
        calls = tuple([now - ago_s for ago_s in called_ago_s])
        self._specs[function.key] = replace(spec, fast_init=spec.fast_init and self._fast_init)
        self._complete.pop(function.key, None)
        self._templates.pop(function.template, None)
        self.feed(FunctionRegistered(now, function, profile, verdict, calls))

    def _spec(self, function: FunctionKey) -> FunctionSpec:
        """What a container is told about a function. The same object as long as nothing in it changes."""
        record = self.state.books.functions[function]
        template = None if record.template is None else self._template_spec(record.template)
        known = self._complete.get(function)
        if known is None or known.template is not template:
            known = self._complete[function] = replace(self._specs[function], template=template)
        return known

    def _template_spec(self, template: ResidentKey) -> TemplateSpec:
        """What a template imports and may read: the modules and folders of all functions that are forked from it."""
        users = self.state.books.functions.templates[template].users
        known = self._templates.get(template)
        if known is None or known[0] is not users:
            specs = [self._specs[user] for user in users]
            modules = [module for spec in specs if spec.template is not None for module in spec.template.modules]
            shared = TemplateSpec(
                template,
                specs[0].python,
                tuple(dict.fromkeys(modules)),
                tuple(dict.fromkeys(spec.folder for spec in specs)),
                next((spec.cache.parent for spec in specs if spec.cache is not None), None),
            )
            known = self._templates[template] = (users, shared)
        return known[1]

    def unregister(self, function: FunctionKey) -> None:
        """Remove a function. Its accepted calls still run, and use its files until they have ended."""
        self.feed(FunctionRemoved(self.clock.now(), function))

    def want(self, function: FunctionKey, places: int) -> None:
        """Keep this many places of a function ready from now on, in place of the number before."""
        self.feed(PlacesWanted(self.clock.now(), function, places))

    def offload(self, function: FunctionKey) -> None:
        """End all of a function that is idle, and load nothing of it ahead again before its next call."""
        self.feed(OffloadAsked(self.clock.now(), function))

    def invoke(self, call: Call) -> asyncio.Future[Outcome]:
        """Hand a call to the node. The future gets its outcome."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._calls[call.activation] = call
        self._waiting[call.activation] = future
        self.feed(RequestArrived(self.clock.now(), call.activation, call.function))
        return future

    def taken(self, activation: ActivationId, taken_bytes: int) -> None:
        """The caller has got values of this call that cost so much (see `instainfer.backends.base`)."""
        if (container := self._streaming.get(activation)) is not None:
            container.taken(activation, taken_bytes)

    def enough(self, activation: ActivationId) -> None:
        """Nobody wants further values of this call. It ends with its next one, or earlier by itself."""
        if activation in self._calls:
            self._unwanted.add(activation)
        if (container := self._streaming.get(activation)) is not None:
            container.enough(activation)

    async def drain(self) -> None:
        """Refuse waiting calls, finish running ones and stop all containers. Returns when nothing is left."""
        self._drained = asyncio.Event()
        self.feed(DrainAsked(self.clock.now()))
        self._note_drained()
        await self._drained.wait()

    def feed(self, event: Event) -> None:
        """Give one event to the state. Events that arise meanwhile wait for their turn."""
        self._inbox.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._inbox:
                self._step(self._inbox.popleft())
        finally:
            self._feeding = False

    def _step(self, event: Event) -> None:
        try:
            decisions = self.state.handle(event)
        except IllegalEvent:
            # This is a bug of InstaInfer or of a backend. The state is unchanged, so all other calls can be served.
            log.exception("an event was refused")
            return
        except InternalError:
            # This is a bug in the middle of an event. The decisions made before it are still carried out, because
            # calls may wait for them.
            log.exception("an event could not be handled to its end")
            decisions = self.state.books.out
        self._note_policy_failures()
        for decision in decisions:
            self._enact(decision)
        self.tally.note(event, decisions)
        if self._on_entry is not None:
            self._on_entry(self.state.story.last)
        if isinstance(event, ContainerGone | ContainerStartFailed):
            self._containers.pop(event.container, None)
            self._note_drained()

    def _note_policy_failures(self) -> None:
        failures = self.state.books.guard.failures
        count = sum(failure.count for failure in failures.values()) if failures else 0
        if count > self._policy_failures:
            if self._policy_failures == 0:
                log.error("a policy has failed; a plain default stands in, and `status` keeps count: %s", failures)
            self._policy_failures = count

    def _enact(self, decision: Decision) -> None:
        self._effects[type(decision)](decision)

    def _report(self, event: Event, answer: Answer | None) -> None:
        if answer is not None and isinstance(event, RunFinished):
            self._answers[event.activation] = answer
        self.feed(event)

    def _start_container(self, decision: StartContainer) -> None:
        spec = ContainerSpec(decision.container, decision.namespace, decision.limit_bytes, decision.image)
        self._containers[decision.container] = self.backend.start(spec, self._report)

    def _resize_container(self, decision: ResizeContainer) -> None:
        self._containers[decision.container].resize(decision.limit_bytes)

    def _stop_container(self, decision: StopContainer) -> None:
        self._containers[decision.container].stop()

    def _load(self, decision: Load) -> None:
        container = self._containers[decision.container]
        if is_function_template(decision.function):
            spec = self._spec(templated_function(decision.function))
            container.load_function_template(spec, proves=decision.proves)
        elif is_template(decision.function):
            container.load_template(self._template_spec(decision.function))
        else:
            container.load(self._spec(decision.function))

    def _offload(self, decision: Offload) -> None:
        self._containers[decision.container].offload(decision.function)

    def _run(self, decision: Run) -> None:
        call = self._calls[decision.activation]
        container = self._containers[decision.container]
        container.run(self._spec(decision.function), call)
        if call.on_value is not None:
            self._streaming[decision.activation] = container
            if decision.activation in self._unwanted:
                container.enough(decision.activation)

    def _reply(self, decision: Reply) -> None:
        answer = self._answers.pop(decision.activation, Answer())
        self._resolve(
            Outcome(
                decision.activation,
                decision.function,
                decision.container,
                decision.start_kind,
                decision.phases,
                decision.failure,
                answer.result,
                answer.logs,
                decision.options,
            )
        )

    def _refuse(self, decision: Refuse) -> None:
        self._answers.pop(decision.activation, None)  # of a first run, which died of memory
        function = self._calls[decision.activation].function
        self._resolve(
            Outcome(decision.activation, function, "", None, decision.phases, decision.failure, None),
        )

    def _resolve(self, outcome: Outcome) -> None:
        del self._calls[outcome.activation]
        self._streaming.pop(outcome.activation, None)
        self._unwanted.discard(outcome.activation)
        future = self._waiting.pop(outcome.activation)
        if not future.done():
            future.set_result(outcome)

    def _remember(self, decision: Remember) -> None:
        if self._on_profile is not None:
            self._on_profile(decision.function, decision.profile)

    def _judged(self, decision: Judged) -> None:
        if self._on_verdict is not None:
            self._on_verdict(decision.function, decision.verdict)

    def _forget(self, decision: Forget) -> None:
        self._specs.pop(decision.function, None)
        self._complete.pop(decision.function, None)
        self._templates.pop(decision.function, None)
        for container in self._containers.values():
            container.forget(decision.function)

    def _wake_at(self, decision: WakeAt) -> None:
        if self._cancel_wake is not None:
            self._cancel_wake()
        self._cancel_wake = self.clock.call_at(decision.when, self._wake)

    def _wake(self) -> None:
        self._cancel_wake = None
        self.feed(TimerFired(self.clock.now()))

    def _note_drained(self) -> None:
        if self._drained is not None and self.state.drained:
            self._drained.set()
            if self._cancel_wake is not None:
                self._cancel_wake()
                self._cancel_wake = None
