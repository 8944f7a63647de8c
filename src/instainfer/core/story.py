"""A bounded log of events and of the decisions that followed from them, and its form on disk.

On disk there is one line of JSON for each event::

    {"event": {"type": "TimerFired", "at": 12.5}, "decisions": [{"type": "WakeAt", "when": 60.0}], "notes": []}

Because the core is pure, feeding the events of a recorded story into a new state gives the same decisions again.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from . import decisions as decisions_module
from . import events as events_module
from . import model as model_module
from .decisions import Decision
from .events import Event
from .values import value


@value(frozen=True, slots=True)
class Entry:
    """One event, the decisions that followed, and notes on why suggestions of a policy were not followed."""

    event: Event
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()


class Story:
    """The latest `length` entries."""

    def __init__(self, length: int = 1000) -> None:
        self._entries: deque[tuple[Event, Sequence[Decision], Sequence[str]]] = deque(maxlen=length)
        # `Entry` objects are created when somebody reads them, because few are ever read.

    def append(self, event: Event, decisions: Sequence[Decision], notes: Sequence[str] = ()) -> None:
        """Add an event. The caller must not change `decisions` and `notes` afterwards."""
        self._entries.append((event, decisions, notes))

    def __iter__(self) -> Iterator[Entry]:
        return (_entry(*each) for each in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last(self) -> Entry:
        return _entry(*self._entries[-1])

    def tail(self, count: int = 12) -> str:
        """The latest `count` entries as text, for the message of an error."""
        return "\n".join(dump_entry(entry) for entry in list(self)[-count:])


def _entry(event: Event, decisions: Sequence[Decision], notes: Sequence[str]) -> Entry:
    return Entry(event, tuple(decisions), tuple(notes))


def dump_entry(entry: Entry) -> str:
    return json.dumps(
        {
            "event": to_json(entry.event),
            "decisions": [to_json(d) for d in entry.decisions],
            "notes": list(entry.notes),
        },
        separators=(",", ":"),
    )


def load_entry(line: str) -> Entry:
    """Inverse of `dump_entry`."""
    raw = json.loads(line)
    return Entry(from_json(raw["event"]), tuple(from_json(d) for d in raw["decisions"]), tuple(raw.get("notes", ())))


def to_json(value: Any) -> Any:
    """An event or a decision as plain JSON values. The key ``type`` holds the name of its class."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__} | {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(raw: dict[str, Any]) -> Any:
    """Inverse of `to_json`. Raises `KeyError` for an unknown ``type``."""
    cls = _classes()[raw["type"]]
    hints = _hints(cls)
    return cls(**{name: _restore(hints[name], item) for name, item in raw.items() if name != "type"})


@cache
def _classes() -> dict[str, Any]:
    modules = (events_module, decisions_module, model_module)
    return {
        name: cls
        for module in modules
        for name, cls in vars(module).items()
        if isinstance(cls, type) and is_dataclass(cls)
    }


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _restore(hint: Any, raw: Any) -> Any:
    if raw is None:
        return None
    if get_origin(hint) in (Union, UnionType):
        return _restore(next(arg for arg in get_args(hint) if arg is not type(None)), raw)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return tuple(_restore(kinds[0], item) for item in raw)
        return tuple(_restore(kind, item) for kind, item in zip(kinds, raw, strict=True))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(raw)
    if is_dataclass(hint):
        return from_json(raw)
    return raw
