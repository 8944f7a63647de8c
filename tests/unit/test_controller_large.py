"""Requests and answers of several MB: whole for the caller, bounded in memory, and not for ever in the records."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from support.controllers import ACTIONS, NATIVE, answering, key_of, standing

from instainfer.config import ServerConfig
from instainfer.controller.puts import MAX_PARAMETERS_BYTES
from instainfer.wire.bounds import MAX_ANSWER_BYTES, MAX_ARGS_BYTES

MIB = 1024 * 1024
IMAGE = {"image": "ü" * (3 * MIB), "n": [1, 2.5, None]}
LARGE = json.dumps(IMAGE, ensure_ascii=False).encode()


def test_by_default_32_mb_go_both_ways_and_every_bound_on_the_way_is_higher() -> None:
    server = ServerConfig()
    assert server.max_body_bytes == server.max_result_bytes == 32 * MIB
    assert server.max_body_bytes + MAX_PARAMETERS_BYTES < MAX_ARGS_BYTES
    assert server.max_result_bytes < MAX_ANSWER_BYTES
    assert server.max_body_bytes + server.max_result_bytes < server.max_pending_bytes


@pytest.mark.parametrize("parameters", [[], [{"key": "top", "value": 5}]])
def test_a_large_request_arrives_whole(tmp_path: Path, parameters: list[Any]) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f", parameters=parameters)
            assert (await stand.invoke("f", IMAGE)).status_code == 200
            bound = {pair["key"]: pair["value"] for pair in parameters}
            assert json.loads(stand.link.calls[0].args) == {**bound, **IMAGE}

    asyncio.run(run())


@pytest.mark.parametrize("result", [LARGE, b"[" + LARGE + b"]", b'{"error":"' + b"x" * MIB + b'"}'])
def test_a_large_answer_is_the_same_in_every_form(tmp_path: Path, result: bytes) -> None:
    async def run() -> None:
        async with standing(tmp_path, retention={"records_max_result_bytes": 16 * MIB}) as stand:
            await stand.put("f")
            stand.link.script = answering(result, logs=("{}",))
            alone = await stand.invoke("f", result="true")
            assert alone.content == result
            assert alone.headers["content-length"] == str(len(result))
            whole = await stand.invoke("f")
            assert whole.headers["content-length"] == str(len(whole.content))
            record = await stand.record(whole.headers["x-openwhisk-activation-id"])
            if result[:1] == b"[":
                assert whole.content == result
            else:
                assert whole.json() == record
            assert record["response"]["result"] == json.loads(result)
            assert record["response"]["size"] == len(result)
            assert record["logs"] == ["{}"]

    asyncio.run(run())


def test_the_record_of_a_blocking_call_keeps_no_large_answer_and_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, retention={"records_max_result_bytes": 10}) as stand:
            await stand.put("f")
            stand.link.script = answering(b'{"a":"12345"}')
            answer = (await stand.invoke("f")).json()
            assert answer["response"]["result"] == {"a": "12345"}
            kept = await stand.record(answer["activationId"])
            assert kept["response"]["status"] == "success"
            said = kept["response"]["result"]["omitted"]
            assert said.startswith("The answer of 13 bytes went to the caller")
            assert "retention.records_max_result_bytes" in said
            stand.link.script = answering(b'{"a":1234}')
            answer = (await stand.invoke("f")).json()
            assert await stand.record(answer["activationId"]) == answer

    asyncio.run(run())


def test_whoever_got_only_an_id_finds_the_whole_answer_in_the_record(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, retention={"records_max_result_bytes": 10}) as stand:
            await stand.put("f")
            stand.link.script = answering(LARGE)
            stand.link.holding = True
            asked = [await stand.invoke("f", blocking="false"), await stand.invoke("f", timeout="1")]
            stand.link.release()
            await stand.controller.idle()
            for response in asked:
                assert response.status_code == 202
                record = await stand.record(response.json()["activationId"])
                assert record["response"]["result"] == IMAGE

    asyncio.run(run())


def test_answers_that_are_being_sent_count_as_data_in_memory(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"max_pending_bytes": 1000}) as stand:
            await stand.put("f")
            stand.link.script = answering(b'{"a":"' + b"x" * 2000 + b'"}')
            token = base64.b64encode(":".join(key_of(tmp_path)).encode())
            refused: list[int] = []

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b"{}"}

            async def send(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.body":
                    refused.append((await stand.invoke("f")).status_code)

            scope = {
                "type": "http",
                "method": "POST",
                "raw_path": f"{ACTIONS}/f".encode(),
                "query_string": b"blocking=true",
                "headers": [(b"authorization", b"Basic " + token)],
            }
            await stand.app(scope, receive, send)
            assert refused == [503]
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_more_memory_than_the_node_has_is_refused_when_it_is_deployed(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, node={"memory_mb": 300}) as stand:
            refused = await stand.put("f", limits={"memory": 301})
            assert refused.status_code == 400
            assert "memory size 301 MB exceeds allowed threshold of 300 MB" in refused.json()["error"]
            assert (await stand.put("f", limits={"memory": 300})).status_code == 200
            assert (await stand.http.get("/")).json()["limits"]["max_action_memory"] == 300 * MIB
            assert (await stand.http.get("/api/v1/namespaces/_/limits")).json()["maxActionMemory"] == 300

    asyncio.run(run())


def test_the_limits_in_force_are_told_and_named_where_they_are_exceeded(tmp_path: Path) -> None:
    async def run() -> None:
        server = {"max_body_bytes": 2 * MIB, "max_result_bytes": 1000, "max_code_bytes": 5000}
        async with standing(tmp_path, server=server) as stand:
            limits = (await stand.http.get("/")).json()["limits"]
            assert {key: limits[key] for key in server} == server
            assert limits["max_parameters_bytes"] == MIB
            own = (await stand.http.get("/api/v1/namespaces/_/limits")).json()
            assert (own["maxParameterSize"], own["maxPayloadSize"]) == (MIB, 2 * MIB)
            await stand.put("f")
            stand.link.script = answering(b'{"a":"' + b"x" * 1000 + b'"}')
            assert "server.max_result_bytes" in (await stand.invoke("f")).json()["response"]["result"]["error"]
            text = {"a": "x" * 2 * MIB}
            for answer, setting in (
                (await stand.invoke("f", text), "server.max_body_bytes"),
                (await stand.http.post(f"{NATIVE}/environments", json=text), "server.max_body_bytes"),
                (await stand.put("g", "#" * 5001), "server.max_code_bytes"),
                (await stand.put("g", "#" * 5 * MIB), "server.max_code_bytes"),
            ):
                assert answer.status_code == 413
                assert answer.json()["error"].startswith("Request larger than allowed: ")
                assert answer.json()["error"].endswith(f" bytes. {setting} is the bound.")
            bound = [{"key": "a", "value": "x" * MIB}]
            assert (await stand.put("g", "#", parameters=bound)).status_code == 413

    asyncio.run(run())
