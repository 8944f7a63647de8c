"""The part of the module ``instainfer`` that works in a container, for functions of both styles."""

from __future__ import annotations

import os
import threading

from ..wire.calls import Imported
from . import shim
from .connection import Connection


class ContainerSession(shim.Session):
    """Tells the manager when the imports of a load have ended and the model is being loaded."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._is_told = False
        self._pid = os.getpid()

    def model_begins(self) -> None:
        # A function may load in several threads, and in processes of its own that have a copy of this object. The
        # manager must be told once only, and not after the load.
        if self._is_told or os.getpid() != self._pid:
            return
        with self._lock:
            if not self._is_told:
                self._is_told = True
                self._connection.send(Imported())

    def model_ends(self) -> None:
        """The function is loaded. From now on the manager is told nothing more about its model."""
        with self._lock:
            self._is_told = True
