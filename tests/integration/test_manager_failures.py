"""Every way in which a function can go wrong is named, and the container goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.process_world import Gate, World, world

from instainfer.backends.base import FunctionSpec
from instainfer.core.events import LoadFailed, LoadFinished, ResidentGone, RunFinished
from instainfer.core.model import MIB, Failure, FailureKind

GRACE_S = 3.0
"""What a busy machine may take beside a time limit."""
GOOD = 'def main(args): return {"fine": True}\n'


async def the_container_goes_on(w: World, container: object) -> None:
    _, result = await w.run(container, w.function(GOOD, "good"), "good")  # type: ignore[arg-type]
    assert result == {"fine": True}


@pytest.mark.parametrize(
    ("code", "fields", "says"),
    [
        (
            "import no_such_library\ndef main(args): return {}",
            {},
            [
                "importing handler.py raised ModuleNotFoundError: No module named 'no_such_library'",
                "(is it in the function's requirements?)",
                'handler.py", line 1, in <module>',
            ],
        ),
        ("def main(args): return {}\n1 / 0", {}, ["importing handler.py raised ZeroDivisionError", "line 2"]),
        ("def main(args) return {}", {}, ["importing handler.py raised SyntaxError", "handler.py, line 1"]),
        ("def other(args): return {}", {}, ["handler.py has no function 'main'; define it, or name another"]),
        ("main = 1", {}, ["handler.py has no function 'main'"]),
        (GOOD, {"handler": "absent"}, ["there is no absent.py in the function's folder"]),
        (GOOD, {"handler": "__main__"}, ["there is no __main__.py in the function's folder"]),
        (
            "def load(): open('weights.pt')\ndef main(args): return {}",
            {},
            ["load() raised FileNotFoundError", "weights.pt", "line 1, in load"],
        ),
        (GOOD, {"python": Path("/no/such/python")}, ["/no/such/python cannot be started", "build the function's"]),
        (GOOD, {"style": "dance"}, ["unknown style 'dance': action or script"]),
    ],
)
def test_a_load_that_fails_says_why(tmp_path: Path, code: str, fields: dict[str, object], says: list[str]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(code, **fields)
            container.load(f)
            failed = await w.wait_for(LoadFailed)
            assert failed.failure.kind is FailureKind.LOAD_FAILED
            for text in says:
                assert text in failed.failure.message
            ran, result = await w.run(container, f)
            assert result is None
            assert not ran.alive
            assert ran.failure == failed.failure
            assert w.kinds() == ["LoadFailed", "LoadFailed", "RunFinished"]
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


def test_loads_that_fail_at_once_do_not_get_into_each_others_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function('def main(args): return [open("gate").read()]\n')
            gate = Gate(f)
            w.ask(container, f)
            await gate.reached()
            for name in ("b1", "b2", "b3"):
                container.load(w.function(GOOD, name, python=Path("/no/such/python")))
            gate.open()
            await w.wait_for(LoadFailed, lambda event: "b3" in event.function)
            assert w.kinds() == ["LoadFinished", "RunFinished", "LoadFailed", "LoadFailed", "LoadFailed"]
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


def test_output_of_a_load_that_failed_is_in_the_logs_of_the_call_that_needed_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            await w.run(container, w.function('print("before")\nraise ValueError("x")\n'))
            assert w.texts()[0] == ("stdout", "before")

    asyncio.run(scenario())


@pytest.mark.parametrize("where", ["def main(args):", "def load():"])
def test_the_chain_of_an_exception_is_in_the_log_and_its_ends_are_in_the_message(tmp_path: Path, where: str) -> None:
    code = f"""
def main(args): return {{}}
def step():
    try:
        try: [][1]
        except IndexError: raise KeyError("no such label")
    except KeyError as error: raise ValueError("bad magic") from error
{where}
    try: step()
    except ValueError as error: raise OSError("the model cannot be read") from error
"""

    async def scenario() -> None:
        async with world(tmp_path) as w:
            ran, _ = await w.run(await w.container(), w.function(code))
            assert ran.failure is not None
            first, second, third, *_ = ran.failure.message.split("\n")
            assert first.endswith(" raised OSError: the model cannot be read")
            assert second == "it began with IndexError: list index out of range"
            assert third.strip().startswith('File "')
            log = [text for _, text in w.texts()]
            chain = [
                text.split(":")[0] for text in log if text.startswith(("IndexError", "KeyError", "ValueError", "OSErr"))
            ]
            assert chain == ["IndexError", "KeyError", "ValueError", "OSError"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit(3)", "ended by itself with exit code 3"),
        ("import os; print('last words', flush=True); os._exit(4)", "exit code 4"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL, not by the platform"),
        ("import os; os.closerange(3, 100); import time; time.sleep(1000)", "was killed by SIGKILL"),
    ],
)
def test_a_process_that_ends_while_it_runs_has_crashed(tmp_path: Path, code: str, says: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(f"def main(args):\n    {code}\n")
            ran, _ = await w.run(container, f)
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.CRASHED
            assert says in ran.failure.message
            assert (ran.alive, ran.resident_bytes) == (False, 0)
            assert w.texts()[-1] == ("stderr", ran.failure.message.split("\n")[0])
            if "print" in code:
                assert w.texts()[0] == ("stdout", "last words")
                assert "last words" in ran.failure.message
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is None
            assert w.kinds() == ["LoadFinished", "RunFinished", "ResidentGone"]
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


def test_a_process_that_ends_while_it_loads_has_crashed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            container.load(w.function("import sys; sys.exit('no licence')"))
            failed = await w.wait_for(LoadFailed)
            assert failed.failure.kind is FailureKind.CRASHED
            assert "exit code 1" in failed.failure.message
            assert "no licence" in failed.failure.message
            await the_container_goes_on(w, container)
            assert w.kinds() == ["LoadFailed", "LoadFinished", "RunFinished"]

    asyncio.run(scenario())


def test_a_process_that_ends_while_it_waits_is_reported_with_its_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("""
                import os, threading
                def die():
                    open("gate").read()
                    os._exit(7)
                def main(args):
                    threading.Thread(target=die).start()
                    return {}
            """)
            gate = Gate(f)
            await w.run(container, f)
            await gate.reached()
            gate.open()
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is not None
            assert gone.failure.kind is FailureKind.CRASHED
            assert "exit code 7" in gone.failure.message
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


def test_an_exception_in_main_fails_the_run_and_not_the_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("""
                calls = 0
                def main(args):
                    global calls
                    calls += 1
                    if "error" in args: raise {"v": ValueError, "m": MemoryError}[args["error"]]("shape (1, 2)")
                    return {"calls": calls}
            """)
            ran, result = await w.run(container, f, "a1", {"error": "v"})
            assert result is None
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.RAISED
            assert ran.failure.message.startswith("main() raised ValueError: shape (1, 2)\n")
            assert "line 6, in main" in ran.failure.message
            assert ran.alive
            ran, _ = await w.run(container, f, "a2", {"error": "m"})
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.OUT_OF_MEMORY
            assert ran.alive
            assert (await w.run(container, f, "a3"))[1] == {"calls": 3}
            assert w.kinds() == ["LoadFinished"] + ["RunFinished"] * 3

    asyncio.run(scenario())


def test_a_function_that_has_used_up_its_descriptors_can_still_say_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            code = """
                import os
                def main(args):
                    while True: os.open("/dev/null", os.O_RDONLY)
            """
            ran, _ = await w.run(await w.container(), w.function(code))
            assert ran.failure is not None
            assert ran.failure.message.startswith("main() raised OSError: [Errno 24] Too many open files")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("'text'", "the answer of main() is a str; it must be a dict or a list"),
        ("None", "is a NoneType"),
        ("{'labels': [b'']}", "$.labels[0] is a bytes"),
        ("{'p': float('nan')}", "not JSON compliant"),
    ],
)
def test_what_is_no_answer_is_named_and_the_process_lives_on(tmp_path: Path, answer: str, says: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            ran, result = await w.run(container, w.function(f"def main(args): return {answer}\n"))
            assert result is None
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.BAD_ANSWER
            assert says in ran.failure.message
            assert ran.alive

    asyncio.run(scenario())


def test_a_run_past_its_deadline_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                """
                import time
                def main(args):
                    print("begun")
                    time.sleep(1000)
            """,
                timeout_s=0.3,
            )
            ran, _ = await w.run(container, f)
            assert ran.failure == Failure(
                FailureKind.TIMED_OUT, "the function had not answered after 0.3 seconds, its time limit, and was ended"
            )
            assert not ran.alive
            assert 0.3 <= ran.compute_s < 5.0
            assert w.texts() == [("stdout", "begun")]
            await w.wait_for(ResidentGone)
            assert w.kinds() == ["LoadFinished", "RunFinished", "ResidentGone"]
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


def test_a_load_past_its_deadline_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("import time\ntime.sleep(1000)\n", timeout_s=0.3)
            ran, _ = await w.run(container, f)
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.TIMED_OUT
            assert "had not loaded after 0.3 seconds" in ran.failure.message
            assert w.kinds() == ["LoadFailed", "RunFinished"]
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


TAKES_200_MIB = 'held = bytearray(b"x") * (200 << 20)\nopen("gate").read()\ndef main(args): return {}\n'


def test_a_load_above_the_functions_limit_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(TAKES_200_MIB, memory_bytes=100 * MIB)
            Gate(f)
            container.load(f)
            failed = await w.wait_for(LoadFailed)
            assert failed.failure.kind is FailureKind.OUT_OF_MEMORY
            assert "its limit is 100 MiB; raise the limit" in failed.failure.message
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


def test_a_load_that_is_too_large_is_found_out_even_if_it_is_quick(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function('held = bytearray(b"x") * (60 << 20)\ndef main(args): return {}\n', memory_bytes=40 * MIB)
            ran, _ = await w.run(container, f)
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.OUT_OF_MEMORY
            assert w.kinds() == ["LoadFailed", "RunFinished"]

    asyncio.run(scenario())


def test_a_run_above_the_functions_limit_is_ended_with_its_children(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                """
                import subprocess, sys
                def main(args):
                    child = subprocess.Popen([sys.executable, "-c", "x = bytearray(b'x') * (200 << 20); input()"],
                                             stdin=subprocess.PIPE)
                    child.wait()  # it waits for input that never comes: run() would have closed its stdin
            """,
                memory_bytes=100 * MIB,
            )
            w.ask(container, f)
            ran = await w.ran()
            assert ran.failure is not None
            assert ran.failure.kind is FailureKind.OUT_OF_MEMORY
            assert not ran.alive
            await w.wait_for(ResidentGone)
            assert w.kinds() == ["LoadFinished", "RunFinished", "ResidentGone"]

    asyncio.run(scenario())


def test_a_preload_that_overfills_the_container_is_ended_and_not_who_was_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container(300 * MIB)
            first = w.function('held = bytearray(b"x") * (180 << 20)\ndef main(args): return {}\n', "first")
            second = w.function(TAKES_200_MIB, "second")
            Gate(second)
            container.load(first)
            await w.wait_for(LoadFinished)
            container.load(second)
            failed = await w.wait_for(LoadFailed)
            assert failed.function == second.key
            assert failed.failure.kind is FailureKind.OUT_OF_MEMORY
            assert "MiB, more than its 300; this one was ended for it" in failed.failure.message
            await w.run(container, first)
            assert w.kinds() == ["LoadFinished", "LoadFailed", "RunFinished"]

    asyncio.run(scenario())


def test_an_idle_resident_that_outgrows_its_limit_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                """
                import threading
                held = []
                def grow():
                    open("gate").read()
                    held.append(bytearray(b"x") * (120 << 20))
                def main(args):
                    threading.Thread(target=grow).start()
                    return {}
            """,
                memory_bytes=100 * MIB,
            )
            gate = Gate(f)
            await w.run(container, f)
            await gate.reached()
            gate.open()
            gone = await w.wait_for(ResidentGone)
            assert gone.failure is not None
            assert gone.failure.kind is FailureKind.OUT_OF_MEMORY

    asyncio.run(scenario())


def test_a_running_function_that_is_offloaded_all_the_same_fails_its_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f: FunctionSpec = w.function('def main(args): return [open("gate").read()]\n')
            gate = Gate(f)
            w.ask(container, f)
            await gate.reached()
            container.offload(f.key)
            ran = await w.wait_for(RunFinished)
            assert ran.failure is not None
            assert "off-loaded before it had answered" in ran.failure.message
            await w.wait_for(ResidentGone)
            gate.open()
            assert w.kinds() == ["LoadFinished", "RunFinished", "ResidentGone"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "code",
    [
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "os.closerange(3, 100); time.sleep(1000)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(1000)",
        "while True: os.write(1, b'x' * 65536)",
        "while True: os.write(2, b'\\n' * 65536)",
        "[socket.socket(fileno=os.dup(fd)).sendall(bytes(1 << 30)) for fd in range(3, 10) if is_socket(fd)]",
        "while True: [os.write(fd, b'x') for fd in range(3, 10) if is_socket(fd)]",
        "subprocess.Popen(['sleep', '1000']); subprocess.Popen(['sleep', '1000'], start_new_session=True).wait()",
        "os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(1000)",
        "[threading.Thread(target=spin, daemon=True).start() for _ in range(20)]; spin()",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN); breed()",
    ],
    ids=[
        *("stopped", "without its socket", "deaf to signals", "floods stdout", "floods stderr", "floods the socket"),
        *("dribbles into the socket", "holds the pipes", "leaves", "spins", "breeds"),
    ],
)
def test_a_run_ends_in_time_whatever_its_processes_do(tmp_path: Path, code: str) -> None:
    helpers = """
import os, signal, socket, stat, subprocess, sys, threading, time
def is_socket(fd):
    try: return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError: return False
def spin():
    while True: pass
def breed():
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        if os.fork() == 0:
            if os.fork() == 0: time.sleep(1000)
            os._exit(0)
    time.sleep(1000)
"""

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(f"{helpers}\ndef main(args):\n    {code}\n", timeout_s=1.5, logs_bytes=10_000)
            # It is loaded for its call: a load that nobody waits for has all the less time the busier the machine is.
            ran, _ = await w.run(container, f)
            assert ran.failure is not None
            assert ran.failure.kind in {FailureKind.TIMED_OUT, FailureKind.CRASHED}
            loaded = await w.wait_for(LoadFinished)
            assert ran.at - loaded.at < 1.5 + GRACE_S
            assert not ran.alive
            await w.wait_for(ResidentGone)
            assert w.kinds() == ["LoadFinished", "RunFinished", "ResidentGone"]
            await the_container_goes_on(w, container)

    asyncio.run(scenario())


def test_a_folder_of_any_depth_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("""
                import os
                def main(args):
                    os.chdir(os.environ["TMPDIR"])
                    for _ in range(1100):
                        os.mkdir("d")
                        os.chdir("d")
                    return {}
            """)
            ran, _ = await w.run(container, f, "a1")
            assert ran.failure is None
            await the_container_goes_on(w, container)
            await w.run(container, f, "a2")
            await w.stop(container)
            await container.ended.wait()
            assert list((tmp_path / "scratch").iterdir()) == []

    asyncio.run(scenario())
