"""Takes rights away from a function's process before any line of its user's code runs.

In this order: resource limits; its user id, for one of its own (only root can, and only when others may read the
function's files); its capabilities; new privileges; every path but those it needs (Landlock); the system calls that no
function needs (seccomp). What a host does not give is left out and said, in words, never passed over in silence.
"""

from __future__ import annotations

import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from . import caches, landlock, seccomp
from .linux import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    bound_capabilities,
    drop_capabilities,
    enter_user_namespace,
    prctl,
)
from .view import TEMPORARY, is_private

_UID_BASE = 2_000_000_000
"""Own user ids are above this number. Systems and directory services assign only lower ids."""
_MOST_PIDS = 1 << 22
"""The kernel's own limit on process ids."""

_MOST_FILES = 8192
"""Open files of one process."""
_MOST_PROCESSES = 4096
"""Processes and threads of one user id, which the processes of a function have in all containers. A fork bomb ends here
long before the machine has no process ids left."""
OOM_MANAGER, OOM_FUNCTION = 300, 600
"""The kernel that needs memory ends functions first, then managers, and the platform last."""

OWN_UID = "own uid: given"
FILTERED = "calls: only those that functions need, by seccomp"
FORKED_UID = "own uid: not given (forked from a template, whose uid it has; Landlock keeps them apart)"

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/proc", "/sys")
# Not all of /etc, since some of its files are not for everyone.
_SETTINGS = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
)
_DEVICES_READ = ("/dev/urandom", "/dev/random")
_DEVICES_WRITE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/shm")


def enter(folder: str, scratch: str, environment: str, cache: str = "", uid: int = 0) -> list[str]:
    """Take from this process all rights that it does not need. Returns what was and was not applied, in words.

    `folder` holds the function (read), `scratch` is its own (written), `environment` its packages (read), and `cache`
    what libraries keep for the next process of this function (written; see `runtime.caches`). `uid` is the user id that
    the process takes, 0 for none.
    """
    _limit()
    readable = _needed([folder], environment)
    bound_capabilities()  # this is not possible any more with another user id
    words = _take_own_uid(readable, scratch, uid)
    return [words, *_give_up(readable, scratch, caches.usable(cache))]


def enter_template(
    folders: list[str], scratch: str, own: str, environment: str, *, cached: str = "", uid: int = 0
) -> list[str]:
    """Do the same for a template. It keeps the rights that the functions forked from it need together.

    `folders` are theirs (read), `scratch` takes each one's own (`own` is the template's), and the folder `cached` holds
    the caches of their namespace (written). Its user id is that of no function.
    """
    _limit()
    readable = _needed(folders, environment)
    bound_capabilities()
    words = _take_own_uid(readable, own, uid)
    is_root = os.geteuid() == 0 or words == OWN_UID  # then what is forked from it gets ids of its own
    return [words, *_give_up(readable, scratch, cached, user_namespaces=is_root)]


def narrow(
    folder: str, scratch: str, environment: str, ask_uid: Callable[[], int] | None, cache: str = ""
) -> list[str]:
    """Take from a process forked after `enter_template` the rights that only other forked functions need.

    Landlock separates two such processes: neither can read the other's memory or files, nor (from ABI 6 on) signal
    it. `ask_uid` has an id of its own mapped into the user namespace that this process has just entered.
    """
    readable = _needed([folder], environment)
    uid = FORKED_UID if ask_uid is None else _take_mapped_uid(readable, scratch, ask_uid)
    return [uid, *_give_up(readable, scratch, caches.usable(cache))]


def _give_up(readable: list[str], scratch: str, cache: str | None, *, user_namespaces: bool = False) -> list[str]:
    return [_drop_privileges(), _restrict_files(readable, scratch, cache), _filter_calls(user_namespaces)]


def is_own_uid(words: str) -> bool:
    """Whether these words, returned by `narrow`, claim that the process has a user id of its own."""
    return not words.startswith("own uid: not given")


def uid_of_pid(host_pid: int) -> int:
    """A user id that no other process gets while the one with this id, outside all containers, exists."""
    return _UID_BASE + host_pid


def function_uids() -> range:
    """The user ids for the caches of functions. They differ from those that are made of process ids."""
    return range(_UID_BASE + _MOST_PIDS + 1, 1 << 31)


def prefer_to_end(score: int) -> None:
    """Say how soon this process, and all that it will start, should be ended where the whole machine lacks memory."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as adjustment:
        adjustment.write(str(score))


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most_files = min(_MOST_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    prefer_to_end(OOM_FUNCTION)


def _needed(folders: list[str], environment: str) -> list[str]:
    linked = [file for folder in folders for file in _linked_files(folder)]
    return [*folders, environment, *_everyones(), *linked]


def _everyones() -> list[str]:
    """What every function of this interpreter reads."""
    return [sys.base_prefix, sys.base_exec_prefix, *_own_code()]


def _restrict_files(readable: list[str], scratch: str, cache: str | None) -> str:
    own = [scratch, *([cache] if cache else [])]
    functions = [path for path in readable if path not in _everyones()]
    writable = [*own, *_DEVICES_WRITE, *_temporary([*own, *functions])]
    try:
        version = landlock.restrict([*readable, *_SYSTEM, *_SETTINGS, *_DEVICES_READ], writable)
    except OSError as error:
        return "files: not restricted by Landlock ({})".format(error.strerror or error)
    return _landlock_words(version)


def _temporary(known: list[str]) -> list[str]:
    """The folders for temporary files, where they are the container's own and hold nothing else.

    A platform whose home lies in one of them has files of other functions there, as far as the known ones tell.
    """
    if not is_private():
        return []
    return [folder for folder in TEMPORARY if not any(path.startswith(folder + "/") for path in known)]


def _filter_calls(user_namespaces: bool) -> str:
    try:
        seccomp.install(seccomp.rules(user_namespaces=user_namespaces))
    except OSError as error:
        return "calls: not filtered ({})".format(error.strerror or error)
    return FILTERED


def describe() -> list[str]:
    """The isolation that `enter` will be able to apply on this host, as far as it is known beforehand."""
    version = landlock.abi()
    return [
        "own uid: for each function whose files others may read"
        if os.geteuid() == 0
        else "own uid: not given (needs root)",
        "privileges: no new ones" + (", no capabilities" if os.geteuid() == 0 else ""),
        _landlock_words(version) if version else "files: not restricted (this kernel has no Landlock)",
        FILTERED if seccomp.is_available() else "calls: not filtered (this kernel or machine has no filter for them)",
    ]


def _landlock_words(version: int) -> str:
    signals = ", no signals to others" if version >= 6 else ""
    return "files: only its own, by Landlock ABI {}{}".format(version, signals)


def _own_code() -> Iterator[str]:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in ("__init__.py", "wire", "runtime"):
        yield os.path.join(package, name)


def _linked_files(folder: str) -> Iterator[str]:
    """The files outside the function's folder to which links in it point: stored weights, which nobody may write.

    Links to all other files are ignored. Otherwise a function could name any file that it would like to read.
    """
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if os.path.islink(path):
                target = os.path.realpath(path)
                try:
                    mode = os.stat(target).st_mode
                except OSError:
                    continue
                if stat.S_ISREG(mode) and not mode & 0o222:
                    yield target


def _take_own_uid(readable: list[str], scratch: str, uid: int) -> str:
    if os.geteuid() != 0 or not uid:
        return "own uid: not given (needs root)"
    closed = _first_closed(readable, scratch)
    if closed is not None:
        return "own uid: not given ({} is closed to other users)".format(closed)
    try:
        os.chown(scratch, uid, uid)
        _become(uid)
    except OSError as error:
        if os.geteuid() == 0:
            os.chown(scratch, 0, 0)
        return "own uid: not given ({})".format(error.strerror)
    return OWN_UID


def _take_mapped_uid(readable: list[str], scratch: str, ask_uid: Callable[[], int]) -> str:
    """Change the user id of a process that has lost the right to do so, in a user namespace of its own."""
    closed = _first_closed(readable, scratch)
    if closed is not None:
        return "{}; {} is closed to other users)".format(FORKED_UID[:-1], closed)
    try:
        enter_user_namespace()
    except OSError as error:
        return "{}; no user namespace: {})".format(FORKED_UID[:-1], error.strerror)
    try:
        _become(ask_uid())
        os.chmod(scratch, 0o700)
    except OSError as error:
        # Some hosts take all capabilities from new user namespaces. Then the process keeps its user id.
        return "{}; its own uid cannot be taken: {})".format(FORKED_UID[:-1], error.strerror)
    return OWN_UID


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_PROCESSES, _MOST_PROCESSES))
    be_readable()


def be_readable() -> None:
    """After a change of its user id, let this process's ``/proc/self`` be its own. It would be root's otherwise."""
    prctl(PR_SET_DUMPABLE, 1)


def _first_closed(readable: list[str], scratch: str) -> str | None:
    """The first path, on the way to the files that the process needs, that other users may not pass."""
    ways = [(path, stat.S_IROTH) for path in readable] + [(os.path.dirname(scratch), 0)]
    return next((shut for path, right in ways for shut in _closed_to_others(path, right)), None)


def _closed_to_others(path: str, needed: int) -> Iterator[str]:
    """Yield the path if other users lack the needed right on it, and the folders above it that they may not enter."""
    path = os.path.realpath(path)
    while os.path.exists(path):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            needed |= stat.S_IXOTH
        if mode & needed != needed:
            yield path
        if path == os.path.dirname(path):
            return
        path, needed = os.path.dirname(path), stat.S_IXOTH


def _drop_privileges() -> str:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    try:
        drop_capabilities()  # root's, or those that come with a user namespace
    except OSError as error:
        if os.geteuid() != 0:
            return "privileges: no new ones"
        return "privileges: no new ones, but root's capabilities stay ({})".format(error.strerror or error)
    return "privileges: no new ones, no capabilities"
