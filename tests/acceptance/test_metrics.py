"""GET /metrics of a whole platform: its figures are those of the calls, of the records and of the status."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from acceptance.live import HELLO, Platform, annotation, running, start_kind, until
from prometheus_client.parser import text_string_to_metric_families as parse

Values = dict[str, dict[tuple[str, ...], float]]
STATUSES = ("success", "application_error", "developer_error", "internal_error")


def scraped(platform: Platform) -> Values:
    """The values of each metric by its labels, which are sorted by their names."""
    response = platform.http.get("/metrics")
    assert response.status_code == 200, response.text
    found: Values = {}
    for family in parse(response.text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name.removeprefix("instainfer_"), {})[labels] = sample.value
    return found


def test_what_is_counted_is_what_happened(tmp_path: Path) -> None:
    # Nothing is loaded ahead of calls, so that nothing changes while it is compared.
    with running(tmp_path, "--preload", "none", INSTAINFER_SERVER__METRICS_FUNCTIONS="2") as platform:
        platform.put("hello", HELLO)
        platform.put("broken", "def main(args):\n    raise ValueError('no')\n")
        platform.put("third", HELLO)
        before = scraped(platform)
        assert before["residents"]["function", "node", "loaded"] == before["containers_created_total"]["node",] == 0
        kinds = Counter(start_kind(platform.call(name)) for name in ("hello", "hello", "broken", "third", "hello"))
        until(lambda: platform.status()["records"]["unflushed"] == 0)
        status, now = platform.status(), scraped(platform)

        calls, records = now["activations_total"], platform.records()
        assert sum(calls.values()) == len(records) == 5
        assert _by(calls, 1) == dict(kinds) == dict(Counter(annotation(each, "startKind") for each in records))
        assert _by(calls, 2) == dict(Counter(STATUSES[each["statusCode"]] for each in records))
        assert _by(calls, 0) == {"guest/hello": 3, "guest/broken": 1, "other": 1}
        assert {labels[0]: count for labels, count in now["startup_seconds_count"].items() if count} == dict(kinds)
        phases = [annotation(each, "phases") for each in records]
        for name in ("queue", "container", "libraries", "model", "compute"):
            told_s = sum(each[name] for each in phases)
            assert abs(now["phase_seconds_sum"][name,] - told_s) < 0.001

        (node,) = status["nodes"]
        assert now["memory_budget_bytes"]["node",] == node["memory"]["budget_bytes"]
        assert now["memory_committed_bytes"]["node",] == node["memory"]["committed_bytes"] > 0
        states = Counter(each["state"] for each in node["containers"])
        assert {labels[1]: count for labels, count in now["containers"].items() if count} == dict(states)
        assert sum(now["residents"].values()) == sum(len(each["residents"]) for each in node["containers"])
        assert now["functions"]["node",] == len(node["functions"]) == 3
        assert {labels[0]: count for labels, count in now["preloads_total"].items()} == node["preloads"]
        assert now["containers_created_total"]["node",] - sum(now.get("containers_ended_total", {}).values()) == len(
            node["containers"]
        )
        assert now["records_waiting"][()] == 0
        assert now["records_commit_seconds_count"][()] > 0
        assert now["process_resident_memory_bytes"][()] > 0

        # Asking again and again has changed nothing.
        for _ in range(20):
            scraped(platform)
        again = platform.status()
        assert [each["id"] for each in again["nodes"][0]["containers"]] == [each["id"] for each in node["containers"]]
        assert again["nodes"][0]["preloads"] == node["preloads"]


def _by(calls: dict[tuple[str, ...], float], place: int) -> dict[str, float]:
    """The calls added up by one of their labels: function, start kind or status."""
    total: Counter[str] = Counter()
    for labels, count in calls.items():
        total[labels[place]] += int(count)
    return dict(total)
