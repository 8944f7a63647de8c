"""Functions forked from templates: what is learned, what is shared, what is kept apart, what happens when it fails."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.process_world import Gate, World, alive, inside, managers, oldest_python, world
from template_world import KEY, Environment, Family, in_short, loaded, offloaded, story, without_ends

from instainfer.backends.base import TemplateSpec
from instainfer.backends.learned import LearnedModules
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import LoadFailed, LoadFinished, MemoryMeasured, ResidentGone
from instainfer.core.model import FROM_LIBRARIES, FROM_NOTHING, MIB, FailureKind
from instainfer.runtime import landlock
from instainfer.runtime.memory import children

LEARNED = ("calm", "deep.used", "deep.lazy_not", "deep")

PLAIN = "import calm\ndef main(args): return {'pid': __import__('os').getpid(), 'calm': calm.value}\n"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "environment", Path(sys.executable))
    made.install(calm="value = 7")
    return made


def manager() -> int:
    (pid,) = managers()
    return pid


async def made(w: World, container: ManagedContainer, template: TemplateSpec) -> int:
    """Make a template and return its process."""
    before = set(children(manager()))
    container.load_template(template)
    await w.wait_for(LoadFinished, lambda event: event.function == KEY)
    (pid,) = set(children(manager())) - before
    return pid


@pytest.mark.parametrize("oldest", [False, True], ids=["this-python", "oldest-python"])
def test_what_a_load_imports_is_learned_and_the_next_is_forked(tmp_path: Path, oldest: bool) -> None:
    python = oldest_python() if oldest else Path(sys.executable)
    if python is None:
        pytest.skip("this machine has no Python 3.9")
    environment = Environment(tmp_path / "environment", python)
    environment.install(
        deep="from . import used\nfrom . import lazy_not\nimport calm",
        deep__used="import calm",
        deep__lazy_not="",
        deep__unused="",
        calm="value = 7",
    )
    code = "import own, deep, json\ndef main(args): return {'imported_in': deep.used.calm.__file__, 'own': own.x}\n"

    async def scenario() -> None:
        async with world(tmp_path, memory=tmp_path / "memory") as w:
            container = await w.container()
            f, g = Family(w, environment).functions(f=code, g=code)
            for spec in (f, g):
                (spec.folder / "own.py").write_text("x = 1")
            first = await loaded(w, container, f)
            assert w.backend.learned.of(KEY) == LEARNED
            second = await loaded(w, container, g)
            assert first.source is FROM_NOTHING
            assert second.source is FROM_LIBRARIES
            assert (await w.run(container, g))[1]["own"] == 1
            assert without_ends(w) == ["f from nothing", "template made", "g forked", "RunFinished"]
        assert LearnedModules(tmp_path / "memory").of(KEY) == LEARNED

    asyncio.run(scenario())


def test_what_cannot_be_read_back_is_learned_anew(tmp_path: Path) -> None:
    memory = LearnedModules(tmp_path)
    memory.add(KEY, ["numpy", "numpy.linalg"])
    memory.add(KEY, ["torch", "numpy", "x" * 10_000])
    memory.close()
    assert LearnedModules(tmp_path).of(KEY) == ("numpy", "numpy.linalg", "torch")
    assert LearnedModules(tmp_path).of("template:other/e") == ()
    (file,) = tmp_path.iterdir()
    for content in ("{", "[]", '{"modules": 1}', json.dumps({"template": "another", "modules": ["numpy"]})):
        file.write_text(content)
        assert LearnedModules(tmp_path).of(KEY) == ()


def test_a_run_makes_the_template_it_needs_and_does_not_end_it(tmp_path: Path, environment: Environment) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f, g = Family(w, environment, "calm").functions(f=PLAIN, g=PLAIN)
            await w.run(container, f, "a1")
            await w.run(container, g, "a2")
            assert without_ends(w) == ["template made", "f forked", "RunFinished", "g forked", "RunFinished"]
            assert w.result("a2")["calm"] == 7

    asyncio.run(scenario())


def test_what_is_forked_has_the_operators_variables(tmp_path: Path, environment: Environment) -> None:
    code = "import os\n\ndef main(args):\n    return {'said': os.environ['SAID']}\n"

    async def scenario() -> None:
        async with world(tmp_path, env={"SAID": "by the operator"}) as w:
            container = await w.container()
            (f,) = Family(w, environment, "calm").functions(f=code)
            _, answer = await w.run(container, f, "a1")
            assert answer == {"said": "by the operator"}
            assert story(w)[:2] == ["template made", "f forked"]

    asyncio.run(scenario())


def test_a_call_that_joins_gets_the_template_made_at_full_speed(tmp_path: Path, environment: Environment) -> None:
    environment.install(slow="open('GATE').read()".replace("GATE", str(environment.packages / "gate")))

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f, g = Family(w, environment, "slow").functions(f="import slow\n" + PLAIN, g=PLAIN)
            gate = Gate(f, str(environment.packages / "gate"))
            other = w.function("def main(args): return {}\n", "other")
            await loaded(w, container, other)
            container.load(f)
            container.load(g)
            await gate.reached()
            assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in children(manager())} <= {0, 19}
            w.ask(container, f)
            await w.wait_for(ResidentGone, lambda event: event.function == other.key)
            assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in children(manager())} == {0}
            gate.open()
            await w.ran()
            assert without_ends(w)[1:] == ["template made", "f forked", "RunFinished"]

    asyncio.run(scenario())


def memory_of(pid: int) -> bytes:
    """Everything that a process has in memory that can be written."""
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
            areas = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", maps.read(), re.MULTILINE)
            content = b""
            for start, end in areas:
                memory.seek(int(start, 16))
                content += memory.read(int(end, 16) - int(start, 16))
            return content
    except PermissionError:
        pytest.skip("other processes' memory may not be read here")


def test_no_secret_of_a_function_is_in_the_template_or_in_another_function(
    tmp_path: Path, environment: Environment
) -> None:
    code = """
        import calm, hashlib
        SECRET = hashlib.sha256(b"salt").hexdigest()
        calm.left_behind = SECRET
        def main(args): return {}
    """
    other = "import calm, sys\ndef main(args): return {'modules': list(sys.modules), 'calm': list(vars(calm))}\n"
    secret = hashlib.sha256(b"salt").hexdigest().encode()

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "calm")
            f, g = family.functions(f=code, g=other)
            template = await made(w, container, family.template)
            await loaded(w, container, f)
            (keeper,) = set(children(manager())) - {template}
            await loaded(w, container, g)
            (stranger,) = set(children(manager())) - {template, keeper}
            assert secret in memory_of(keeper)
            assert secret not in memory_of(stranger)
            assert secret not in memory_of(template)
            _, found = await w.run(container, g)
            assert "left_behind" not in found["calm"]
            assert "handler" in found["modules"]
            await offloaded(w, container, g.key)
            assert secret not in memory_of(template)

    asyncio.run(scenario())


def test_modules_that_would_make_forks_unsafe_are_left_out_with_a_reason(
    tmp_path: Path, environment: Environment
) -> None:
    environment.install(
        threaded="""
            import threading
            stop = threading.Event()
            threading.Thread(target=stop.wait, daemon=True).start()
        """,
        connected="import socket\npair = socket.socketpair()",
        broken="raise RuntimeError('no licence')",
        within="from . import threaded",
        within__threaded="from threaded import stop",
        threaded_then_not="""
            import os, threading
            running = []
            def begin():
                stop = threading.Event()
                thread = threading.Thread(target=stop.wait, daemon=True)
                thread.start()
                running.append((stop, thread))
            def end():
                while running:
                    stop, thread = running.pop()
                    stop.set()
                    thread.join()
            os.register_at_fork(before=end)
            begin()
        """,
    )
    modules = ("calm", "threaded", "within.threaded", "connected", "broken", "threaded_then_not")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            code = "import sys\nbefore = set(sys.modules)\nimport calm, threaded, connected, threaded_then_not\n"
            (f,) = Family(w, environment, *modules).functions(f=code + "def main(args): return sorted(before)\n")
            _, before = await w.run(container, f)
            assert story(w) == ["template made", "f forked", "RunFinished"]
            assert set(modules) & set(before) == {"calm", "threaded_then_not"}
            left_out = w.backend.left_out[KEY]
            assert left_out.keys() == {"threaded", "within", "connected", "broken"}
            assert "starts a thread" in left_out["threaded"]
            assert "opens a connection (socket)" in left_out["connected"]
            assert "cannot be imported: RuntimeError: no licence" in left_out["broken"]

    asyncio.run(scenario())


def test_a_template_with_too_much_to_leave_out_is_given_up(tmp_path: Path, environment: Environment) -> None:
    names = [f"threaded{n}" for n in range(7)]
    code = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    environment.install(**dict.fromkeys(names, code))

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (f,) = Family(w, environment, *names).functions(f=PLAIN)
            await loaded(w, container, f)
            assert story(w) == ["LoadFailed", "f from nothing"]
            failed = await w.wait_for(LoadFailed)
            assert failed.function == KEY
            assert "threaded4" in failed.failure.message
            await offloaded(w, container, f.key)
            await loaded(w, container, f)
            assert story(w)[2:] == ["f gone", "f from nothing"]

    asyncio.run(scenario())


def test_forked_processes_draw_different_numbers_and_have_their_own_places(
    tmp_path: Path, environment: Environment
) -> None:
    environment.install(
        numpy="from . import random",
        numpy__random="import os\nstate = b'fixed'\ndef seed():\n    global state\n    state = os.urandom(8)",
        places="import os, tempfile\ntempfile.gettempdir()\nos.environ['LEFT_BEHIND'] = '1'",
    )
    code = """
        import os, random, sys, tempfile, numpy.random, places
        def main(args):
            return {
                "random": random.random(), "numpy": numpy.random.state.hex(), "tmp": tempfile.gettempdir(),
                "env": [os.environ["HOME"], os.environ["TMPDIR"]], "cwd": os.getcwd(), "path": sys.path[0],
                "left": os.environ.get("LEFT_BEHIND"), "group": os.getpgid(0) == os.getpid(),
                "fds": sorted(os.readlink("/proc/self/fd/" + fd).split(":")[0] for fd in os.listdir("/proc/self/fd")
                              if os.path.lexists("/proc/self/fd/" + fd)),
            }
    """

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            specs = Family(w, environment, "random", "numpy", "places").functions(f=code, g=code)
            answers = [(await w.run(container, spec, spec.key))[1] for spec in specs]
            for name in ("random", "numpy", "tmp"):
                assert answers[0][name] != answers[1][name]
            for spec, answer in zip(specs, answers, strict=True):
                assert answer["env"] == [answer["tmp"]] * 2
                assert answer["cwd"] == answer["path"] == str(spec.folder)
                assert answer["numpy"] != b"fixed".hex()
                assert answer["left"] is None
                assert answer["group"]
                # Its channel (twice: one stays open until it has ended), stdout, stderr, and its folder for caches.
                cache = os.path.join(answer["tmp"], ".cache")
                assert answer["fds"] == sorted(["/dev/null", cache, "pipe", "pipe", "socket", "socket"])

    asyncio.run(scenario())


@pytest.mark.skipif(landlock.abi() < 6, reason="this kernel's Landlock does not restrict signals")
def test_forked_processes_cannot_reach_each_other_or_the_template(tmp_path: Path, environment: Environment) -> None:
    keeper = """
        import os
        open(os.path.join(os.environ["TMPDIR"], "keepsake"), "w").write("private")
        def main(args): return {}
    """
    snoop = """
        import json, os
        def attempt(action, *args):
            try:
                action(*args)
            except OSError as error:
                return type(error).__name__
            return "done"
        goals = json.load(open("goals.json"))
        found = [attempt(open, path) for path in goals["files"]]
        found += [attempt(open, f"/proc/{pid}/mem") for pid in goals["pids"]]
        found += [attempt(os.kill, pid, 0) for pid in goals["pids"]]
        found += [attempt(os.readlink, f"/proc/{pid}/fd/1") for pid in goals["pids"]]
        control = [attempt(open, "goals.json"), attempt(open, "/proc/self/mem"), attempt(os.kill, os.getpid(), 0)]
        def main(args): return [found, control]
    """

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "calm")
            f, g = family.functions(f=keeper, g=snoop)
            template = await made(w, container, family.template)
            await loaded(w, container, f)
            (kept,) = set(children(manager())) - {template}
            (keepsake,) = (tmp_path / "scratch").rglob("keepsake")
            goals: dict[str, Any] = {
                "files": [str(keepsake), str(f.folder / "handler.py")],
                "pids": [inside(pid) for pid in (kept, template, manager())],
            }
            (g.folder / "goals.json").write_text(json.dumps(goals))
            await loaded(w, container, g)
            assert alive([kept, template]) == [kept, template]
            _, (found, control) = await w.run(container, g)
            assert control == ["done"] * 3
            assert found == ["PermissionError"] * len(found)
            isolation = w.backend.isolation()
            assert any("whose uid it has" in line or "own uid: given" in line for line in isolation)

    asyncio.run(scenario())


def test_shared_memory_is_charged_once(tmp_path: Path, environment: Environment) -> None:
    environment.install(large="content = bytes(range(256)) * (60 * 4096)")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "large")
            specs = family.functions(f=PLAIN, g=PLAIN, h=PLAIN)
            await made(w, container, family.template)
            alone = await w.wait_for(LoadFinished)
            assert alone.resident_bytes > 60 * MIB
            sizes = {KEY: alone.resident_bytes}
            for spec in specs:
                sizes[spec.key] = (await loaded(w, container, spec)).resident_bytes

            assert max(sizes[spec.key] for spec in specs) < 10 * MIB, "of a forked process only its own pages count"
            assert 60 * MIB < w.backend.used_bytes() < 110 * MIB
            await offloaded(w, container, KEY)
            measured = await w.wait_for(
                MemoryMeasured, lambda event: sum(dict(event.resident_bytes).values()) > 60 * MIB
            )
            assert set(dict(measured.resident_bytes)) == {spec.key for spec in specs}, "the pages are theirs now"
            assert w.backend.used_bytes() < 110 * MIB

    asyncio.run(scenario())


def test_a_template_makes_room_before_any_function_has_to(tmp_path: Path, environment: Environment) -> None:
    environment.install(large="content = bytes(range(256)) * (60 * 4096)")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container(128 * MIB)
            family = Family(w, environment, "large")
            (f,) = family.functions(f=PLAIN)
            await made(w, container, family.template)
            g = w.function("content = bytes(range(256)) * (90 * 4096)\ndef main(args): return {}\n", "g")
            await w.run(container, g)
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is not None
            assert gone.failure.message == "given up: the functions of the container need its 128 MiB for themselves"
            assert "template gone: out_of_memory" in story(w)
            assert {"g from nothing", "RunFinished"} < set(story(w))
            await w.run(container, f, "a2")
            assert [line for line in story(w) if line.startswith("f")] == ["f from nothing"]

    asyncio.run(scenario())


def test_what_was_forked_outlives_its_template(tmp_path: Path, environment: Environment) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "calm")
            f, g = family.functions(f=PLAIN, g=PLAIN)
            template = await made(w, container, family.template)
            await loaded(w, container, f)
            os.kill(template, signal.SIGKILL)
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is not None
            assert gone.failure.kind is FailureKind.CRASHED
            assert gone.failure.message.startswith("the template's process was killed by SIGKILL")
            await loaded(w, container, g)
            await offloaded(w, container, KEY)
            assert (await w.run(container, f))[1]["calm"] == 7
            assert without_ends(w) == ["template made", "f forked", "template made", "g forked", "RunFinished"]

    asyncio.run(scenario())


@pytest.mark.parametrize("asks", ["load", "run"])
def test_a_template_that_dies_at_the_fork_does_not_keep_a_function_from_its_load(
    tmp_path: Path, environment: Environment, asks: str
) -> None:
    environment.install(fragile="import os\nos.register_at_fork(before=lambda: os._exit(5))")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "fragile")
            (f,) = family.functions(f=PLAIN)
            await made(w, container, family.template)
            if asks == "load":
                await loaded(w, container, f)
            else:
                await w.run(container, f)
            assert "f from nothing" in story(w)
            assert in_short(await w.wait_for(ResidentGone)) == "template gone: crashed"

    asyncio.run(scenario())


@pytest.mark.parametrize("is_cut_short", [False, True])
def test_a_template_that_hangs_is_ended_when_the_load_is_late(
    tmp_path: Path, environment: Environment, is_cut_short: bool
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "calm")
            (f,) = (replace(spec, timeout_s=2.0) for spec in family.functions(f=PLAIN))
            template = await made(w, container, family.template)
            os.kill(template, signal.SIGSTOP)
            container.load(f)
            if is_cut_short:
                await offloaded(w, container, f.key)
                gone = await w.wait_for(ResidentGone, lambda event: event.function == KEY)
                assert sorted(story(w)[1:]) == ["f gone", "template gone: crashed"]
            else:
                await w.wait_for(LoadFinished, lambda event: event.function == f.key)
                gone = await w.wait_for(ResidentGone)
                assert set(story(w)[1:]) == {"template gone: crashed", "f from nothing"}
            assert gone.failure is not None
            assert gone.failure.message == "the template did not fork within 2 seconds"

    asyncio.run(scenario())


def test_a_template_that_cannot_be_made_is_done_without(tmp_path: Path, environment: Environment) -> None:
    environment.install(picky="import os, sys\nif 'handler' not in sys.modules: os._exit(3)")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (f,) = Family(w, environment, "picky").functions(f="import picky\n" + PLAIN)
            await w.run(container, f)
            failed = await w.wait_for(LoadFailed)
            assert failed.function == KEY
            assert failed.failure.message.startswith("the template's process ended by itself with exit code 3")
            assert story(w) == ["LoadFailed", "f from nothing", "RunFinished"]

    asyncio.run(scenario())


def test_a_template_that_is_never_made_keeps_a_call_waiting_within_the_functions_time(
    tmp_path: Path, environment: Environment
) -> None:
    environment.install(endless="import sys, time\nif 'handler' not in sys.modules: time.sleep(1000)")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (f,) = Family(w, environment, "endless").functions(f="import endless\n" + PLAIN)
            began = time.monotonic()
            ran, _ = await w.run(container, replace(f, timeout_s=4.0))
            assert ran.failure is None
            assert time.monotonic() - began < 4.0
            assert story(w) == ["f from nothing", "RunFinished"]

    asyncio.run(scenario())


def test_a_call_that_waits_in_vain_says_for_what(tmp_path: Path, environment: Environment) -> None:
    environment.install(endless="import time; time.sleep(1000)")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (f,) = Family(w, environment, "endless").functions(f="import endless\n" + PLAIN)
            began = time.monotonic()
            ran, _ = await w.run(container, replace(f, timeout_s=1.0))
            assert time.monotonic() - began < 1.0 + 3.0
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.TIMED_OUT
            assert story(w) == ["LoadFailed", "RunFinished"]

    asyncio.run(scenario())


def test_a_function_whose_files_its_template_may_not_read_is_loaded_from_nothing(
    tmp_path: Path, environment: Environment
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "calm")
            (f,) = family.functions(f=PLAIN)
            await loaded(w, container, f)
            (late,) = family.functions(late=PLAIN)
            await loaded(w, container, late)
            assert story(w) == ["template made", "f forked", "late from nothing"]

    asyncio.run(scenario())


def test_an_offload_cuts_a_fork_short(tmp_path: Path, environment: Environment) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            family = Family(w, environment, "calm")
            (f,) = family.functions(f="open('gate').read()\n" + PLAIN)
            Gate(f)
            template = await made(w, container, family.template)
            for _ in range(5):
                container.load(f)
                await offloaded(w, container, f.key)
            assert story(w) == ["template made", *["f gone"] * 5]
            assert children(manager()) == [template]
            assert (await w.stop(container)).failure is None

    asyncio.run(scenario())
