"""A function template of its own: it stands stopped, forks when it is asked to, and nothing else runs in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from instainfer.wire.calls import FROM_PROCESS, TO_PROCESS, Answered, Ask, Born, Fork, Prepared, Standing, Unfit

PATIENCE_S = 30.0
FRAME = """
import json, os, signal, socket, sys
from instainfer.runtime.connection import Connection
from instainfer.runtime.forksafe import ForkSafety
from instainfer.runtime.linux import PR_SET_NO_NEW_PRIVS, prctl
from instainfer.runtime.standing import stand

prctl(PR_SET_NO_NEW_PRIVS, 1)
folder = sys.argv[2]
connection = Connection(socket.socket(fileno=int(sys.argv[1])))
safety = ForkSafety()
{load}
connection.warm_up = warm_up
connection.prepared()
stand(connection, safety, folder)
while True:
    ask = connection.receive_ask()
    connection.answer(json.dumps(main(json.loads(ask.args))).encode(), None)
"""


class Peer:
    """The manager's side of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE_S)
        self._decoder = FROM_PROCESS.decoder()
        self._said: list[Any] = []

    def hear(self) -> Any:
        while not self._said:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._said += [FROM_PROCESS.decode(frame) for frame in self._decoder.feed(data)]
        return self._said.pop(0)

    def ask(self, **args: Any) -> Any:
        self.sock.sendall(TO_PROCESS.encode(Ask({}, json.dumps(args).encode())))
        answer = self.hear()
        assert isinstance(answer, Answered)
        return json.loads(answer.answer)


class Template(Peer):
    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes], folder: Path) -> None:
        super().__init__(sock)
        self.pid = process.pid
        self.folder = folder
        self.peers: list[Peer] = []

    def wait_until_stopped(self) -> None:
        """Return when it has stopped. The kernel reports each stop once."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it has ended"

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def fork(self) -> tuple[Peer, int]:
        """A forked process that waits for its first request, and its id."""
        ours, theirs = socket.socketpair()
        self.peers.append(Peer(ours))
        message = TO_PROCESS.encode(Fork())
        with theirs, open(os.devnull, "wb") as nowhere:
            socket.send_fds(self.sock, [message], [theirs.fileno(), nowhere.fileno(), nowhere.fileno()])
        self.wake()
        peer = self.peers[-1]
        born = peer.hear()
        assert isinstance(born, Born)
        assert peer.hear() == Prepared()
        self.wait_until_stopped()
        return peer, born.pid


@contextmanager
def loaded(folder: Path, load: str) -> Iterator[Template]:
    """A process that has loaded this and says what becomes of it."""
    ours, theirs = socket.socketpair()
    code = FRAME.format(load=textwrap.dedent(load))
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno()), str(folder)], pass_fds=[theirs.fileno()]
        )
    template = Template(ours, process, folder)
    try:
        assert isinstance(template.hear(), Prepared)
        yield template
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait(PATIENCE_S)
        for peer in (template, *template.peers):
            peer.sock.close()


@contextmanager
def standing(folder: Path, load: str) -> Iterator[Template]:
    with loaded(folder, load) as template:
        assert template.hear() == Standing()
        template.wait_until_stopped()
        yield template


def until_gone(pid: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < until
        time.sleep(0.001)


PLAIN = """
import random, tempfile
calls = []
def warm_up(): calls.append("warm-up")
def main(args):
    calls.append("call")
    return {"calls": calls, "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0),
            "random": random.random(), "home": os.environ["HOME"], "temporary": tempfile.gettempdir()}
"""


def test_calls_are_answered_by_forked_processes_which_share_nothing_but_what_was_loaded(tmp_path: Path) -> None:
    with standing(tmp_path, PLAIN) as template:
        answers = []
        for _ in range(2):
            peer, pid = template.fork()
            answers.append(peer.ask())
            assert answers[-1]["pid"] == answers[-1]["group"] == pid
            assert answers[-1]["parent"] == template.pid
            assert peer.ask()["calls"] == ["warm-up", "call", "call"]
            peer.sock.close()  # it ends when its manager is gone
            until_gone(pid)  # although its parent is stopped and does not wait for it
        assert [answer["calls"] for answer in answers] == [["warm-up", "call"]] * 2
        for name in ("random", "home", "temporary"):
            assert answers[0][name] != answers[1][name], name
        assert answers[0]["home"] == answers[0]["temporary"] == str(tmp_path / "resident-1")


def test_forked_processes_have_offsets_of_their_own_in_open_files(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("abcdef")
    load = """
    file = open(folder + "/data", buffering=1)
    raw = os.open(folder + "/data", os.O_RDONLY)
    os.read(raw, 1)
    def warm_up(): pass
    def main(args): return os.read(raw, 2).decode()
    """
    with standing(tmp_path, load) as template:
        (first, _), (second, _) = template.fork(), template.fork()
        assert [first.ask(), second.ask(), first.ask()] == ["bc", "bc", "de"]


def test_nothing_of_the_function_runs_in_a_template_that_is_woken(tmp_path: Path) -> None:
    load = """
    def note(number, frame):
        with open(folder + "/ran", "a") as file:
            file.write("%d\\n" % number)
    for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGCONT, signal.SIGTERM):
        signal.signal(number, note)
    signal.setitimer(signal.ITIMER_REAL, 1e-3)
    def warm_up(): pass
    def main(args):
        os.kill(os.getpid(), signal.SIGUSR1)
        return args
    """
    with standing(tmp_path, load) as template:
        ran = tmp_path / "ran"
        ran.unlink(missing_ok=True)  # before it stood the timer may have fired
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM):
            os.kill(template.pid, number)
        for _ in range(3):
            template.wake()
            template.wait_until_stopped()
        assert not ran.exists()
        peer, _ = template.fork()
        assert not ran.exists(), "what was pending for the template is not pending for a forked process"
        assert peer.ask(n=1) == {"n": 1}
        assert ran.read_text() == f"{int(signal.SIGUSR1)}\n", "and its own handlers are in place there"


def test_one_that_cannot_be_forked_says_why_and_ends(tmp_path: Path) -> None:
    load = """
    import threading
    threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
    def warm_up(): pass
    """
    with loaded(tmp_path, load) as template:
        unfit = template.hear()
        assert isinstance(unfit, Unfit)
        assert "has started a thread (poller)" in unfit.reason
        assert template.hear() is None


def test_it_ends_when_its_manager_is_gone_and_it_is_woken(tmp_path: Path) -> None:
    with standing(tmp_path, PLAIN) as template:
        template.sock.close()
        template.wake()
        _, status = os.waitpid(template.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
