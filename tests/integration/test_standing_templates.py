"""Function templates in a container: made, forked from, ended, given up, and what happens when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from support.process_world import PATIENCE_S, Gate, World, alive, asynchronous, ended, inside, managers, outside, world
from template_world import KEY, Environment, Family

import instainfer
from instainfer.backends.base import FunctionSpec
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import Event, LoadFailed, LoadFinished, MemoryMeasured, ResidentGone
from instainfer.core.model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    MIB,
    FailureKind,
    function_template_key,
)
from instainfer.runtime import landlock
from instainfer.runtime.memory import children

PLAIN = """
import os
done = []
def load(): done.append("load")
def warmup(): done.append("warmup")
def main(args):
    done.append("call")
    return {"done": done, "pid": os.getpid(), "home": os.environ["HOME"], "uid": os.getuid()}
"""
OTHER = "def main(args): return {}\n"


def manager() -> int:
    (pid,) = managers()
    return pid


async def made(w: World, container: ManagedContainer, spec: FunctionSpec) -> int:
    """Make the template of a function and return its process."""
    before = set(children(manager()))
    container.load_function_template(spec)
    key = function_template_key(spec.key)
    await w.wait_for(LoadFinished, lambda event: event.function == key)

    def stopped() -> list[int]:
        return [pid for pid in set(children(manager())) - before if state(pid) in "Tt"]

    await until(lambda: len(stopped()) == 1)  # a process is forked from it at once, ahead of any call
    return stopped()[0]


async def offloaded(w: World, container: ManagedContainer, key: str) -> ResidentGone:
    before = len(w.events)
    container.offload(key)
    return await w.wait_for(ResidentGone, lambda event: event.function == key and event in w.events[before:])


async def until(holds: Callable[[], bool]) -> None:
    """Return when something is true that nothing reports."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def write(spec: FunctionSpec, name: str, text: str) -> None:
    (spec.folder / name).write_text(text)


def exists(path: str) -> bool:
    return os.path.exists(path)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def variable(pid: int, name: str) -> str:
    """The value that an environment variable had when a process was started."""
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(line.removeprefix(name + "=") for line in lines if line.startswith(name + "="))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def loads(w: World, key: str) -> list[LoadFinished]:
    return [event for event in w.events if isinstance(event, LoadFinished) and event.function == key]


def about(w: World, key: str) -> list[str]:
    found: list[Event] = [event for event in w.told if getattr(event, "function", "") == key]
    return [type(event).__name__ for event in found]


@asynchronous
async def test_calls_are_answered_by_processes_forked_from_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(PLAIN)
        template = await made(w, container, spec)
        _, first = await w.run(container, spec, "a1")
        _, again = await w.run(container, spec, "a2")
        await offloaded(w, container, spec.key)
        _, second = await w.run(container, spec, "a3")
        assert first["done"] == second["done"] == ["load", "warmup", "call"]
        assert again["done"] == ["load", "warmup", "call", "call"]
        assert first["pid"] == again["pid"] != second["pid"]
        assert first["home"] != second["home"]
        assert state(template) in "Tt"
        assert [event.source for event in loads(w, spec.key)] == [FROM_FUNCTION, FROM_FUNCTION]
        (event,) = loads(w, function_template_key(spec.key))
        assert event.source is FROM_NOTHING
        assert about(w, function_template_key(spec.key)) == ["LoadFinished"]


NO_TRACING = """
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("instainfer", {init!r}, submodule_search_locations=[{folder!r}])
package = module_from_spec(spec)
sys.modules["instainfer"] = package
spec.loader.exec_module(package)
import_module("instainfer.runtime.tracing").hold = lambda pid: False
sys.exit(import_module("instainfer.runtime." + sys.argv[1]).main(sys.argv[2:]))
"""


@asynchronous
async def test_it_works_on_a_host_that_forbids_tracing_which_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.path.dirname(instainfer.__file__)
    start = tmp_path / "boot.py"
    start.write_text(NO_TRACING.format(init=instainfer.__file__, folder=folder))
    monkeypatch.setattr("instainfer.runtime.boot.__file__", str(start))
    async with world(tmp_path) as w:
        container, spec, other = await w.container(), w.function(PLAIN), w.function(OTHER, "g")
        template = await made(w, container, spec)
        for number in range(3):
            _, result = await w.run(container, spec, f"f{number}")
            assert result["done"] == ["load", "warmup", "call"]
            await w.run(container, other, f"g{number}")
            await until(lambda: state(template) == "T")
        assert {event.source for event in loads(w, spec.key)} == {FROM_FUNCTION}
        assert "not held (this host forbids tracing" in " ".join(w.backend.isolation())


@asynchronous
async def test_a_script_is_forked_where_it_waits_for_its_first_request(tmp_path: Path) -> None:
    code = """
    import instainfer
    count = 10
    while True:
        request = instainfer.receive()
        count += request["add"]
        instainfer.reply({"count": count})
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code, style="script")
        await made(w, container, spec)
        for number in (1, 2):
            assert (await w.run(container, spec, f"first{number}", {"add": 1}))[1] == {"count": 11}
            assert (await w.run(container, spec, f"second{number}", {"add": 1}))[1] == {"count": 12}
            await offloaded(w, container, spec.key)
        assert [event.source for event in loads(w, spec.key)] == [FROM_FUNCTION, FROM_FUNCTION]


@asynchronous
async def test_it_is_forked_from_the_library_template_and_keeps_its_rights(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment", Path(sys.executable))
    environment.install(calm="value = 7")
    async with world(tmp_path) as w:
        container = await w.container()
        (spec, other) = Family(w, environment, "calm").functions(f="import calm\n" + PLAIN, g="import calm\n" + OTHER)
        template = await made(w, container, spec)
        await w.run(container, spec, "a1")
        assert [event.source for event in loads(w, function_template_key(spec.key))] == [FROM_LIBRARIES]
        assert [event.source for event in loads(w, spec.key)] == [FROM_FUNCTION]
        assert len(loads(w, KEY)) == 1
        uid = w.result("a1")["uid"]
        assert uid == os.stat(f"/proc/{template}").st_uid
        await w.run(container, other, "a2")
        assert [event.source for event in loads(w, other.key)] == [FROM_LIBRARIES]
        await until(lambda: state(template) in "Tt")  # a call of another function leaves it alone


@asynchronous
async def test_one_that_cannot_be_forked_says_why_and_its_function_is_loaded_all_the_same(tmp_path: Path) -> None:
    code = """
    import threading
    def load():
        threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
    def main(args): return {}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        container.load_function_template(spec)
        failed = await w.wait_for(LoadFailed)
        assert failed.function == function_template_key(spec.key)
        assert failed.failure.kind is FailureKind.LOAD_FAILED
        assert "load() has started a thread (poller)" in failed.failure.message
        finished, _ = await w.run(container, spec)
        assert finished.failure is None
        assert about(w, function_template_key(spec.key)) == ["LoadFailed"]


@asynchronous
async def test_when_it_proves_itself_forked_processes_answer_the_sample_as_it_does(tmp_path: Path) -> None:
    code = """
    import os
    answered = []
    def main(args):
        answered.append(args["n"])
        open(os.environ["TMPDIR"] + "/calls", "a").write("call")
        return {"answered": answered}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        write(spec, "sample.json", '{"n": 7}')
        container.load_function_template(spec, proves=True)
        await w.wait_for(LoadFinished)
        assert about(w, function_template_key(spec.key)) == ["LoadFinished"]
        _, result = await w.run(container, spec, "a1", {"n": 8})
        assert result == {"answered": [8]}, "nothing of the sample is left"
        assert loads(w, spec.key)[0].source is FROM_FUNCTION


@asynchronous
async def test_one_whose_forked_processes_answer_otherwise_is_unfit(tmp_path: Path) -> None:
    code = """
    import os
    loaded_in = os.getpid()
    def main(args): return {"here": os.getpid() == loaded_in}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        write(spec, "sample.json", "{}")
        container.load_function_template(spec, proves=True)
        failed = await w.wait_for(LoadFailed)
        assert "answers sample.json in another way" in failed.failure.message


@asynchronous
async def test_answers_that_are_never_the_same_prove_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function("import random\ndef main(args): return [random.random()]\n")
        write(spec, "sample.json", "{}")
        container.load_function_template(spec, proves=True)
        await w.wait_for(LoadFinished)


@asynchronous
async def test_a_sample_that_hangs_in_a_forked_process_is_named(tmp_path: Path) -> None:
    code = """
    import os, time
    from instainfer.runtime import fitness
    fitness.SAMPLE_S = 0.2
    loaded_in = os.getpid()
    def main(args):
        if os.getpid() != loaded_in:
            time.sleep(1000)
        return {}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        write(spec, "sample.json", "{}")
        container.load_function_template(spec, proves=True)
        failed = await w.wait_for(LoadFailed)
        assert "its sample.json does not end in a forked process" in failed.failure.message


@asynchronous
async def test_a_call_of_another_function_ends_one_that_is_being_made(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, other = await w.container(), w.function(OTHER, "g")
        spec = w.function("import os\nopen(os.path.dirname(__file__) + '/gate').read()\n" + PLAIN, "f")
        gate = Gate(spec)
        key = function_template_key(spec.key)
        container.load_function_template(spec)
        await gate.reached()
        container.offload(key)  # the core does so before it hands another function's call over
        finished, _ = await w.run(container, other)
        assert finished.failure is None
        await w.wait_for(ResidentGone, lambda event: event.function == key)
        assert about(w, key) == ["ResidentGone"]
        gate.open()


@asynchronous
async def test_that_one_was_killed_from_outside_while_it_was_made_is_no_verdict(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container = await w.container()
        spec = w.function("import os\nopen(os.path.dirname(__file__) + '/gate').read()\n" + PLAIN)
        gate = Gate(spec)
        before = set(children(manager()))
        container.load_function_template(spec)
        await gate.reached()
        (pid,) = set(children(manager())) - before
        os.kill(pid, signal.SIGKILL)
        gone = await w.wait_for(ResidentGone)
        assert gone.function == function_template_key(spec.key)
        assert gone.failure is not None
        assert gone.failure.kind is FailureKind.CRASHED
        gate.open()


@asynchronous
async def test_a_call_of_its_own_function_does_not_end_one_that_is_being_made(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function("import os\n" + PLAIN)
        (spec.folder / "handler.py").write_text("import os\nopen(os.path.dirname(__file__) + '/gate').read()\n" + PLAIN)
        gate = Gate(spec)
        container.load_function_template(spec)
        await gate.reached()
        (spec.folder / "gate").rename(spec.folder / "old")
        (spec.folder / "gate").write_text("")
        await w.run(container, spec, "a1")
        gate.open()
        await w.wait_for(LoadFinished, lambda event: event.function == function_template_key(spec.key))
        await offloaded(w, container, spec.key)
        await w.run(container, spec, "a2")
        assert [event.source for event in loads(w, spec.key)] == [FROM_NOTHING, FROM_FUNCTION]


@asynchronous
async def test_a_resident_outlives_its_template_and_the_next_load_goes_another_way(tmp_path: Path) -> None:
    code = """
    import os
    def main(args):
        if args.get("waits"):
            open(os.path.dirname(__file__) + "/gate").read()
        open(os.environ["HOME"] + "/note", "w").close()
        return {"pid": os.getpid()}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        gate = Gate(spec)
        template = await made(w, container, spec)
        w.ask(container, spec, "a1", {"waits": True})
        await gate.reached()
        os.kill(template, signal.SIGKILL)
        gone = await w.wait_for(ResidentGone)
        assert gone.function == function_template_key(spec.key)
        assert gone.failure is not None
        assert gone.failure.kind is FailureKind.CRASHED
        gate.open()
        assert (await w.ran("a1")).failure is None
        finished, result = await w.run(container, spec, "a2")
        assert finished.failure is None, "its folder is still there"
        assert result["pid"] == w.result("a1")["pid"]
        pids = outside(manager(), result["pid"])
        await offloaded(w, container, spec.key)
        assert alive(pids) == []
        await w.run(container, spec, "a3")
        assert [event.source for event in loads(w, spec.key)] == [FROM_FUNCTION, FROM_NOTHING]


@asynchronous
async def test_the_folders_of_its_residents_go_with_them_and_its_own_with_the_last(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(PLAIN)
        await made(w, container, spec)
        _, result = await w.run(container, spec, "a1")
        home = result["home"]
        await offloaded(w, container, function_template_key(spec.key))
        assert exists(home)
        await offloaded(w, container, spec.key)
        await w.run(container, spec, "a2")
        await until(lambda: not exists(os.path.dirname(home)))


@pytest.mark.parametrize(
    ("code", "says"),
    [("os._exit(3)", "exit code 3"), ("os.kill(os.getpid(), 11)", "killed by SIGSEGV")],
)
@asynchronous
async def test_it_is_known_how_a_forked_process_has_ended(tmp_path: Path, code: str, says: str) -> None:
    source = f"import os\ndef main(args):\n    print('last words')\n    {code}\n"
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(source)
        await made(w, container, spec)
        finished, _ = await w.run(container, spec, "a1")
        assert finished.failure is not None
        assert finished.failure.kind is FailureKind.CRASHED
        assert not finished.alive
        if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15):
            assert says in finished.failure.message
        await w.wait_for(ResidentGone, lambda event: event.function == spec.key)
        await w.run(container, spec, "a2")
        assert [event.source for event in loads(w, spec.key)] == [FROM_FUNCTION, FROM_FUNCTION]


@asynchronous
async def test_helpers_of_a_forked_process_end_with_it(tmp_path: Path) -> None:
    code = """
    import os, time
    def main(args):
        reader, writer = os.pipe()
        if os.fork() == 0:
            if args.get("leaves"):
                os.setpgid(0, 0)
            if os.fork() == 0:
                os.write(writer, b"%d" % os.getpid())
                time.sleep(1000)
            os._exit(0)
        return {"helper": int(os.read(reader, 100))}
    """
    async with world(tmp_path) as w:
        container, spec, other = await w.container(), w.function(code), w.function(OTHER, "g")
        await made(w, container, spec)
        for number, leaves in enumerate((False, True)):
            _, result = await w.run(container, spec, f"a{number}", {"leaves": leaves})
            (helper,) = outside(manager(), result["helper"])
            await w.run(container, other, f"b{number}")
            await w.wait_for(ResidentGone, lambda event: event.function == spec.key)
            await ended(helper)


@asynchronous
async def test_templates_are_given_up_first_when_memory_is_short(tmp_path: Path) -> None:
    hungry = """
    held = []
    def main(args):
        held.append(bytearray(150 << 20))
        return {}
    """
    holds = "data = bytearray(80 << 20)\nfor i in range(0, len(data), 4096): data[i] = 1\n"
    async with world(tmp_path) as w:
        container = await w.container(200 * MIB)
        spec, other = w.function(holds + PLAIN), w.function(hungry, "g")
        await made(w, container, spec)
        finished, _ = await w.run(container, other)
        gone = await w.wait_for(ResidentGone)
        assert gone.function == function_template_key(spec.key)
        assert gone.failure is not None
        assert gone.failure.kind is FailureKind.OUT_OF_MEMORY
        assert finished.failure is None


@asynchronous
async def test_the_limit_of_a_function_counts_its_template_which_is_given_up_first(tmp_path: Path) -> None:
    code = """
    held = bytearray(64 << 20)
    def fill(value):
        for i in range(0, len(held), 4096): held[i] = value
    fill(1)
    def main(args):
        fill(2)  # from here on the template and this process have these pages twice
        return {}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(512 * MIB), w.function(code, memory_bytes=128 * MIB)
        await made(w, container, spec)
        finished, _ = await w.run(container, spec, "a1")
        assert finished.failure is None
        gone = await w.wait_for(ResidentGone)
        assert gone.function == function_template_key(spec.key)
        assert gone.failure is not None
        assert "raise the limit" in gone.failure.message
        finished, _ = await w.run(container, spec, "a2")
        assert finished.failure is None, "the function alone is within its limit"


@asynchronous
async def test_what_it_and_its_residents_share_is_counted_once(tmp_path: Path) -> None:
    code = "held = bytearray(64 << 20)\nfor i in range(0, len(held), 4096): held[i] = 1\n" + PLAIN
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        await made(w, container, spec)
        await w.run(container, spec)
        (event,) = loads(w, function_template_key(spec.key))
        assert event.resident_bytes > 64 * MIB
        (resident,) = loads(w, spec.key)
        assert resident.resident_bytes < 12 * MIB
        assert w.backend.used_bytes() < 100 * MIB
        await offloaded(w, container, function_template_key(spec.key))
        await w.wait_for(MemoryMeasured, lambda event: dict(event.resident_bytes).get(spec.key, 0) > 64 * MIB)


@pytest.mark.skipif(landlock.abi() < 6, reason="this kernel's Landlock cannot keep signals in")
@asynchronous
async def test_a_forked_process_cannot_reach_its_template(tmp_path: Path) -> None:
    code = """
    import ctypes, os, signal
    def tried(attempt):
        try:
            attempt()
        except OSError as error:
            return type(error).__name__
        return "done"
    def ptrace():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(16, os.getppid(), None, None) == -1:
            raise OSError(ctypes.get_errno(), "ptrace")
    def sockets(pid):
        folder = "/proc/%s/fd" % pid
        links = [os.readlink(folder + "/" + name) for name in os.listdir(folder) if os.path.islink(folder + "/" + name)]
        return sorted({link for link in links if link.startswith("socket")})
    def main(args):
        parent = os.getppid()
        return {
            "continue": tried(lambda: os.kill(parent, signal.SIGCONT)),
            "kill": tried(lambda: os.kill(parent, signal.SIGKILL)),
            "trace": tried(ptrace),
            "read": tried(lambda: open("/proc/%d/mem" % parent, "rb")),
            "write": tried(lambda: open("/proc/%d/mem" % parent, "r+b")),
            "look": tried(lambda: os.readlink("/proc/%d/fd/1" % parent)),
            "sockets": sockets("self"),
        }
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        template = await made(w, container, spec)
        _, result = await w.run(container, spec)
        own = {os.readlink(f"/proc/{template}/fd/{fd}") for fd in os.listdir(f"/proc/{template}/fd")}
        assert not own & set(result.pop("sockets")), "it has none of the template's sockets"
        assert result == dict.fromkeys(("continue", "kill", "trace", "read", "write", "look"), "PermissionError")


HIJACK = """
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def note(text):
    with open(os.environ["HOME"] + "/ran", "a") as file:
        file.write(text)
"""


@pytest.mark.parametrize(
    "trick",
    [
        pytest.param(
            """
            def load():
                # A timer of the process, which sends SIGCONT, and a stop that is not ours.
                class Event(ctypes.Structure):
                    _fields_ = [("value", ctypes.c_long), ("signo", ctypes.c_int), ("notify", ctypes.c_int),
                                ("pad", ctypes.c_int * 12)]
                event, timer = Event(signo=signal.SIGCONT, notify=0), ctypes.c_void_p()
                assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
                often = (ctypes.c_long * 4)(0, 5_000_000, 0, 5_000_000)
                assert libc.timer_settime(timer, 0, often, None) == 0
                real = os.kill
                def kill(pid, number):
                    real(pid, number)
                    if number == signal.SIGSTOP:
                        note("w")
                os.kill = kill
            """,
            id="a timer that continues it",
        ),
    ],
)
@asynchronous
async def test_a_template_cannot_wake_itself(tmp_path: Path, trick: str) -> None:
    code = HIJACK + textwrap.dedent(trick) + "\ndef main(args): return {'home': os.environ['HOME']}\n"
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        slow = w.function("import time\ndef main(args): time.sleep(0.1); return {}\n", "g")
        template = await made(w, container, spec)
        ran = variable(template, "HOME") + "/ran"
        await until(lambda: any(state(pid) in "Tt" for pid in children(template)))
        remove(ran)  # until then it was continued once, for a fork
        await w.run(container, slow, "a1")
        assert not exists(ran)
        assert state(template) in "Tt"


@pytest.mark.parametrize(
    "left",
    [
        pytest.param("os.fork() or time.sleep(1000)", id="a child"),
        pytest.param("os.fork() or (os.fork() and os._exit(0)) or time.sleep(1000)", id="an orphan of its group"),
        pytest.param("__import__('threading').Thread(target=time.sleep, args=(1000,)).start()", id="a thread"),
    ],
)
@asynchronous
async def test_one_that_has_hidden_something_is_ended_before_anothers_call(tmp_path: Path, left: str) -> None:
    """The function's own code stands in the place of ours: it says that it stands, and hides what it has started."""
    code = (
        HIJACK
        + f"""
def load():
    from instainfer.runtime import standing
    def fit(*args):
        {left}
        return None
    standing.unfit_reason = fit
def main(args): return {{}}
"""
    )
    async with world(tmp_path) as w:
        container, spec, other = await w.container(), w.function(code), w.function(OTHER, "g")
        container.load_function_template(spec)
        key = function_template_key(spec.key)
        await w.wait_for(LoadFinished, lambda event: event.function == key)
        finished, _ = await w.run(container, other)
        assert finished.failure is None
        gone = await w.wait_for(ResidentGone, lambda event: event.function == key)
        assert gone.failure is not None
        assert "nobody asked for" in gone.failure.message


@asynchronous
async def test_one_that_does_not_stop_again_is_ended_before_anothers_call(tmp_path: Path) -> None:
    code = (
        HIJACK
        + """
def load():
    real, count = os.kill, []
    def kill(pid, number):
        count.append(number)
        if len(count) < 2:
            real(pid, number)
        else:
            time.sleep(1000)
    os.kill = kill
def main(args): return {}
"""
    )
    async with world(tmp_path) as w:
        container, spec, other = await w.container(), w.function(code), w.function(OTHER, "g")
        container.load_function_template(spec)
        await w.wait_for(LoadFinished)
        await w.run(container, spec, "a1")
        finished, _ = await w.run(container, other, "a2")
        assert finished.failure is None
        gone = await w.wait_for(ResidentGone, lambda event: event.function == function_template_key(spec.key))
        assert gone.failure is not None
        assert "did not stop" in gone.failure.message


@asynchronous
async def test_a_process_is_forked_ahead_and_waits_stopped_beside_the_calls_of_others(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, spec, other = await w.container(), w.function(PLAIN), w.function(OTHER, "g")
        template = await made(w, container, spec)
        pids = []
        for number in range(3):
            await until(lambda: [state(pid) for pid in children(template)] == ["t"])
            (pid,) = children(template)
            pids.append(pid)
            await w.run(container, other, f"g{number}")
            assert state(pid) == "t", "it is not ended for another's call, and does not run"
            _, result = await w.run(container, spec, f"f{number}")
            assert result["pid"] == inside(pid)
            assert result["done"] == ["load", "warmup", "call"]
            assert loads(w, spec.key)[-1].library_s < 0.1
            await offloaded(w, container, spec.key)
        assert len(set(pids)) == 3
        assert alive(pids) == []
        await until(lambda: [state(pid) for pid in children(template)] == ["t"])
        (waiting,) = children(template)
        await offloaded(w, container, function_template_key(spec.key))
        await ended(waiting)
        assert about(w, spec.key).count("ResidentGone") == 3, "nobody is told of one that no call had"


@asynchronous
async def test_a_process_that_was_forked_ahead_and_dies_is_done_without(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(PLAIN)
        template = await made(w, container, spec)
        await until(lambda: [state(pid) for pid in children(template)] == ["t"])
        (pid,) = children(template)
        os.kill(pid, signal.SIGKILL)
        await ended(pid)
        _, result = await w.run(container, spec)
        assert result["pid"] != pid
        assert about(w, spec.key) == ["LoadFinished"]


@asynchronous
async def test_what_is_registered_for_it_is_called_in_each_forked_process(tmp_path: Path) -> None:
    code = """
    import os, random, instainfer
    seeds = []
    @instainfer.after_fork
    def renew(): seeds.append(os.getpid())
    def main(args): return {"seeds": seeds, "pid": os.getpid(), "random": random.random()}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        await made(w, container, spec)
        found = []
        for number in range(2):
            _, result = await w.run(container, spec, f"a{number}")
            assert result["seeds"] == [result["pid"]]
            found.append(result)
            await offloaded(w, container, spec.key)
        assert found[0]["random"] != found[1]["random"]


@asynchronous
async def test_one_that_fails_after_the_fork_fails_its_call(tmp_path: Path) -> None:
    code = """
    import instainfer
    @instainfer.after_fork
    def connect(): raise ConnectionError("no route")
    def main(args): return {}
    """
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        await made(w, container, spec)
        finished, _ = await w.run(container, spec)
        assert finished.failure is not None
        assert finished.failure.kind is FailureKind.LOAD_FAILED
        assert "instainfer.after_fork() raised ConnectionError: no route" in finished.failure.message


@asynchronous
async def test_one_that_starts_something_after_the_fork_does_not_wait_beside_others(tmp_path: Path) -> None:
    code = """
    import instainfer, threading, time
    @instainfer.after_fork
    def start(): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    def main(args): return {}
    """
    async with world(tmp_path) as w:
        container, spec, other = await w.container(), w.function(code), w.function(OTHER, "g")
        template = await made(w, container, spec)
        await until(lambda: bool(children(template)))
        finished, _ = await w.run(container, other)
        assert finished.failure is None
        assert children(template) == []
        finished, _ = await w.run(container, spec, "a2")
        assert finished.failure is None


@asynchronous
async def test_one_that_does_not_fork_is_ended_and_its_call_is_answered(tmp_path: Path) -> None:
    code = (
        HIJACK
        + """
def load():
    real, count = os.kill, []
    def kill(pid, number):
        count.append(number)
        if len(count) < 2:
            real(pid, number)
        elif number == signal.SIGSTOP:
            os._exit(0)
    os.fork = lambda: -1
    os.kill = kill
def main(args): return {"pid": os.getpid()}
"""
    )
    async with world(tmp_path) as w:
        container, spec = await w.container(), w.function(code)
        container.load_function_template(spec)
        key = function_template_key(spec.key)
        failed = await w.wait_for((LoadFailed, LoadFinished), lambda event: event.function == key)  # type: ignore[arg-type]
        finished, _ = await w.run(container, spec)
        assert finished.failure is None, (failed, json.dumps(w.kinds()))
