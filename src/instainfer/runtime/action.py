"""A function of style ``action``: a module whose ``main(args)`` answers, with an optional ``load()`` before.

A module that also has ``warmup()`` gets it called when it was loaded ahead of time and nobody waits: what a first
request would pay for and a load does not, such as lazily built kernels and pages not yet mapped, is paid there.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any, NoReturn

from ..wire.calls import Unloadable
from ..wire.messages import Failure, Function
from . import shim
from .answers import encode_answer
from .connection import Connection
from .coroutines import awaited
from .failures import failure_of, log
from .fast_init import FastInit, FastInitError
from .session import ContainerSession
from .streaming import answer_of, gathered, is_stream

_SAMPLE = "sample.json"
"""A file in the function's folder: a request that it can answer."""
_MAIN_NAME = "main__"
"""The module name under which ``__main__.py`` is imported."""


class _Main(ModuleType):
    """What ``__main__`` is to the function's code: its handler.

    Objects of a class that the author defined in a program, and pickled there, name the class ``__main__.X``. The
    handler that defines X is where to find it. What a process is started with stays its own: ``multiprocessing``
    would import the handler once more by its ``__file__``.
    """

    def __init__(self, handler: str) -> None:
        super().__init__("__main__")
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        handler = None if name.startswith("__") else sys.modules.get(self._handler)
        if handler is None:
            raise AttributeError(name)
        return getattr(handler, name)


class _Unloadable(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Session(ContainerSession):
    """The functions of the module ``instainfer`` in an action."""

    def receive(self) -> NoReturn:
        raise RuntimeError("instainfer.receive() is for scripts; an action's request is the argument of its main")

    def reply(self, value: Any) -> NoReturn:
        raise RuntimeError("instainfer.reply() is for scripts; an action's answer is what its main returns")


def serve(connection: Connection, function: Function) -> None:
    """Load the function, then answer requests until the manager ends this process."""
    session = _Session(connection)
    shim.attach(session)
    try:
        with FastInit(wanted=function.fast_init):
            module, main = _load(function, session)
    except FastInitError as error:
        connection.send(Unloadable(Failure("load_failed", str(error))))
        return
    except _Unloadable as error:
        connection.send(Unloadable(error.failure))
        return
    warmup = getattr(module, "warmup", None)
    if callable(warmup):
        connection.warm_up = partial(_warm_up, warmup)
    sample = os.path.join(function.folder, _SAMPLE)
    if os.path.isfile(sample):
        connection.answer_sample = partial(_answer_sample, main, sample)
    session.model_ends()
    connection.prepared()
    while True:
        _answer(connection, main, function.main)


def _load(function: Function, session: shim.Session) -> tuple[Any, Any]:
    """Import the handler and call its ``load()``. Returns its module and its main function."""
    sys.argv = [function.handler]
    sys.modules["__main__"] = _Main(_MAIN_NAME if function.handler == "__main__" else function.handler)
    doing = "importing {}.py".format(function.handler)
    try:
        module = _import_handler(function)
    except ModuleNotFoundError as error:
        if error.name is not None and function.handler.split(".")[0] == error.name:
            text = "there is no {}.py in the function's folder; its handler must be there".format(function.handler)
            raise _Unloadable(Failure("load_failed", text)) from None
        log(error)
        raise _Unloadable(failure_of(error, "load_failed", doing)) from None
    except Exception as error:
        log(error)
        raise _Unloadable(failure_of(error, "load_failed", doing)) from None
    main = getattr(module, function.main, None)
    if not callable(main):
        text = "{}.py has no function {!r}; define it, or name another one as main".format(
            function.handler, function.main
        )
        raise _Unloadable(Failure("load_failed", text))
    load = getattr(module, "load", None)
    if callable(load):
        session.model_begins()
        try:
            awaited(load())
        except Exception as error:
            log(error)
            raise _Unloadable(failure_of(error, "load_failed", "load()")) from None
    return module, main


def _import_handler(function: Function) -> ModuleType:
    if function.handler != "__main__":
        return import_module(function.handler)
    # OpenWhisk gives this name to the only file of an action. In this process the program itself has the name.
    path = os.path.join(function.folder, "__main__.py")
    if not os.path.isfile(path):
        raise ModuleNotFoundError(name=function.handler)
    spec = spec_from_file_location(_MAIN_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[_MAIN_NAME] = module
    spec.loader.exec_module(module)
    return module


def _warm_up(warmup: Any) -> None:
    try:
        awaited(warmup())
    except Exception as error:
        # Code of the function may fail in any way. The function is loaded nevertheless.
        print("warmup() failed:", file=sys.stderr)  # noqa: T201 - into the function's log
        log(error)


def _answer_sample(main: Any, path: str) -> bytes:
    """What `main` answers to the request in this file, or raises."""
    try:
        with open(path, "rb") as file:
            value = awaited(main(json.loads(file.read())))
        whose = "the answer to sample.json"
        answer, failure = gathered(value, whose) if is_stream(value) else encode_answer(value, whose)
    except Exception as error:
        # Code of the function may fail in any way. Here it matters only whether it always fails in the same way.
        return type(error).__name__.encode()
    return answer if failure is None else failure.message.encode()


def _answer(connection: Connection, main: Any, name: str) -> None:
    ask = connection.receive_ask()
    try:
        args = json.loads(ask.args) if ask.args else {}
        answer, failure = answer_of(connection, ask, awaited(main(args)), "the answer of {}()".format(name))
    except Exception as error:
        # Code of the function may fail in any way, that of a generator too.
        log(error)
        connection.answer(b"", failure_of(error, "raised", "{}()".format(name)))
        return
    connection.answer(answer, failure)
