"""The kernel's count of processes that it has ended for want of memory explains as many ends, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from instainfer.runtime import oom_kills


@pytest.mark.parametrize("name", ["memory.events", "memory/memory.oom_control"])
def test_each_end_that_the_kernel_counts_is_explained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(oom_kills, "_PLACES", (str(tmp_path / "nowhere"), str(tmp_path / name)))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("low 0\noom 7\noom_kill 3\noom_group_kill 0\n")
    kills = oom_kills.OomKills()
    assert not kills.explains_end(), "those were before"
    (tmp_path / name).write_text("low 0\noom 9\noom_kill 5\noom_group_kill 0\n")
    assert [kills.explains_end() for _ in range(3)] == [True, True, False]


def test_where_nothing_is_counted_nothing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom_kills, "_PLACES", ("/nonexistent",))
    assert oom_kills.count() == 0
    assert not oom_kills.OomKills().explains_end()
