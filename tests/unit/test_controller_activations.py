"""The collection of activations; where OpenWhisk's ActivationsApiTests have a case, its name is the test's id."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from msgspec import structs
from support.controllers import ACTIVATIONS, Stand, annotation, answering, standing

from instainfer.controller import queries, schema
from instainfer.controller.activations import _page
from instainfer.controller.parameters import Page
from instainfer.controller.queries import Filter
from instainfer.controller.records import SUCCESS, ActivationRecord

ID = "0" * 32
MISSING = f"The requested resource does not exist. There is no activation {ID} in the namespace guest."


def record(number: int, name: str = "f", namespace: str = "guest") -> ActivationRecord:
    """The activation that started in millisecond `number`."""
    return ActivationRecord(
        id=f"{number:032x}",
        namespace=namespace,
        name=name,
        version="0.0.1",
        start_ms=number,
        end_ms=number + 10,
        duration_ms=10,
        status_code=SUCCESS,
        annotations=b'[{"key":"path","value":"guest/f"},{"key":"kind","value":"python:3"}]',
        result=b"{}",
    )


async def fill(stand: Stand, *records: ActivationRecord, flushed: bool) -> None:
    """Records on disk, or not there yet."""
    for one in records:
        stand.controller._store.finished(one)
    if flushed:
        await stand.controller._store.accepted(record(1, namespace="other"))


async def numbers(stand: Stand, **query: Any) -> list[int]:
    response = await stand.http.get(ACTIVATIONS, params=query)
    assert response.status_code == 200, response.text
    return [int(item["activationId"], 16) for item in response.json()]


def test_get_summary_activation_by_namespace(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(b'{"error": 1}')
            full = (await stand.invoke("f")).json()
            (summary,) = (await stand.http.get(ACTIVATIONS)).json()
            assert summary == {
                "namespace": "guest",
                "name": "f",
                "version": "0.0.1",
                "publish": False,
                "annotations": full["annotations"],
                "activationId": full["activationId"],
                "start": full["start"],
                "end": full["end"],
                "duration": full["duration"],
                "statusCode": 1,
            }

    asyncio.run(run())


def test_get_full_activation_by_namespace(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            full = (await stand.invoke("f")).json()
            assert (await stand.http.get(ACTIVATIONS, params={"docs": "true"})).json() == [full]

    asyncio.run(run())


def test_a_running_activation_is_listed_without_its_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            await stand.invoke("f", blocking="false")
            (summary,) = (await stand.http.get(ACTIVATIONS)).json()
            assert await numbers(stand, endedSince=0) == []
            assert not {"end", "duration", "statusCode"} & summary.keys()
            assert isinstance(annotation(summary, "kind"), str)
            await stand.link.arrived()
            stand.link.release()
            await stand.controller.idle()

    asyncio.run(run())


@pytest.mark.parametrize("flushed", [True, False], ids=["on disk", "not on disk yet"])
def test_lists_are_newest_first_filtered_and_paged(tmp_path: Path, flushed: bool) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            some = [record(number, "even" if number % 2 == 0 else "odd") for number in range(10, 20)]
            await fill(stand, *some, record(15_000, namespace="other"), flushed=flushed)
            assert await numbers(stand) == list(range(19, 9, -1))
            assert await numbers(stand, limit=3) == [19, 18, 17]
            assert await numbers(stand, limit=3, skip=8) == [11, 10]
            assert await numbers(stand, name="odd", limit=2) == [19, 17]
            assert await numbers(stand, since=12, upto=14) == [14, 13, 12]
            assert await numbers(stand, since=19) == [19]
            assert await numbers(stand, upto=10) == [10]
            assert await numbers(stand, name="pkg/odd") == []
            assert await numbers(stand, endedSince=28) == [19, 18]
            assert await numbers(stand, endedSince=26, upto=17) == [17, 16]
            for query, count in (({}, 10), ({"name": "odd"}, 5), ({"since": 18}, 2), ({"skip": 7}, 3)):
                response = await stand.http.get(ACTIVATIONS, params={"count": "true", **query})
                assert response.json() == {"activations": count}

    asyncio.run(run())


def test_what_is_on_disk_and_what_is_not_make_one_list(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await fill(stand, *(record(number) for number in (2, 4, 6, 8)), flushed=True)
            await fill(stand, *(record(number) for number in (3, 7)), flushed=False)
            assert await numbers(stand, limit=4, skip=1) == [7, 6, 4, 3]

    asyncio.run(run())


def test_at_most_200_and_by_default_30_are_listed(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await fill(stand, *(record(number) for number in range(1000, 1210)), flushed=True)
            assert len(await numbers(stand)) == 30
            assert len(await numbers(stand, limit=0)) == 200
            assert len(await numbers(stand, limit=200)) == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "text"),
    [
        pytest.param(
            {"limit": 201},
            "The value '201' is not in the range of 0 to 200 for activations.",
            id="reject list when limit is greater than maximum allowed value",
        ),
        pytest.param(
            {"limit": "x"},
            "The value 'x' is not an integer for activations.",
            id="reject list when limit is not an integer",
        ),
        pytest.param(
            {"skip": -1},
            "The value '-1' is not greater than or equal to 0 for activations.",
            id="reject list when skip is negative",
        ),
        pytest.param(
            {"count": "true", "docs": "true"},
            "The parameter 'docs' is not permitted with 'count'.",
            id="reject activation list when count and docs are both given",
        ),
        pytest.param(
            {"name": "a/b/c"},
            "Parameter may be a 'simple' name or 'package-name/simple' name: a/b/c",
            id="reject invalid query parameter combinations",
        ),
        pytest.param(
            {"since": "yesterday"},
            "Parameter is not a valid value for epoch seconds: yesterday",
            id="reject activation list with invalid since",
        ),
        pytest.param(
            {"upto": "1.5"},
            "Parameter is not a valid value for epoch seconds: 1.5",
            id="reject activation list with invalid upto",
        ),
    ],
)
def test_list_is_refused(tmp_path: Path, query: dict[str, Any], text: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.get(ACTIVATIONS, params=query)
            assert response.status_code == 400
            assert response.json() == {"error": text, "code": response.headers["x-request-id"]}

    asyncio.run(run())


@pytest.mark.parametrize("flushed", [True, False], ids=["on disk", "not on disk yet"])
def test_get_activation_result_and_logs(tmp_path: Path, flushed: bool) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = answering(b'{"error": "no"}', logs=("t stdout: a", "t stderr: b"))
            full = (await stand.invoke("f")).json()
            await fill(stand, flushed=flushed)
            url = f"{ACTIVATIONS}/{full['activationId']}"
            assert (await stand.http.get(url)).json() == full
            assert (await stand.http.get(url.upper().replace(ACTIVATIONS.upper(), ACTIVATIONS))).json() == full
            assert (await stand.http.get(f"{url}/result")).json() == {
                "status": "application error",
                "success": False,
                "result": {"error": "no"},
                "size": 15,
            }
            assert (await stand.http.get(f"{url}/logs")).json() == {"logs": ["t stdout: a", "t stderr: b"]}

    asyncio.run(run())


@pytest.mark.parametrize("part", ["", "/result", "/logs"])
@pytest.mark.parametrize(
    ("activation", "status", "text"),
    [
        pytest.param(
            "a" * 31,
            400,
            "Activation id length is 31 but must be 32.",
            id="reject get activation by id when id is too short",
        ),
        pytest.param(
            "a" * 33,
            400,
            "Activation id length is 33 but must be 32.",
            id="reject get activation by id when id is too long",
        ),
        pytest.param(
            "g" * 32,
            400,
            "The activation id is not valid.",
            id="reject get activation by id when id is not hexadecimal",
        ),
        pytest.param(ID, 404, MISSING, id="report activation record not found"),
    ],
)
def test_get_is_refused(tmp_path: Path, activation: str, status: int, text: str, part: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.get(f"{ACTIVATIONS}/{activation}{part}")
            assert (response.status_code, response.json()["error"]) == (status, text)

    asyncio.run(run())


@pytest.mark.parametrize("flushed", [True, False], ids=["on disk", "not on disk yet"])
def test_another_namespace_s_activation_is_not_there(tmp_path: Path, flushed: bool) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await fill(stand, record(77, namespace="other"), flushed=flushed)
            assert (await stand.http.get(f"{ACTIVATIONS}/{77:032x}")).status_code == 404

    asyncio.run(run())


def test_what_a_crash_cut_short_has_a_record_after_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            # On disk and never finished: what a controller that is killed leaves behind.
            left = structs.replace(record(5), end_ms=None, duration_ms=None, status_code=None, result=None)
            await stand.controller._store.accepted(left)
        async with standing(tmp_path) as stand:
            (found,) = (await stand.http.get(ACTIVATIONS, params={"docs": "true"})).json()
            assert found["response"]["status"] == "whisk internal error"
            assert found["response"]["result"]["error"].startswith("The platform stopped while this activation ran")
            assert (found["start"], found["end"], found["duration"]) == (5, 5, 0)

    asyncio.run(run())
    assert "1 activations had not ended when the platform stopped" in caplog.text


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_reject_changing_activations(tmp_path: Path, method: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for url in (ACTIVATIONS, f"{ACTIVATIONS}/{ID}"):
                response = await stand.http.request(method, url)
                assert response.status_code == 405
                assert response.json()["error"].startswith("HTTP method not allowed, supported methods: GET")

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(30))
def test_a_page_is_what_it_would_be_if_all_were_read(seed: int) -> None:
    """Stored records and unflushed ones, some of them stored too with another start, against a plain sort of all."""
    random = Random(seed)
    engine = sa.create_engine("sqlite://")
    schema.metadata.create_all(engine)

    def record(number: int) -> ActivationRecord:
        start_ms = random.randrange(20)
        return ActivationRecord(
            id=f"{number:032x}", namespace="guest", name="f", version="0.0.1", start_ms=start_ms, annotations=b"[]"
        )

    stored = {record.id: record for record in map(record, random.sample(range(60), random.randrange(40)))}
    unflushed = {record.id: record for record in map(record, random.sample(range(60), random.randrange(12)))}
    newest = sorted((stored | unflushed).values(), key=lambda record: (record.start_ms, record.id), reverse=True)
    kept = {id_: queries.ActivationSummary.of(record) for id_, record in unflushed.items()}
    with engine.begin() as connection:
        if stored:
            connection.execute(sa.insert(schema.activations), [msgspec.structs.asdict(r) for r in stored.values()])
        for skip in range(0, 60, 3):
            for limit in (1, 7, 60):
                page = _page(connection, Filter(namespace="guest"), Page(limit, skip, False), kept)
                assert [found.id for found in page] == [record.id for record in newest[skip : skip + limit]]
                assert [found.start_ms for found in page] == [r.start_ms for r in newest[skip : skip + limit]]
    engine.dispose()
