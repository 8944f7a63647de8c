"""What a real platform leaves behind, and how `instainfer clean` gives it back, stopped and running."""

from __future__ import annotations

from pathlib import Path

import pytest
from live import HELLO, Platform, left_behind, running, until

pytestmark = pytest.mark.acceptance


def kill(platform: Platform) -> None:
    """End it at once, and wait until what it had started has noticed.

    It may start and end processes until it is killed, so those are looked for that are there afterwards.
    """
    platform.kill()
    until(lambda: not left_behind(platform))


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
        left = set((again.home / "containers").iterdir())
    with running(tmp_path) as third:
        # It knows how the function was called, so it may have a container of its own already.
        assert left
        assert not left & set((third.home / "containers").iterdir()), "the next start has swept them"
        assert third.call("again").status_code == 200
