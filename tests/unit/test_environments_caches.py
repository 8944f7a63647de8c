"""The caches of a home: whose they are, when they are emptied, and which are not needed any more."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from instainfer.environments.caches import Caches
from instainfer.runtime import caches as inside
from instainfer.runtime import jail

MB = 1024 * 1024


def filled(folder: Path, size_bytes: int, part: str = inside.COMMON) -> Path:
    file = folder / part / "numba" / "kernel"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * size_bytes)
    return file


def test_each_version_has_its_own_and_finds_it_again(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "caches")
    one, two = (caches.make("guest", f"guest/f@0.0.{number}") for number in (1, 2))
    file = filled(one, 10)
    assert one != two
    assert one.parent == two.parent, "functions of one namespace may share a template"
    assert caches.make("other", "other/f@0.0.1").parent != one.parent
    assert Caches(tmp_path / "caches").make("guest", "guest/f@0.0.1") == one
    assert file.exists()


def test_nobody_else_may_list_or_enter_it(tmp_path: Path) -> None:
    folder = Caches(tmp_path / "caches").make("guest", "guest/f@0.0.1")
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o711
    assert {stat.S_IMODE(part.stat().st_mode) for part in folder.iterdir()} == {0o700}
    assert inside.usable(str(folder)) == str(folder / inside.COMMON)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_root_each_has_a_user_id_of_its_own_which_stays(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "caches")
    folders = [caches.make("guest", f"guest/f@0.0.{number}") for number in range(3)]
    uids = [inside.owner(str(folder)) for folder in folders]
    assert len(set(uids)) == 3
    assert all(uid in jail.function_uids() for uid in uids)
    assert [inside.owner(str(folder)) for folder in folders] == uids
    caches.make("guest", "guest/f@0.0.0")
    assert inside.owner(str(folders[0])) == uids[0]


def test_without_a_cache_a_process_gets_an_id_that_no_function_has() -> None:
    assert inside.owner("") is None
    assert inside.usable("") is None
    assert jail.uid_of_pid(os.getpid()) not in jail.function_uids()


def test_one_that_grew_too_large_is_emptied_and_others_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caches = Caches(tmp_path / "caches")
    large, small = (caches.make("guest", f"guest/{name}@0.0.1") for name in ("large", "small"))
    files = [filled(large, 2 * MB), filled(small, 10)]
    caches.bound(MB)
    assert [file.exists() for file in files] == [False, True]
    assert caches.sizes_bytes[large] > 2 * MB
    assert "more than limits.cache_mb allows" in caplog.text
    assert caches.make("guest", "guest/large@0.0.1") == large
    caches.bound(MB)
    assert caches.sizes_bytes[large] < MB


def test_what_lies_outside_is_left_alone_when_a_cache_that_links_to_it_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    precious = filled(tmp_path / "precious", 10)
    caches = Caches(tmp_path / "caches")
    folder = caches.make("guest", "guest/f@0.0.1")
    (folder / inside.COMMON / "link").symlink_to(tmp_path / "precious")
    caches.bound(0)
    assert list((folder / inside.COMMON).iterdir()) == []
    assert precious.exists()


def test_a_folder_deeper_than_a_path_can_be_is_measured_and_removed(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "caches")
    folder = caches.make("guest", "guest/f@0.0.1")
    here = os.getcwd()
    os.chdir(folder / inside.COMMON)
    try:
        for _ in range(30):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        Path("kernel").write_bytes(b"x" * 2 * MB)
    finally:
        os.chdir(here)
    caches.bound(MB)
    assert caches.sizes_bytes[folder] > 2 * MB
    assert list((folder / inside.COMMON).iterdir()) == []


def test_those_of_functions_that_are_no_more_are_unused(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "caches")
    old, new = (caches.make("guest", f"guest/f@0.0.{number}") for number in (1, 2))
    filled(old, MB)
    (unused,) = caches.unused({new})
    assert (unused.kind, unused.path) == ("cache", old)
    assert unused.size_bytes >= MB
    assert unused.remove()
    assert new.exists()
    assert not old.exists()
    assert list(Caches(tmp_path / "none").unused(frozenset())) == []
