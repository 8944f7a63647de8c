"""Triggers and rules, and what firing a trigger does. Case names are those of OpenWhisk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.controllers import ACTIONS, ACTIVATIONS, FakeLink, Stand, annotation, standing

TRIGGERS = "/api/v1/namespaces/_/triggers"
RULES = "/api/v1/namespaces/_/rules"
PACKAGES = "/api/v1/namespaces/_/packages"
CONFLICT = (409, "Resource by this name exists but is not in this collection.")


def run(folder: Path, test: Callable[[Stand], Awaitable[None]], **parts: Any) -> None:
    async def running() -> None:
        async with standing(folder, **parts) as stand:
            await test(stand)

    asyncio.run(running())


async def put(stand: Stand, url: str, *, overwrite: bool = False, **body: Any) -> Any:
    return await stand.http.put(url, params={"overwrite": overwrite}, json=body)


async def rule(stand: Stand, name: str, action: str, trigger: str = "t", **more: Any) -> Any:
    return await put(stand, f"{RULES}/{name}", trigger=f"/_/{trigger}", action=f"/_/{action}", **more)


def pairs(**values: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def error(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def told(record: Any) -> dict[str, dict[str, Any]]:
    """What the record of a trigger says of each rule."""
    return {line["rule"]: line for line in map(json.loads, record["logs"])}


def test_put_get_list_and_delete_a_trigger(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        made = (await put(stand, f"{TRIGGERS}/t", parameters=pairs(x=1), annotations=pairs(why="so"))).json()
        assert made.pop("updated") > 0
        assert made == {
            "namespace": "guest",
            "name": "t",
            "version": "0.0.1",
            "publish": False,
            "parameters": pairs(x=1),
            "annotations": pairs(why="so"),
            "limits": {},
            "rules": {},
        }
        assert error(await put(stand, f"{TRIGGERS}/t")) == (409, "resource already exists")
        newer = (await put(stand, f"{TRIGGERS}/t", overwrite=True, parameters=[])).json()
        assert (newer["version"], newer["parameters"], newer["annotations"]) == ("0.0.2", [], pairs(why="so"))
        assert (await stand.http.get(f"{TRIGGERS}/t")).json() == newer
        (listed,) = (await stand.http.get(TRIGGERS)).json()
        assert "parameters" not in listed
        assert (await stand.http.get(f"{TRIGGERS}?count=true")).json() == {"triggers": 1}
        assert (await stand.http.delete(f"{TRIGGERS}/t")).json() == newer
        assert (await stand.http.get(f"{TRIGGERS}/t")).status_code == 404
        assert error(await put(stand, f"{TRIGGERS}/t", annotations=pairs(feed=1))) == (400, "Feed name is not valid")
        assert (await put(stand, f"{TRIGGERS}/t", annotations=pairs(feed="/guest/tools/f"))).status_code == 200
        big = pairs(x="y" * (1 << 20))
        assert "parameters larger than allowed" in error(await put(stand, f"{TRIGGERS}/u", parameters=big))[1]

    run(tmp_path, test)


def test_put_get_list_and_delete_a_rule(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, f"{TRIGGERS}/t")
        await put(stand, f"{TRIGGERS}/u")
        await put(stand, f"{PACKAGES}/tools")
        await stand.put("tools/f")
        made = (await rule(stand, "r", "tools/f", annotations=pairs(why="so"))).json()
        assert made.pop("updated") > 0
        assert made == {
            "namespace": "guest",
            "name": "r",
            "version": "0.0.1",
            "publish": False,
            "annotations": pairs(why="so"),
            "trigger": {"path": "guest", "name": "t"},
            "action": {"path": "guest/tools", "name": "f"},
            "status": "active",
        }
        shown = (await stand.http.get(f"{TRIGGERS}/t")).json()
        assert shown["rules"] == {"guest/r": {"action": {"path": "guest/tools", "name": "f"}, "status": "active"}}
        assert error(await rule(stand, "r", "tools/f")) == (409, "resource already exists")
        newer = (await put(stand, f"{RULES}/r", overwrite=True, trigger="/guest/u")).json()
        assert (newer["version"], newer["trigger"]["name"], newer["action"]["name"]) == ("0.0.2", "u", "f")
        assert (await stand.http.get(f"{TRIGGERS}/t")).json()["rules"] == {}
        assert (await stand.http.get(RULES)).json() == [newer]
        assert (await stand.http.get(f"{RULES}?count=true")).json() == {"rules": 1}
        gone = (await stand.http.delete(f"{RULES}/r")).json()
        assert gone == {**newer, "status": "inactive"}
        assert (await stand.http.get(f"{RULES}/r")).status_code == 404
        assert (await stand.http.get(f"{TRIGGERS}/u")).json()["rules"] == {}

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        pytest.param({}, 400, "rule requires a valid trigger and a valid action", id="reject rule without both"),
        pytest.param({"trigger": "/_/t"}, 400, "rule requires", id="reject rule without an action"),
        pytest.param({"action": "/_/a"}, 400, "rule requires", id="reject rule without a trigger"),
        pytest.param({"trigger": "/_/no", "action": "/_/a"}, 400, "trigger /guest/no does not exist", id="no trigger"),
        pytest.param({"trigger": "/_/t", "action": "/_/no"}, 400, "action /guest/no does not exist", id="no action"),
        pytest.param({"trigger": "/x/t", "action": "/_/a"}, 403, "not authorized", id="a trigger of others"),
        pytest.param({"trigger": "/_/t", "action": "/x/a"}, 403, "not authorized", id="an action of others"),
        pytest.param({"trigger": "t", "action": "/_/a"}, 400, "fully qualified name", id="a name that is not whole"),
        pytest.param({"trigger": 5, "action": "/_/a"}, 400, "$.trigger", id="what is no name"),
    ],
)
def test_reject_create_rule(tmp_path: Path, body: dict[str, Any], status: int, text: str) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, f"{TRIGGERS}/t")
        await stand.put("a")
        code, said = error(await put(stand, f"{RULES}/r", **body))
        assert code == status
        assert text in said
        assert (await stand.http.get(RULES)).json() == []

    run(tmp_path, test)


def test_report_conflict_if_the_name_was_of_a_different_type(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await stand.put("a")
        await put(stand, f"{PACKAGES}/p")
        await put(stand, f"{TRIGGERS}/t")
        await rule(stand, "r", "a")
        urls = {"a": ACTIONS, "p": PACKAGES, "t": TRIGGERS, "r": RULES}
        action = {"exec": {"kind": "python:3", "code": "x = 1"}}
        for name, own in urls.items():
            for url in set(urls.values()) - {own}:
                assert error(await stand.http.get(f"{url}/{name}")) == CONFLICT, (name, url)
                assert error(await stand.http.delete(f"{url}/{name}")) == CONFLICT, (name, url)
                body = action if url == ACTIONS else {"trigger": "/_/t", "action": "/_/a"} if url == RULES else {}
                assert error(await put(stand, f"{url}/{name}", overwrite=True, **body)) == CONFLICT, (name, url)
        assert error(await stand.invoke("t")) == CONFLICT

    run(tmp_path, test)


def test_fire_trigger(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, f"{TRIGGERS}/t", parameters=pairs(x="trigger", y="trigger"))
        await put(stand, f"{PACKAGES}/tools", parameters=pairs(y="package", z="package"))
        await stand.put("tools/f")
        await stand.put("a")
        await stand.put("final", parameters=pairs(x=1), annotations=pairs(final=True))
        await stand.put("gone")
        body = {"exec": {"kind": "sequence", "components": ["/_/a"]}}
        await stand.http.put(f"{ACTIONS}/s", json=body)

        nothing = await stand.http.post(f"{TRIGGERS}/t", json={"n": 1})
        assert (nothing.status_code, nothing.content) == (204, b"")
        assert (await stand.http.get(ACTIVATIONS)).json() == [], "without an active rule there is no record"

        for name, action in (("r1", "tools/f"), ("r2", "s"), ("r3", "final"), ("r4", "gone"), ("r5", "a")):
            assert (await rule(stand, name, action)).status_code == 200
        await stand.http.delete(f"{ACTIONS}/gone")
        off = await stand.http.post(f"{RULES}/r5", json={"status": "inactive"})
        assert (off.status_code, off.json()["status"]) == (200, "inactive")

        fired = await stand.http.post(f"{TRIGGERS}/t", json={"n": 1, "x": "call"})
        assert fired.status_code == 202
        id_ = fired.json()["activationId"]
        assert fired.headers["x-openwhisk-activation-id"] == id_
        await stand.controller.idle()
        record = await stand.record(id_)
        assert (record["name"], record["response"]["result"]) == ("t", {"n": 1, "x": "call"})
        assert (annotation(record, "path"), annotation(record, "kind")) == ("guest/t", "trigger")
        rules = told(record)
        assert list(rules) == [f"guest/r{number}" for number in range(1, 6)]
        assert [rules[name]["success"] for name in rules] == [True, True, False, False, False]
        assert "parameters that are not allowed" in rules["guest/r3"]["error"]
        assert "does not exist" in rules["guest/r4"]["error"]
        assert rules["guest/r5"]["error"] == "Rule 'guest/r5' is inactive, action 'guest/a' was not activated."
        assert rules["guest/r1"]["action"] == "guest/tools/f"
        one = await stand.record(rules["guest/r1"]["activationId"])
        assert annotation(one, "path") == "guest/tools/f"
        assert annotation(await stand.record(rules["guest/r2"]["activationId"]), "kind") == "sequence"
        args = {call.function.partition("@")[0]: json.loads(call.args) for call in stand.link.calls}
        assert args == {
            "guest/tools/f": {"n": 1, "x": "call", "y": "trigger", "z": "package"},
            "guest/a": {"n": 1, "x": "call", "y": "trigger"},
        }
        assert (await stand.http.post(f"{TRIGGERS}/nowhere", json={})).status_code == 404
        assert (await stand.http.post(f"{TRIGGERS}/t", json=[1])).status_code == 400

    run(tmp_path, test)


def test_a_refused_call_is_told_by_the_record_of_the_trigger(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, f"{TRIGGERS}/t")
        await stand.put("a")
        for name in ("r1", "r2"):
            await rule(stand, name, "a")
        id_ = (await stand.http.post(f"{TRIGGERS}/t")).json()["activationId"]
        await stand.controller.idle()
        first, second = told(await stand.record(id_)).values()
        assert (first["success"], second["success"], second["statusCode"]) == (True, False, 1)
        assert "Too many requests" in second["error"]
        stand.controller.drain()
        id_ = (await stand.http.post(f"{TRIGGERS}/t")).json()["activationId"]
        assert {line["statusCode"] for line in told(await stand.record(id_)).values()} == {3}

    run(tmp_path, test, limits={"invocations_per_minute": 1}, now=lambda: 600.0)


def test_rules_are_switched(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, f"{TRIGGERS}/t")
        await stand.put("a")
        await rule(stand, "r", "a")
        for status in ("inactive", "inactive", "active", "active"):
            assert (await stand.http.post(f"{RULES}/r", json={"status": status})).json()["status"] == status
            assert (await stand.http.get(f"{RULES}/r")).json()["status"] == status
        assert (await stand.http.post(f"{RULES}/r", json={"status": "odd"})).status_code == 400
        assert (await stand.http.post(f"{RULES}/nowhere", json={"status": "active"})).status_code == 404
        await stand.http.post(f"{RULES}/r", json={"status": "inactive"})
        assert (await put(stand, f"{RULES}/r", overwrite=True)).json()["status"] == "inactive", "an update leaves it"
        await stand.http.post(f"{RULES}/r", json={"status": "active"})

        # Without its trigger a rule is inactive, and stays so when another trigger gets the name.
        await stand.http.delete(f"{TRIGGERS}/t")
        assert (await stand.http.get(f"{RULES}/r")).json()["status"] == "inactive"
        refused = await stand.http.post(f"{RULES}/r", json={"status": "active"})
        assert error(refused) == (404, "Only rules with existing triggers can be activated")
        await put(stand, f"{TRIGGERS}/t")
        assert (await stand.http.post(f"{TRIGGERS}/t")).status_code == 204
        await stand.http.post(f"{RULES}/r", json={"status": "active"})
        assert (await stand.http.post(f"{TRIGGERS}/t")).status_code == 202
        await stand.controller.idle()

    run(tmp_path, test)


def test_triggers_and_rules_outlive_a_restart(tmp_path: Path) -> None:
    async def before(stand: Stand) -> None:
        await put(stand, f"{TRIGGERS}/t", parameters=pairs(x=1))
        await stand.put("a")
        await rule(stand, "r", "a")
        await rule(stand, "off", "a")
        await stand.http.post(f"{RULES}/off", json={"status": "inactive"})

    async def after(stand: Stand) -> None:
        await stand.controller.restored()
        assert {each["name"]: each["status"] for each in (await stand.http.get(RULES)).json()} == {
            "r": "active",
            "off": "inactive",
        }
        assert (await stand.http.post(f"{TRIGGERS}/t")).status_code == 202
        await stand.controller.idle()
        assert [json.loads(call.args) for call in stand.link.calls] == [{"x": 1}]

    run(tmp_path, before)
    run(tmp_path, after, link=FakeLink())


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_triggers_and_rules_of_others_are_forbidden(tmp_path: Path, method: str) -> None:
    async def test(stand: Stand) -> None:
        for collection in ("triggers", "rules"):
            url = f"/api/v1/namespaces/other/{collection}/x"
            assert (await stand.http.request(method, url, json={})).status_code == 403

    run(tmp_path, test)
