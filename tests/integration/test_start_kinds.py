"""A function's code runs in the same way, however its process began."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.process_world import World, asynchronous, oldest_python, world
from template_world import Environment, Family

from instainfer.backends.base import FunctionSpec
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import Event, LoadFinished
from instainfer.core.model import FROM_FUNCTION, FROM_LIBRARIES, FROM_NOTHING, Source, function_template_key


class Begun(NamedTuple):
    """A function, and a container in which its process begins in the wanted way."""

    world: World
    container: ManagedContainer
    spec: FunctionSpec
    source: Source

    async def call(self, activation: str = "a1", env: dict[str, str] | None = None, **args: Any) -> Any:
        """The result of a call, or its failure's text."""
        ran, result = await self.world.run(self.container, self.spec, activation, args, env)
        loads = [event for event in self.world.events if isinstance(event, LoadFinished)]
        assert [event.source for event in loads if event.function == self.spec.key] == [self.source]
        return result if ran.failure is None else ran.failure.message


class Kind(NamedTuple):
    python: Path
    source: Source
    libraries: bool


@pytest.fixture(params=["nothing", "nothing-oldest", "libraries", "function", "function-oldest", "function-libraries"])
def kind(request: pytest.FixtureRequest) -> Kind:
    first, *rest = request.param.split("-")
    python = oldest_python() if "oldest" in rest else Path(sys.executable)
    if python is None:
        pytest.skip("no Python 3.9 on PATH")
    source = {"nothing": FROM_NOTHING, "libraries": FROM_LIBRARIES, "function": FROM_FUNCTION}[first]
    return Kind(python, source, "libraries" in request.param)


@asynccontextmanager
async def begun(
    tmp_path: Path, kind: Kind, code: str, env: dict[str, str] | None = None, secrets: dict[str, str] | None = None
) -> AsyncIterator[Begun]:
    async with world(tmp_path, kind.python) as w:
        environment = Environment(tmp_path / "environment", kind.python)
        environment.install(calm="")
        if kind.libraries:
            spec, _ = Family(w, environment, "calm").functions(f=code, other="def main(args): return {}")
        else:
            spec = w.function(code, python=environment.python)
        spec = replace(spec, env=env or {}, secrets=secrets or {})
        container = await w.container()
        if kind.source is FROM_FUNCTION:
            key = function_template_key(spec.key)
            container.load_function_template(spec)
            ready = await w.wait_for(Event, lambda event: getattr(event, "function", "") == key)
            assert isinstance(ready, LoadFinished), ready
        yield Begun(w, container, spec, kind.source)


@asynchronous
async def test_coroutines_share_one_loop_for_the_life_of_the_process(tmp_path: Path, kind: Kind) -> None:
    code = """
        import asyncio, instainfer
        seen = []
        async def load():
            global loop, task, turn
            loop, turn = asyncio.get_running_loop(), asyncio.Event()
            task = asyncio.ensure_future(turn.wait())  # still waits when the process is forked
            await asyncio.sleep(0)
        async def warmup():
            seen.append(await asyncio.sleep(0, "warm"))
        @instainfer.after_fork
        async def renew():
            await asyncio.sleep(0)
            seen.append("forked")
        async def main(args):
            assert asyncio.get_running_loop() is loop
            if args.get("wrong"):
                await wrong()
            if args.get("cancel"):
                asyncio.current_task().cancel()
            turn.set()
            slow, quick = await asyncio.gather(asyncio.sleep(0.01, "slow"), asyncio.sleep(0, "quick"))
            return {"seen": seen, "waited": await task, "got": [slow, quick]}
        async def wrong():
            raise ValueError("bad shape")
    """
    async with begun(tmp_path, kind, code) as f:
        seen = ["warm", "forked"] if kind.source is FROM_FUNCTION else []
        expected = {"seen": seen, "waited": True, "got": ["slow", "quick"]}
        assert await f.call("a1") == expected
        assert await f.call("a2") == expected
        message = await f.call("a3", wrong=True)
        assert message.startswith("main() raised ValueError: bad shape\n")
        assert "asyncio" not in message
        assert (await f.call("a4", cancel=True)).startswith("main() raised RuntimeError: its coroutine was cancelled")
        assert await f.call("a5") == expected


@asynchronous
async def test_classes_that_were_pickled_in_a_program_are_those_of_the_handler(tmp_path: Path, kind: Kind) -> None:
    code = """
        import pickle
        class Scaler: factor = 3
        pickled = b"\\x80\\x02c__main__\\nScaler\\n)\\x81."
        early = pickle.loads(pickled)
        def load():
            global late
            late = pickle.loads(pickled)
        def main(args):
            again = pickle.loads(pickle.dumps(late))
            return [each.factor for each in (early, late, again)] + [isinstance(again, Scaler)]
    """
    async with begun(tmp_path, kind, code) as f:
        assert await f.call() == [3, 3, 3, True]


@asynchronous
async def test_so_are_those_of_a_handler_that_is_the_program(tmp_path: Path) -> None:
    code = """
        import pickle
        class Scaler: factor = 3
        def main(args):
            return [pickle.loads(b"\\x80\\x02c__main__\\nScaler\\n)\\x81.").factor, type(Scaler()).__module__]
    """
    async with world(tmp_path) as w:
        spec = replace(w.function("", python=Path(sys.executable)), handler="__main__")
        (spec.folder / "__main__.py").write_text(textwrap.dedent(code))
        _, result = await w.run(await w.container(), spec)
        assert result == [3, "main__"]


@asynchronous
async def test_what_is_known_of_the_action_is_known_at_its_import(tmp_path: Path, kind: Kind) -> None:
    code = """
        import os
        NAME, LATER = os.environ["__OW_ACTION_NAME"], os.environ.get("__OW_ACTIVATION_ID")
        def main(args): return [NAME, LATER, os.environ["__OW_ACTIVATION_ID"], os.environ["__OW_ACTION_NAME"]]
    """
    async with begun(tmp_path, kind, code, env={"__OW_ACTION_NAME": "/guest/f"}) as f:
        env = {"__OW_ACTION_NAME": "/guest/f", "__OW_ACTIVATION_ID": "a1"}
        assert await f.call(env=env) == ["/guest/f", None, "a1", "/guest/f"]


@asynchronous
async def test_secrets_are_known_at_its_import_and_not_to_the_list_of_processes(tmp_path: Path, kind: Kind) -> None:
    code = """
        import os, pathlib
        AT_IMPORT = os.environ["TOKEN"]
        def main(args):
            shown = "".join(pathlib.Path("/proc/self", name).read_text() for name in ("environ", "cmdline"))
            return [AT_IMPORT, os.environ["TOKEN"], AT_IMPORT in shown, len(os.environ["LONG"])]
    """
    secrets = {"TOKEN": "hunter2", "LONG": "x" * 65536}
    async with begun(tmp_path, kind, code, env={"TOKEN": "own"}, secrets=secrets) as f:
        assert await f.call() == ["hunter2", "hunter2", False, 65536]
        assert "hunter2" not in repr(f.spec)


@asynchronous
async def test_the_user_has_a_name_and_a_home(tmp_path: Path, kind: Kind) -> None:
    code = """
        import getpass, os, pathlib, pwd
        def load(): main({})
        def main(args):
            account = pwd.getpwuid(os.getuid())
            homes = {os.environ["HOME"], str(pathlib.Path.home()), os.path.expanduser("~")}
            return [getpass.getuser(), bool(account.pw_name), bool(os.getlogin()), len(homes), pwd.getpwuid(0).pw_name]
    """
    async with begun(tmp_path, kind, code) as f:
        assert await f.call() == ["function", True, True, 1, "root"]


@asynchronous
async def test_a_function_may_fork_by_itself_after_it_has_used_openmp(tmp_path: Path) -> None:
    code = """
        import os
        import numpy
        from sklearn.ensemble import HistGradientBoostingClassifier
        x = numpy.random.default_rng(0).random((2000, 20))
        model = HistGradientBoostingClassifier(max_iter=5).fit(x, x[:, 0] > 0.5)
        def main(args):
            model.predict_proba(x)
            threads = len(os.listdir("/proc/self/task"))
            pid = os.fork()
            if pid == 0:
                model.predict_proba(x)
                os._exit(0)
            return [threads > 1, os.waitpid(pid, 0)[1]]
    """
    async with world(tmp_path) as w:
        _, result = await w.run(await w.container(), w.function(code))
        assert result == [True, 0]
