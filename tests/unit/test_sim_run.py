"""Tests of whole simulations: figures computed by hand, repeatable results, and a document like a live run's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from instainfer.config import KeepAliveConfig, PreloadConfig
from instainfer.core.model import GIB, MIB, StartKind
from instainfer.errors import BadInput
from instainfer.report import results as live
from instainfer.report.records import SUCCESS, CallRecord, summarise
from instainfer.sim import results
from instainfer.sim.costs import CostSet, EnvironmentCosts, FunctionCosts, load
from instainfer.sim.run import Progress, Watchers, run_simulation, simulated
from instainfer.sim.settings import Settings
from instainfer.traces.counts import Counts
from instainfer.traces.generate import generate
from instainfer.traces.workload import Arrival, Row

COSTS = CostSet(
    name="round figures",
    container_s=0.5,
    end_s=0.25,
    handoff_s=0.125,
    environments={"env": EnvironmentCosts(library_s=4.0, template_bytes=100 * MIB)},
    functions={
        "a": FunctionCosts("env", GIB, 4.0, 0.5, 2.0, 1.0, 512 * MIB, 256 * MIB),
        "b": FunctionCosts("env", GIB, 4.0, 0.5, 2.0, 1.0, 512 * MIB, 256 * MIB),
    },
)
FIXED = KeepAliveConfig(policy="fixed")
PLAIN = Settings(keepalive=FIXED, preload=PreloadConfig(policy="none"), templates=False, memory_bytes=GIB)


@dataclass
class Calls:
    """A workload from a list of (time, row, duration)."""

    listed: Sequence[tuple[float, int, float | None]]
    duration_s: float = 100.0
    source: str = "a list"
    functions: Sequence[Row] = (Row("o", "p", "a"), Row("o", "p", "b"))

    @property
    def calls(self) -> int:
        return len(self.listed)

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        return (Arrival(*each) for each in self.listed)


def records_of(calls: Calls, settings: Settings, **options: bool) -> list[CallRecord]:
    records: list[CallRecord] = []
    run_simulation(calls, COSTS, settings, Watchers(record=records.append), **options)
    return records


def test_a_cold_and_a_warm_call_by_hand() -> None:
    outcome = run_simulation(Calls([(10.0, 0, None), (30.0, 0, None)]), COSTS, PLAIN)
    records = records_of(Calls([(10.0, 0, None), (30.0, 0, None)]), PLAIN)
    cold, warm = records
    assert (cold.start_kind, cold.startup_s, cold.e2e_s) == (StartKind.COLD, 6.625, 7.625)
    assert (cold.phases.container, cold.phases.libraries, cold.phases.model) == (0.5, 4.0, 2.0)
    assert (cold.phases.handoff, cold.phases.compute) == (0.125, 1.0)
    assert (warm.start_kind, warm.startup_s, warm.e2e_s) == (StartKind.WARM, 0.125, 1.125)
    assert (warm.scheduled_s, warm.sent_s, warm.container, warm.status) == (30.0, 30.0, "node-c1", SUCCESS)
    # One container of 1 GB from 10 s to the end at 100 s; its resident of half a GB from 10.5 s on.
    assert outcome.memory_gb_s == pytest.approx(90.0)
    assert outcome.used_gb_s == pytest.approx(44.75)
    assert outcome.duration_s == 100.0


def test_keep_alive_ends_what_a_simulation_pays_for() -> None:
    settings = replace(PLAIN, keepalive=KeepAliveConfig(policy="fixed", ttl_s=20.0))
    outcome = run_simulation(Calls([(10.0, 0, None)]), COSTS, settings)
    assert outcome.memory_gb_s == pytest.approx(7.625 + 20.0)


def test_stateless_calls_load_anew_and_keep_their_container() -> None:
    kinds = [r.start_kind for r in records_of(Calls([(10.0, 0, None), (30.0, 0, None)]), replace(PLAIN, retain=False))]
    assert kinds == [StartKind.COLD, StartKind.PREWARMED]


def test_pre_loading_makes_the_second_function_ready() -> None:
    calls = Calls([(10.0, 0, None), (60.0, 1, None)])
    settings = replace(PLAIN, preload=PreloadConfig())
    first, second = records_of(calls, settings)
    assert (first.start_kind, second.start_kind) == (StartKind.COLD, StartKind.PRELOADED)
    # The other resident is ended, and its memory is not waited for.
    assert second.startup_s == pytest.approx(0.125)
    assert run_simulation(calls, COSTS, settings).preloads["hits"] == 1


def test_what_was_made_ahead_of_calls_costs_its_processor_time() -> None:
    settings = replace(PLAIN, preload=PreloadConfig())

    def ahead_s(*calls: tuple[float, int, float | None]) -> float:
        return run_simulation(Calls(calls), COSTS, settings).ahead_processor_s

    # Without templates a load takes 6 s. After the first call of a (to 17.625 s), b is loaded; its first call ends a.
    assert ahead_s((10.0, 0, None)) == pytest.approx(6.0)
    assert ahead_s((10.0, 0, None), (60.0, 1, None)) == pytest.approx(12.0)
    # Another call of a cuts the load of b short after 2 s; b is loaded again after it.
    assert ahead_s((10.0, 0, None), (19.625, 0, None)) == pytest.approx(8.0)
    assert run_simulation(Calls([(10.0, 0, None)]), COSTS, PLAIN).ahead_processor_s == 0.0


def test_a_call_is_waited_for_beyond_the_end_of_the_trace() -> None:
    outcome = run_simulation(Calls([(99.0, 0, None)]), COSTS, PLAIN)
    assert (outcome.overall.calls, outcome.overall.failed) == (1, 0)
    assert outcome.duration_s == 106.625


def test_refused_calls_are_counted_and_said() -> None:
    calls = Calls([(10.0, 0, None), (10.1, 1, None), (10.2, 1, None)])
    settings = replace(PLAIN, max_queue=1)
    outcome = run_simulation(calls, COSTS, settings)
    assert (outcome.overall.calls, outcome.overall.failed) == (3, 1)
    refused = next(r for r in records_of(calls, settings) if r.status != SUCCESS)
    assert refused.status.startswith("refused: 1 activations are waiting already")
    assert (refused.start_kind, refused.container) == (None, "")


def test_durations_of_the_trace_are_taken_when_asked_for() -> None:
    calls = Calls([(10.0, 0, 7.0), (30.0, 0, None)])
    assert [r.phases.compute for r in records_of(calls, PLAIN, own_durations=True)] == [7.0, 1.0]
    assert [r.phases.compute for r in records_of(calls, PLAIN)] == [1.0, 1.0]


def test_calls_are_made_as_time_goes_and_forgotten_when_they_are_answered() -> None:
    answered: list[str] = []
    seen: list[int] = []

    class Lazy(Calls):
        def arrivals(self, seed: int) -> Iterator[Arrival]:
            for number in range(50):
                seen.append(number - len(answered))
                yield Arrival(10.0 + 10.0 * number, 0)

    run_simulation(
        Lazy([], duration_s=600.0), COSTS, PLAIN, Watchers(record=lambda record: answered.append(record.activation_id))
    )
    assert len(answered) == 50
    assert max(seen) <= 2


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    workload, noisy = Counts(generate(20, 8, seed=3)), replace_noise(load("paper"), 0.2)
    runs = [run_simulation(workload, noisy, Settings(seed=seed)).overall for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def replace_noise(costs: CostSet, sigma: float) -> CostSet:
    return CostSet(**{name: getattr(costs, name) for name in costs.__struct_fields__} | {"noise_sigma": sigma})


def test_online_figures_are_those_of_the_records() -> None:
    records: list[CallRecord] = []
    outcome = run_simulation(
        Counts(generate(60, 8, seed=3)), load("paper"), Settings(), Watchers(record=records.append)
    )
    exact = summarise(records)
    assert (exact.calls, exact.start_kinds) == (outcome.overall.calls, outcome.overall.start_kinds)
    assert exact.preload_rate == outcome.overall.preload_rate
    assert exact.e2e is not None
    assert outcome.overall.e2e is not None
    assert outcome.overall.e2e.mean == pytest.approx(exact.e2e.mean)
    assert outcome.overall.e2e.p50 == pytest.approx(exact.e2e.p50, rel=0.011)
    assert outcome.overall.phases_s.model == pytest.approx(exact.phases_s.model)
    assert sum(each.calls for each in outcome.functions.values()) == exact.calls


def test_several_nodes_serve_each_function_at_home() -> None:
    workload = Counts(generate(30, 16, seed=3))
    records: list[CallRecord] = []
    outcome = run_simulation(workload, load("paper"), Settings(nodes=3), Watchers(record=records.append))
    homes: dict[str, set[str]] = {}
    for record in records:
        homes.setdefault(record.function, set()).add(record.container.rpartition("-")[0])
    assert all(len(nodes) == 1 for nodes in homes.values())
    assert {node for nodes in homes.values() for node in nodes} == {"node-1", "node-2", "node-3"}
    assert outcome.overall.calls == workload.calls == len(records)


def test_progress_is_told() -> None:
    told: list[Progress] = []
    workload = Counts(generate(400, 8, seed=3))
    run_simulation(workload, load("paper"), PLAIN, Watchers(progress=told.append))
    assert [each.calls for each in told] == [2000 * n for n in range(1, workload.calls // 2000 + 1)]
    assert [each.share for each in told] == sorted(each.share for each in told)
    assert told[-1].share <= 1.0


def test_rows_are_functions_of_their_own_or_share_those_that_are_named() -> None:
    rows = [Row("o1", "x", "f"), Row("o2", "x", "f"), Row("o2", "y", "b"), Row("", "", "g")]
    workload = Calls([], functions=rows)
    own = simulated(workload, COSTS, PLAIN, ())
    assert [(each.name, each.costs_name) for each in own] == [("f", "a"), ("f#2", "b"), ("b", "b"), ("g", "a")]
    assert {each.function.namespace for each in own} == {"guest"}
    apart = simulated(workload, COSTS, replace(PLAIN, owners_apart=True), ())
    assert [each.function.namespace for each in apart] == ["o1", "o2", "o2", "guest"]
    shared = simulated(workload, COSTS, PLAIN, ["b", "a"])
    assert [each.function.key for each in shared] == ["guest/b@0.0.1", "guest/a@0.0.1"] * 2
    with pytest.raises(BadInput, match="has no function 'z'; it has: a, b"):
        simulated(workload, COSTS, PLAIN, ["z"])


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(BadInput, match="no policy 'clairvoyant' among the predictors"):
        Settings(preload=PreloadConfig(predictor="clairvoyant")).policies()


def test_the_document_has_everything_that_a_live_one_has() -> None:
    workload = Counts(generate(5, 8, seed=3))
    document = results.to_json(run_simulation(workload, load("paper"), Settings(keepalive=FIXED)))
    record = CallRecord("f", 0.0, 0.0, status=SUCCESS)
    fields = {"label": "x", "keepalive": "fixed:600", "preload": "none", "records": [record], "loads": {}}
    rest = {name: 0.0 for name in live.Run.__dataclass_fields__ if name not in fields}
    there = live.to_json([live.Run(**fields, **rest)], 1)  # type: ignore[arg-type]
    assert there.keys() <= document.keys()
    run, live_run = document["runs"][0], there["runs"][0]
    assert live_run.keys() <= run.keys()
    assert live_run["functions"]["f"].keys() <= next(iter(run["functions"].values())).keys()
    assert {"wall_s", "events"} <= run.keys()
    assert run["keepalive"] == "fixed:600"
    assert json.loads(json.dumps(document)) == document


def test_a_member_of_auto_that_does_not_exist_is_the_users_mistake() -> None:
    settings = Settings(preload=PreloadConfig(predictor="auto", members="poisson, tarot"))
    with pytest.raises(BadInput, match="tarot"):
        settings.policies()
