"""Inside a container: loading, running, off-loading, and what is kept apart. On this Python and on the oldest."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from support.process_world import Gate, alive, ended, managers, oldest_python, outside, world

from instainfer.core.events import LoadFinished, MemoryMeasured, ResidentGone
from instainfer.core.model import MIB


@pytest.fixture(params=["running", "oldest"])
def python(request: pytest.FixtureRequest) -> Path:
    if request.param == "running":
        return Path(sys.executable)
    found = oldest_python()
    if found is None:
        pytest.skip("no Python 3.9 on PATH")
    return found


def test_a_load_answers_when_the_function_is_loaded_and_a_run_finds_it_there(tmp_path: Path, python: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            container = await w.container()
            f = w.function("""
                import sys, time
                began = time.perf_counter()
                while time.perf_counter() - began < 0.05: pass
                def load():
                    global weights
                    weights = bytearray(b"x") * (64 << 20)
                    began = time.perf_counter()
                    while time.perf_counter() - began < 0.05: pass
                def main(args):
                    return {"got": args, "version": sys.version_info[:2], "weights": len(weights)}
            """)
            container.load(f)
            container.load(f)
            loaded = await w.wait_for(LoadFinished)
            assert loaded.library_s >= 0.05
            assert loaded.model_s >= 0.05
            assert 64 * MIB < loaded.resident_bytes < 64 * MIB + 40 * MIB
            assert w.backend.used_bytes() > loaded.resident_bytes

            ran, result = await w.run(container, f, args={"text": "grün"})
            assert result["got"] == {"text": "grün"}
            assert result["weights"] == 64 << 20
            assert python != Path(sys.executable) or result["version"] == list(sys.version_info[:2])
            assert ran.failure is None
            assert ran.alive
            assert ran.compute_s < loaded.library_s
            assert ran.resident_bytes > 64 * MIB
            assert w.kinds() == ["LoadFinished", "RunFinished"]

    asyncio.run(scenario())


def test_a_run_of_what_is_absent_loads_it_and_the_next_finds_it(tmp_path: Path, python: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            container = await w.container()
            f = w.function(
                """
                calls = 0
                def answer(args):
                    global calls
                    calls += 1
                    return [calls]
            """,
                main="answer",
            )
            assert (await w.run(container, f, "a1"))[1] == [1]
            assert (await w.run(container, f, "a2"))[1] == [2]
            assert w.kinds() == ["LoadFinished", "RunFinished", "RunFinished"]

    asyncio.run(scenario())


def test_a_run_joins_a_load(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("""
                import os
                def load(): open("gate").read()
                def main(args): return {"pid": os.getpid()}
            """)
            gate = Gate(f)
            container.load(f)
            await gate.reached()
            w.ask(container, f, "a1")
            w.ask(container, f, "a2")
            assert w.kinds() == []
            gate.open()
            await w.ran("a2")
            assert w.kinds() == ["LoadFinished", "RunFinished", "RunFinished"]
            assert w.result("a1") == w.result("a2")

    asyncio.run(scenario())


def test_no_thread_of_another_function_can_run_when_user_code_sees_the_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container(1024 * MIB)
            holder = w.function(
                """
                import os, subprocess, threading
                held = bytearray(b"x") * (300 << 20)
                def main(args):
                    threading.Thread(target=threading.Event().wait, daemon=True).start()
                    follower = subprocess.Popen(["sleep", "1000"])
                    deserter = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                    # Its parent is in the tree and neither in the group nor in the session.
                    shell = "sleep 1000 & echo $! && wait"
                    family = subprocess.Popen(["sh", "-c", shell], start_new_session=True, stdout=subprocess.PIPE)
                    child = int(family.stdout.readline())
                    return [os.getpid(), follower.pid, deserter.pid, family.pid, child]
            """,
                "holder",
            )
            seeker = w.function(
                """
                import os
                def can_run(pid):
                    found = False
                    try:
                        for thread in os.listdir("/proc/%d/task" % pid):
                            there = "/proc/%d/task/%s/" % (pid, thread)
                            stat = open(there + "stat").read().rpartition(")")[2].split()
                            lines = open(there + "status").read().splitlines()
                            pending = int(next(l for l in lines if l.startswith("SigPnd")).split()[1], 16)
                            found |= stat[0] not in "ZX" and not int(stat[6]) & 4 and not pending & 1 << 8
                    except OSError:
                        pass
                    return found
                def main(args):
                    return {"can run": [pid for pid in args["pids"] if can_run(pid)]}
            """,
                "seeker",
            )
            _, inside = await w.run(container, holder, "a1")
            pids = outside(*managers(), *inside)
            assert alive(pids) == pids
            container.load(seeker)
            await w.wait_for(LoadFinished, lambda event: event.function == seeker.key)

            _, result = await w.run(container, seeker, "a2", {"pids": inside})
            assert result == {"can run": []}
            gone = await w.wait_for(ResidentGone)
            assert (gone.function, gone.failure) == (holder.key, None)
            for pid in pids:
                await ended(pid)
            assert sorted(w.kinds(start=4)) == ["ResidentGone", "RunFinished"]
            assert w.backend.used_bytes() < 100 * MIB

            # And so when the function has to be loaded first.
            _, pids = await w.run(container, holder, "a3")
            assert (await w.run(container, seeker, "a4", {"pids": pids}))[1] == {"can run": []}
            for key in (holder.key, seeker.key):
                await w.wait_for(ResidentGone, lambda event, key=key: event.function == key and event in w.events[6:])

    asyncio.run(scenario())


def test_a_run_cuts_the_loads_of_others_short(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            slow = w.function('open("gate").read()\ndef main(args): return {}\n', "slow")
            quick = w.function("def main(args): return {}\n", "quick")
            gate = Gate(slow)
            container.load(slow)
            await gate.reached()
            await w.run(container, quick)
            gate.open()
            await w.wait_for(ResidentGone)
            assert [kind for kind in w.kinds() if kind != "ResidentGone"] == ["LoadFinished", "RunFinished"]

    asyncio.run(scenario())


def test_a_load_asked_for_during_a_run_waits_for_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            running = w.function('def main(args): return [open("gate").read()]\n', "running")
            other = w.function("def main(args): return {}\n", "other")
            gate = Gate(running)
            w.ask(container, running)
            await gate.reached()
            container.load(other)
            gate.open()
            await w.wait_for(LoadFinished, lambda event: event.function == other.key)
            assert w.kinds() == ["LoadFinished", "RunFinished", "LoadFinished"]

    asyncio.run(scenario())


def test_offloading_ends_what_is_there_once_and_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            loading = w.function('open("gate").read()\ndef main(args): return {}\n', "loading")
            loaded = w.function("import os\ndef main(args): return [os.environ['TMPDIR']]\n", "loaded")
            gate = Gate(loading)
            _, (scratch,) = await w.run(container, loaded)
            assert os.listdir(scratch) == []
            container.load(loading)
            await gate.reached()
            container.offload(loading.key)
            container.offload(loaded.key)
            container.offload(loaded.key)
            container.offload("guest/unknown@0.0.1")
            await w.wait_for(ResidentGone, lambda event: event.function == loaded.key)
            gate.open()
            # Whatever an off-load would still report comes before what is asked for after it.
            await w.run(container, loaded, "a2")
            assert w.kinds(start=3) == ["ResidentGone", "ResidentGone", "LoadFinished", "RunFinished"]
            with pytest.raises(FileNotFoundError):
                os.listdir(scratch)

    asyncio.run(scenario())


def test_a_function_can_be_loaded_again_right_after_it_was_offloaded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("def main(args): return {}\n")
            await w.run(container, f)
            container.offload(f.key)
            container.load(f)
            await w.wait_for(ResidentGone)
            await w.wait_for(LoadFinished, lambda event: event is not w.told[1])
            assert w.kinds() == ["LoadFinished", "RunFinished", "ResidentGone", "LoadFinished"]

    asyncio.run(scenario())


def test_output_goes_to_the_activation_it_belongs_to(tmp_path: Path, python: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            container = await w.container()
            f = w.function("""
                import ctypes, os, sys
                print("importing")
                def load(): os.write(2, b"loading\\n")
                def main(args):
                    print("text", args["n"])
                    print("to stderr", file=sys.stderr)
                    os.write(1, b"bytes\\n")
                    ctypes.CDLL(None).puts(b"from C")
                    print("no newline", end="")
                    return {}
            """)
            container.load(f)
            await w.wait_for(LoadFinished)
            await w.run(container, f, "a1", {"n": 1})
            await w.run(container, f, "a2", {"n": 2})
            own = {("stdout", "bytes"), ("stderr", "to stderr"), ("stdout", "no newlinefrom C")}
            assert set(w.texts("a1")) == own | {("stdout", "importing"), ("stderr", "loading"), ("stdout", "text 1")}
            assert set(w.texts("a2")) == own | {("stdout", "text 2")}

    asyncio.run(scenario())


def test_a_megabyte_goes_in_and_comes_out_and_logs_are_cut_at_their_limit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                """
                def main(args):
                    for line in range(2000): print("x" * 999)
                    return {"text": args["text"][::-1]}
            """,
                logs_bytes=100 * (999 + 43),
            )
            text = "".join(map(str, range(400_000)))
            _, result = await w.run(container, f, args={"text": text})
            assert result == {"text": text[::-1]}
            texts = w.texts()
            assert texts[:100] == [("stdout", "x" * 999)] * 100
            assert texts[100][1].startswith("Logs were truncated")
            assert len(texts) == 101

    asyncio.run(scenario())


def test_a_function_sees_the_environment_of_its_call_and_nothing_of_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_SECRET", "x")

    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                """
                import os, sys
                def main(args):
                    try:
                        import instainfer.config
                        leak = "config"
                    except (ImportError, OSError):
                        leak = None
                    return {"env": dict(os.environ), "cwd": os.getcwd(), "path": sys.path, "leak": leak}
            """,
                env={"OWN": "1"},
                python=Path(sys.base_prefix) / "bin" / "python3",
            )
            _, first = await w.run(container, f, "a1", env={"__OW_ACTIVATION_ID": "a1", "__OW_EXTRA": "1"})
            _, second = await w.run(container, f, "a2", env={"__OW_ACTIVATION_ID": "a2"})
            assert first["env"].pop("__OW_EXTRA") == "1"
            assert first["env"].pop("__OW_ACTIVATION_ID") == "a1"
            assert second["env"].pop("__OW_ACTIVATION_ID") == "a2"
            deadlines_ms = [int(answer["env"].pop("__OW_DEADLINE")) for answer in (first, second)]
            assert deadlines_ms == sorted(deadlines_ms)
            assert 0 <= deadlines_ms[1] / 1e3 - time.time() <= f.timeout_s
            assert first["env"] == second["env"]
            ours = {"PATH", "LANG", "HOME", "TMPDIR", "USER", "LOGNAME", "OMP_WAIT_POLICY", "ORT_DISABLE_TELEMETRY"}
            assert set(second["env"]) - {"TZ", "LC_CTYPE"} == ours | {"OWN"}
            assert second["env"]["OMP_WAIT_POLICY"] == "PASSIVE"
            assert second["cwd"] == second["path"][0] == str(f.folder)
            assert not [path for path in second["path"] if path.startswith(sys.prefix)]
            assert second["leak"] is None

    asyncio.run(scenario())


def test_a_function_may_let_its_threads_spin(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(
                """
                import os
                def main(args):
                    return {"waits": os.environ["OMP_WAIT_POLICY"]}
            """,
                env={"OMP_WAIT_POLICY": "ACTIVE"},
            )
            _, answer = await w.run(container, f, "a1")
            assert answer == {"waits": "ACTIVE"}

    asyncio.run(scenario())


def test_the_operators_variables_are_for_all_functions_and_a_functions_own_win(tmp_path: Path) -> None:
    async def scenario() -> None:
        operators = {"OMP_WAIT_POLICY": "ACTIVE", "MIRROR": "http://here", "OWN": "0", "HOME": "/nowhere"}
        async with world(tmp_path, env=operators) as w:
            container = await w.container()
            code = """
                import os
                def main(args):
                    return dict(os.environ)
            """
            _, seen = await w.run(container, w.function(code, env={"OWN": "1"}), "a1")
            assert (seen["OMP_WAIT_POLICY"], seen["MIRROR"], seen["OWN"]) == ("ACTIVE", "http://here", "1")
            assert seen["HOME"] == seen["TMPDIR"] != "/nowhere"

    asyncio.run(scenario())


def test_growth_of_an_idle_resident_is_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("""
                import threading
                held = []
                def grow():
                    open("gate").read()
                    held.append(bytearray(b"x") * (30 << 20))
                def main(args):
                    threading.Thread(target=grow, daemon=True).start()
                    return {}
            """)
            gate = Gate(f)
            ran, _ = await w.run(container, f)
            await gate.reached()
            gate.open()
            # It may be measured before all of that has been filled, and is again then.
            least_bytes = ran.resident_bytes + 25 * MIB
            grown = await w.wait_for(MemoryMeasured, lambda measured: measured.resident_bytes[0][1] > least_bytes)
            assert [key for key, _ in grown.resident_bytes] == [f.key]

    asyncio.run(scenario())


def test_an_action_may_be_called_main(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("", handler="__main__")
            (f.folder / "__main__.py").write_text(
                "class Greeting(dict): pass\n"
                "def main(args): return Greeting(hello=args['name'], module=Greeting.__module__)\n"
                "if __name__ == '__main__': raise RuntimeError('run as a program')\n"
            )
            _, result = await w.run(container, f, args={"name": "Ada"})
            assert result == {"hello": "Ada", "module": "main__"}

    asyncio.run(scenario())


def test_what_was_forgotten_can_be_told_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function("def main(args):\n    return {'n': args.get('n')}\n")
            assert (await w.run(container, f, "a1", {"n": 1}))[1] == {"n": 1}
            container.offload(f.key)
            await w.wait_for(ResidentGone)
            container.forget(f.key)
            container.forget("guest/never-heard-of@0.0.1")
            assert (await w.run(container, f, "a2", {"n": 2}))[1] == {"n": 2}

    asyncio.run(scenario())
