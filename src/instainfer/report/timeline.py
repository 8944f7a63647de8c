"""Reads from a story what was in which container at what time.

A story is a file of JSON lines, each with one event and the decisions that followed it::

    {"event": {"type": "RunFinished", "at": 12.3, ...}, "decisions": [{"type": "Run", ...}, ...]}

Names and fields are those of `core.events` and `core.decisions`. A decision happens at the time of its event.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..core.model import READY_KINDS, is_template
from ..errors import BadInput, NotFound


class Stage(StrEnum):
    """What a resident does during a span of time."""

    PRELOADING = "pre-loading"
    LOADING = "loading for a call"
    PRELOADED = "pre-loaded, not called yet"
    RUNNING = "running"
    WARM = "kept from an earlier run"
    TEMPLATE = "template: libraries only"


@dataclass(frozen=True, slots=True)
class ContainerSpan:
    """The life of a container, in seconds on the story's clock."""

    container: str
    start_s: float
    ready_s: float | None
    """When the start of the container had ended; None when it never did."""
    end_s: float


@dataclass(frozen=True, slots=True)
class ResidentSpan:
    container: str
    function: str
    """Name of the function; for a template, name of the environment."""
    stage: Stage
    start_s: float
    end_s: float
    template: bool = False


@dataclass(frozen=True, slots=True)
class CallMark:
    """The moment at which a call was given to a container."""

    container: str
    function: str
    start_kind: str
    at_s: float

    @property
    def hit(self) -> bool:
        """Whether the call found its function loaded."""
        return self.start_kind in READY_KINDS


@dataclass(frozen=True, slots=True)
class Timeline:
    containers: tuple[ContainerSpan, ...]
    residents: tuple[ResidentSpan, ...]
    calls: tuple[CallMark, ...]
    first_request_s: float | None
    """When the first request arrived; the replay began earlier by the `sent_s` of that call."""
    end_s: float

    def shifted(self, by_s: float) -> Timeline:
        """Return the same timeline on another clock, with `by_s` added to all times."""
        return Timeline(
            tuple(
                ContainerSpan(
                    span.container,
                    span.start_s + by_s,
                    None if span.ready_s is None else span.ready_s + by_s,
                    span.end_s + by_s,
                )
                for span in self.containers
            ),
            tuple(replace(span, start_s=span.start_s + by_s, end_s=span.end_s + by_s) for span in self.residents),
            tuple(replace(call, at_s=call.at_s + by_s) for call in self.calls),
            None if self.first_request_s is None else self.first_request_s + by_s,
            self.end_s + by_s,
        )


def read(path: Path) -> Timeline:
    """Read a story from a file. Raises `NotFound`, or `BadInput` with the malformed line."""
    try:
        with path.open(encoding="utf-8") as file:
            return build(_parse(path, number, line) for number, line in enumerate(file, 1) if line.strip())
    except FileNotFoundError:
        raise NotFound(f"no story at {path}; start the platform with `--story {path}`") from None


def build(story: Iterable[Mapping[str, Any]]) -> Timeline:
    """Follow a story from its beginning; spans that are open when it ends are closed there."""
    follower = _Follower()
    for step in story:
        follower.event(step["event"])
        for decision in step["decisions"]:
            follower.decision(decision)
    return follower.finish()


def _parse(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        step = json.loads(line)
        step["event"]["type"], step["event"]["at"], step["decisions"]
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path}, line {number}: not a step of a story ({error!r})") from None
    return step  # type: ignore[no-any-return]


def short_name(key: str) -> str:
    """Shorten ``namespace/name@version`` to ``name``, and ``template:namespace/environment`` to ``environment``.

    A function in a package keeps it, as in ``package/name``. A function template, ``loaded:namespace/name@version``,
    has the name of its function.
    """
    rest = key.partition("/")[2]
    return rest.rpartition("@")[0] or rest or key


class _Follower:
    """Opens a span when something begins, and closes the span when it ends or changes its stage."""

    def __init__(self) -> None:
        self.now = 0.0
        self.first_request_s: float | None = None
        self.containers: dict[str, ContainerSpan] = {}
        self.residents: dict[tuple[str, str], tuple[Stage, float]] = {}
        self.called: dict[str, str] = {}
        """The function that each busy container was given to run."""
        self.ended_containers: list[ContainerSpan] = []
        self.ended_residents: list[ResidentSpan] = []
        self.calls: list[CallMark] = []

    def event(self, event: Mapping[str, Any]) -> None:
        self.now = event["at"]
        container = event.get("container", "")
        match event["type"]:
            case "RequestArrived":
                if self.first_request_s is None:
                    self.first_request_s = self.now
            case "ContainerStarted":
                self.containers[container] = replace(self.containers[container], ready_s=self.now)
            case "ContainerStartFailed" | "ContainerGone":
                self._end_container(container)
            case "LoadFinished":
                # A template may be loaded without a decision of its own, when a function is to be forked from it.
                self._enter(container, event["function"], self._loaded_as(container, event["function"]))
            case "LoadFailed" | "ResidentGone":
                self._leave(container, event["function"])
            case "RunFinished":
                function = self.called.pop(container, None)
                if function is not None and event.get("alive", True) and (container, function) in self.residents:
                    self._enter(container, function, Stage.WARM)

    def decision(self, decision: Mapping[str, Any]) -> None:
        container = decision.get("container", "")
        match decision["type"]:
            case "StartContainer":
                self.containers[container] = ContainerSpan(container, self.now, None, self.now)
            case "Load":
                self._enter(container, decision["function"], Stage.PRELOADING)
            case "Run":
                function = decision["function"]
                self.called[container] = function
                self.calls.append(CallMark(container, short_name(function), decision["start_kind"], self.now))
                stage = self.residents.get((container, function), (Stage.LOADING, 0.0))[0]
                if stage in (Stage.PRELOADED, Stage.WARM):
                    self._enter(container, function, Stage.RUNNING)
                elif stage is Stage.LOADING:
                    self._enter(container, function, Stage.LOADING)

    def finish(self) -> Timeline:
        for container in list(self.containers):
            self._end_container(container)
        return Timeline(
            tuple(sorted(self.ended_containers, key=lambda span: (span.start_s, span.container))),
            tuple(sorted(self.ended_residents, key=lambda span: (span.start_s, span.container, span.function))),
            tuple(self.calls),
            self.first_request_s,
            self.now,
        )

    def _loaded_as(self, container: str, function: str) -> Stage:
        if is_template(function):
            return Stage.TEMPLATE
        return Stage.RUNNING if self.called.get(container) == function else Stage.PRELOADED

    def _enter(self, container: str, function: str, stage: Stage) -> None:
        self._leave(container, function)
        self.residents[container, function] = (stage, self.now)

    def _leave(self, container: str, function: str) -> None:
        left = self.residents.pop((container, function), None)
        if left is not None and left[1] < self.now:
            span = ResidentSpan(container, short_name(function), *left, self.now, is_template(function))
            self.ended_residents.append(span)

    def _end_container(self, container: str) -> None:
        for where, function in list(self.residents):
            if where == container:
                self._leave(container, function)
        self.called.pop(container, None)
        span = self.containers.pop(container, None)
        if span is not None:
            self.ended_containers.append(replace(span, end_s=self.now))
