"""What a running platform removes by itself and when it is asked, and what `instainfer clean` does on a stopped one."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.controllers import NATIVE, FakeEnvironments, FakeLink, Stand, archive, config, standing
from support.records import on_disk

from instainfer.config import Config
from instainfer.controller import housekeeping
from instainfer.controller.app import Rooms, create_app, open_controller
from instainfer.controller.auth import read_credentials
from instainfer.controller.database import HomeInUse
from instainfer.controller.upkeep import SETTLED_AFTER_S, clean_stopped
from instainfer.environments.builder import ready_file
from instainfer.environments.content import ContentStore, digest_of_file
from instainfer.environments.folders import FunctionFolders
from instainfer.environments.homes import HomeNote, Needs, since_file
from instainfer.errors import BadInput, HostError


def code(number: int) -> str:
    return f"def main(args):\n    return {{'n': {number}}}\n"


async def cleaned(stand: Stand, *, dry_run: bool = False) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    await stand.controller._housekeeping.clean(events.append, dry_run=dry_run, idle_s=SETTLED_AFTER_S)
    return [event for event in events if event["event"] != "progress"]


async def until(holds: Callable[[], object]) -> None:
    """Return when it holds. For what is done in the background and tells nobody of."""
    give_up_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up_s, "it did not come true in time"
        await asyncio.sleep(0.01)


def folders(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "functions").iterdir())


def caches(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "home" / "caches").glob("*/*"))


def stopped(tmp_path: Path) -> Config:
    """The configuration of a home whose folders all lie in their usual places."""
    return Config(home=tmp_path)


def run_stopped(given: Config, *, dry_run: bool = False, idle_s: float | None = None) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    clean_stopped(given, events.append, dry_run=dry_run, idle_s=idle_s)
    return [event for event in events if event["event"] != "progress"]


def test_code_goes_after_its_function_was_replaced_and_not_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for number in range(5):
                await stand.put("f", code(number), overwrite=True)
            assert len(folders(tmp_path)) == 5
            assert await cleaned(stand) == [], "nodes may still be ending what they have of it"
            assert len(folders(tmp_path)) == 5
            monkeypatch.setattr(housekeeping, "LEAVING_S", 0.0)
            assert Counter(event["kind"] for event in await cleaned(stand)) == {"code": 4, "cache": 4}
            assert len(folders(tmp_path)) == len(caches(tmp_path)) == 1
            assert (await stand.invoke("f")).status_code == 200
            await stand.http.delete("/api/v1/namespaces/_/actions/f")
            await cleaned(stand)
            await cleaned(stand)
            assert folders(tmp_path) == caches(tmp_path) == []

    asyncio.run(run())


def test_code_that_is_called_or_about_to_be_deployed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LEAVING_S", 0.0)
    environments = FakeEnvironments()

    async def run() -> None:
        async with standing(tmp_path, environments=environments) as stand:
            await stand.put("f", code(1))
            stand.link.holding = True
            calling = asyncio.create_task(stand.invoke("f"))
            await stand.link.arrived()
            await stand.put("f", code(2), overwrite=True)
            environments.gate = asyncio.Event()
            environments.called.clear()
            putting = asyncio.create_task(stand.put("g", code(3)))
            await environments.called.wait()
            for _ in range(3):
                assert await cleaned(stand) == []
            assert len(folders(tmp_path)) == 3
            environments.gate.set()
            stand.link.release()
            await putting
            await calling
            for _ in range(2):
                await cleaned(stand)
            assert len(folders(tmp_path)) == 2

    asyncio.run(run())


def test_code_that_comes_back_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LEAVING_S", 0.0)

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", code(1))
            await stand.put("f", code(2), overwrite=True)
            await cleaned(stand, dry_run=True)
            await stand.put("f", code(1), overwrite=True)
            await cleaned(stand)
            assert len(folders(tmp_path)) == 2
            await cleaned(stand)
            assert len(folders(tmp_path)) == 1
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_what_a_home_needs_is_noted_in_the_cache_before_anybody_relies_on_it(tmp_path: Path) -> None:
    def noted() -> list[str]:
        (file,) = (tmp_path / "home" / "cache" / "homes").glob("*.json")
        names: list[str] = json.loads(file.read_bytes())["environments"]
        return names

    environments = FakeEnvironments()

    async def run() -> None:
        async with standing(tmp_path, environments=environments) as stand:
            await stand.put("f")
            assert noted() == ["env-0-own"]
            await stand.put("g", exec={"kind": "python:3.9", "code": code(1)})
            assert noted() == ["env-0-3.9", "env-0-own"]
            await stand.http.delete("/api/v1/namespaces/_/actions/g")
            await cleaned(stand)
            assert noted() == ["env-0-own"]
        environments.error = HostError("there is no Python any more")
        async with standing(tmp_path, environments=environments) as stand:
            await stand.controller.restored()
            await cleaned(stand)
            assert noted() == ["env-0-own"], "what it needs is not known, so what is noted stays"

    asyncio.run(run())


def test_leftovers_go_before_anything_is_started(tmp_path: Path) -> None:
    (tmp_path / "home" / "containers" / "container-1" / "f").mkdir(parents=True)
    (tmp_path / "functions" / ".new-1").mkdir(parents=True)

    async def run() -> None:
        async with standing(tmp_path):
            assert list((tmp_path / "home" / "containers").iterdir()) == []
            assert folders(tmp_path) == []

    asyncio.run(run())


def test_records_beyond_what_is_kept_go_by_themselves_while_calls_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "RECORDS_EVERY_S", 0.02)

    async def run() -> None:
        async with standing(tmp_path, retention={"records_max_count": 3}) as stand:
            await stand.put("f")
            for _ in range(12):
                assert (await stand.invoke("f", blocking="false")).status_code == 202
            await stand.controller.idle()
            url = "/api/v1/namespaces/_/activations"
            await until(lambda: len(on_disk(tmp_path / "home")) == 3)
            assert len((await stand.http.get(url)).json()) == 3

    asyncio.run(run())


def test_over_http_it_says_what_goes_and_a_dry_run_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LEAVING_S", 0.0)

    async def asked(stand: Stand, **wanted: Any) -> list[dict[str, Any]]:
        response = await stand.http.post(f"{NATIVE}/clean", json=wanted)
        assert response.status_code == 200
        lines = [json.loads(line) for line in response.text.splitlines()]
        return [line for line in lines if line["event"] != "progress"]

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", code(1))
            (old,) = folders(tmp_path)
            await stand.put("f", code(2), overwrite=True)
            assert await asked(stand) == [{"event": "done"}], "what is found once is removed when it is found again"
            for dry_run in (True, True, False):
                freed, cache, done = await asked(stand, dry_run=dry_run)
                assert (freed["event"], freed["kind"], freed["path"]) == (
                    "freed",
                    "code",
                    str(tmp_path / "functions" / old),
                )
                assert freed["bytes"] > 0
                assert (cache["event"], cache["kind"]) == ("freed", "cache")
                assert done == {"event": "done"}
            assert await asked(stand) == [{"event": "done"}]
            status = (await stand.http.get(f"{NATIVE}/status")).json()["housekeeping"]
            assert (status["removed"], status["last_error"]) == (2, None)
            assert status["freed_bytes"] == freed["bytes"] + cache["bytes"]
            for body in ({"unused_for_s": 10}, {"unused_for_s": "x"}, {"what": 1}):
                assert (await stand.http.post(f"{NATIVE}/clean", json=body)).status_code == 400
            assert (await stand.http.post(f"{NATIVE}/clean", auth=("a", "b"))).status_code == 401

    asyncio.run(run())


def test_a_failure_is_said_in_the_status_and_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "CACHE_EVERY_S", 0.02)
    homes = tmp_path / "home" / "cache" / "homes"
    homes.mkdir(parents=True)
    (homes / ("0" * 32 + ".json")).write_text("nonsense")

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await until(lambda: stand.controller.status()["housekeeping"]["last_error"])
            (homes / ("0" * 32 + ".json")).unlink()
            await until(lambda: not stand.controller.status()["housekeeping"]["last_error"])

    asyncio.run(run())
    assert "remove it if the home is no more" in caplog.text


# stopped


def test_a_stopped_home_is_cleaned_of_everything_that_its_functions_do_not_need(tmp_path: Path) -> None:
    given = stopped(tmp_path)
    weights = ContentStore(given.cache_dir / "weights")
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        digests.append(digest_of_file(tmp_path / name))

    def function(digest: str) -> dict[str, Any]:
        packed = archive(
            {
                "handler.py": "def main(args): return {}",
                ".instainfer/weights.json": json.dumps({"model.pt": digest}),
            }
        )
        return {"kind": "python:3", "code": packed, "binary": True}

    async def run() -> None:
        rooms = Rooms(weights, FunctionFolders(tmp_path / "functions", weights), FakeEnvironments())
        controller = await open_controller(given, [FakeLink()], rooms)
        user, _, password = read_credentials(tmp_path / "credentials")["AUTH"].partition(":")
        transport = httpx2.ASGITransport(create_app(controller))
        async with httpx2.AsyncClient(transport=transport, base_url="http://t", auth=(user, password)) as http:
            for name, digest in zip(("one", "two"), digests, strict=True):
                assert (await http.put(f"{NATIVE}/blobs/{digest}", content=name.encode())).status_code == 200
                url = "/api/v1/namespaces/_/actions/f"
                response = await http.put(url, params={"overwrite": "true"}, json={"exec": function(digest)})
                assert response.status_code == 200, response.text
        with pytest.raises(HomeInUse):
            clean_stopped(given, lambda _: None, dry_run=True, idle_s=None)
        await controller.close()

    asyncio.run(run())
    os.utime(since_file(given.cache_dir), (0, 0))
    for name in ("env-0-own", "env-other"):
        marker = ready_file(given.cache_dir / "environments" / name)
        marker.parent.mkdir(parents=True)
        marker.touch()
        os.utime(marker, (0, 0))
    for path in (given.cache_dir / "weights").iterdir():
        os.utime(path, (0, 0))
    assert len(folders(tmp_path)) == 2

    planned = run_stopped(given, dry_run=True)
    assert sorted(event["kind"] for event in planned) == ["cache", "code", "environment", "weights"]
    assert len(folders(tmp_path)) == 2
    done = run_stopped(given)
    kinds = sorted(event["kind"] for event in done)
    assert [kind for kind in kinds if kind != "room"] == ["cache", "code", "environment", "weights"]
    assert [event["path"] for event in planned if event["kind"] != "room"] == [
        event["path"] for event in done if event["kind"] != "room"
    ]
    assert run_stopped(given) == []
    assert [path.name for path in (given.cache_dir / "environments").glob("env-*")] == ["env-0-own"]
    assert weights.has(digests[1])
    assert not weights.has(digests[0])
    assert len(folders(tmp_path)) == 1


def test_what_another_home_needs_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "file").write_text("x")
    weights = ContentStore(cache / "weights")
    digest = weights.add_file(tmp_path / "file")
    assert digest == digest_of_file(tmp_path / "file")
    marker = ready_file(cache / "environments" / "env-1")
    marker.parent.mkdir(parents=True)
    marker.touch()
    os.utime(marker, (0, 0))
    os.utime(weights.path(digest), (0, 0))
    other = tmp_path / "other"
    other.mkdir()
    (other / "records.sqlite").touch()
    note = HomeNote(cache, other)
    note.write(Needs(frozenset({"env-1"}), frozenset({digest})))

    async def run() -> None:
        async with standing(tmp_path):
            pass

    asyncio.run(run())
    given = Config(home=tmp_path / "home", cache=cache)
    assert [event["kind"] for event in run_stopped(given)] == []
    os.utime(since_file(cache), (0, 0))
    assert [event["kind"] for event in run_stopped(given)] == []
    (other / "records.sqlite").unlink()
    assert [event["kind"] for event in run_stopped(given)] == [], "it may be where only its own platform can look"
    os.utime(note.path, (time.time() - 30 * 86_400,) * 2)
    assert sorted(event["kind"] for event in run_stopped(given)) == ["environment", "note", "weights"]


def test_a_home_of_an_older_platform_keeps_its_cache_until_it_is_known_what_it_needs(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")

    asyncio.run(run())
    given = config(tmp_path)
    (note,) = (given.cache_dir / "homes").glob("*.json")
    note.unlink()
    marker = ready_file(given.cache_dir / "environments" / "env-1")
    marker.parent.mkdir(parents=True)
    marker.touch()
    os.utime(marker, (0, 0))
    (event,) = run_stopped(given)
    assert (event["event"], "start the platform once" in event["error"]) == ("failed", True)
    assert marker.exists()


def test_wrong_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="there is no home"):
        run_stopped(Config(home=tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(BadInput, match="at least 3600 s"):
        run_stopped(Config(home=tmp_path), idle_s=5)


def test_records_are_trimmed_and_their_room_given_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            for _ in range(30):
                await stand.invoke("f", {"x": "y" * 1000})

    asyncio.run(run())
    given = config(tmp_path, retention={"records_max_count": 5})
    before = (given.home / "records.sqlite").stat().st_size
    (records, *_) = run_stopped(given)
    assert records["kind"] == "records"
    removed, of = records["why"].split(" ", 1)
    assert of.startswith("records of guest")
    assert 20 <= int(removed) <= 25, "those that began in the same millisecond as the fifth newest are kept with it"
    assert (given.home / "records.sqlite").stat().st_size < before
    assert run_stopped(given) == []
