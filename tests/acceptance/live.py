"""A platform as its users have it: `instainfer up` in a process of its own, asked by the command line and over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
from support.controllers import ACTIONS, ACTIVATIONS, NATIVE, annotation, archive

from instainfer.address import credentials

Json: TypeAlias = dict[str, Any]

PATIENCE_S = 30.0
__all__ = [
    "ACTIONS",
    "ACTIVATIONS",
    "HELLO",
    "NATIVE",
    "PATIENCE_S",
    "Json",
    "Platform",
    "Printed",
    "Said",
    "all_ended",
    "annotation",
    "command",
    "held",
    "left_behind",
    "residents",
    "running",
    "start_kind",
    "started_by",
    "until",
    "write",
]

HELLO = """
def main(args):
    print("hello to", args.get("name"))
    return {"hello": args.get("name", "you")}
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        (line,) = self.out.splitlines()
        return json.loads(line)


class Platform:
    """`options` go to `instainfer up`, `env` is the environment of every command. Everything is below `folder`."""

    def __init__(self, folder: Path, *options: str, **env: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.options = options
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "INSTAINFER_HOME": str(self.home),
            "INSTAINFER_NODE__MEMORY_MB": "2048",
            **{name: os.environ[name] for name in ("LANG", "PYTHONPATH") if name in os.environ},
            **env,
        }
        self.command: Sequence[str] = (sys.executable, "-m", "instainfer.cli.main")
        """How ``instainfer`` is called."""
        self.lines: list[str] = []
        self._news = threading.Condition()
        folder.mkdir(parents=True, exist_ok=True)

    # -- its life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Return when calls are taken."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        self.lines.clear()
        self.process = subprocess.Popen(
            [*self.command, "up", "--port", "0", "--ready-file", str(ready), *self.options],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: ready.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.lines
        api_host, auth = credentials(self.home)
        user, _, password = auth.partition(":")
        self.http = httpx2.Client(base_url=api_host, auth=(user, password), timeout=PATIENCE_S, trust_env=False)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self._news:
                    self.lines.append(line.decode().rstrip("\n"))
                    self._news.notify_all()

    def says(self, words: str) -> str:
        """The first line with these words; waits for it."""

        def found() -> str | None:
            return next((line for line in self.lines if words in line), None)

        with self._news:
            assert self._news.wait_for(found, PATIENCE_S), (words, self.lines)
            line = found()
        assert line is not None
        return line

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """Its exit status; waits for it."""
        status = self.process.wait(within_s)
        self._reader.join(PATIENCE_S)
        self.http.close()
        return status

    def stop(self) -> None:
        """End it in order."""
        self.process.send_signal(signal.SIGTERM)
        assert self.ended() == 0, self.lines

    def kill(self) -> None:
        """End it at once, whatever state it is in."""
        self.process.kill()
        self.ended()

    # -- what it is asked ------------------------------------------------------------------------------------------

    def cli(self, *arguments: str, code: int = 0, text: str = "", **env: str) -> Said:
        """Run ``instainfer`` with these arguments; it must end with this exit code. `text` is its standard input."""
        ran = subprocess.run(
            [*self.command, *arguments],
            env={**self.env, **env},
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE_S,
            check=False,
        )
        assert ran.returncode == code, (arguments, ran.returncode, ran.stdout, ran.stderr)
        assert not re.search("^Traceback", ran.stderr, re.MULTILINE), ran.stderr  # a function's stands behind its time
        return Said(ran.stdout, ran.stderr)

    def deploy(self, name: str, files: Mapping[str, str], *options: str, code: int = 0) -> Said:
        """Write a function's folder and deploy it."""
        folder = self.folder / "functions" / name
        write(folder, {"function.toml": f'name = "{name}"\n', **files})
        return self.cli("deploy", str(folder), *options, code=code)

    def put(self, name: str, code: str, **limits: int | str) -> Json:
        """Deploy a handler over HTTP."""
        code = archive({"handler.py": textwrap.dedent(code)})
        action = {"exec": {"kind": "python:3", "code": code, "binary": True}, "limits": limits}
        response = self.http.put(f"{ACTIONS}/{name}", params={"overwrite": "true"}, json=action)
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    def call(self, name: str, args: Json | None = None, **params: str) -> httpx2.Response:
        return self.http.post(f"{ACTIONS}/{name}", params={"blocking": "true", **params}, json=args or {})

    def accept(self, name: str, args: Json | None = None) -> str:
        """The id of a call that is not waited for."""
        response = self.call(name, args, blocking="false")
        assert response.status_code == 202, response.text
        return str(response.json()["activationId"])

    def record(self, activation: str) -> Json:
        response = self.http.get(f"{ACTIVATIONS}/{activation}")
        assert response.status_code == 200, response.text
        record: Json = response.json()
        return record

    def ended_record(self, activation: str) -> Json:
        """The record of an activation that has ended; waits for that."""
        until(lambda: "end" in self.record(activation))
        return self.record(activation)

    def records(self) -> list[Json]:
        """All records, summarised, the newest first."""
        found: list[Json] = self.http.get(ACTIVATIONS, params={"limit": 200}).json()
        return found

    def status(self) -> Json:
        found: Json = self.http.get(f"{NATIVE}/status").json()
        return found

    def watch(self, holds: Callable[[Json], object]) -> Json:
        """Follow ``status --watch`` until it shows what is waited for; that status."""
        watching = subprocess.Popen(
            [*self.command, "status", "--watch", "--every", "20ms", "--json"],
            env=self.env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        overdue = threading.Timer(PATIENCE_S, watching.kill)
        overdue.start()
        found: Json = {}
        try:
            assert watching.stdout is not None
            with watching.stdout as lines:
                for line in lines:
                    found = json.loads(line)
                    if holds(found):
                        return found
        finally:
            overdue.cancel()
            watching.kill()
            watching.wait()
        raise AssertionError(f"the status never showed it; the last one: {found}")


@contextlib.contextmanager
def running(folder: Path, *options: str, **env: str) -> Iterator[Platform]:
    """A platform that is ended with the block, and of which nothing may be left then."""
    platform = Platform(folder, *options, **env)
    platform.start()
    try:
        yield platform
        if platform.process.poll() is None:
            platform.stop()
    finally:
        if platform.process.poll() is None:
            platform.kill()
        platform.http.close()
    assert left_behind(platform) == []


# -- commands that go on --------------------------------------------------------------------------------------------


class Printed:
    """The lines that a command prints while it runs, in order."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.all: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def until(self, words: str) -> str:
        """The next line with these words; waits for it."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"never printed {words!r}, but {self.all}") from None
            self.all.append(line)
            if words in line:
                return line

    def interrupt(self) -> int:
        """End the command as Ctrl-C does, and return its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE_S)


@contextlib.contextmanager
def command(platform: Platform, *arguments: str) -> Iterator[Printed]:
    with subprocess.Popen(
        [*platform.command, *arguments],
        env={**platform.env, "PYTHONUNBUFFERED": "1"},
        cwd=platform.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Whoever started these tests in the background may have had Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        try:
            yield Printed(process)
        finally:
            process.kill()


# -- small things ---------------------------------------------------------------------------------------------------


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def until(holds: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Return when it holds. For what another process does and tells nobody of."""
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up, "it did not come true in time"
        time.sleep(0.01)


def start_kind(response: httpx2.Response) -> str:
    return response.headers["x-instainfer-start-kind"]


def residents(status: Json) -> dict[str, str]:
    """Function -> state, of everything that is resident anywhere."""
    return {
        resident["function"].partition("/")[2].partition("@")[0]: resident["state"]
        for node in status["nodes"]
        for container in node["containers"]
        for resident in container["residents"]
    }


# -- processes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    session: int


def processes() -> list[Process]:
    """All that live on this machine."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                # "pid (name) state ppid pgrp session ...", and the name may contain anything.
                state, parent, _, session = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:4]
                if state not in "ZX":
                    found.append(Process(int(name), int(parent), int(session)))
    return found


def started_by(pid: int) -> list[int]:
    """Every living process below this one, and whoever shares a session with one of them."""
    everybody = processes()
    below = {pid}
    while more := {p.pid for p in everybody if p.parent in below} - below:
        below |= more
    sessions = {p.session for p in everybody if p.pid in below - {pid}}
    return sorted(p.pid for p in everybody if p.pid != pid and (p.pid in below or p.session in sessions))


def left_behind(platform: Platform) -> list[int]:
    """Living processes that were started for the platform's home."""
    home = str(platform.home).encode()
    found = []
    for process in processes():
        with contextlib.suppress(OSError):
            if home in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                found.append(process.pid)
    return found


@contextlib.contextmanager
def held(pids: list[int]) -> Iterator[list[int]]:
    """Handles on processes, for `all_ended`: numbers could be anyone's by then."""
    with contextlib.ExitStack() as stack:
        handles = [os.pidfd_open(pid) for pid in pids]
        for handle in handles:
            stack.callback(os.close, handle)
        yield handles


def all_ended(handles: list[int], within_s: float) -> bool:
    """Whether all of them end within some seconds; 0 asks whether they have."""
    give_up = time.monotonic() + within_s
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(max(0.0, give_up - time.monotonic()) * 1000):
            return False
    return True
