"""A function of style ``script``: a program that calls ``instainfer.receive()`` where it waits for its input.

Its answer is what it gives to ``instainfer.reply(value)``. Without that it is the last line that it has printed when it
asks for the next request or comes to its end, as JSON.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from typing import Any

from ..wire.calls import Ask, Unloadable
from ..wire.messages import Failure, Function
from . import shim
from .answers import check_printed
from .connection import Connection
from .failures import failure_of
from .fast_init import FastInit, FastInitError
from .session import ContainerSession
from .streaming import answer_of


class _Printed:
    """Replaces ``sys.stdout``. It passes everything on, and remembers the last line that is not blank."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.forget()

    def forget(self) -> None:
        self._last: str | None = None
        self._unfinished = ""

    def write(self, text: str) -> int:
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in reversed(lines):
            if line.strip():
                self._last = line
                break
        written: int = self._stream.write(text)
        return written

    @property
    def last(self) -> str | None:
        return self._unfinished if self._unfinished.strip() else self._last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Session(ContainerSession):
    """The functions of the module ``instainfer`` in a script."""

    def __init__(self, connection: Connection, printed: _Printed, fast_init: FastInit) -> None:
        super().__init__(connection)
        self._printed = printed
        self._fast_init = fast_init
        self.is_prepared = False
        self.owes_answer = False
        self._ask = Ask({}, b"")

    def receive(self) -> Any:
        if not self.is_prepared:
            self._end_load()
            self.model_ends()
            self._connection.prepared()
            self.is_prepared = True
        elif self.owes_answer:
            self.answer_as_printed(last=False)
        ask = self._ask = self._connection.receive_ask()
        self._printed.forget()
        self.owes_answer = True
        return json.loads(ask.args) if ask.args else {}

    def _end_load(self) -> None:
        try:
            self._fast_init.finish()
        except FastInitError as error:
            self.fail(Failure("load_failed", str(error)))
            raise SystemExit(1) from None

    def reply(self, value: Any) -> None:
        if not self.owes_answer:
            raise RuntimeError("instainfer.reply() without a request: call it once after each instainfer.receive()")
        whose = "the value given to instainfer.reply()"
        self._answer(*answer_of(self._connection, self._ask, value, whose))

    def answer_as_printed(self, last: bool) -> None:
        self._answer(*check_printed(self._printed.last, "the script's answer"), last=last)

    def fail(self, failure: Failure) -> None:
        """Report that the script has ended with an exception."""
        if self.owes_answer:
            self._answer(b"", failure, last=True)
        elif not self.is_prepared:
            self._connection.send(Unloadable(failure))

    def _answer(self, answer: bytes, failure: Failure | None, last: bool = False) -> None:
        self.owes_answer = False
        self._connection.answer(answer, failure, last)


def serve(connection: Connection, function: Function) -> None:
    """Run the script. It answers requests until it ends."""
    path = os.path.join(function.folder, *function.handler.split(".")) + ".py"
    if not os.path.isfile(path):
        text = "there is no {}.py in the function's folder; its script must be there".format(function.handler)
        connection.send(Unloadable(Failure("load_failed", text)))
        return
    printed = _Printed(sys.stdout)
    fast_init = FastInit(wanted=function.fast_init)
    session = _Session(connection, printed, fast_init)
    shim.attach(session)
    sys.argv = [path]
    sys.stdout = printed
    try:
        with fast_init:
            runpy.run_path(path, run_name="__main__")
    except FastInitError as error:
        session.fail(Failure("load_failed", str(error)))
        return
    except Exception as error:
        kind = "crashed" if session.is_prepared else "load_failed"
        session.fail(failure_of(error, kind, "{}.py".format(function.handler)))
        raise
    if session.owes_answer:
        session.answer_as_printed(last=True)
    elif not session.is_prepared:
        text = "{}.py came to its end without calling instainfer.receive()".format(function.handler)
        session.fail(Failure("load_failed", text))
