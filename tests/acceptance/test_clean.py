"""What a real platform leaves behind, and how `instainfer clean` gives it back, stopped and running."""

from __future__ import annotations

from pathlib import Path

import pytest
from live import HELLO, PATIENCE_S, Platform, all_ended, held, running, started_by

pytestmark = pytest.mark.acceptance


def kill(platform: Platform) -> None:
    """End it at once, and wait until what it had started has noticed."""
    with held(started_by(platform.process.pid)) as handles:
        platform.kill()
        assert all_ended(handles, PATIENCE_S)


def test_a_killed_platform_leaves_nothing_for_ever_and_a_stopped_one_can_be_cleaned(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    platform.start()
    for number in range(3):
        platform.put("again", HELLO + f"\n# {number}\n")
        platform.call("again")
    assert list((platform.home / "containers").iterdir())
    busy = platform.cli("clean", "--dry-run", "--json").json
    assert [each for each in busy["freed"] if each["kind"] != "code"] == []
    kill(platform)
    assert list((platform.home / "containers").iterdir())

    planned = platform.cli("clean", "--dry-run", "--json").json
    assert {each["kind"] for each in planned["freed"]} >= {"code", "leftover"}
    assert planned["failed"] == []
    shown = platform.cli("clean").out
    assert "no function has this code" in shown
    assert "were freed" in shown
    assert len(list((platform.home / "functions").iterdir())) == 1
    assert list((platform.home / "containers").iterdir()) == []
    assert platform.cli("clean").out == "nothing to remove\n"

    with running(tmp_path) as again:
        assert again.call("again", {"name": "Bo"}, result="true").json() == {"hello": "Bo"}
        kill(again)
    with running(tmp_path) as third:
        assert list((third.home / "containers").iterdir()) == [], "the next start has swept them"
        assert third.call("again").status_code == 200
