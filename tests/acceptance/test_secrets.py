"""Secrets on a platform of its own: they reach each call, and nothing but the function's process knows them."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from acceptance.live import NATIVE, Platform, residents, running, start_kind, until

FIRST, SECOND = "first-secret-of-a-test", "second-secret-of-a-test"

CODE = """
import hashlib, os

def digest():
    return hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest()

AT_IMPORT = digest()

def load():
    global at_load
    at_load = digest()

def main(args):
    return {"digests": [AT_IMPORT, at_load, digest()]}
"""


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def called(platform: Platform, value: str) -> str:
    """The start kind of a call that has seen this value everywhere."""
    response = platform.call("f", result="true")
    assert response.json() == {"digests": [digest(value)] * 3}
    return start_kind(response)


def is_shown(secret: str) -> bool:
    """Whether the arguments, or the environment at its start, of any process on this machine have it."""
    for place in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        with contextlib.suppress(OSError):
            if secret.encode() in place.read_bytes():
                return True
    return False


@pytest.mark.timeout(300)
def test_a_secret_reaches_every_call_and_is_nowhere_else(tmp_path: Path) -> None:
    told = []
    with running(tmp_path, "--story", str(tmp_path / "story.jsonl")) as platform:
        said = platform.cli("secret", "set", "f", "TOKEN", text=f"{FIRST}\n")
        assert "not deployed yet" in said.err
        # Deploying loads it, which would fail without the secret.
        platform.deploy("f", {"handler.py": CODE})
        kinds = {called(platform, FIRST)}
        kinds.add(called(platform, FIRST))

        said = platform.cli("secret", "set", "f", "TOKEN", text=SECOND)
        kinds.add(called(platform, SECOND))
        platform.cli("offload", "f")
        until(lambda: "f" not in residents(platform.status()))
        platform.cli("preload", "f", "--wait", "--timeout", "100s")
        kinds.add(called(platform, SECOND))
        assert "warm" in kinds
        assert kinds & {"preloaded", "forked"}
        # Nothing that knows the first value is left.
        until(lambda: all(key in {"guest/f@0.0.1+2", "loaded:guest/f@0.0.1+2"} for key in resident_keys(platform)))
        assert not is_shown(FIRST)
        assert not is_shown(SECOND)

        assert "TOKEN" in platform.cli("secret", "list", "f").out
        for path in ("functions", "functions/f", "functions/f/why", "functions/f/secrets", "status"):
            told.append(platform.http.get(f"{NATIVE}/{path}").text)
        told.append(platform.http.get("/metrics").text)
        activations = [record["activationId"] for record in platform.records()]
        told += [str(platform.record(activation)) for activation in activations]
        told += [platform.cli(*command).out for command in (("status",), ("why", "f"), ("function", "show", "f"))]

        assert "1 secrets" in platform.cli("secret", "rotate-key").err
        assert called(platform, SECOND) == "warm"
        platform.stop()
        platform.start()
        assert called(platform, SECOND) in {"cold", "prewarmed", "preloaded", "forked"}
        platform.cli("secret", "unset", "f", "TOKEN")
        response = platform.call("f", result="true")
        assert response.status_code == 502
        assert "TOKEN" in response.text
        told += [response.text, *platform.lines]
    assert len(told) > 12
    assert not [text for text in told if FIRST in text or SECOND in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert tmp_path / "story.jsonl" in files
    assert not [path for path in files if any(value.encode() in path.read_bytes() for value in (FIRST, SECOND))]


def resident_keys(platform: Platform) -> list[str]:
    containers = [container for node in platform.status()["nodes"] for container in node["containers"]]
    return [resident["function"] for container in containers for resident in container["residents"]]
