"""One function's process as its manager talks to it: the warm-up, and `fast_init` where it cannot be had."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.process_world import oldest_python

from instainfer.runtime import boot
from instainfer.wire.calls import (
    FROM_PROCESS,
    TO_PROCESS,
    Answered,
    Ask,
    Imported,
    Jailed,
    Prepare,
    Prepared,
    Unloadable,
    Warm,
    Warmed,
)
from instainfer.wire.framing import Decoder, Frame
from instainfer.wire.messages import Function

PATIENCE_S = 20.0


class Process:
    """A function's process; `written` is what it has written when it has ended."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = Decoder()
        self._frames: Iterator[Frame] = iter(())
        self.written = ""

    def send(self, message: Any) -> None:
        self._sock.sendall(TO_PROCESS.encode(message))

    def receive(self) -> Any:
        while (frame := next(self._frames, None)) is None:
            data = self._sock.recv(65536)
            assert data, "the process has ended"
            self._frames = self._decoder.feed(data)
        return FROM_PROCESS.decode(frame)


@contextmanager
def process(folder: Path, code: str, **fields: Any) -> Iterator[Process]:
    """Started and told to prepare."""
    code_folder, scratch = folder / "function", folder / "scratch"
    code_folder.mkdir()
    scratch.mkdir()
    (code_folder / "handler.py").write_text(textwrap.dedent(code))
    function = Function("guest/f@0.0.1", str(code_folder), sys.executable, "handler", **fields)
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_S)
    python = str(oldest_python() or sys.executable)
    command = [python, "-I", "-S", boot.__file__, "executor", str(theirs.fileno()), str(os.getpid())]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, pass_fds=[theirs.fileno()], stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as head:
        theirs.close()
        talk = Process(ours)
        try:
            talk.send(Prepare(function, str(scratch)))
            assert isinstance(talk.receive(), Jailed)
            yield talk
        finally:
            ours.close()  # its end is the process's end
            talk.written, _ = head.communicate(timeout=PATIENCE_S)


WARM = """
    calls = []
    def load():
        calls.append("load")
    def warmup():
        calls.append("warmup")
    def main(args):
        return {"calls": calls}
"""


def test_warmup_runs_when_it_is_asked_for_and_only_then(tmp_path: Path) -> None:
    with process(tmp_path, WARM) as f:
        assert f.receive() == Imported()
        assert isinstance(f.receive(), Prepared)
        f.send(Ask({}, b""))
        assert f.receive().answer == b'{"calls":["load"]}'
        f.send(Warm())
        assert f.receive() == Warmed()
        f.send(Ask({}, b""))
        assert f.receive().answer == b'{"calls":["load","warmup"]}'


def test_a_warmup_that_fails_is_logged_and_the_function_serves_on(tmp_path: Path) -> None:
    with process(tmp_path, WARM.replace('calls.append("warmup")', 'raise OSError("no kernel")')) as f:
        assert f.receive() == Imported()
        assert isinstance(f.receive(), Prepared)
        f.send(Warm())
        assert f.receive() == Warmed()
        f.send(Ask({}, b""))
        answered = f.receive()
        assert isinstance(answered, Answered)
        assert answered.failure is None
    assert "warmup() failed:" in f.written
    assert "OSError: no kernel" in f.written


@pytest.mark.parametrize(
    ("style", "code"),
    [
        ("action", "def main(args): return {}"),
        ("action", "warmup = 3\ndef main(args): return {}"),
        ("script", "import instainfer\nwhile True:\n    instainfer.receive()\n    instainfer.reply({})"),
    ],
)
def test_without_a_warmup_there_is_nothing_to_do(tmp_path: Path, style: str, code: str) -> None:
    with process(tmp_path, code, style=style) as f:
        assert isinstance(f.receive(), Prepared)
        f.send(Warm())
        assert f.receive() == Warmed()
        f.send(Ask({}, b""))
        assert f.receive().answer == b"{}"


@pytest.mark.parametrize("style", ["action", "script"])
def test_fast_init_with_something_that_is_not_pytorch(tmp_path: Path, style: str) -> None:
    code = "import torch, instainfer\ndef main(args): return {}\nif __name__ == '__main__': instainfer.receive()"
    (tmp_path / "x").mkdir()
    with process(tmp_path / "x", code, style=style, fast_init=True) as f:
        (tmp_path / "x" / "function" / "torch.py").write_text("is_torch = False\n")
        said = f.receive()
    assert isinstance(said, Unloadable)
    assert said.failure.kind == "load_failed"
    assert said.failure.message.startswith("fast_init does not work with this version of PyTorch (ModuleNotFoundError")
    assert said.failure.message.endswith("set fast_init = false in function.toml")


def test_fast_init_is_nothing_to_a_function_without_pytorch(tmp_path: Path) -> None:
    code = "import sys\nfinders = len(sys.meta_path)\ndef main(args): return {'more': finders - len(sys.meta_path)}"
    with process(tmp_path, code, fast_init=True) as f:
        assert isinstance(f.receive(), Prepared)
        f.send(Ask({}, b""))
        assert f.receive().answer == b'{"more":1}', "a finder of imports was left behind"
