"""How many places are wanted when, and which node is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.controllers import NATIVE, Clock, FakeLink, archive, standing

from instainfer.backends.base import FunctionSpec
from instainfer.controller.driver import ClusterDriver, Registration
from instainfer.controller.paths import EntityPath
from instainfer.controller.wishes import LOOK_AGAIN_S, Wishes
from instainfer.core.cluster import ClusterState, Limits
from instainfer.core.model import MIB, Function
from instainfer.environments.windows import window
from instainfer.policy.routing.home import HomeRouting

F, G = "guest/f@0.0.1", "guest/f@0.0.2"
PATH = EntityPath("guest", None, "f")
MONDAY_7 = 1793602800.0
"""2026-11-02 07:00 UTC."""


def registration(key: str = F, min_resident: int = 0, *warm: str) -> Registration:
    made = Registration(
        Function(key, "guest", "env", 512 * MIB, 60.0, 100 * MIB),
        FunctionSpec(key, Path("/nowhere"), Path("/python"), "handler", "main", "action", 512 * MIB, 60.0, 0),
        None,
    )
    made.min_resident, made.warm = min_resident, tuple(window(text) for text in warm)
    return made


class Stand:
    def __init__(self, *nodes: str) -> None:
        self.driver = ClusterDriver(ClusterState(Limits(10, 100), HomeRouting()), lambda: 1.0)
        self.links = {name: FakeLink(name) for name in nodes or ("n1",)}
        for link in self.links.values():
            self.driver.join(link)
        self.clock = Clock(MONDAY_7)
        self.wishes = Wishes(self.driver, self.clock)

    def register(self, made: Registration) -> None:
        self.driver.register(made)
        self.wishes.registered(PATH, made)

    @property
    def history(self) -> list[str]:
        (link,) = self.links.values()
        return [each for each in link.history if each[0] != "+"]

    def of(self) -> dict[str, Any]:
        return self.wishes.of(PATH)


def test_what_is_always_wanted_is_told_with_the_registration() -> None:
    stand = Stand()
    stand.register(registration(F, 2))
    assert stand.history == [f"2x{F}"]
    assert stand.wishes.renew() == LOOK_AGAIN_S
    assert stand.history == [f"2x{F}"]
    assert stand.of() == {"wanted": 2, "ready": 2, "until_ms": None, "unmet": None}


def test_what_asks_for_nothing_is_not_told() -> None:
    stand = Stand()
    stand.register(registration())
    assert stand.history == []
    assert stand.wishes.all() == []


@pytest.mark.parametrize(("min_resident", "places"), [(0, 1), (3, 3)])
def test_windows_open_and_close(min_resident: int, places: int) -> None:
    stand = Stand()
    stand.register(registration(F, min_resident, "mon-fri 08:00-18:00 UTC"))
    assert stand.history == []
    assert stand.wishes.renew() == 3600.0
    stand.clock.now_s += 3600.0
    assert stand.wishes.renew() == 10 * 3600.0
    assert stand.history == [f"{places}x{F}"]
    assert stand.of()["until_ms"] == (MONDAY_7 + 11 * 3600.0) * 1000
    stand.clock.now_s += 10 * 3600.0
    stand.wishes.renew()
    assert stand.history == [f"{places}x{F}", f"0x{F}"]


def test_a_request_counts_while_it_is_more() -> None:
    stand = Stand()
    stand.register(registration(F, 1))
    stand.wishes.ask(PATH, 3, 60.0)
    assert stand.of() == {"wanted": 3, "ready": 3, "until_ms": (MONDAY_7 + 60.0) * 1000, "unmet": None}
    assert stand.wishes.renew() == 60.0
    stand.clock.now_s += 60.0
    stand.wishes.renew()
    assert stand.history == [f"1x{F}", f"3x{F}", f"1x{F}"]


def test_asking_again_is_told_again_since_a_load_may_have_failed() -> None:
    stand = Stand()
    stand.register(registration(F))
    for _ in range(2):
        stand.wishes.ask(PATH, 1, 60.0)
    stand.wishes.ask(PATH, 0, 60.0)
    assert stand.history == [f"1x{F}", f"1x{F}", f"0x{F}"]


def test_a_new_version_inherits_what_was_asked_for() -> None:
    stand = Stand()
    stand.register(registration(F))
    stand.wishes.ask(PATH, 2, 60.0)
    stand.register(registration(G))
    assert stand.history == [f"2x{F}", f"0x{F}", f"2x{G}"]


def test_what_is_asked_for_before_the_function_is_ready_counts_once_it_is() -> None:
    stand = Stand()
    stand.wishes.ask(PATH, 2, 60.0)
    assert stand.of()["wanted"] == 2
    stand.register(registration(F))
    assert stand.history == [f"2x{F}"]


def test_off_loading_takes_back_what_was_asked_for() -> None:
    stand = Stand()
    stand.register(registration(F))
    stand.wishes.ask(PATH, 2, 60.0)
    stand.wishes.put_away(PATH)
    assert stand.history == [f"2x{F}", f"0x{F}", f"offload {F}"]


def test_a_deleted_function_wants_nothing() -> None:
    stand = Stand()
    stand.register(registration(F, 2))
    stand.wishes.removed(PATH)
    stand.driver.unregister(F)
    assert stand.history == [f"2x{F}", f"0x{F}", f"-{F}"]
    assert stand.wishes.all() == []


def test_a_whole_week_has_no_end() -> None:
    stand = Stand()
    stand.register(registration(F, 1, "mon-sun 00:00-24:00 UTC"))
    assert stand.of()["until_ms"] is None


def test_places_are_on_the_home_node_and_move_with_it() -> None:
    stand = Stand("n1", "n2")
    stand.register(registration(F, 2))
    (home,) = [name for name, link in stand.links.items() if link.wanted]
    (other,) = {"n1", "n2"} - {home}
    assert stand.driver.admit("a1", "guest", F) is stand.links[home]
    stand.driver.lose(home)
    assert stand.links[other].wanted == {F: 2}
    stand.links[home].wanted.clear()
    stand.driver.join(stand.links[home])
    assert (stand.links[home].wanted, stand.links[other].wanted) == ({F: 2}, {F: 0})
    stand.driver.leave(home)
    assert stand.links[other].wanted == {F: 2}
    stand.driver.leave(other)
    assert stand.of() == {"wanted": 2, "ready": 0, "until_ms": None, "unmet": "there is no node"}


def test_the_clock_is_looked_at_when_a_window_opens() -> None:
    async def run() -> None:
        stand = Stand()
        stand.clock.now_s = MONDAY_7 + 3600.0 - 0.001
        stand.register(registration(F, 0, "mon 08:00-18:00 UTC"))
        told = asyncio.Event()
        link = stand.links["n1"]
        want = link.want

        def noting(function: str, places: int) -> None:
            want(function, places)
            told.set()

        link.want = noting  # type: ignore[method-assign]
        renew = stand.wishes.renew

        def later() -> float:
            wait_s = renew()
            stand.clock.now_s += 0.001
            return wait_s

        stand.wishes.renew = later  # type: ignore[method-assign]
        stand.wishes.start()
        await asyncio.wait_for(told.wait(), 10.0)
        await stand.wishes.close()
        assert stand.history == [f"1x{F}"]

    asyncio.run(run())


# -- over HTTP ---------------------------------------------------------------------------------------------------------


def test_preload_and_offload(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.room, stand.link.unmet = 3, "it needs 4 x 256 MB, the node has 1024 MB"
            url = f"{NATIVE}/functions/f"
            response = await stand.http.post(f"{url}/preload")
            assert (response.status_code, response.json()["wanted"], response.json()["ready"]) == (200, 1, 1)
            body = (await stand.http.post(f"{url}/preload", json={"places": 4, "for_s": 60})).json()
            assert (body["wanted"], body["ready"], body["unmet"]) == (4, 3, stand.link.unmet)
            status = (await stand.http.get(f"{NATIVE}/status")).json()
            assert [(each["name"], each["wanted"]) for each in status["places"]] == [("f", 4)]
            assert (await stand.http.post(f"{url}/offload")).json()["wanted"] == 0
            assert stand.link.history[1:] == [f"1x{F}", f"4x{F}", f"0x{F}", f"offload {F}"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"places": 65}',
        b'{"places": -1}',
        b'{"places": 1.5}',
        b'{"places": "1"}',
        b'{"for_s": 0}',
        b'{"for_s": 604801}',
        b'{"for_s": 1e999}',
        b'{"for_s": NaN}',
        b'{"place": 1}',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_a_wrong_body_is_refused_and_changes_nothing(tmp_path: Path, body: bytes) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            response = await stand.http.post(f"{NATIVE}/functions/f/preload", content=body)
            assert response.status_code == 400, response.text
            large = await stand.http.post(f"{NATIVE}/functions/f/preload", content=b" " * 20_000)
            assert large.status_code == 413
            assert stand.link.history == [f"+{F}"]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["nope", "%2e%2e", "a%2Fb", "f%00"])
def test_unknown_functions_are_not_found(tmp_path: Path, name: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for verb in ("preload", "offload"):
                assert (await stand.http.post(f"{NATIVE}/functions/{name}/{verb}")).status_code == 404

    asyncio.run(run())


def test_function_toml_counts_also_after_a_restart(tmp_path: Path) -> None:
    toml = 'min_resident = 2\nkeep_alive = "5min"\n'

    async def run(expected: list[str]) -> None:
        link = FakeLink()
        async with standing(tmp_path, link=link) as stand:
            if not expected:
                code = archive({"handler.py": "def main(args): return {}", "function.toml": toml})
                body = {"exec": {"kind": "python:3", "code": code, "binary": True}}
                assert (await stand.http.put("/api/v1/namespaces/_/actions/f", json=body)).status_code == 200
            await stand.controller.restored()
            assert link.wanted == {F: 2}
            assert link.functions[F][0].keep_alive_s == 300.0

    asyncio.run(run([]))
    asyncio.run(run(["again"]))
