"""Whatever is in a body: it is refused with cause and remedy, or taken, and it never costs many times its size."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from support.controllers import ACTIONS, ACTIVATIONS, HELLO, NATIVE, answering, archive, standing

from instainfer.controller import gateway
from instainfer.controller.bodies import MAX_DEPTH, Budget, checked_object
from instainfer.controller.puts import decode_put
from instainfer.errors import BadInput

MIB = 1024 * 1024
CODE = {"kind": "python:3", "code": HELLO}


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


SOUND = [
    nested(MAX_DEPTH),
    b'{"a":1' + b"0" * 4299 + b"}",
    b'{"a":"' + b"1" * 9000 + b'"}',
    b'{"a":"' + b"[{" * 9000 + b'"}',
    b'{"a":["' + b'\\n","[\\"' * 3000 + b'"]}',
    b'{"a":' + b"[" + b"[]," * 9000 + b"[]]}",
    b'{"a":1,"a":2}',
    b'{"\\u0000":"\\u0000"}',
]
UNSOUND = [
    (nested(MAX_DEPTH + 1), "levels deep; flatten"),
    (nested(100_000), "levels deep; flatten"),
    (b'{"s":["\\n","\\\\"],"a":' + b"[" * 600 + b"]" * 600 + b"}", "levels deep; flatten"),
    (
        b'{"a":1' + b"0" * 4300 + b"}",
        r"a number of 4301 digits \(byte 5\) is longer than the 4300 that Python converts",
    ),
    (b'{"s":"' + b"1" * 9000 + b'","a":[-1' + b"0" * 5000 + b"]}", r"a number of 5001 digits \(byte 9014\)"),
    (b'{"a":1' + b"0" * 5000 + b"e5}", r"a number of 5001 digits \(byte 5\)"),
    (b'{"a":"\\ud800"}', r"\\ud800 is half of a character, a lone surrogate \(byte 6\)"),
    (b'{"\\ud800":1}', r"\\ud800 is half of a character, a lone surrogate \(byte 2\)"),
    (b'{"a":"\\ud83d and more text"}', r"\\ud83d is half .* \(byte 6\)"),
    (b'{"a":"\\ud83d\\ude00\\uDC00"}', r"\\uDC00 is half .* \(byte 18\)"),
    (b'{"a":"\\ud83d\\ud83d\\ude00"}', r"\\ud83d is half .* \(byte 6\)"),
    (b'{"a":"\\ud83d\\u0041"}', r"\\ud83d is half .* \(byte 6\)"),
    (b'{"a":"\\\\ud83d","b":"\\\\\\udc00"}', r"\\udc00 is half .* \(byte 22\)"),
    (b'{"a":"\\\\ud83d\\x"}', "invalid escape"),
    (b'{"a":"\\\\ud83d', r"truncated: the JSON ends within a value \(byte 13\)"),
    (b'\xef\xbb\xbf{"a":1}', r"a byte order mark of UTF-8 \(byte 0\); send UTF-8 without a mark"),
    ('{"a":1}'.encode("utf-16"), r"a byte order mark of UTF-16 \(byte 0\)"),
    (b'{"a":[1,NaN]}', r"NaN is not JSON \(byte 8\); send null, or text"),
    (b'{"a":-Infinity}', r"-Infinity is not JSON \(byte 5\)"),
    (b'{"a":"\xff"}', r"byte 0xff is not UTF-8 \(byte 6\)"),
    (b"[]", "malformed"),
]


@pytest.mark.parametrize("body", SOUND, ids=lambda body: body[:12].decode("latin-1"))
def test_a_sound_body_is_taken_as_it_is(body: bytes) -> None:
    assert checked_object(body) == body
    json.loads(body)  # what the functions' Pythons do with it


@pytest.mark.parametrize(("body", "said"), UNSOUND, ids=lambda given: str(given)[:12])
def test_a_body_that_a_function_could_not_read_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        checked_object(body)


@pytest.mark.parametrize(("body", "said"), UNSOUND, ids=lambda given: str(given)[:12])
@pytest.mark.parametrize("call", ["invoke", "parameters", "put", "environments"])
def test_no_body_is_an_error_of_ours(tmp_path: Path, call: str, body: bytes, said: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            method, url, sent = {
                "invoke": ("POST", f"{ACTIONS}/f", body),
                "put": ("PUT", f"{ACTIONS}/g", body),
                "environments": ("POST", f"{NATIVE}/environments", body),
                "parameters": (
                    "PUT",
                    f"{ACTIONS}/g",
                    b'{"exec":{"kind":"python:3","code":"x=1"},"parameters":[{"key":"k","value":%b}],'
                    b'"annotations":[{"key":"k","value":%b}]}' % (body, body),
                ),
            }[call]
            answer = await stand.http.request(method, url, content=sent)
            # Unknown keys of a PUT are passed over, whatever is behind them; so nothing is kept of them either.
            assert answer.status_code in (200, 400)
            assert answer.status_code == 400 or call in ("environments", "put", "parameters")
            assert (await stand.http.get(ACTIONS)).status_code == 200
            for action in (await stand.http.get(ACTIONS)).json():
                assert (await stand.http.get(f"{ACTIONS}/{action['name']}")).status_code == 200
                assert (await stand.invoke(action["name"])).status_code == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"exec": CODE, "version": "0.0." + "9" * 5000}, 400, "is not a version"),
        ({"exec": CODE, "version": "0.0.٣"}, 400, "is not a version"),
        ({"exec": {"kind": "x" * 100_000, "code": "x"}}, 400, "Valid values are"),
        ({"exec": {**CODE, "main": "a\0b"}}, 400, "name of a function"),
        ({"exec": {**CODE, "main": "a" * 257}}, 400, "name of a function"),
        ({"exec": CODE, "limits": {"timeout": 10**400}}, 400, "exceeds allowed threshold"),
        ({"exec": CODE, "limits": {"concurrency": 10**400}}, 400, "exceeds allowed threshold"),
        ({"exec": CODE, "annotations": [{"key": "a", "value": "x" * 70_000}]}, 413, "larger than allowed"),
        ({"exec": CODE, "delAnnotations": ["x" * 70_000]}, 413, "larger than allowed"),
        ({"exec": CODE, "parameters": [{"key": "a", "value": "x" * MIB}]}, 413, "larger than allowed"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_put_out_of_bounds_is_refused_and_loses_nothing(
    tmp_path: Path, body: dict[str, Any], status: int, said: str
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            answer = await stand.http.put(f"{ACTIONS}/f", params={"overwrite": "true"}, json=body)
            assert answer.status_code == status, answer.text
            assert said in answer.json()["error"]
            assert len(answer.text) < 1000
            assert (await stand.put("f", overwrite=True)).json()["version"] == "0.0.2"

    asyncio.run(run())


def test_annotations_do_not_grow_with_every_put(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            answers = [
                await stand.put("f", overwrite=True, annotations=[{"key": str(number), "value": "x" * 30_000}])
                for number in range(3)
            ]
            assert [answer.status_code for answer in answers] == [200, 200, 413]

    asyncio.run(run())


def test_base64_costs_little_more_than_it_is(tmp_path: Path) -> None:
    text = base64.b64encode(b"x" * (6 * MIB))
    body = b'{"exec":{"kind":"python:3","code":"%b"}}' % text
    tracemalloc.start()
    try:
        before_s = time.thread_time()
        wanted = decode_put(body, max_code_bytes=48 * MIB)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert wanted.code is not None
    assert wanted.code.binary
    assert wanted.code.source == b"x" * (6 * MIB)
    assert most_bytes < 4 * len(text)
    assert time.thread_time() - before_s < 2.0


@pytest.mark.parametrize("code", ["QUJD", "QU\\/D", "QUI=", "QQ=="])
def test_base64_is_told_from_text(code: str) -> None:
    wanted = decode_put(b'{"exec":{"kind":"python:3","code":"%b"}}' % code.encode(), max_code_bytes=MIB)
    assert wanted.code is not None
    assert wanted.code.binary
    assert wanted.code.source == base64.b64decode(json.loads(f'"{code}"'))


@pytest.mark.parametrize("code", ["QUJ", "QQ==QQ==", "x = 1", "QUJ\\n", "ä", "="])
def test_text_is_told_from_base64(code: str) -> None:
    body = '{"exec":{"kind":"python:3","code":"' + code + '"}}'
    wanted = decode_put(body.encode(), max_code_bytes=MIB)
    assert wanted.code is not None
    assert not wanted.code.binary
    assert wanted.code.source == json.loads(f'"{code}"').encode()


def test_padding_in_the_middle_of_long_base64_is_no_base64() -> None:
    text = (base64.b64encode(b"x" * (768 * 1024 - 1)) + b"QUJD").decode()
    wanted = decode_put(
        json.dumps({"exec": {"kind": "python:3", "code": text}}).encode(),
        max_code_bytes=48 * MIB,
    )
    assert wanted.code is not None
    assert not wanted.code.binary


def test_many_empty_parts_do_not_swell() -> None:
    body = b'{"exec":{"kind":"python:3","code":"x"},"parameters":[' + b'{"key":""},' * 500_000 + b'{"key":""}]}'
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException) as refused:
            decode_put(body, max_code_bytes=48 * MIB)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.status_code == 413
    assert most_bytes < 2 * len(body)


def test_paths_of_strangers_are_not_remembered_when_they_are_long() -> None:
    before = gateway._remembered.cache_info().currsize
    for number in range(10):
        path = f"/api/v1/namespaces/_/actions/{number}{'x' * 2000}".encode()
        assert gateway.action_of(path) == ("_", None, f"{number}{'x' * 2000}")
    assert gateway._remembered.cache_info().currsize == before


def test_a_budget_is_given_back_and_never_overdrawn() -> None:
    budget = Budget(10)
    with budget.lease() as lease:
        lease.grow(6)
        with pytest.raises(HTTPException) as refused:
            lease.grow(6)
        assert refused.value.status_code == 503
        assert "Try again" in refused.value.detail
        assert refused.value.headers == {"Retry-After": "1"}
    with pytest.raises(HTTPException) as refused:
        budget.take(11)
    assert refused.value.status_code == 413
    assert budget.taken_bytes == 0


def test_what_waits_is_bounded_all_together_and_what_ended_is_not_counted(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"max_pending_bytes": 100_000}) as stand:
            await stand.put("f")
            stand.link.holding = True
            big = {"a": "x" * 60_000}
            first = asyncio.ensure_future(stand.invoke("f", big))
            await stand.link.arrived()
            refused = await stand.invoke("f", big)
            assert refused.status_code == 503
            assert "Try again" in refused.json()["error"]
            small = asyncio.ensure_future(stand.invoke("f"))
            await stand.link.arrived(2)
            stand.link.release()
            assert ((await first).status_code, (await small).status_code) == (200, 200)
            stand.link.holding = False
            for _ in range(5):
                assert (await stand.invoke("f", big)).status_code == 200
            assert stand.controller._budget.taken_bytes == 0

    asyncio.run(run())


@pytest.mark.parametrize("binary", [True, False])
def test_long_code_comes_back_as_it_was(tmp_path: Path, binary: bool) -> None:
    if binary:
        code = archive({"handler.py": "def main(args): return {}", "data": "".join(map(str, range(400_000)))})
    else:
        code = HELLO + "# ä\n" * 500_000 + '# "end"\n'

    async def run() -> None:
        async with standing(tmp_path) as stand:
            put = await stand.put("f", code)
            got = await stand.http.get(f"{ACTIONS}/f")
            deleted = await stand.http.delete(f"{ACTIONS}/f")
            for answer in (put, got, deleted):
                assert answer.status_code == 200
                assert answer.json()["exec"]["code"] == code
                assert answer.json()["name"] == "f"
            assert stand.controller._budget.taken_bytes == 0

    asyncio.run(run())


def test_a_page_far_back_reads_no_results_and_a_long_list_comes_in_pieces(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(json.dumps({"a": "x" * 300_000}).encode(), logs=("y" * 200_000,))
            for _ in range(12):
                await stand.invoke("f", result="true")
            whole = (await stand.http.get(ACTIVATIONS, params={"docs": "true"})).json()
            ids = [record["activationId"] for record in whole]
            assert len(set(ids)) == 12
            assert all(len(record["response"]["result"]["a"]) == 300_000 for record in whole)
            for skip in range(14):
                listed = (await stand.http.get(ACTIVATIONS, params={"skip": skip, "limit": 3})).json()
                assert [record["activationId"] for record in listed] == ids[skip : skip + 3]
            assert (await stand.http.get(ACTIVATIONS, params={"skip": 10**17})).json() == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "query",
    [
        "limit=" + "9" * 5000,
        "skip=-" + "9" * 5000,
        "since=%00",
        "upto=%ff%fe",
        "name=%ed%a0%80",
        "name=" + "a" * 9000,
        "count=" + "x" * 9000,
        "docs=%00&docs=1",
        "&".join(["limit=1"] * 2000),
        "timeout=1" + "0" * 5000,
        "blocking=%ed%a0%80",
    ],
    ids=lambda query: query[:16],
)
def test_no_query_is_an_error_of_ours(tmp_path: Path, query: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            asked = [("GET", ACTIVATIONS), ("GET", ACTIONS), ("GET", f"{ACTIONS}/f"), ("POST", f"{ACTIONS}/f")]
            for method, url in asked:
                answer = await stand.http.request(method, f"{url}?{query}")
                assert answer.status_code in (200, 202, 400), answer.text
                if answer.status_code == 400:
                    assert len(answer.text) < 400

    asyncio.run(run())
