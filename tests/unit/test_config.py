"""The configuration as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from instainfer.config import load_config


def test_folders_are_absolute_wherever_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative home made every call fail: a container works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSTAINFER_HOME", "here")
    monkeypatch.delenv("INSTAINFER_CACHE", raising=False)
    config = load_config()
    assert (config.home, config.cache_dir) == (tmp_path / "here", tmp_path / "here" / "cache")
    assert load_config(cache="there").cache_dir == tmp_path / "there"
