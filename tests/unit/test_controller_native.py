"""InstaInfer's own API."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.controllers import HELLO, NATIVE, archive, standing

from instainfer import __version__
from instainfer.controller import queries
from instainfer.controller.auth import hash_key
from instainfer.controller.database import RECORDS
from instainfer.controller.store import open_store
from instainfer.core.model import MIB, Profile
from instainfer.environments.contents import contents_of
from instainfer.environments.package import WEIGHTS_FILE
from instainfer.errors import EnvironmentBuildError, HostError

WEIGHTS = b"w" * (3 * MIB + 5)
DIGEST = f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


NO_SIZES = {"total_bytes": 0, "shared_bytes": 0}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_weights_are_stored_once_by_content(tmp_path: Path) -> None:
    async def run() -> None:
        # Larger than any other body may be.
        async with standing(tmp_path, server={"max_body_bytes": 1000}) as stand:
            url = f"{NATIVE}/blobs/{DIGEST}"
            assert (await stand.http.head(url)).status_code == 404
            for _ in range(2):
                response = await stand.http.put(url, content=in_pieces(WEIGHTS))
                assert (response.status_code, response.json()) == (200, {"digest": DIGEST})
            assert (await stand.http.head(url)).status_code == 200
            assert stand.content.path(DIGEST).read_bytes() == WEIGHTS

    asyncio.run(run())


def test_weights_that_are_not_what_was_announced_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            url = f"{NATIVE}/blobs/{DIGEST}"
            response = await stand.http.put(url, content=WEIGHTS[1:])
            assert response.status_code == 400
            assert "not what was announced" in response.json()["error"]
            assert (await stand.http.head(url)).status_code == 404
            assert list(stand.content.root.iterdir()) == []

    asyncio.run(run())


def test_a_malformed_digest_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.put(f"{NATIVE}/blobs/md5:00", content=b"x")
            assert response.status_code == 400
            assert "is not a digest" in response.json()["error"]

    asyncio.run(run())


def test_an_environment_is_made_with_its_progress(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            wanted = {
                "requirements": "numpy\nclick # yes\n",
                "no_deps": ["x==1"],
                "python": "3.12",
                "image": "media:1",
                "from_source": True,
            }
            response = await stand.http.post(f"{NATIVE}/environments", json=wanted)
            assert response.status_code == 200
            assert response.headers["content-type"] == "application/x-ndjson"
            assert lines(response.text) == [
                {"event": "progress", "step": "lock", "text": "resolving", "elapsed_s": 0.25},
                {
                    "event": "ready",
                    "digest": "env-2-3.12",
                    "packages": ["numpy", "click"],
                    "cached": True,
                    "sizes": NO_SIZES,
                },
            ]
            (asked,) = stand.environments.asked
            assert (asked.lines, asked.no_deps, asked.python) == (("numpy", "click"), ("x==1",), "3.12")
            assert (asked.image, asked.from_source) == ("media:1", True)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "text", "log_tail"),
    [
        (EnvironmentBuildError("cannot be resolved", "line 1\nline 2"), "cannot be resolved", "line 1\nline 2"),
        (HostError("no space left on the disk"), "no space left on the disk", ""),
        (PermissionError(13, "Permission denied"), "the host failed: [Errno 13] Permission denied", ""),
    ],
)
def test_an_environment_that_cannot_be_made_says_why(
    tmp_path: Path, error: Exception, text: str, log_tail: str
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            stand.environments.error = error
            response = await stand.http.post(f"{NATIVE}/environments", json={"requirements": "numpy"})
            last = lines(response.text)[-1]
            assert last["event"] == "failed"
            assert last["error"].startswith(text)
            assert last["log_tail"] == log_tail

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"requirements": "-e ."}, "editable"),
        ({"no_deps": ["https://example.org/x.whl"]}, "name a package"),
        ({"requirements": 5}, "$.requirements"),
        ({"python": [3]}, "$.python"),
    ],
)
def test_requirements_are_checked_before_anything_is_built(tmp_path: Path, body: dict[str, Any], text: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.post(f"{NATIVE}/environments", json=body)
            assert response.status_code == 400
            assert text in response.json()["error"]
            assert stand.environments.asked == []

    asyncio.run(run())


def test_status(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            status = (await stand.http.get(f"{NATIVE}/status")).json()
            assert status.pop("uptime_s") >= 0
            assert status.pop("started_at").endswith("Z")
            assert status["records"].pop("size_bytes") > 0
            assert status == {
                "version": __version__,
                "home": str(tmp_path / "home"),
                "isolation": ["none: a test"],
                "routing_failures": None,
                "namespaces": ["guest"],
                "draining": False,
                "in_flight": 0,
                "nodes": [{"name": "node-1", "containers": []}],
                "places": [],
                "records": {"unflushed": 0, "last_error": None, "put_aside": 0, "dropped": 0},
                "housekeeping": {"removed": 0, "freed_bytes": 0, "last_error": None},
            }

    asyncio.run(run())


def test_functions_with_what_was_measured_of_them(tmp_path: Path) -> None:
    profile = Profile().with_load(1.5, 0.5, 100 * MIB)

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", limits={"memory": 512, "timeout": 1500})
            stand.controller.remember("guest/f@0.0.1", profile)
            stand.controller.remember("guest/unknown@0.0.1", profile)
            (function,) = (await stand.http.get(f"{NATIVE}/functions")).json()
            assert function.pop("cache_bytes") >= 0
            assert function == {
                "name": "f",
                "version": "0.0.1",
                "key": "guest/f@0.0.1",
                "environment": "env-0-own",
                "memory_bytes": 512 * MIB,
                "auto": False,
                "timeout_s": 1.5,
                "problem": None,
                "profile": asdict(profile),
                "forked": {"fit": None, "reason": None},
                "places": {"wanted": 0, "ready": 0, "until_ms": None, "unmet": None},
            }

    asyncio.run(run())


def test_one_function_with_what_it_consists_of(tmp_path: Path) -> None:
    files = {"handler.py": HELLO, "function.toml": 'weights = ["net.pt"]', "net.pt": "12345"}

    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.put("f g", exec={"kind": "python:3", "code": archive(files)})
            assert response.status_code == 200, response.text
            function = (await stand.http.get(f"{NATIVE}/functions/f%20g")).json()
            contents = function.pop("contents")
            assert [function] == (await stand.http.get(f"{NATIVE}/functions")).json()
            # The environment of these tests is not one of ours.
            assert contents == {"packages": None, "environment_bytes": None, "weights": {"net.pt": 5}}
            assert (await stand.http.get(f"{NATIVE}/functions/nope")).status_code == 404

    asyncio.run(run())


def test_the_contents_of_an_environment(tmp_path: Path) -> None:
    (tmp_path / "packages.json").write_text('["numpy==2.4.6"]')
    (tmp_path / "handler.py").touch()
    contents = contents_of(tmp_path, tmp_path)
    assert contents["packages"] == ("numpy==2.4.6",)
    assert contents["environment_bytes"] > 0
    (tmp_path / "packages.json").write_text("[")
    assert contents_of(tmp_path, tmp_path) == {"packages": None, "environment_bytes": None, "weights": {}}


async def second_namespace(home: Path) -> tuple[str, str]:
    """Add the namespace ``other`` to the records of a home, and return its key."""
    store = open_store(home / "home" / RECORDS)
    await store.write(lambda connection: queries.save_namespace(connection, "other", "u2", hash_key("k" * 64)))
    await store.close()
    return "u2", "k" * 64


def test_weights_are_only_for_those_who_have_sent_them(tmp_path: Path) -> None:
    async def run() -> None:
        key = await second_namespace(tmp_path)
        code = archive({"handler.py": HELLO, WEIGHTS_FILE: json.dumps({"net.bin": DIGEST})})
        body = {"exec": {"kind": "python:3", "code": code}}
        async with standing(tmp_path) as stand:
            url, action = f"{NATIVE}/blobs/{DIGEST}", "/api/v1/namespaces/_/actions/thief"
            assert (await stand.http.put(url, content=in_pieces(WEIGHTS))).status_code == 200
            assert (await stand.http.put("/api/v1/namespaces/_/actions/owner", json=body)).status_code == 200
            # Another namespace that knows the digest gets neither the weights nor to know that they are there, even
            # with code that is unpacked already.
            assert (await stand.http.head(url, auth=key)).status_code == 404
            refused = await stand.http.put(action, json=body, auth=key)
            assert refused.status_code == 400
            assert f"{DIGEST} was not sent from this namespace" in refused.json()["error"]
            # To send only a part of them is not enough.
            assert (await stand.http.put(url, content=WEIGHTS[:-1], auth=key)).status_code == 400
            assert (await stand.http.head(url, auth=key)).status_code == 404
            assert (await stand.http.put(url, content=in_pieces(WEIGHTS), auth=key)).status_code == 200
            assert (await stand.http.put(action, json=body, auth=key)).status_code == 200
        async with standing(tmp_path) as stand:  # and so it stays
            await stand.controller.restored()
            assert (await stand.http.head(url, auth=key)).status_code == 200
            assert (await stand.http.get(f"{NATIVE}/functions/thief", auth=key)).json()["problem"] is None

    asyncio.run(run())


def test_weights_that_the_operator_shares_are_for_all(tmp_path: Path) -> None:
    async def run() -> None:
        key = await second_namespace(tmp_path)
        async with standing(tmp_path, limits={"shared_weights": [DIGEST]}) as stand:
            url = f"{NATIVE}/blobs/{DIGEST}"
            assert (await stand.http.put(url, content=in_pieces(WEIGHTS))).status_code == 200
            assert (await stand.http.head(url, auth=key)).status_code == 200

    asyncio.run(run())
