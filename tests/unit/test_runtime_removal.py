"""Removing what functions leave behind, whatever it is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from instainfer.runtime.removal import Remover, remove_tree


def nested(top: Path, levels: int) -> None:
    """Folders in folders, deeper than any path can say."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 50, dir_fd=here)
        with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here), "w") as file:
            file.write("x")
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.parametrize("levels", [0, 1, 2, 3, 1100, 4000])
def test_any_depth(tmp_path: Path, levels: int) -> None:
    nested(tmp_path / "top", levels)
    assert remove_tree(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == []


def test_any_width(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "top" / name / "c").mkdir(parents=True)
        for number in range(1000):
            (tmp_path / "top" / name / "c" / str(number)).mkdir()
            (tmp_path / "top" / name / f"file{number}").touch()
    assert remove_tree(str(tmp_path / "top"))


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    for place in (top, top / "a", top / "a" / "b"):
        (place / "folder").symlink_to(kept)
        (place / "link").symlink_to(kept / "file")
        (place / "nowhere").symlink_to("/no/such")
    assert remove_tree(str(top))
    assert os.listdir(kept) == ["file"]
    link = tmp_path / "link"
    link.symlink_to(kept)
    assert not remove_tree(str(link))
    assert os.listdir(kept) == ["file"]


def test_closed_folders_and_taken_names(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b" / "c" / "d").mkdir(parents=True)
    for number in range(5):
        (top / f".removed-{number}").touch()
        (top / "a" / f".removed-{number}" / "x").mkdir(parents=True)
    for path in (top / "a" / "b" / "c" / "d", top / "a" / "b" / "c", top / "a" / "b", top / "a", top):
        path.chmod(0)
    assert remove_tree(str(top))
    assert remove_tree(str(top)), "nothing is left of what is not there"


def test_it_ends_when_its_time_is_over(tmp_path: Path) -> None:
    nested(tmp_path / "top", 100)
    assert not remove_tree(str(tmp_path / "top"), until=time.monotonic())
    assert remove_tree(str(tmp_path / "top"), until=time.monotonic() + 30)


def test_what_is_left_to_the_thread_is_removed(tmp_path: Path) -> None:
    remover = Remover()
    (tmp_path / "empty").mkdir()
    remover.remove(str(tmp_path / "empty"))
    assert os.listdir(tmp_path) == [], "at once"
    for name in ("one", "two"):
        nested(tmp_path / name, 50)
        remover.remove(str(tmp_path / name))
    remover.finish(30)
    assert os.listdir(tmp_path) == []
