"""Packages, bindings and sequences on a real platform, by the command line and over HTTP, and after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from acceptance.live import Platform, running

PACKAGES = "/api/v1/namespaces/_/packages"
ACTIONS = "/api/v1/namespaces/_/actions"

CODE = """
import os

TOKEN = os.environ.get("TOKEN")

def main(args):
    return {**args, "way": [*args.get("way", []), NAME], "token": TOKEN}
"""


def way(platform: Platform, name: str) -> object:
    return platform.call(name, result="true").json()["way"]


@pytest.mark.timeout(300)
def test_packaged_functions_bindings_and_sequences(tmp_path: Path) -> None:
    with running(tmp_path) as platform:
        parameters = [{"key": "x", "value": "package"}, {"key": "TOKEN", "value": "one", "init": True}]
        assert platform.http.put(f"{PACKAGES}/tools", json={"parameters": parameters}).status_code == 200
        files = {"handler.py": CODE.replace("NAME", "'a'")}
        said = platform.deploy("a", files, "--name", "tools/a")
        assert "call it with `instainfer invoke tools/a`" in said.err
        platform.put("b", CODE.replace("NAME", "'b'"))
        assert platform.cli("invoke", "tools/a").json == {"x": "package", "way": ["a"], "token": "one"}
        assert "tools/a" in platform.cli("functions").out
        assert platform.cli("function", "show", "tools/a").out.startswith("tools/a 0.0.1")
        assert "tools/a" in platform.cli("why", "tools/a").out

        # Its processes have what the package says now.
        parameters[1]["value"] = "two"
        assert platform.http.put(f"{PACKAGES}/tools?overwrite=true", json={"parameters": parameters}).status_code == 200
        assert platform.call("tools/a", result="true").json()["token"] == "two"

        binding = {"binding": {"namespace": "_", "name": "tools"}, "parameters": [{"key": "x", "value": "binding"}]}
        assert platform.http.put(f"{PACKAGES}/bound", json=binding).status_code == 200
        assert platform.call("bound/a", result="true").json()["x"] == "binding"

        components = ["/_/tools/a", "/_/b", "/_/bound/a"]
        sequence = {"exec": {"kind": "sequence", "components": components}}
        assert platform.http.put(f"{ACTIONS}/s", json=sequence).status_code == 200
        assert way(platform, "s") == ["a", "b", "a"]
        id_ = platform.accept("s")
        record = platform.ended_record(id_)
        assert record["response"]["result"]["way"] == ["a", "b", "a"]
        parts = [platform.ended_record(part) for part in record["logs"]]
        assert [part["cause"] for part in parts] == [id_] * 3

        platform.stop()
        platform.start()
        assert way(platform, "s") == ["a", "b", "a"]
        assert platform.call("bound/a", result="true").json()["x"] == "binding"
        assert platform.record(id_) == record
