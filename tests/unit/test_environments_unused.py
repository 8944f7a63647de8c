"""What may go from a home and a shared cache, and what must not, whoever uses it and whenever they begin to."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from instainfer.environments.builder import busy_file, mark_used, ready_file
from instainfer.environments.content import ContentStore
from instainfer.environments.exclusive import at_once
from instainfer.environments.folders import FunctionFolders
from instainfer.environments.homes import HomeNote, Needs, needs_of_others, since_file
from instainfer.environments.unused import (
    Places,
    Unused,
    leftovers,
    links_in,
    remove_tree,
    size_bytes,
    unused_code,
    unused_in_cache,
)
from instainfer.errors import HostError

DAY_S = 86_400.0
NOW_S = time.time()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    old(since_file(tmp_path / "cache"))
    return Places.of(tmp_path / "home", tmp_path / "cache")


def old(path: Path, days: float = 30) -> Path:
    os.utime(path, (NOW_S - days * DAY_S,) * 2, follow_symlinks=False)
    return path


def environment(places: Places, name: str, *, lock: str = "a==1\n", ready: bool = True) -> Path:
    folder = places.environments / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_bytes(b"x" * 10_000)
    (folder / "lock.txt").write_text(lock)
    if ready:
        ready_file(folder).touch()
        old(ready_file(folder))
    return folder


def weights(places: Places, content: bytes) -> tuple[str, Path]:
    file = places.home / "given"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    store = ContentStore(places.weights)
    digest = store.add_file(file)
    return digest, old(store.path(digest))


def names(found: list[Unused]) -> dict[str, str]:
    return {each.path.name: each.kind for each in found}


def look(places: Places, needs: Needs | None = None, idle_s: float = DAY_S) -> list[Unused]:
    return list(unused_in_cache(places, needs or Needs(), idle_s, NOW_S))


def test_an_environment_goes_when_nobody_needs_it_and_nobody_used_it_lately(places: Places) -> None:
    environment(places, "env-needed")
    fresh = environment(places, "env-fresh")
    mark_used(fresh)
    gone = environment(places, "env-gone")
    (found,) = look(places, Needs(environments=frozenset({"env-needed"})))
    assert (found.path, found.kind) == (gone, "environment")
    assert found.size_bytes >= 10_000
    assert found.remove()
    assert sorted(path.name for path in places.environments.glob("*env-*")) == ["env-fresh", "env-needed"]
    assert look(places, Needs(environments=frozenset({"env-needed"}))) == []


def test_the_time_of_what_was_there_before_any_note_begins_with_the_first(places: Places) -> None:
    """It may belong to a home whose platform has not been started since."""
    environment(places, "env-1")
    weights(places, b"x")
    half = environment(places, "env-2", ready=False)
    os.utime(since_file(places.cache))
    (found,) = look(places)
    assert found.path == half
    assert found.remove()
    assert len(look(places, idle_s=-DAY_S)) == 2


def test_an_environment_that_is_used_after_it_was_found_stays(places: Places) -> None:
    folder = environment(places, "env-1")
    (found,) = look(places)
    mark_used(folder)
    assert not found.remove()
    assert (folder / "bin" / "python").exists()


def test_an_environment_that_somebody_works_on_stays(places: Places) -> None:
    folder = environment(places, "env-1")
    half = environment(places, "env-2", ready=False)
    found = look(places)
    assert names(found) == {"env-1": "environment", "env-2": "environment"}
    for each in found:
        with at_once(busy_file(places.environments, each.path.name), shared=True) as held:
            assert held
            assert not each.remove()
    with at_once(busy_file(places.environments, "env-2")):
        assert names(look(places)) == {"env-1": "environment"}, "the other is being built"
    assert folder.exists()
    assert half.exists()
    assert all(each.remove() for each in found)


def test_one_that_was_built_after_all_stays(places: Places) -> None:
    half = environment(places, "env-1", ready=False)
    (found,) = look(places)
    ready_file(half).touch()
    assert not found.remove()
    assert half.exists()


def test_what_belongs_to_an_environment_goes_with_it(places: Places) -> None:
    environment(places, "env-stays", lock="stays==1\n")
    environment(places, "env-goes", lock="goes==1\n")
    for name, text in (("stays", "stays==1\n"), ("goes", "goes==1\n"), ("new", "new==1\n")):
        lock = places.environments / "locks" / f"lock-{name}.txt"
        lock.parent.mkdir(exist_ok=True)
        lock.write_text(text)
        if name != "new":
            old(lock)
        log = places.environments / "logs" / f"env-{name}.log"
        log.parent.mkdir(exist_ok=True)
        log.touch()
        if name != "new":
            old(log)
        learned = places.cache / "templates" / f"{name}.json"
        learned.parent.mkdir(exist_ok=True)
        learned.write_text(json.dumps({"template": f"template:guest/env-{name}", "modules": []}))
    found = look(places, Needs(environments=frozenset({"env-stays"})))
    assert names(found) == {
        "env-goes": "environment",
        "lock-goes.txt": "lock",
        "env-goes.log": "log",
        "goes.json": "learned",
        "new.json": "learned",
    }
    assert all(each.remove() for each in found)
    assert look(places, Needs(environments=frozenset({"env-stays"}))) == []


def test_weights_go_when_no_home_names_them_and_no_folder_links_to_them(places: Places) -> None:
    needed, _ = weights(places, b"needed")
    _, linked = weights(places, b"linked")
    (places.home / "elsewhere").hardlink_to(linked)
    asked, _ = weights(places, b"asked for just now")
    assert ContentStore(places.weights).has(asked)
    _, gone = weights(places, b"gone")
    (found,) = look(places, Needs(weights=frozenset({needed})))
    assert (found.path, found.kind) == (gone, "weights")
    assert found.remove()
    assert not gone.exists()
    assert len(list(places.weights.iterdir())) == 3


@pytest.mark.parametrize("how", ["has", "link"])
def test_weights_that_are_used_after_they_were_found_stay(places: Places, how: str) -> None:
    digest, path = weights(places, b"x")
    (found,) = look(places)
    if how == "has":
        assert ContentStore(places.weights).has(digest)
    else:
        (places.home / "elsewhere").hardlink_to(path)
    assert not found.remove()
    assert path.read_bytes() == b"x"
    assert [file.name for file in places.weights.iterdir()] == [path.name]


def test_links_of_code_that_is_going_do_not_count_in_a_look(places: Places) -> None:
    _, path = weights(places, b"x")
    (places.functions / "1").mkdir(parents=True)
    (places.functions / "1" / "model.pt").hardlink_to(path)
    assert look(places) == []
    links = links_in([places.functions / "1"])
    assert names(list(unused_in_cache(places, Needs(), DAY_S, NOW_S, links))) == {path.name: "weights"}


def test_weights_whose_removal_was_cut_short_come_back_to_be_judged(places: Places) -> None:
    _, path = weights(places, b"x")
    aside = path.with_name(f".old-{path.name}-abcd")
    path.rename(aside)
    found = list(unused_in_cache(places, Needs(), DAY_S, NOW_S + 2 * DAY_S))
    assert names(found) == {aside.name: "leftover"}
    assert not found[0].remove()
    assert path.read_bytes() == b"x"


def test_code_goes_unless_a_function_has_it_or_somebody_has_begun_to_use_it(places: Places) -> None:
    folders = FunctionFolders(places.functions, ContentStore(places.weights))
    one, two, three = (folders.materialise(b"def main(args): return {'n': %d}" % n, binary=False) for n in range(3))
    found = {each.path.name: each for each in unused_code(places, {one.digest})}
    assert set(found) == {two.digest, three.digest}
    old(two.folder)  # any other time than the one seen
    folders.materialise(b"def main(args): return {'n': 1}", binary=False)
    assert not found[two.digest].remove()
    assert found[three.digest].remove()
    assert sorted(path.name for path in places.functions.iterdir()) == sorted([one.digest, two.digest])


def test_what_a_killed_platform_left_in_its_home(places: Places) -> None:
    for name in ("containers/container-1/f/deep", "functions/.new-1", "functions/.old-2", "functions/" + "a" * 64):
        (places.home / name).mkdir(parents=True)
    (places.home / "containers/container-1/f").chmod(0o000)
    (places.home / ".credentials.new").touch()
    (places.home / "credentials").touch()
    found = list(leftovers(places))
    assert set(names(found)) == {"container-1", ".new-1", ".old-2", ".credentials.new"}
    assert all(each.remove() for each in found)
    assert list(leftovers(places)) == []
    assert (places.functions / ("a" * 64)).exists()
    assert (places.home / "credentials").exists()


def test_folders_of_any_depth_can_be_removed(tmp_path: Path) -> None:
    """A function may nest its folders until no path and no recursion reaches their end."""
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("folder", dir_fd=here)
        below = os.open("folder", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert size_bytes(top) >= 0
    remove_tree(top)
    assert not top.exists()


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    remove_tree(tmp_path / "folder")
    remove_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


def test_abandoned_files_in_the_shared_cache_go_after_a_day(places: Places) -> None:
    for name in ("environments/scratch/resolve-1", "weights/.incoming-1", "environments/.old-env-1-ab"):
        (places.cache / name).parent.mkdir(parents=True, exist_ok=True)
        (places.cache / name).touch()
    assert look(places) == []
    for path in (places.environments / "scratch" / "resolve-1", places.weights / ".incoming-1"):
        old(path, 2)
    found = look(places)
    assert set(names(found)) == {"resolve-1", ".incoming-1"}
    assert all(each.remove() for each in found)


# homes that share a cache


def note_of(cache: Path, home: Path, *environments: str, exists: bool = True) -> HomeNote:
    if exists:
        home.mkdir()
        (home / "records.sqlite").touch()
    note = HomeNote(cache, home)
    note.write(Needs(frozenset(environments), frozenset({"sha256:" + "0" * 64})))
    return note


def test_what_another_home_needs_is_known_as_long_as_it_exists_or_its_platform_renews(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    own = note_of(cache, tmp_path / "a", "env-a")
    stopped = note_of(cache, tmp_path / "b", "env-b")
    unseen = note_of(cache, tmp_path / "c", "env-c", exists=False)
    removed = note_of(cache, tmp_path / "d", "env-d", exists=False)
    old(stopped.path, 400)
    old(removed.path, 400)
    needs, gone = needs_of_others(cache, own, 7 * DAY_S, NOW_S)
    assert needs.environments == {"env-b", "env-c"}
    assert gone == [removed.path]
    assert unseen.path.exists()


def test_a_note_is_added_to_before_anybody_relies_on_it_and_read_by_the_next_platform(tmp_path: Path) -> None:
    note = note_of(tmp_path, tmp_path / "a", "env-a")
    note.add(["env-b"])
    again = HomeNote(tmp_path, tmp_path / "a").read()
    assert again is not None
    assert again.environments == {"env-a", "env-b"}
    old(note.path)
    note.write(again)
    assert note.path.stat().st_mtime > NOW_S - DAY_S, "it was renewed"


def test_a_note_that_cannot_be_read_keeps_everything_and_says_so(tmp_path: Path) -> None:
    own = note_of(tmp_path, tmp_path / "a", "env-a")
    other = note_of(tmp_path, tmp_path / "b", "env-b")
    other.path.write_text('{"home": 1')
    with pytest.raises(HostError, match="remove it if the home is no more"):
        needs_of_others(tmp_path, own, DAY_S, NOW_S)
