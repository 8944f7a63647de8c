"""Packages, what their actions inherit, and bindings, also of other namespaces. Case names are those of OpenWhisk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from support.controllers import ACTIONS, NATIVE, FakeLink, Stand, annotation, answering, standing

from instainfer.controller import queries
from instainfer.controller.auth import hash_key
from instainfer.controller.database import RECORDS
from instainfer.controller.paths import EntityPath
from instainfer.controller.store import open_store

PACKAGES = "/api/v1/namespaces/_/packages"
OTHERS = "/api/v1/namespaces/guest"
"""The first namespace, as others name it."""
FORBIDDEN = "The supplied authentication is not authorized to access this resource."
MISSING = "The requested resource does not exist."

Test = Callable[[Stand], Awaitable[None]]


def run(folder: Path, test: Test, **parts: Any) -> None:
    async def running() -> None:
        async with standing(folder, **parts) as stand:
            await test(stand)

    asyncio.run(running())


@asynccontextmanager
async def shared(folder: Path, **parts: Any) -> AsyncIterator[tuple[Stand, httpx2.AsyncClient]]:
    """A controller with two namespaces, and the second one's client."""
    store = open_store(folder / "home" / RECORDS)
    await store.write(lambda connection: queries.save_namespace(connection, "other", "u2", hash_key("k" * 64)))
    await store.close()
    async with standing(folder, **parts) as stand:
        transport = httpx2.ASGITransport(stand.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", auth=("u2", "k" * 64)) as other:
            yield stand, other


async def put(stand: Stand, name: str, *, overwrite: bool = False, **body: Any) -> httpx2.Response:
    return await stand.http.put(f"{PACKAGES}/{name}", params={"overwrite": overwrite}, json=body)


def pairs(**values: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def values(of: Mapping[str, Any]) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in of["parameters"]}


def error(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def args_of(stand: Stand) -> Any:
    return json.loads(stand.link.calls[-1].args)


def test_create_package(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        made = await put(stand, "tools", parameters=pairs(x=1), annotations=pairs(why="so"))
        assert made.status_code == 200
        body = made.json()
        assert body.pop("updated") > 0
        assert body == {
            "namespace": "guest",
            "name": "tools",
            "version": "0.0.1",
            "publish": False,
            "parameters": pairs(x=1),
            "annotations": pairs(why="so"),
            "binding": {},
        }
        got = (await stand.http.get(f"{PACKAGES}/tools")).json()
        assert got == {**made.json(), "actions": [], "feeds": []}

    run(tmp_path, test)


def test_an_update_keeps_what_is_not_given(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools", parameters=pairs(x=1), annotations=pairs(why="so"))
        assert error(await put(stand, "tools")) == (409, "resource already exists")
        newer = (await put(stand, "tools", overwrite=True, publish=True)).json()
        assert (newer["version"], newer["publish"], values(newer)) == ("0.0.2", True, {"x": 1})
        newer = (await put(stand, "tools", overwrite=True, parameters=[], version="2.0.0")).json()
        assert (newer["version"], newer["publish"], newer["parameters"]) == ("2.0.0", True, [])
        assert newer["annotations"] == pairs(why="so")

    run(tmp_path, test)


def test_list_packages(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        assert (await stand.http.get(PACKAGES)).json() == []
        for name in ("a", "b", "c"):
            await put(stand, name, parameters=pairs(x=1))
        await put(stand, "d", binding={"namespace": "_", "name": "a"})
        listed = (await stand.http.get(PACKAGES)).json()
        assert sorted(each["name"] for each in listed) == ["a", "b", "c", "d"]
        assert all("parameters" not in each for each in listed)
        assert [each["binding"] for each in listed if "binding" in each] == [{"namespace": "guest", "name": "a"}]
        assert len((await stand.http.get(f"{PACKAGES}?limit=2&skip=1")).json()) == 2
        assert (await stand.http.get(f"{PACKAGES}?count=true&skip=1")).json() == {"packages": 3}
        refused = await stand.http.get(f"{PACKAGES}?limit=201")
        assert error(refused) == (400, "The value '201' is not in the range of 0 to 200 for packages.")

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("name", "body", "status", "text"),
    [
        ("default", {}, 400, "Package name 'default' is reserved."),
        (
            "p",
            {"binding": {"namespace": "_", "name": "nowhere"}},
            400,
            "Binding references a package that does not exist.",
        ),
        ("p", {"binding": {"namespace": "_", "name": "bound"}}, 400, "Cannot bind to another package binding."),
        ("p", {"binding": {"namespace": "_", "name": "act"}}, 409, "Cannot bind to a resource that is not a package."),
        ("p", {"binding": {"namespace": "_"}}, 400, "a binding has a namespace and a name"),
        ("p", {"binding": {"namespace": "x", "name": "y"}}, 403, "not authorized to access 'x/y'."),
        ("tools", {"binding": {"namespace": "_", "name": "tools"}}, 409, "cannot be converted into a binding."),
        ("act", {}, 409, "Resource by this name exists but is not in this collection."),
        ("x" * 257, {}, 400, "Name longer than allowed: 257 > 256."),
        ("a$b", {}, 400, "The name of the entity contains illegal characters."),
        ("p", {"parameters": pairs(x="y" * (1 << 20))}, 413, "parameters larger than allowed: "),
        ("p", {"annotations": pairs(x="y" * (1 << 20))}, 413, "annotations larger than allowed: "),
        ("p", {"parameters": {"x": 1}}, 400, "The request content was malformed:"),
        ("tools", {"parameters": [{"key": "a-b", "value": 1, "init": True}]}, 400, "environment variable"),
        ("p", {"version": "one"}, 400, "is not a version like"),
        (
            "p",
            {"binding": {"namespace": "_", "name": "tools"}, "parameters": [{"key": "X", "value": 1, "init": True}]},
            400,
            "Parameters of a binding cannot be for initialization alone",
        ),
    ],
)
def test_reject_create_package(tmp_path: Path, name: str, body: dict[str, Any], status: int, text: str) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools")
        await put(stand, "bound", binding={"namespace": "guest", "name": "tools"})
        await stand.put("act")
        code, told = error(await put(stand, name, overwrite=True, **body))
        assert code == status
        assert text in told
        assert {each["name"] for each in (await stand.http.get(PACKAGES)).json()} == {"tools", "bound"}

    run(tmp_path, test)


def test_other_verbs_name_those_that_are(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        answer = await stand.http.post(f"{PACKAGES}/tools", json={})
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "PUT", "DELETE", "HEAD"}
        assert (await stand.http.get(f"{PACKAGES}/tools")).status_code == 404
        assert (await stand.http.delete(f"{PACKAGES}/tools")).status_code == 404
        await stand.put("act")
        conflict = (409, "Resource by this name exists but is not in this collection.")
        assert error(await stand.http.get(f"{PACKAGES}/act")) == conflict
        await put(stand, "tools")
        assert error(await stand.put("tools")) == conflict
        assert error(await stand.http.get(f"{ACTIONS}/tools")) == conflict
        assert error(await stand.http.delete(f"{ACTIONS}/tools")) == conflict
        assert error(await stand.invoke("tools")) == conflict

    run(tmp_path, test)


# packaged actions


def test_put_action_in_package(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        assert error(await stand.put("tools/f"))[0] == 404
        await put(stand, "tools", parameters=pairs(x=1, y=1))
        await stand.put("f")
        made = (await stand.put("tools/f", parameters=pairs(y=2, z=2))).json()
        assert (made["namespace"], made["name"]) == ("guest/tools", "f")
        assert values(made) == {"y": 2, "z": 2}, "what it has itself"
        assert "guest/tools/f@0.0.1" in stand.link.functions
        assert "guest/f@0.0.1" in stand.link.functions

        got = (await stand.http.get(f"{ACTIONS}/tools/f")).json()
        assert values(got) == {"x": 1, "y": 2, "z": 2}
        assert got["exec"]["code"] == made["exec"]["code"]
        without = (await stand.http.get(f"{ACTIONS}/tools/f?code=false")).json()
        assert (values(without), "code" in without["exec"]) == ({"x": 1, "y": 2, "z": 2}, False)

        listed = (await stand.http.get(ACTIONS)).json()
        assert {f"{each['namespace']}/{each['name']}" for each in listed} == {"guest/f", "guest/tools/f"}
        (inside,) = (await stand.http.get(f"{ACTIONS}/tools/")).json()
        assert (inside["namespace"], inside["name"]) == ("guest/tools", "f")
        assert (await stand.http.get(f"{ACTIONS}/tools/?count=true")).json() == {"actions": 1}
        assert (await stand.http.delete(f"{ACTIONS}/tools/f")).json()["namespace"] == "guest/tools"
        assert (await stand.http.get(f"{ACTIONS}/tools/f")).status_code == 404
        assert (await stand.http.get(f"{ACTIONS}/f")).status_code == 200

    run(tmp_path, test)


def test_invoke_action_in_package(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools", parameters=pairs(a="package", b="package", c="package"))
        await stand.put("f", parameters=pairs(b="alone"))
        await stand.put("tools/f", parameters=pairs(b="action", c="action"))
        record = (await stand.invoke("tools/f", {"c": "call"})).json()
        assert args_of(stand) == {"a": "package", "b": "action", "c": "call"}
        assert (record["namespace"], record["name"]) == ("guest", "f")
        assert annotation(record, "path") == "guest/tools/f"
        assert annotation(record, "binding") is None
        assert stand.link.calls[-1].env["__OW_ACTION_NAME"] == "/guest/tools/f"
        await stand.invoke("f")
        assert args_of(stand) == {"b": "alone"}

        # A filter is for one of them.
        for name, path in (("f", "guest/f"), ("tools/f", "guest/tools/f")):
            listed = (await stand.http.get("/api/v1/namespaces/_/activations", params={"name": name})).json()
            assert [annotation(each, "path") for each in listed] == [path]

    run(tmp_path, test)


def test_packaged_functions_in_our_own_part(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools")
        await stand.put("tools/why")
        names = [each["name"] for each in (await stand.http.get(f"{NATIVE}/functions")).json()]
        assert names == ["tools/why"]
        shown = (await stand.http.get(f"{NATIVE}/functions/tools%2Fwhy")).json()
        assert (shown["name"], shown["key"]) == ("tools/why", "guest/tools/why@0.0.1")
        wanted = await stand.http.post(f"{NATIVE}/functions/tools%2Fwhy/preload", json={"places": 2})
        assert wanted.json()["wanted"] == 2
        status = (await stand.http.get(f"{NATIVE}/status")).json()
        assert [(each["namespace"], each["name"]) for each in status["places"]] == [("guest", "tools/why")]
        secrets = f"{NATIVE}/functions/tools%2Fwhy/secrets"
        assert (await stand.http.put(f"{secrets}/TOKEN", json={"value": "v"})).json()["deployed"] is True
        _, spec, _ = stand.link.functions["guest/tools/why@0.0.1+2"]
        assert spec.secrets == {"TOKEN": "v"}
        await stand.put("why")
        assert (await stand.http.get(f"{NATIVE}/functions/why/secrets")).json() == []
        tried = await stand.http.put(
            f"{NATIVE}/functions/nowhere%2Ff", json={"exec": {"kind": "python:3", "code": "def main(a): return {}"}}
        )
        assert (json.loads(tried.text)["event"], json.loads(tried.text)["status"]) == ("refused", 404)

    run(tmp_path, test)


def test_delete_package(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools")
        await stand.put("tools/f")
        one = "Package not empty (contains 1 entity). Set force param or delete package contents."
        assert error(await stand.http.delete(f"{PACKAGES}/tools")) == (409, one)
        await stand.put("tools/g")
        two = "Package not empty (contains 2 entities). Set force param or delete package contents."
        assert error(await stand.http.delete(f"{PACKAGES}/tools")) == (409, two)
        await put(stand, "bound", binding={"namespace": "_", "name": "tools"})
        assert (await stand.http.delete(f"{PACKAGES}/bound?force=true")).json()["name"] == "bound"
        assert len((await stand.http.get(ACTIONS)).json()) == 2, "a binding has no contents"
        gone = await stand.http.delete(f"{PACKAGES}/tools?force=true")
        assert (gone.status_code, gone.json()["name"]) == (200, "tools")
        assert (await stand.http.get(ACTIONS)).json() == []
        assert (await stand.http.get(PACKAGES)).json() == []

    run(tmp_path, test)


def test_a_package_does_not_go_while_an_action_comes(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools")
        stand.environments.gate = asyncio.Event()
        putting = asyncio.ensure_future(stand.put("tools/f"))
        await stand.environments.called.wait()
        refused = await stand.http.delete(f"{PACKAGES}/tools")
        assert error(refused) == (409, "Concurrent modification to resource detected.")
        stand.environments.gate.set()
        assert (await putting).status_code == 200

    run(tmp_path, test)


def test_packages_outlive_a_restart(tmp_path: Path) -> None:
    async def before(stand: Stand) -> None:
        await put(stand, "tools", parameters=[*pairs(x=1), {"key": "TOKEN", "value": "t", "init": True}])
        await put(stand, "bound", binding={"namespace": "_", "name": "tools"}, parameters=pairs(x=2))
        await stand.put("tools/f")

    async def after(stand: Stand) -> None:
        await stand.controller.restored()
        await stand.invoke("bound/f")
        assert args_of(stand) == {"x": 2}
        assert stand.link.functions["guest/tools/f@0.0.1"][1].env["TOKEN"] == "t"
        (bound,) = [each for each in (await stand.http.get(PACKAGES)).json() if each["name"] == "bound"]
        assert bound["binding"] == {"namespace": "guest", "name": "tools"}

    run(tmp_path, before)
    run(tmp_path, after, link=FakeLink())


def test_the_namespace_of_a_list_names_the_package(tmp_path: Path) -> None:
    """Clients take an action by what a list tells of it, and send its namespace as it is there."""

    async def test(stand: Stand) -> None:
        await put(stand, "tools")
        await stand.put("f")
        await stand.put("tools/f")
        (listed,) = (await stand.http.get(f"{ACTIONS}/tools/")).json()
        own = f"/api/v1/namespaces/{quote(listed['namespace'], safe='')}/actions/{listed['name']}"
        assert own.count("%2F") == 1
        assert (await stand.http.get(own)).json()["namespace"] == "guest/tools"
        record = (await stand.http.post(f"{own}?blocking=true", json={})).json()
        assert annotation(record, "path") == "guest/tools/f"
        assert (await stand.http.delete(own)).status_code == 200
        assert [each["namespace"] for each in (await stand.http.get(ACTIONS)).json()] == ["guest"]
        assert (await stand.http.get(own.replace("guest", "other"))).status_code == 403
        assert (await stand.http.put("/api/v1/namespaces/guest%2Ftools/packages/p", json={})).status_code == 403

    run(tmp_path, test)


# bindings


def test_a_binding_stands_for_its_package(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools", parameters=pairs(a="package", b="package", c="package"))
        await stand.put("tools/f", parameters=pairs(c="action"))
        await stand.put("tools/feeding", annotations=pairs(feed=True))
        bound = await put(stand, "bound", binding={"namespace": "_", "name": "tools"}, parameters=pairs(b="binding"))
        assert bound.json()["binding"] == {"namespace": "guest", "name": "tools"}
        assert {"key": "binding", "value": {"namespace": "guest", "name": "tools"}} in bound.json()["annotations"]

        got = (await stand.http.get(f"{PACKAGES}/bound")).json()
        assert values(got) == {"a": "package", "b": "binding", "c": "package"}
        assert [each["name"] for each in got["actions"]] == ["f"]
        assert [each["name"] for each in got["feeds"]] == ["feeding"]
        assert {each["name"] for each in (await stand.http.get(f"{ACTIONS}/bound/")).json()} == {"f", "feeding"}

        record = (await stand.invoke("bound/f", {})).json()
        assert args_of(stand) == {"a": "package", "b": "binding", "c": "action"}
        assert (annotation(record, "path"), annotation(record, "binding")) == ("guest/tools/f", "guest/bound")
        listed = (await stand.http.get("/api/v1/namespaces/_/activations", params={"name": "bound/f"})).json()
        assert [each["activationId"] for each in listed] == [record["activationId"]]
        shown = (await stand.http.get(f"{ACTIONS}/bound/f")).json()
        assert (shown["namespace"], values(shown)) == ("guest/tools", {"a": "package", "b": "binding", "c": "action"})

        refused = (400, "Operation not permitted on package binding.")
        assert error(await stand.put("bound/g")) == refused
        assert error(await stand.http.delete(f"{ACTIONS}/bound/f")) == refused

        # An update keeps the binding; the bound package may be another one.
        await put(stand, "others")
        newer = (await put(stand, "bound", overwrite=True, parameters=[])).json()
        assert newer["binding"] == {"namespace": "guest", "name": "tools"}
        newer = (await put(stand, "bound", overwrite=True, binding={"namespace": "_", "name": "others"})).json()
        assert newer["binding"] == {"namespace": "guest", "name": "others"}
        assert [each["key"] for each in newer["annotations"]].count("binding") == 1
        assert (await stand.http.delete(f"{PACKAGES}/others")).status_code == 200
        assert (await stand.http.get(f"{PACKAGES}/bound")).status_code == 404
        assert (await stand.invoke("bound/f")).status_code == 404
        assert (await stand.http.delete(f"{PACKAGES}/bound")).status_code == 200

    run(tmp_path, test)


def test_packages_of_other_namespaces(tmp_path: Path) -> None:
    async def running() -> None:
        async with shared(tmp_path) as (stand, other):
            await put(stand, "private")
            await stand.put("private/f")
            await put(stand, "public", publish=True, parameters=pairs(x=1))
            await stand.put("public/f", annotations=pairs(**{"provide-api-key": True}))
            await stand.put("f")

            # What is not published is as if it were not there.
            for path in ("packages/private", "packages/nowhere", "actions/private/f", "actions/private/", "actions/f"):
                assert error(await other.get(f"{OTHERS}/{path}")) == (403, FORBIDDEN), path
            for path in ("private/f", "nowhere/f", "f"):
                assert error(await other.post(f"{OTHERS}/actions/{path}", json={})) == (403, FORBIDDEN), path
            binding = {"namespace": "guest", "name": "private"}
            refused = await other.put(f"{PACKAGES}/mine", json={"binding": binding})
            assert error(refused)[0] == 403
            assert (await other.get(f"{OTHERS}/actions")).status_code == 403
            assert [each["name"] for each in (await other.get(f"{OTHERS}/packages")).json()] == ["public"]

            # What is published may be read and called, and is changed by its owner alone.
            assert values((await other.get(f"{OTHERS}/packages/public")).json()) == {"x": 1}
            assert (await other.get(f"{OTHERS}/actions/public/f")).status_code == 200
            for request in (
                other.put(f"{OTHERS}/actions/public/g", json={"exec": {"kind": "python:3", "code": "x = 1"}}),
                other.delete(f"{OTHERS}/actions/public/f"),
                other.put(f"{OTHERS}/packages/public?overwrite=true", json={}),
                other.delete(f"{OTHERS}/packages/public"),
            ):
                assert (await request).status_code == 403
            record = (await other.post(f"{OTHERS}/actions/public/f?blocking=true", json={})).json()
            assert (record["namespace"], annotation(record, "path")) == ("other", "guest/public/f")
            assert "__OW_API_KEY" not in stand.link.calls[-1].env, "a caller's key is nothing for others' code"

            # A binding of it has parameters of its own; the record is its caller's.
            binding = {"namespace": "guest", "name": "public"}
            made = await other.put(f"{PACKAGES}/mine", json={"binding": binding, "parameters": pairs(x=2)})
            assert made.status_code == 200
            record = (await other.post(f"{ACTIONS}/mine/f?blocking=true", json={})).json()
            assert args_of(stand) == {"x": 2}
            assert annotation(record, "binding") == "other/mine"
            id_ = record["activationId"]
            assert (await other.get(f"/api/v1/namespaces/_/activations/{id_}")).status_code == 200
            assert (await stand.http.get(f"/api/v1/namespaces/_/activations/{id_}")).status_code == 404

            # It ends with the permission.
            await put(stand, "public", overwrite=True, publish=False)
            for request in (other.get(f"{PACKAGES}/mine"), other.post(f"{ACTIONS}/mine/f", json={})):
                assert error(await request) == (403, FORBIDDEN)
            assert (await stand.invoke("public/f")).status_code == 200
            assert "__OW_API_KEY" in stand.link.calls[-1].env

    asyncio.run(running())


def test_a_shared_function_counts_against_its_caller(tmp_path: Path) -> None:
    async def running() -> None:
        link = FakeLink()
        link.holding = True
        async with shared(tmp_path, link=link, limits={"concurrent_invocations": 1}) as (stand, other):
            await put(stand, "public", publish=True)
            await stand.put("public/f")
            assert (await other.post(f"{OTHERS}/actions/public/f", json={})).status_code == 202
            assert (await other.post(f"{OTHERS}/actions/public/f", json={})).status_code == 429
            assert (await stand.invoke("public/f", blocking="false")).status_code == 202
            await link.arrived(2)
            link.release()
            await stand.controller.idle()

    asyncio.run(running())


# parameters for initialization, and final ones


def test_parameters_for_initialization_are_variables_and_no_call_gets_them(tmp_path: Path) -> None:
    def given(key: str, value: Any) -> dict[str, Any]:
        return {"key": key, "value": value, "init": True}

    async def test(stand: Stand) -> None:
        await put(stand, "tools", parameters=[given("A", "package"), given("B", "package"), *pairs(x=1)])
        made = await stand.put("tools/f", parameters=[given("B", {"n": 1}), given("C", None)])
        assert made.json()["parameters"] == [given("B", {"n": 1}), given("C", None)]
        function, spec, _ = stand.link.functions["guest/tools/f@0.0.1"]
        assert (spec.env["A"], spec.env["B"], "C" in spec.env) == ("package", '{"n":1}', False)
        assert not function.templated, "a template imports libraries without them"
        await stand.invoke("tools/f", {"A": "call", "y": 2})
        assert args_of(stand) == {"x": 1, "y": 2}

        # Its processes have the new value of the package when that has changed, and are left alone otherwise.
        await put(stand, "tools", overwrite=True, parameters=[given("A", "newer"), *pairs(x=2)])
        assert list(stand.link.functions) == ["guest/tools/f@0.0.1+2"]
        assert stand.link.functions["guest/tools/f@0.0.1+2"][1].env["A"] == "newer"
        await put(stand, "tools", overwrite=True, parameters=[given("A", "newer"), *pairs(x=3)])
        assert list(stand.link.functions) == ["guest/tools/f@0.0.1+2"]

        for wrong in ("__OW_API_HOST", "a-b", "INSTAINFER_X", "A=B"):
            refused = await stand.put("g", parameters=[given(wrong, "v")])
            assert refused.status_code == 400, wrong
            assert "environment variable" in error(refused)[1]
        assert (await stand.put("g", parameters=[given("A", "a\0b")])).status_code == 400

    run(tmp_path, test)


def test_final_parameters_may_not_be_given_wherever_they_are_bound(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        await put(stand, "tools", parameters=pairs(a=1, b=None))
        final = pairs(final=True)
        await stand.put("tools/f", parameters=pairs(c=1, d=None, e={}, g=""), annotations=final)
        for key in ("a", "c", "g"):
            refused = await stand.invoke("tools/f", {key: 2})
            assert error(refused)[0] == 400
            assert error(refused)[1].startswith("Request defines parameters that are not allowed")
        for key in ("b", "d", "e", "new"):
            assert (await stand.invoke("tools/f", {key: 2})).status_code == 200
            assert args_of(stand)[key] == 2

    run(tmp_path, test)


def test_an_answer_of_a_packaged_action(tmp_path: Path) -> None:
    async def test(stand: Stand) -> None:
        stand.link.script = answering(b'{"n":1}')
        await put(stand, "tools")
        await stand.put("tools/f")
        assert (await stand.invoke("tools/f", result="true")).json() == {"n": 1}
        accepted = (await stand.invoke("tools/f", blocking="false")).json()
        await stand.controller.idle()
        assert annotation(await stand.record(accepted["activationId"]), "path") == "guest/tools/f"
        assert stand.controller._catalog.get(EntityPath("guest", "tools", "f")).ready

    run(tmp_path, test)
