"""Functions that somebody wants to be ready: on a platform of its own, by function.toml, commands and HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.live import Platform, running, start_kind, until

READY_WITHIN_S = 240.0
"""It takes a few seconds. But places are made at the lowest priority, so it takes long on a machine that is busy."""
AT_ONCE = {"warm", "preloaded", "forked"}

CODE = """
import time
def load():
    time.sleep(0.3)
def main(args):
    return {}
"""
OTHERS = ("other0", "other1", "other2")


@pytest.fixture(params=["objective", "fixed"])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    """Room for four containers."""
    env = {"INSTAINFER_NODE__MEMORY_MB": "1024", "INSTAINFER_KEEPALIVE__POLICY": request.param}
    with running(tmp_path, **env) as platform:
        yield platform


def deploy(platform: Platform, name: str, toml: str = "") -> None:
    platform.deploy(name, {"function.toml": f'name = "{name}"\nmemory = "256MB"\n{toml}', "handler.py": CODE})


def ready(platform: Platform, name: str) -> int:
    found = {each["name"]: each["places"]["ready"] for each in platform.http.get("/instainfer/v1/functions").json()}
    return int(found[name])


@pytest.mark.timeout(900)
def test_places_stay_under_pressure_and_come_back_after_a_call_and_a_restart(platform: Platform) -> None:
    for name in OTHERS:
        deploy(platform, name)
    deploy(platform, "wanted", "min_resident = 2\n")
    until(lambda: ready(platform, "wanted") == 2, READY_WITHIN_S)
    for name in 3 * OTHERS:
        assert platform.call(name).status_code == 200
    assert ready(platform, "wanted") == 2
    assert start_kind(platform.call("wanted")) in AT_ONCE
    until(lambda: ready(platform, "wanted") == 2, READY_WITHIN_S)
    assert "2 of 2 places ready" in platform.cli("status").out

    platform.stop()
    platform.start()
    until(lambda: ready(platform, "wanted") == 2, READY_WITHIN_S)  # nobody has called since
    assert start_kind(platform.call("wanted")) in AT_ONCE


@pytest.mark.timeout(900)
@pytest.mark.parametrize("platform", ["objective"], indirect=True)  # the other test shows that both make places
def test_preload_and_offload_by_command(platform: Platform) -> None:
    deploy(platform, "f")
    said = platform.cli("preload", "f", "--places", "2", "--wait", "--timeout", "100s")
    assert "f: 2 of 2 places ready until " in said.err
    assert start_kind(platform.call("f")) in AT_ONCE

    platform.cli("offload", "f")
    until(lambda: ready(platform, "f") == 0)
    assert platform.cli("functions", "--json").json[0]["places"]["wanted"] == 0

    said = platform.cli("preload", "f", "--places", "5", "--wait", code=1)
    assert "it needs 5 x 256 MB, the node has 1024 MB" in said.err
    assert "no such function" not in platform.cli("preload", "nope", code=3).out
