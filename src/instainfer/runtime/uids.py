"""Gives the processes of functions user ids of their own."""

from __future__ import annotations

import os

from ..wire.messages import Function
from . import caches, jail
from .view import View


class Uids:
    """Chooses the ids. Only a manager that is root can give them.

    A process that is started from nothing takes its id itself, since it is root until then. One that was forked from a
    library template enters a user namespace of its own and is given an id there.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._can_give = os.geteuid() == 0
        self._without: set[str] = set()
        """Functions that could not be given one. A failure of one function has no effect on the other functions."""

    def may_give(self, function: str) -> bool:
        """Whether processes of a function, given by its key, may ask for an id of their own."""
        return self._can_give and function not in self._without

    def of(self, function: Function, pid: int) -> int:
        """The id that only processes of this function get: the owner of its cache or, without one, one of `pid`'s.

        0 if it cannot be given any. Raises OSError when there is no such process.
        """
        if not self._can_give:
            return 0
        return caches.owner(function.cache) or jail.uid_of_pid(self._view.host_pid(pid))

    def give(self, function: Function, scratch: str, pid: int) -> int | None:
        """Give a process that was forked from a library template an id of its own. None if that was not possible.

        Without any id in its namespace the process can do nothing, so it has to be ended then.
        """
        try:
            uid = self.of(function, pid)
            # The group of the manager keeps its access to the folder until the process has become the owner and takes
            # it away. If the process cannot change its id, it still has the old one and needs this access.
            os.chown(scratch, uid, -1)
            os.chmod(scratch, 0o770)
            for ids in ("gid_map", "uid_map"):
                with open("/proc/{}/{}".format(pid, ids), "w", encoding="ascii") as mapping:
                    mapping.write("{0} {0} 1".format(uid))
        except OSError:  # this host does not allow it
            self._without.add(function.key)
            return None
        return uid
