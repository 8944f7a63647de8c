"""The two life cycles, as tables that a person can read and a test can walk.

Container::

    STARTING ──> IDLE <──> BUSY
        │         │          │
        └─────────┴────┬─────┘
                       v
                   STOPPING ──> GONE        (start failure and loss lead to GONE from anywhere)

Resident: one function in one container::

    LOADING ──> LOADED <──> IN_USE          (LOADING ──> IN_USE when a call waits for the load)
       │          │            │
       └──────────┴─────┬──────┘
                        v
                   UNLOADING ──> GONE       (a failed load and a lost container lead to GONE from anywhere)

UNLOADING is a state and not a flag because the memory is still taken: it is ours again only when the end of the
process has been reported.
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

# For the hot path: until Python 3.12, reading a member from its class takes seven times as long as reading a name.
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
