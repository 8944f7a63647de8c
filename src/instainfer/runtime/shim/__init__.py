"""What a function gets from ``import instainfer``: `load`, `receive`, `reply` and `after_fork`.

Outside a container they work too, so that a function can be tried as it is: requests are read from standard input, a
line of JSON each, answers are printed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["after_fork", "load", "receive", "reply"]

_Callback = TypeVar("_Callback", bound=Callable[[], Any])


class Session:
    """How requests come and answers go; this one is for outside a container."""

    def model_begins(self) -> None:
        """From here on, the first time this is said, time is spent on the model and not on libraries."""

    def receive(self) -> Any:
        line = sys.stdin.readline()
        if not line:
            raise SystemExit(0)
        return json.loads(line)

    def reply(self, value: Any) -> None:
        from ..answers import encode_answer, encode_value
        from ..streaming import is_stream, values_of

        encode = encode_value if is_stream(value) else encode_answer
        for one in values_of(value) if is_stream(value) else [value]:
            answer, failure = encode(one, "the value given to instainfer.reply()")
            if failure is not None:
                raise TypeError(failure.message)
            print(answer.decode(), flush=True)  # noqa: T201 - this is how a script answers outside a container


_session = Session()
_after_fork: list[Callable[[], Any]] = []


def attach(session: Session) -> None:
    """Make `load`, `receive` and `reply` those of a container."""
    global _session  # noqa: PLW0603 - user code calls plain functions: the session has to be found from there
    _session = session


def load(f: Any, *arguments: Any, **options: Any) -> Any:
    """``torch.load(f)`` onto the CPU, or the tensors of a ``.safetensors`` file, in memory that all readers share.

    All arguments are those of ``torch.load`` and mean the same; safetensors take its `map_location`, or ``device``. A
    file that is given by its path is mapped where its format and PyTorch's version allow, and read otherwise. Replace
    it to change it, do not write into it. Raises what ``open`` raises when the file cannot be read.
    """
    _session.model_begins()
    if isinstance(f, (str, os.PathLike)) and str(os.fspath(f)).endswith(".safetensors"):
        return _load_safetensors(f, *arguments, **options)
    import torch

    if not arguments:
        options.setdefault("map_location", "cpu")
    if options.get("mmap") is None and can_map(f, torch.load):
        options["mmap"] = True
    return torch.load(f, *arguments, **options)


def receive() -> Any:
    """Wait for the next request and return it, a dict. The function counts as loaded when this is first called."""
    return _session.receive()


def reply(value: Any) -> None:
    """Answer the request that was received last, with a dict, a list or a generator of values."""
    _session.reply(value)


def after_fork(function: _Callback) -> _Callback:
    """Have `function`, which takes no arguments, called in each process that is forked from this one when it is loaded.

    Such a process begins as a copy of the loaded one. What must not be the same in all copies is renewed here, such as
    a seed of PyTorch's generator. Callbacks are called in the order of registration, before the first request. Where
    the function is not forked, they are not called at all. Returns `function`, so it serves as a decorator, too.
    """
    if not callable(function):
        raise TypeError("instainfer.after_fork() takes a function, not {!r}".format(function))
    _after_fork.append(function)
    return function


def forked() -> None:
    """Call what was given to `after_fork`. Raises what that raises."""
    if _after_fork:
        from ..coroutines import awaited

        for function in _after_fork:
            awaited(function())


def can_map(path: Any, torch_load: Any) -> bool:
    """Whether ``torch.load`` of this version can map this file."""
    import inspect
    import zipfile

    return (
        isinstance(path, (str, os.PathLike))
        and "mmap" in inspect.signature(torch_load).parameters
        and zipfile.is_zipfile(path)
    )


def _load_safetensors(
    path: Any, map_location: Any = None, *, device: Any = None, weights_only: Any = True, mmap: Any = True
) -> Any:
    """`weights_only` and `mmap` may be said, as to ``torch.load``; here it is always both."""
    from safetensors.torch import load_file

    with open(path, "rb"):  # the plain error when it is not there
        pass
    return load_file(path, device=device or map_location or "cpu")
