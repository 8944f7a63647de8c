"""The hand-over: a call takes its container. All other functions there are ended, and its own one gets the request.

The function gets the request as soon as no thread of another function can run that function's code any more
(`quiet.py`). The memory of the ended processes may become free later, unless the container's limit does not hold it
beside the memory that stays in use. Everything that the call waits for before its run, such as the load of its function
or the making of a template, has to be done within the function's time limit for a load.
"""

from __future__ import annotations

import time
from typing import Protocol

from ..wire.bounds import MAX_ANSWER_BYTES
from ..wire.calls import TO_PROCESS, Ask
from ..wire.messages import Failure, Function, Run
from .ends import Ends, Farewell
from .loading import Loading
from .memory import tells_children
from .passing import Passing
from .process import Process, State
from .quiet import Quiet
from .resident import Resident
from .watch import Watch

_LOOK_S = 0.001
"""Seconds between two looks at whether the ended processes can still run."""
_AT_ONCE_S = 0.001
"""Seconds for which a look is repeated at once. Most processes have begun to exit within this time."""
_PAUSE_S = 50e-6
"""Seconds of sleep between these repetitions, which leave the processor to the processes that are to exit."""
_SHARE_FOR_TEMPLATE = 0.5
"""Share of the time for a load that the template's making may take. After it, the function is loaded from nothing."""
_STOP_S = 0.1
"""Seconds that the templates of other functions have to stop. They need a millisecond after a fork."""
_GRACE_S = 2.0
"""Seconds that a load which is over its time limit may take to end."""


class Host(Protocol):
    """What a hand-over needs of the manager."""

    ends: Ends
    watch: Watch
    passing: Passing

    def processes(self) -> list[Process]: ...

    def fail(self, process: Process, failure: Failure) -> None: ...

    def end(self, farewell: Farewell) -> None: ...

    def call_has_failed(self, resident: Resident | None, key: str, failure: Failure) -> None:
        """Report that the call cannot be handed over. `resident` is its function if that is loaded, else None."""


class _Turn:
    """One call, from the moment when it is the first that waits in its container."""

    def __init__(self, run: Run, function: Function, quiet: Quiet) -> None:
        now = time.monotonic()
        self.run = run
        self.function = function
        self.quiet = quiet
        self.template_until = now + function.timeout_s * _SHARE_FOR_TEMPLATE
        self.deadline_at = now + function.timeout_s
        """Until then its function must have been loaded, and no other function may be able to run any more."""
        self.stopped_by = now + _STOP_S
        self.moments = [self.stopped_by, self.template_until, self.deadline_at, self.deadline_at + _GRACE_S]
        self.look_at: float | None = None
        """When to look again at whether other functions can still run. None when there is no need to look."""
        self.is_handed_over = False
        self.awaits = "its load"

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.deadline_at

    @property
    def is_hopeless(self) -> bool:
        """Whether even the processes that should have been ended at the time limit have not ended in time."""
        return time.monotonic() >= self.deadline_at + _GRACE_S

    def failure(self) -> Failure:
        text = "the call waited for {} for {:g} seconds, the function's time limit".format(
            self.awaits, self.function.timeout_s
        )
        return Failure("timed_out", text)


class HandOver:
    """Brings the call that is first in the container to its function."""

    def __init__(self, loading: Loading, host: Host) -> None:
        self._loading = loading
        self._host = host
        self._turn: _Turn | None = None
        self._tells_children = tells_children()

    def advance(self, run: Run, function: Function) -> None:
        """Take every step towards the run of this call that is possible now."""
        turn = self._turn
        if turn is None:
            turn = self._turn = _Turn(run, function, Quiet(self._loading.priority.let_die))
        resident = self._loading.residents.get(function.key)
        if resident is not None and resident.is_background:
            self._loading.bring_forward(resident)
            resident.deadline_at = turn.deadline_at
        self._end_others(resident)
        if turn.is_handed_over or turn is not self._turn:
            return
        if resident is None:
            self._load(turn)
        elif resident.state is State.READY and self._may_go_on(turn):
            # A closed channel means that the process has died. A signal reports its end; then it is loaded anew. The
            # loop may have heard of the call first, so it is asked whether anything has come from the process.
            resident.channel.read_rest()
            if resident.channel.is_open:
                self._hand_over(turn, resident)

    def is_over(self) -> None:
        """The call has been answered."""
        self._turn = None

    def next_moment(self) -> float | None:
        """When `on_moment` is to be called, in monotonic seconds. None for never."""
        turn = self._turn
        if turn is None or turn.is_handed_over:
            return None
        moments = turn.moments if turn.look_at is None else [turn.look_at, *turn.moments]
        return min(moments, default=None)

    def on_moment(self, now: float) -> None:
        """Give up the call if its time has passed. `advance` does everything else that is due."""
        turn = self._turn
        if turn is None or turn.is_handed_over:
            return
        turn.moments = [moment for moment in turn.moments if moment > now]
        resident = self._loading.residents.get(turn.function.key)
        is_loaded = resident is not None and resident.state is State.READY
        if turn.is_hopeless or (turn.is_late and is_loaded):
            self._host.call_has_failed(resident if is_loaded else None, turn.function.key, turn.failure())

    def _end_others(self, resident: Resident | None) -> None:
        others = [other for other in self._loading.residents.values() if other is not resident]
        turn = self._turn
        if not others or turn is None:
            return
        # A killed process wakes up, and would take the processor from this hand-over in order to free its memory. So
        # the processes that are asleep get the lowest priority first. This is done to children of the manager only,
        # since the process ids of its children cannot have been given to other processes meanwhile.
        for pid in turn.quiet.note_asleep([other.pid for other in others if other.pid is not None]):
            self._loading.priority.let_die(pid)
        for other in others:
            other.kill()  # kill all of them before the rest is done, which takes longer
        for other in others:
            self._host.end(Farewell(other, None))

    def _load(self, turn: _Turn) -> None:
        function = turn.function
        if turn.is_late:
            if self._host.ends.of(function.key) is None:
                self._host.call_has_failed(None, function.key, turn.failure())
            return
        from_nothing = time.monotonic() >= turn.template_until
        if not from_nothing and not self._loading.has_its_template(function, background=False):
            turn.awaits = "its template"
        elif self._host.ends.of(function.key) is not None:
            # Reports about the earlier process and about the new one must not mix.
            turn.awaits = "the end of an earlier process of its function"
        elif self._may_go_on(turn):
            turn.awaits = "its load"
            self._loading.wanted.pop(function.key, None)
            self._loading.load(function, background=False, from_nothing=from_nothing)
            begun = self._loading.residents.get(function.key)
            if begun is not None and begun.state is State.LOADING:
                begun.deadline_at = turn.deadline_at

    def _may_go_on(self, turn: _Turn) -> bool:
        """Whether no other function can run any more, and the container's limit holds the memory they still have."""
        turn.look_at = None
        if not self._templates_are_at_rest(turn):
            turn.awaits = "the templates of other functions"
            return False
        if self._host.ends.all_gone:
            return True  # the common case: no function had to be ended
        if not self._host.watch.has_room_for_what_ends():
            turn.awaits = "the memory of other functions"
        elif self._is_quiet(turn.quiet):
            return True
        else:
            turn.awaits = "the ends of other functions"
            turn.look_at = time.monotonic() + _LOOK_S
        return False

    def _templates_are_at_rest(self, turn: _Turn) -> bool:
        """Whether the templates of all other functions have been seen stopped and alone. Ends those that do not stop.

        One that is still being made runs code of its function, so it is ended at once.
        """
        others = self._loading.function_templates.others(turn.function.key)
        if not others:
            return True
        for template in others:
            if template.state is State.LOADING:
                self._host.end(Farewell(template, None))
        templates = self._loading.function_templates
        others = templates.others(turn.function.key)
        residents = (*self._loading.residents.values(), *self._host.ends.processes())
        if late := templates.restless(others, residents):
            if time.monotonic() >= turn.stopped_by:
                for template in late:
                    self._host.fail(template, Failure("crashed", "the function's template did not stop, and was ended"))
            return False
        found = list(templates.intruded(others, residents))
        for process, failure in found:
            self._host.fail(process, failure)
        return not found

    def _is_quiet(self, quiet: Quiet) -> bool:
        if not self._tells_children:
            return False  # without the kernel's list of children, the manager waits until all processes are gone
        until = time.monotonic() + _AT_ONCE_S
        while not self._host.ends.are_quiet(quiet, self._host.processes()):
            if time.monotonic() >= until:
                return False
            if not quiet.has_seen_all_quiet:
                time.sleep(_PAUSE_S)
        return True

    def _hand_over(self, turn: _Turn, resident: Resident) -> None:
        turn.is_handed_over = True
        resident.state = State.RUNNING
        resident.begin()
        resident.channel.expect(MAX_ANSWER_BYTES)
        deadline_ms = int((time.time() + resident.time_limit_s) * 1e3)
        env = {**turn.run.env, "__OW_DEADLINE": str(deadline_ms)}
        resident.channel.send(TO_PROCESS.encode(Ask(env, turn.run.args, turn.run.only_warms, turn.run.streams)))
        self._host.passing.begin(turn.run, resident)
        self._host.watch.hurry()
