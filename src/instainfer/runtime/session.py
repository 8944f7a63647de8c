"""What `import instainfer` does in a container, for functions of either style."""

from __future__ import annotations

import os
import threading

from ..wire.calls import Imported
from . import shim
from .connection import Connection


class ContainerSession(shim.Session):
    """Tells the manager where in a load the imports end and the model begins."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._is_told = False
        self._pid = os.getpid()

    def model_begins(self) -> None:
        # Functions may load in several threads, and in processes of their own that have a copy of this; the manager
        # wants to hear it once, and not after the load.
        if self._is_told or os.getpid() != self._pid:
            return
        with self._lock:
            if not self._is_told:
                self._is_told = True
                self._connection.send(Imported())

    def model_ends(self) -> None:
        """The function is loaded: nothing more is said of its model."""
        with self._lock:
            self._is_told = True
