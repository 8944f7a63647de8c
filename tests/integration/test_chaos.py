"""Processes of a node are killed at random moments: every call ends exactly once and in time, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from support.process_world import PATIENCE_S

from instainfer.backends.base import Call, FunctionSpec, TemplateSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.process import ProcessBackend
from instainfer.core.decisions import Refuse, Reply
from instainfer.core.model import MIB, Function, template_key
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import Policies
from instainfer.core.story import Entry
from instainfer.invoker.driver import Invoker
from instainfer.links.base import Outcome
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.opportunistic import Opportunistic
from instainfer.runtime.memory import children, family

KILLS = 300
PAUSE_S = 0.02
CALLERS = 4
LIMIT_S = 10.0
GRACE_S = 5.0
MANAGERS_SHARE = 0.1
TEMPLATES = 100
"""Function templates that are killed at least, where there are any."""
TEMPLATES_SHARE = 0.95
"""A template takes half a second to make. If too much else dies, there are none."""

CODES = {
    "quick": "def main(args): return {'n': args['n']}",
    "slow": "import time\ndef main(args):\n    time.sleep(0.03)\n    return {'n': args['n']}",
    "large": "held = bytearray(b'x') * (30 << 20)\ndef main(args): return {'n': args['n']}",
    "parent": """
import subprocess
def main(args):
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    return {"n": args["n"]}
""",
}


class Node:
    """An invoker on real processes."""

    def __init__(self, folder: Path, *, function_templates: bool) -> None:
        clock = LoopClock()
        policies = Policies(Fixed(60.0), Poisson(), Opportunistic())
        self.backend = ProcessBackend(clock, scratch=folder / "scratch")
        settings = NodeSettings(1024 * MIB, max_loads=2, function_templates=function_templates)
        self.invoker = Invoker(NodeState(settings, policies), self.backend, clock, on_entry=self._note)
        self.starts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        """By activation, how often it was said how it ended."""
        self.keys = [self._deploy(folder / "functions" / name, code) for name, code in CODES.items()]

    def _deploy(self, folder: Path, code: str) -> str:
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(code)
        function = Function(f"t/{folder.name}@1", "t", "env", 256 * MIB, LIMIT_S, 60 * MIB)
        python = Path(sys.executable)
        template = TemplateSpec(template_key("t", "env"), python, ("decimal", "csv"))
        spec = FunctionSpec(function.key, folder, python, "handler", timeout_s=LIMIT_S, template=template)
        self.invoker.register(function, spec)
        return function.key

    def _note(self, entry: Entry) -> None:
        self.ends.update(d.activation for d in entry.decisions if isinstance(d, Reply | Refuse))
        self.starts.update(d.start_kind for d in entry.decisions if isinstance(d, Reply) and d.failure is None)


async def call_again_and_again(
    node: Node, caller: int, until: asyncio.Event, pause_s: float
) -> list[tuple[str, int, Outcome, float]]:
    """Activation, what was asked, how it ended, and after how long."""
    seeded = random.Random(caller)
    ended = []
    while not until.is_set():
        activation = f"a{caller}.{len(ended)}"
        key = seeded.choice(node.keys)
        args = json.dumps({"n": len(ended)}).encode()
        await asyncio.sleep(seeded.uniform(0, 2 * pause_s))
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            outcome = await node.invoker.invoke(Call(activation, key, args))
        ended.append((activation, len(ended), outcome, time.monotonic() - began))
    return ended


async def kill_again_and_again(seed: int, *, function_templates: bool) -> Counter[str]:
    """Managers now and then, else any process below one: executors, templates, what they have started.

    With function templates, nearly all are of those, until enough of them have been killed.
    """
    seeded = random.Random(seed)
    killed: Counter[str] = Counter()
    while (killed["function template"] < TEMPLATES) if function_templates else (killed.total() < KILLS):
        await asyncio.sleep(seeded.uniform(0, (8 if function_templates else 2) * PAUSE_S))
        keepers = [pid for pid in children(os.getpid()) if _program(pid) == "keeper"]
        managers = [pid for keeper in keepers for pid in children(keeper)]
        below = sorted(set(family(managers)) - set(managers))
        victims = managers if seeded.random() < MANAGERS_SHARE or not below else below
        if function_templates and seeded.random() < TEMPLATES_SHARE:
            victims = [pid for pid in below if _program(pid) == "function template"]
        if victims:
            victim = seeded.choice(victims)
            program = _program(victim)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed["manager" if victim in managers else program] += 1
    return killed


def _program(pid: int) -> str:
    """``manager``, ``executor``, ``template``, ``function template``; what is forked has its template's."""
    with suppress(OSError):
        if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t"):
            return "function template"
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        places = [place for place, word in enumerate(words) if word.endswith(b"/boot.py")]
        return words[places[0] + 1].decode() if places else "another"
    return "another"


def left_in(folder: Path) -> list[int]:
    """Processes that work somewhere in a folder."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd").startswith(str(folder)):
                    found.append(int(name))
    return found


@pytest.mark.parametrize("function_templates", [False, True], ids=["libraries", "functions"])
def test_every_call_ends_once_and_in_time_whatever_dies(tmp_path: Path, function_templates: bool) -> None:
    async def scenario() -> None:
        await asyncio.to_thread(lambda: None)  # so that what a loop opens once is open
        fds = os.listdir("/proc/self/fd")
        node = Node(tmp_path, function_templates=function_templates)
        enough = asyncio.Event()
        pause_s = 3 * PAUSE_S if function_templates else 0.0  # templates are made where nothing runs
        callers = [
            asyncio.ensure_future(call_again_and_again(node, number, enough, pause_s)) for number in range(CALLERS)
        ]
        killed = await kill_again_and_again(7, function_templates=function_templates)
        enough.set()
        calls = [call for caller in await asyncio.gather(*callers) for call in caller]

        aims = ("function template",) if function_templates else ("manager", "executor", "template")
        assert min(killed[program] for program in aims) > 0, killed
        assert (node.starts["forked"] > 0) is function_templates, node.starts
        assert node.ends == Counter(activation for activation, _, _, _ in calls)
        assert max(seconds for _, _, _, seconds in calls) < LIMIT_S + GRACE_S
        answered = [(json.loads(outcome.result)["n"], n) for _, n, outcome, _ in calls if outcome.result is not None]
        assert answered, "some come through"
        assert all(got == asked for got, asked in answered)
        assert all((outcome.failure is None) is (outcome.result is not None) for _, _, outcome, _ in calls)

        # It has not only survived: it serves.
        for key in node.keys:
            async with asyncio.timeout(PATIENCE_S):
                outcome = await node.invoker.invoke(Call(f"last {key}", key, b'{"n":0}'))
            assert outcome.failure is None
        node.invoker.state.check()
        async with asyncio.timeout(PATIENCE_S):
            await node.invoker.drain()
        await node.backend.close()
        assert children(os.getpid()) == []
        assert left_in(tmp_path) == []
        assert list((tmp_path / "scratch").iterdir()) == []
        assert sorted(os.listdir("/proc/self/fd")) == sorted(fds)

    asyncio.run(scenario())
