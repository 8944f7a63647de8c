"""The life cycles of a container and of a resident, as tables of allowed transitions.

A test walks these tables, and `Pool` refuses every transition that is not in them.

Container::

    STARTING ──> IDLE <──> BUSY
        │         │          │
        └─────────┴────┬─────┘
                       v
                   STOPPING ──> GONE        (a failed start or a lost container leads to GONE from any state)

Resident: one function in one container::

    LOADING ──> LOADED <──> IN_USE          (LOADING ──> IN_USE when a call waits for the load)
       │          │            │
       └──────────┴─────┬──────┘
                        v
                   UNLOADING ──> GONE       (a failed load or a lost container leads to GONE from any state)

UNLOADING is a state of its own because the resident still takes its memory: the memory is free only when the end of
the resident's process has been reported.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ContainerState(StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"
    GONE = "gone"


class ResidentState(StrEnum):
    LOADING = "loading"
    LOADED = "loaded"
    IN_USE = "in_use"
    UNLOADING = "unloading"
    GONE = "gone"


_C, _R = ContainerState, ResidentState

CONTAINER_TRANSITIONS: Final[dict[ContainerState, frozenset[ContainerState]]] = {
    _C.STARTING: frozenset({_C.IDLE, _C.BUSY, _C.STOPPING, _C.GONE}),
    _C.IDLE: frozenset({_C.BUSY, _C.STOPPING, _C.GONE}),
    _C.BUSY: frozenset({_C.IDLE, _C.STOPPING, _C.GONE}),
    _C.STOPPING: frozenset({_C.GONE}),
    _C.GONE: frozenset(),
}

RESIDENT_TRANSITIONS: Final[dict[ResidentState, frozenset[ResidentState]]] = {
    _R.LOADING: frozenset({_R.LOADED, _R.IN_USE, _R.UNLOADING, _R.GONE}),
    _R.LOADED: frozenset({_R.IN_USE, _R.UNLOADING, _R.GONE}),
    _R.IN_USE: frozenset({_R.LOADED, _R.UNLOADING, _R.GONE}),
    _R.UNLOADING: frozenset({_R.GONE}),
    _R.GONE: frozenset(),
}

# These names are for code that runs on every call: before Python 3.12, reading an enum member from its class takes
# seven times as long as reading a module's name.
STARTING: Final = _C.STARTING
IDLE: Final = _C.IDLE
BUSY: Final = _C.BUSY
STOPPING: Final = _C.STOPPING
CONTAINER_GONE: Final = _C.GONE
LOADING: Final = _R.LOADING
LOADED: Final = _R.LOADED
IN_USE: Final = _R.IN_USE
UNLOADING: Final = _R.UNLOADING
RESIDENT_GONE: Final = _R.GONE
