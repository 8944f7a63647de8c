"""Where the libraries of a function keep their caches: in a folder that outlives its processes and containers (ADR 25).

``CACHE`` is the folder of one version of a function. The platform makes it, and two folders in it::

    CACHE/own       for processes with a user id of the function's own, which is the owner of this folder
    CACHE/common    for processes with the platform's user id, where a host or its files allow no other

A process finds the one that it owns. Libraries look for their folders while they are imported, and in a library
template that is before it is known for which function. So a template names them through a descriptor, which each
process forked from it turns to the cache of its own function.
"""

from __future__ import annotations

import os
import stat

OWN, COMMON = "own", "common"

_PLACES = {
    "XDG_CACHE_HOME": "",  # fontconfig, librosa, matplotlib, PyTorch's hub, and whatever keeps to the standard
    "CUDA_CACHE_PATH": "nv",
    "HF_HOME": "huggingface",
    "KERAS_HOME": "keras",
    "MPLCONFIGDIR": "matplotlib",
    "NLTK_DATA": "nltk_data",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TRITON_CACHE_DIR": "triton",
}
"""The variables that say where libraries keep their caches, and the folders in the cache that they name."""
_stand_in: int | None = None
"""In a library template, and in what is forked from it: the descriptor through which the caches are named there."""
_lasts = False
"""Whether this process uses its function's cache."""


def owner(cache: str) -> int | None:
    """The user id that is the function's own, or None. Only root can make processes have it."""
    return (_uid_of_folder(os.path.join(cache, OWN)) or None) if cache else None


def usable(cache: str) -> str | None:
    """The folder in the cache that belongs to this process, with the user id that it has now. None if there is none."""
    for name in (OWN, COMMON) if cache else ():
        folder = os.path.join(cache, name)
        if _uid_of_folder(folder) == os.geteuid():
            return folder
    return None


def stand_in(scratch: str) -> None:
    """In a library template: name the caches through a descriptor. For now it leads to the template's own `scratch`."""
    global _stand_in  # noqa: PLW0603 - libraries remember the path: the processes forked from here must find it again
    _stand_in = _opened(_made(scratch))
    _name("/proc/self/fd/{}".format(_stand_in))


def use(cache: str, scratch: str) -> None:
    """Let libraries keep their caches in the function's cache, or in `scratch` if this process cannot use that.

    Variables that the function or the operator has set stay as they are.
    """
    global _lasts  # noqa: PLW0603 - it is asked for in the processes that are forked from this one
    folder = usable(cache)
    _lasts = folder is not None
    if folder is not None:
        _name(folder)
    if _stand_in is not None:
        _lead_to(_made(scratch) if folder is None else folder)


def move(scratch: str) -> None:
    """In a process forked from a function template: without a cache that lasts, begin anew in its own `scratch`."""
    if _stand_in is not None and not _lasts:
        _lead_to(_made(scratch))


def _lead_to(folder: str) -> None:
    assert _stand_in is not None
    fd = _opened(folder)
    os.dup2(fd, _stand_in, False)
    os.close(fd)


def _opened(folder: str) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _name(folder: str) -> None:
    for variable, place in _PLACES.items():
        os.environ.setdefault(variable, os.path.join(folder, place) if place else folder)


def _made(scratch: str) -> str:
    folder = os.path.join(scratch, ".cache")  # what XDG_CACHE_HOME is by default, where HOME is the scratch folder
    os.makedirs(folder, 0o700, exist_ok=True)
    return folder


def _uid_of_folder(path: str) -> int | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_uid if stat.S_ISDIR(status.st_mode) else None
