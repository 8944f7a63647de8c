"""Writes a run as a Chrome trace, for chrome://tracing and Perfetto: what was in which container, and what it did.

The file is a JSON array of complete events (``"ph": "X"``, times in microseconds). Each container is shown as a
process. Its first lane is the container's own life, and every function or template that was in it has a lane. Spans are
written while the story is read, simulated or recorded, so only the spans that are open at the moment are in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..core import decisions as d
from ..core import events as e
from ..core.model import ContainerId, ResidentKey, is_template
from ..core.story import Entry, load_entry
from ..errors import BadInput, NotFound
from .timeline import short_name

_LIFE = 0
"""The lane of the container's own life."""


def convert(story: Path, file: TextIO) -> None:
    """Write the Chrome trace of a recorded story. Raises `NotFound`, or `BadInput` with the malformed line."""
    trace = ChromeTrace(file)
    for entry in read_story(story):
        trace.add(entry)
    trace.close()


def read_story(path: Path) -> Iterator[Entry]:
    """Yield the entries of a story's file; raises the same errors as `convert`."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield load_entry(line)
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise BadInput(f"{path}, line {number}: not a step of a story ({error!r})") from None
    except FileNotFoundError:
        raise NotFound(f"no story at {path}; record one with `instainfer up --story {path}`") from None


class ChromeTrace:
    """Follows a story, and writes each span when it ends."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._now = 0.0
        self._events = 0
        self._containers: dict[ContainerId, tuple[int, str, float]] = {}
        """Number and state of each container, and when the state began."""
        self._lanes: dict[ContainerId, dict[ResidentKey, int]] = {}
        self._residents: dict[ContainerId, dict[ResidentKey, tuple[str, float, dict[str, Any]]]] = {}
        """State of each resident, when the state began, and the details of the span."""
        self._running: dict[ContainerId, d.Run] = {}
        self._count = 0
        file.write("[")

    def add(self, entry: Entry) -> None:
        """Take in one event and the decisions that followed it."""
        self._now = entry.event.at
        self._event(entry.event)
        for decision in entry.decisions:
            self._decision(decision)

    def close(self) -> None:
        """End the spans that are open when the story ends, and the array."""
        for container in list(self._containers):
            self._end_container(container)
        self._file.write("\n]\n")

    def _event(self, event: e.Event) -> None:
        match event:
            case e.ContainerStarted(_, container):
                self._life(container, "alive")
            case e.ContainerGone(_, container) | e.ContainerStartFailed(_, container):
                self._end_container(container)
            case e.LoadFinished(_, container, key):
                run = self._running.get(container)
                if run is not None and run.function == key:
                    self._enter(container, key, "run", _about(run))
                else:
                    self._enter(container, key, "template" if is_template(key) else "pre-loaded")
            case e.LoadFailed(_, container, key) | e.ResidentGone(_, container, key):
                self._leave(container, key)
            case e.RunFinished(_, container):
                ended = self._running.pop(container, None)
                if ended is not None:
                    self._enter(container, ended.function, "kept")
            case _:
                pass

    def _decision(self, decision: d.Decision) -> None:
        match decision:
            case d.StartContainer(container):
                self._count += 1
                self._containers[container] = (self._count, "starting", self._now)
                self._lanes[container], self._residents[container] = {}, {}
                self._name("process_name", container, _LIFE, container)
                self._name("thread_name", container, _LIFE, "container")
            case d.Load(container, key, reason):
                self._enter(container, key, "load", {"reason": reason})
            case d.Run(container, _, key):
                self._running[container] = decision
                loaded = self._residents[container].get(key, ("load",))[0] != "load"
                self._enter(container, key, "run" if loaded else "load", _about(decision))
            case _:
                pass

    def _life(self, container: ContainerId, doing: str) -> None:
        number, was_doing, since_s = self._containers[container]
        self._span(was_doing, "container", (number, _LIFE), since_s, {})
        self._containers[container] = (number, doing, self._now)

    def _enter(self, container: ContainerId, key: ResidentKey, doing: str, about: dict[str, Any] | None = None) -> None:
        self._leave(container, key)
        lanes = self._lanes[container]
        if key not in lanes:
            lanes[key] = len(lanes) + 1
            self._name("thread_name", container, lanes[key], short_name(key))
        self._residents[container][key] = (doing, self._now, about or {})

    def _leave(self, container: ContainerId, key: ResidentKey) -> None:
        left = self._residents[container].pop(key, None)
        if left is not None:
            doing, since_s, about = left
            place = self._containers[container][0], self._lanes[container][key]
            self._span(f"{doing} {short_name(key)}", doing, place, since_s, about)

    def _end_container(self, container: ContainerId) -> None:
        for key in list(self._residents[container]):
            self._leave(container, key)
        number, doing, since_s = self._containers.pop(container)
        self._span(doing, "container", (number, _LIFE), since_s, {})
        del self._residents[container], self._lanes[container]
        self._running.pop(container, None)

    def _name(self, what: str, container: ContainerId, lane: int, name: str) -> None:
        number = self._containers[container][0]
        self._line({"name": what, "ph": "M", "pid": number, "tid": lane, "args": {"name": name}})

    def _span(self, name: str, kind: str, place: tuple[int, int], since_s: float, about: dict[str, Any]) -> None:
        number, lane = place
        self._line(
            {
                "name": name,
                "cat": kind,
                "ph": "X",
                "ts": round(since_s * 1e6, 3),
                "dur": round((self._now - since_s) * 1e6, 3),
                "pid": number,
                "tid": lane,
                "args": about,
            }
        )

    def _line(self, value: dict[str, Any]) -> None:
        self._file.write(",\n" if self._events else "\n")
        self._file.write(json.dumps(value, separators=(",", ":")))
        self._events += 1


def _about(run: d.Run) -> dict[str, Any]:
    return {"activation": run.activation, "start_kind": run.start_kind}
