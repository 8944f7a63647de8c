"""Gives the processes of functions user ids of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..wire.messages import Function
from . import caches, jail
from .linux import CAP_SYS_ADMIN, PR_SET_DUMPABLE, has_capability, prctl, use_permitted_capabilities
from .view import View


class Uids:
    """Chooses the ids. Only a manager that is root can give them.

    A process that is started from nothing takes its id itself, since it is root until then. One that was forked from a
    library template enters a user namespace of its own and is given an id there.
    """

    def __init__(self, view: View, *, may_share: bool = False) -> None:
        """`may_share`: root's own id may be that of functions which cannot be given another."""
        self._view = view
        self._can_give = os.geteuid() == 0
        self._must_give = self._can_give and not may_share
        self._without: set[str] = set()
        """Functions that could not be given one. A failure of one function has no effect on the other functions."""

    def may_give(self, function: str) -> bool:
        """Whether processes of a function, given by its key, may ask for an id of their own."""
        return self._can_give and function not in self._without

    def may_fork(self, function: str) -> bool:
        """Whether processes of a function may be forked from a library template. Some hosts give these no ids."""
        return not self._must_give or function not in self._without

    def refuses(self, isolation: list[str]) -> bool:
        """Whether a process must not go on that says this about its isolation: it is root's and should not be."""
        return self._must_give and isolation[:1] != [jail.OWN_UID]

    def is_without(self, function: str) -> None:
        """A process of a function was forked from a library template and has got no id."""
        self._without.add(function)

    def of(self, function: Function, pid: int) -> int:
        """The id that only processes of this function get: the owner of its cache or, without one, one of `pid`'s.

        0 if it cannot be given any. Raises OSError when there is no such process.
        """
        if not self._can_give:
            return 0
        return caches.owner(function.cache) or jail.uid_of_pid(self._view.host_pid(pid))

    def of_template(self, pid: int) -> int:
        """The id for a library template: that of no function. 0 if it cannot be given any."""
        return jail.uid_of_pid(self._view.host_pid(pid)) if self._can_give else 0

    def give(self, function: Function, scratch: str, group: int, pid: int) -> int | None:
        """Give a process that was forked from a library template an id of its own. None if that was not possible.

        Without any id in its namespace the process can do nothing, so it has to be ended then. `group` is that of its
        template.
        """
        try:
            uid = self.of(function, pid)
            # The group of its template keeps its access to the folder until the process has become the owner and takes
            # it away. If the process cannot change its id, it still has the old one and needs this access.
            os.chown(scratch, uid, group)
            os.chmod(scratch, 0o770)
            with _owner_of_namespaces(group):
                for ids in ("gid_map", "uid_map"):
                    with open("/proc/{}/{}".format(pid, ids), "w", encoding="ascii") as mapping:
                        mapping.write("{0} {0} 1".format(uid))
        except OSError:  # this host does not allow it
            self._without.add(function.key)
            return None
        return uid


@contextmanager
def _owner_of_namespaces(uid: int) -> Iterator[None]:
    """Have the rights over user namespaces that processes of this user have made.

    The kernel gives them to who may administrate everything and to the namespace's owner. In a container of Docker,
    root is neither.
    """
    if not uid or has_capability(CAP_SYS_ADMIN):
        yield
        return
    os.seteuid(uid)
    try:
        use_permitted_capabilities()
        yield
    finally:
        os.seteuid(0)
        prctl(PR_SET_DUMPABLE, 1)  # a change of the user id has reset this
