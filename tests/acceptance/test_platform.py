"""The main road: functions are deployed, called, updated and deleted, and the platform is started again."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import ACTIONS, ACTIVATIONS, HELLO, NATIVE, Json, Platform, annotation, residents, running, start_kind

from instainfer.address import credentials

pytestmark = pytest.mark.acceptance

GREETER = """
import sys

def load():
    global weights
    weights = bytes(1 << 20)

def main(args):
    print("hello to", args.get("name"))
    print("careful", file=sys.stderr)
    return {"hello": args.get("name", "you"), "weights": len(weights)}
"""

SCRIPT = """
import instainfer

calls = 0
while True:
    request = instainfer.receive()
    calls += 1
    print("call", calls)
    instainfer.reply({"calls": calls, "got": request})
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform that creates no container ahead of the first call, so that this call is cold."""
    with running(tmp_path, INSTAINFER_KEEPALIVE__POLICY="fixed") as up:
        yield up


def test_a_function_is_deployed_and_called_in_every_way(platform: Platform) -> None:
    deployed = platform.deploy("greeter", {"handler.py": GREETER}, "--no-check")
    assert "greeter 0.0.1 is deployed" in deployed.err
    assert deployed.out == ""

    cold = platform.cli("invoke", "greeter", "-p", "name", "Ada")
    assert cold.json == {"hello": "Ada", "weights": 1 << 20}
    assert cold.err.startswith("cold, ")
    args = platform.folder / "args.json"
    args.write_text('{"name": "Grün"}')
    warm = platform.cli("invoke", "greeter", "--data", f"@{args}")
    assert warm.json["hello"] == "Grün"
    assert warm.err.startswith("warm, ")
    full = platform.cli("invoke", "greeter", "--data", "-", "--full", "--json", text='{"name": "Lin"}').json
    assert full["response"]["result"]["hello"] == "Lin"
    assert annotation(full, "startKind") == "warm"

    accepted = platform.cli("invoke", "greeter", "-p", "name", "later", "--no-wait").json
    record = platform.ended_record(accepted["activationId"])
    assert record["response"] == {
        "status": "success",
        "success": True,
        "size": len('{"hello":"later","weights":1048576}'),
        "result": {"hello": "later", "weights": 1 << 20},
    }


def test_what_a_function_prints_is_kept_with_its_activation(platform: Platform) -> None:
    platform.deploy("greeter", {"handler.py": GREETER})
    first = platform.cli("invoke", "greeter", "-p", "name", "Ada", "--full", "--json").json
    second = platform.cli("invoke", "greeter", "-p", "name", "Lin", "--full", "--json").json
    for record, name in ((first, "Ada"), (second, "Lin")):
        logs = platform.cli("activations", record["activationId"], "--logs").out.splitlines()
        assert [line[31:] for line in logs] == [f"stdout: hello to {name}", "stderr: careful"]
        assert record["logs"] == logs


def test_over_http_the_headers_say_how_it_went(platform: Platform) -> None:
    platform.put("hello", HELLO)
    for kind in ("cold", "warm"):
        called = platform.call("hello", {"name": "Ada"})
        assert called.status_code == 200
        assert start_kind(called) == kind
        record = called.json()
        assert called.headers["x-openwhisk-activation-id"] == record["activationId"]
        assert called.headers["x-instainfer-container"] == annotation(record, "container")
        assert annotation(record, "startKind") == kind
        phases = json.loads(called.headers["x-instainfer-phases"])
        assert annotation(record, "phases") == phases
        assert set(phases) == {"queue", "container", "libraries", "model", "handoff", "compute"}
        assert 0 < sum(phases.values()) <= called.elapsed.total_seconds() + 0.001
        assert (phases["container"] > 0) == (phases["libraries"] > 0) == (kind == "cold")
        assert (annotation(record, "initTime") is not None) == (kind == "cold")

    only = platform.call("hello", {"name": "Lin"}, result="true")
    assert only.json() == {"hello": "Lin"}
    accepted = platform.call("hello", {"name": "Bo"}, blocking="false")
    assert accepted.status_code == 202
    activation = accepted.json()["activationId"]
    assert accepted.headers["x-openwhisk-activation-id"] == activation
    platform.ended_record(activation)
    result = platform.http.get(f"{ACTIVATIONS}/{activation}/result").json()
    assert (result["success"], result["result"]) == (True, {"hello": "Bo"})
    logs = platform.http.get(f"{ACTIVATIONS}/{activation}/logs").json()["logs"]
    assert [line[31:] for line in logs] == ["stdout: hello to Bo"]


def test_a_function_is_pre_loaded_into_a_container_that_is_idle_anyway(platform: Platform) -> None:
    platform.deploy("first", {"handler.py": GREETER}, "--memory", "1GB", "--no-check")
    platform.cli("invoke", "first")
    platform.deploy("second", {"handler.py": GREETER}, "--memory", "128MB", "--no-check")
    ready = platform.watch(lambda status: residents(status) == {"first": "loaded", "second": "loaded"})
    (node,) = ready["nodes"]
    (container,) = node["containers"]
    (resident,) = [r for r in container["residents"] if r["function"].startswith("guest/second@")]
    assert resident["origin"] == "preload"
    assert resident["reason"]
    assert (container["state"], container["owner"]) == ("idle", "guest/first@0.0.1")
    shown = platform.cli("status").out
    assert "second" in shown
    assert "pre-load" in shown

    called = platform.cli("invoke", "second", "-p", "name", "Ada", "--full", "--json").json
    assert annotation(called, "startKind") == "preloaded"
    assert annotation(called, "container") == container["id"]
    phases = annotation(called, "phases")
    assert phases["container"] == phases["libraries"] == phases["model"] == 0
    after = platform.status()["nodes"][0]
    assert after["preloads"]["hits"] == 1
    assert [c["id"] for c in after["containers"]] == [container["id"]]


def test_lists_and_status_for_people_and_for_programs(platform: Platform) -> None:
    platform.deploy("hello", {"handler.py": HELLO}, "--memory", "128MB", "--timeout", "5s", "--no-check")
    platform.put("broken", "def main(args): raise ValueError('no')")
    platform.call("hello")
    platform.call("broken")

    functions = platform.cli("functions", "--json").json
    assert [(f["name"], f["version"]) for f in functions] == [("broken", "0.0.1"), ("hello", "0.0.1")]
    limits = functions[1]["limits"]
    assert (limits["memory"], limits["timeout"]) == (128, 5000)
    shown = platform.cli("functions").out
    assert "hello" in shown
    assert "128 MB" in shown
    assert json.loads(platform.cli("function", "show", "hello", "--json").out)["name"] == "hello"

    listed = platform.cli("activations", "--json").json
    assert [(a["name"], a["statusCode"]) for a in listed] == [("broken", 2), ("hello", 0)]
    assert [a["name"] for a in platform.cli("activations", "--name", "hello", "--json").json] == ["hello"]
    shown = platform.cli("activations", listed[0]["activationId"]).out
    assert "ValueError: no" in shown
    assert "action developer error" in shown

    status = platform.cli("status", "--json").json
    (node,) = status["nodes"]
    assert node["backend"] == "process"
    assert status["isolation"]
    assert status["home"] == str(platform.home)
    assert node["memory"]["budget_bytes"] == 2048 << 20
    assert node["memory"]["committed_bytes"] == sum(c["limit_bytes"] for c in node["containers"])
    assert "container" in platform.cli("status").out


def test_a_script_keeps_its_state_between_calls(platform: Platform) -> None:
    files = {"handler.py": SCRIPT, "function.toml": 'name = "script"\nstyle = "script"\n'}
    platform.deploy("script", files)
    assert platform.cli("invoke", "script", "-p", "n", "1").json == {"calls": 1, "got": {"n": 1}}
    again = platform.call("script", {"n": 2})
    assert again.json()["response"]["result"] == {"calls": 2, "got": {"n": 2}}
    assert [line[31:] for line in again.json()["logs"]] == ["stdout: call 2"]
    assert start_kind(again) == "warm"


def test_a_plain_openwhisk_action_runs_unchanged(platform: Platform) -> None:
    code = textwrap.dedent("""
        import os

        def main(args):
            return {"greeting": "Hello " + args["name"], "activation": os.environ["__OW_ACTIVATION_ID"]}

        def answer(args):
            return [__name__ == "__main__", args]
    """)
    body = {"exec": {"kind": "python:default", "code": code}, "parameters": [{"key": "name", "value": "World"}]}
    assert platform.http.put(f"{ACTIONS}/action", json=body).status_code == 200
    record = platform.call("action").json()
    assert record["response"]["result"] == {"greeting": "Hello World", "activation": record["activationId"]}
    assert platform.cli("invoke", "action", "-p", "name", "Ada").json["greeting"] == "Hello Ada"

    assert platform.http.get(f"{ACTIONS}/action").json()["exec"]["code"] == code
    body = {"exec": {"kind": "python:3", "code": code, "main": "answer"}}
    assert platform.http.put(f"{ACTIONS}/action", params={"overwrite": "true"}, json=body).status_code == 200
    # As with OpenWhisk, what a program would do besides being imported is not done.
    assert platform.call("action", {"n": 1}).json() == [False, {"name": "World", "n": 1}]


def test_an_update_is_a_new_version_that_never_meets_the_old_one(platform: Platform) -> None:
    platform.deploy("greeter", {"handler.py": "def main(args): return {'says': 'old'}"}, "--no-check")
    assert platform.cli("invoke", "greeter").json == {"says": "old"}
    updated = platform.deploy("greeter", {"handler.py": "def main(args): return {'says': 'new'}"}, "--no-check")
    assert "greeter 0.0.2 is deployed" in updated.err
    called = platform.call("greeter")
    assert called.json()["response"]["result"] == {"says": "new"}
    assert called.json()["version"] == "0.0.2"
    assert start_kind(called) != "warm"
    assert start_kind(platform.call("greeter")) == "warm"
    assert [f["version"] for f in platform.cli("functions", "--json").json] == ["0.0.2"]
    assert [a["version"] for a in platform.records()] == ["0.0.2", "0.0.2", "0.0.1"]


def test_a_deleted_function_is_gone_and_its_records_are_not(platform: Platform) -> None:
    platform.put("hello", HELLO)
    activation = platform.call("hello").json()["activationId"]
    assert "deleted hello" in platform.cli("function", "delete", "hello").err
    assert "does not exist" in platform.cli("invoke", "hello", code=3).err
    assert platform.cli("functions", "--json").json == []
    assert platform.cli("activations", activation, "--json").json["name"] == "hello"
    platform.put("hello", "def main(args): return {'says': 'again'}")
    assert platform.call("hello").json()["response"]["result"] == {"says": "again"}


def test_a_new_start_knows_functions_records_and_profiles(tmp_path: Path) -> None:
    def profiles(up: Platform) -> dict[str, Json]:
        return {f["name"]: f["profile"] for f in up.http.get(f"{NATIVE}/functions").json()}

    with running(tmp_path, INSTAINFER_KEEPALIVE__POLICY="fixed") as up:
        up.deploy("greeter", {"handler.py": GREETER})
        up.put("hello", HELLO)
        for name in ("greeter", "greeter", "hello"):
            assert up.call(name).status_code == 200
        records, learned, key = up.records(), profiles(up), credentials(up.home)[1]
        assert all(learned[name]["loads"] == 1 and learned[name]["resident_bytes"] > 0 for name in ("greeter", "hello"))
        up.stop()

        up.start()
        assert credentials(up.home)[1] == key
        assert up.records() == records
        assert profiles(up) == learned
        cold = up.cli("invoke", "greeter", "-p", "name", "Ada", "--full", "--json").json
        assert cold["response"]["result"]["hello"] == "Ada"
        assert annotation(cold, "startKind") == "cold"
        assert up.call("hello").status_code == 200
        assert profiles(up)["greeter"]["loads"] == 2
        assert len(up.records()) == len(records) + 2


def test_a_second_platform_on_the_same_home_is_refused(platform: Platform) -> None:
    refused = platform.cli("up", "--port", "0", code=1)
    assert "another InstaInfer is running" in refused.err
    platform.put("hello", HELLO)
    assert platform.call("hello").status_code == 200
