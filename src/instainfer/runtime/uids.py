"""Gives processes that were forked from a library template user ids of their own."""

from __future__ import annotations

import os

from ..wire.calls import TO_PROCESS, Mapped
from . import jail
from .function_process import FunctionProcess


class Uids:
    """A process that has entered a user namespace of its own is given an id there, by the manager, which is root."""

    def __init__(self) -> None:
        self._can_give = os.geteuid() == 0
        self._without: set[str] = set()
        """Functions that could not be given one. A failure of one function has no effect on the other functions."""

    def may_give(self, function: str) -> bool:
        """Whether processes of a function, given by its key, may ask for an id of their own."""
        return self._can_give and function not in self._without

    def give(self, process: FunctionProcess, pid: int) -> bool:
        """Give this process an id of its own. Returns whether that was possible.

        Without any id in its namespace the process can do nothing, so it has to be ended if that was not possible.
        """
        uid = jail.own_uid(pid, process.function.cache)
        try:
            # The group of the manager keeps its access to the folder until the process has become the owner and takes
            # it away. If the process cannot change its id, it still has the old one and needs this access.
            os.chown(process.scratch, uid, -1)
            os.chmod(process.scratch, 0o770)
            for ids in ("gid_map", "uid_map"):
                with open("/proc/{}/{}".format(pid, ids), "w", encoding="ascii") as mapping:
                    mapping.write("{0} {0} 1".format(uid))
        except OSError:  # this host does not allow it
            self._without.add(process.function.key)
            return False
        process.uid = uid
        process.channel.send(TO_PROCESS.encode(Mapped(uid)))
        return True
