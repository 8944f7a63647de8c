"""GET /metrics of a controller whose node a test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from support.controllers import Stand, answering, failing, outcome, standing

from instainfer import __version__
from instainfer.controller.counts import BUCKETS_S, CallCounts, Distribution
from instainfer.controller.metrics import FAMILIES, Metrics
from instainfer.core.model import NO_TIME, WARM, FailureKind, Phases, StartKind

HOSTILE = 'a"b\\c\nd{e="f"} 1\u2028 # EOF'
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0; q=0.5, text/plain; version=0.0.4"}


async def scrape(stand: Stand, **headers: str) -> httpx2.Response:
    response = await stand.http.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    return response


async def values(stand: Stand, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by its labels, which are sorted by their names."""
    text = (await scrape(stand)).text
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in prometheus(text)
        for sample in family.samples
        if sample.name == f"instainfer_{name}"
    }


def test_calls_are_counted_by_function_start_kind_and_status(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for name in ("f", "g"):
                await stand.put(name)
            await stand.invoke("f")
            await stand.invoke("f")
            stand.link.script = answering(b'{"error":"no"}', start_kind=StartKind.COLD)
            await stand.invoke("f")
            stand.link.script = failing(FailureKind.RAISED)
            await stand.invoke("g")
            stand.link.script = failing(FailureKind.TOO_LARGE, start_kind=None)
            await stand.invoke("g")
            assert await values(stand, "activations_total") == {
                ("guest/f", "warm", "success"): 2,
                ("guest/f", "cold", "application_error"): 1,
                ("guest/g", "warm", "developer_error"): 1,
                ("guest/g", "none", "internal_error"): 1,
            }

    asyncio.run(run())


def test_phases_and_start_up_are_histograms_of_what_callers_are_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, now=lambda: 1000.0) as stand:
            await stand.put("f")
            cold = Phases(queue=0.0004, container=0.3, libraries=2.0, model=70.0, handoff=0.003, compute=0.005)
            stand.link.script = lambda call: outcome(call, start_kind=StartKind.COLD, phases=cold)
            await stand.invoke("f")
            sums = await values(stand, "phase_seconds_sum")
            assert sums == pytest.approx({(name,): getattr(cold, name) for name in Phases.__dataclass_fields__})
            buckets = await values(stand, "phase_seconds_bucket")
            assert (buckets["0.0005", "queue"], buckets["60", "model"], buckets["+Inf", "model"]) == (1, 0, 1)
            assert (buckets["0.0025", "compute"], buckets["0.005", "compute"]) == (0, 1)  # a bound belongs to it
            assert (await values(stand, "startup_seconds_sum"))["cold",] == pytest.approx(cold.startup)
            assert (await values(stand, "startup_seconds_count"))["warm",] == 0

    asyncio.run(run())


def test_refused_calls_are_counted_by_reason(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, limits={"invocations_per_minute": 2}, now=lambda: 600.0) as stand:
            await stand.put("f")
            stand.link.script = failing(FailureKind.QUEUE_FULL, start_kind=None)
            assert (await stand.invoke("f")).status_code == 503
            assert (await stand.invoke("f", blocking="false")).status_code == 202
            assert (await stand.invoke("f")).status_code == 429
            await stand.controller.idle()
            stand.controller.drain()
            assert (await stand.invoke("f")).status_code == 503
            assert await values(stand, "refused_total") == {("queue_full",): 1, ("rate",): 1, ("draining",): 1}
            # The one that was accepted has a record.
            assert await values(stand, "activations_total") == {("guest/f", "none", "internal_error"): 1}

    asyncio.run(run())


def test_only_so_many_functions_have_a_name_and_none_is_lost(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"metrics_functions": 2}) as stand:
            for name in ("a", "b", "c", "d", "a"):
                await stand.put(name, overwrite=True)
                await stand.invoke(name)
            found = await values(stand, "activations_total")
            assert {labels[0]: count for labels, count in found.items()} == {"guest/a": 2, "guest/b": 1, "other": 2}

    asyncio.run(run())


def test_who_has_no_key_may_read_them_only_if_they_are_open(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path / "one") as stand:
            stand.http.auth = None
            assert (await stand.http.get("/metrics")).status_code == 401
            assert (await stand.http.post("/metrics")).status_code == 405
        async with standing(tmp_path / "two", server={"metrics": "open"}) as stand:
            stand.http.auth = None
            await scrape(stand)

    asyncio.run(run())


def test_the_format_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await stand.invoke("f")
            plain = await scrape(stand)
            assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            odd = await scrape(stand, accept="text/plain; version=x.y, application/*")
            assert odd.headers["content-type"] == plain.headers["content-type"]
            asked = await scrape(stand, **OPENMETRICS)
            assert asked.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
            names = {each.name for each in prometheus(plain.text)}
            assert {"instainfer_activations", "instainfer_startup_seconds"} < names
            assert {each.name for each in openmetrics(asked.text)} - names == {"instainfer_build"}
            assert f'version="{__version__}"' in plain.text

    asyncio.run(run())


def test_every_metric_is_there_from_the_start_and_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            found = [line.split()[2:] for line in (await scrape(stand)).text.splitlines() if line.startswith("# TYPE")]
            ours = [tuple(each) for each in found if each[0].startswith("instainfer_")]
            assert ours == [("instainfer_build_info", "gauge"), *((each.full_name, each.kind) for each in FAMILIES)]

    asyncio.run(run())


def test_the_measures_of_a_node_carry_its_name(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            assert await values(stand, "queue_length") == {("node-1",): 0}
            assert await values(stand, "in_flight") == {(): 0}

    asyncio.run(run())


def test_records_are_measured(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            await stand.invoke("f", blocking="false")  # on disk before it is answered
            assert (await values(stand, "records_commit_seconds_count"))[()] >= 1
            assert (await values(stand, "records_commit_seconds_sum"))[()] > 0
            assert (await values(stand, "records_bytes"))[()] == stand.controller.status()["records"]["size_bytes"]
            assert (await values(stand, "records_commits_refused_total"))[()] == 0

    asyncio.run(run())


def test_asking_disturbs_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            before = list(stand.link.history)
            for _ in range(3):
                await scrape(stand)
            assert (stand.link.history, stand.link.calls) == (before, [])
            assert await values(stand, "activations_total") == {}

    asyncio.run(run())


@pytest.mark.parametrize("accept", [b"", b"application/openmetrics-text"])
def test_no_name_breaks_the_format(accept: bytes) -> None:
    counts = CallCounts(named=10)
    counts.ended(HOSTILE, WARM, 0, NO_TIME)
    counts.refused(HOSTILE)
    node: Mapping[str, Mapping[tuple[str, ...], Any]] = {"policy_failures": {(HOSTILE,): 3}}
    body, _ = Metrics(counts, lambda: {HOSTILE: node}, platform).answer(accept)
    parse = openmetrics if accept else prometheus
    samples = {sample.name: sample for family in parse(body.decode()) for sample in family.samples}
    assert samples["instainfer_activations_total"].labels["function"] == HOSTILE
    assert samples["instainfer_refused_total"].labels == {"reason": HOSTILE}
    assert samples["instainfer_policy_failures_total"].labels == {"node": HOSTILE, "role": HOSTILE}
    assert samples["instainfer_policy_failures_total"].value == 3


def platform() -> dict[str, Mapping[tuple[str, ...], Any]]:
    return {
        each.name: {(): Distribution() if each.kind == "histogram" else 0} for each in FAMILIES if each.labels == ()
    }


def test_two_platforms_have_a_registry_each() -> None:
    one, two = CallCounts(1), CallCounts(1)
    one.ended("t/f", WARM, 0, NO_TIME)
    texts = [Metrics(counts, dict, platform).answer(b"")[0] for counts in (one, two)]
    assert [b'function="t/f"' in text for text in texts] == [True, False]


@pytest.mark.parametrize("duration_s", [0.0, BUCKETS_S[0], 0.0007, BUCKETS_S[-1], 1e9])
def test_a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed(duration_s: float) -> None:
    seen = Distribution()
    seen.add(duration_s)
    place = next((place for place, bound in enumerate(BUCKETS_S) if duration_s <= bound), len(BUCKETS_S))
    assert seen.counts[place] == sum(seen.counts) == 1
    assert seen.total_s == duration_s
