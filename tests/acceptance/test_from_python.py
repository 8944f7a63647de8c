"""A program calls functions of a real platform: what it gets, and what it is told when it gets nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import PATIENCE_S, Platform, running, write
from test_readme import examples

from instainfer import AsyncClient, Client
from instainfer.config import load_config
from instainfer.core.model import StartKind
from instainfer.environments.builder import Environments
from instainfer.environments.manifest import read_manifest
from instainfer.errors import CallFailed, NotAllowed, NotFound, StillRunning, Unreachable

pytestmark = pytest.mark.acceptance

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "call-from-python.md"

ECHO = """
import instainfer

@instainfer.arrays
def main(args):
    print("got", sorted(args))
    if "fail" in args:
        raise ValueError(args["fail"])
    return {**args, "again": args.get("raw", b"")[::-1]}
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path) as up:
        yield up


def test_a_program_calls_gathers_and_comes_back(platform: Platform) -> None:
    platform.put("echo", ECHO)
    with Client(home=platform.home) as client:
        echo = client.function("echo")
        result = echo({"raw": b"\x00\xff"}, n=1)
        assert result == {"raw": b"\x00\xff", "n": 1, "again": b"\xff\x00"}
        assert result.start_kind in set(StartKind)
        assert result.startup_s > 0.0 < result.compute_s
        assert "got ['n', 'raw']" in result.logs[0]
        assert platform.record(result.activation_id)["name"] == "echo"
        assert echo(n=2).start_kind in set(StartKind)

        assert [each["n"] for each in echo.map(({"n": n} for n in range(20)), concurrency=4)] == list(range(20))

        call = echo.submit(n=3)
        assert call.result(PATIENCE_S)["n"] == 3
        assert call.done()


def test_a_program_is_told_what_went_wrong(platform: Platform) -> None:
    platform.put("echo", ECHO)
    platform.put("slow", "import time\ndef main(args):\n    time.sleep(args['s'])\n    return {}")
    with Client(home=platform.home) as client:
        with pytest.raises(CallFailed, match=r"echo failed: .*ValueError: so it is") as failed:
            client.function("echo")(fail="so it is")
        assert (failed.value.fault, failed.value.kind) == ("function", "raised")
        assert any("raise ValueError" in line for line in failed.value.logs)
        assert platform.record(failed.value.activation_id)["name"] == "echo"
        with pytest.raises(NotFound):
            client.function("nobody")()
        with pytest.raises(StillRunning) as left:
            client.function("slow", timeout_s=0.1)(s=1)
        assert platform.ended_record(left.value.activation_id)["response"]["success"]
        with pytest.raises(NotAllowed), Client(client.api_host, "nobody:nothing") as stranger:
            stranger.function("echo")()
        platform.stop()
        with pytest.raises(Unreachable, match="start it with"):
            client.function("echo")()


def test_the_same_on_an_event_loop(platform: Platform) -> None:
    platform.put("echo", ECHO)

    async def program() -> None:
        async with AsyncClient(home=platform.home) as client:
            echo = client.function("echo")
            assert (await echo(raw=b"ab"))["again"] == b"ba"
            assert [each["n"] for each in await echo.map([{"n": n} for n in range(20)], concurrency=4)] == [*range(20)]
            call = await echo.submit(n=3)
            assert (await call.result(PATIENCE_S))["n"] == 3
            with pytest.raises(CallFailed, match="ValueError"):
                await echo(fail="so it is")

    asyncio.run(program())


@pytest.mark.timeout(300)
def test_the_example_of_the_page_works_as_it_is_written(tmp_path: Path) -> None:
    cache = load_config().cache_dir
    with running(tmp_path, INSTAINFER_CACHE=str(cache)) as platform:
        write(tmp_path, examples(PAGE.read_text())["arrays"].files)
        # Here, because it may take longer than a command has in these tests.
        asyncio.run(Environments(cache / "environments").ensure(read_manifest(tmp_path / "brighten").requirements))
        platform.cli("deploy", "brighten", "--no-check")
        ran = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env=platform.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (ran.returncode, ran.stdout) == (0, "(10, 40, 90) float32\n"), ran.stderr
