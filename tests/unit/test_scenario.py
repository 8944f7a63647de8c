"""Tests of scenarios: they are read strictly, mean the same everywhere, and expand into distinguishable runs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instainfer.core.model import GIB
from instainfer.errors import BadInput, NotFound
from instainfer.experiments import scenario as scenarios
from instainfer.experiments.campaign import Campaign, entry
from instainfer.experiments.cells import Cells
from instainfer.experiments.figures import chapters
from instainfer.experiments.reporting import check
from instainfer.experiments.runs import Run, runs, simulate
from instainfer.experiments.scenario import Drawn, Generated, Group, Setup, TraceFile
from instainfer.experiments.sources import mix, source
from instainfer.sim.run import simulated

TEXT = """
name = "small"
title = "A small one"
memory_gb = 6
seeds = [1, 2]

[[workload]]
label = "Normal"
minutes = 5
group = [{ class = "normal", functions = 3, rates = [4, 2] }]

[[workload]]
label = "Real"
kind = "trace"
file = "t.csv"
class = "predictable"

[[system]]
label = "plain"
baseline = "stateless"
keepalive = { policy = "fixed", ttl_s = 60 }
preload = "off"
templates = false

[[system]]
label = "ours"
keepalive = "pagurus"
preload = { p_load = 0.1 }

[[sweep]]
parameter = "preload.window"
values = [5, 10]
systems = ["ours"]

[[sweep]]
parameter = "memory_gb"
values = [4, 8]

[[report]]
kind = "sweep"
title = "Memory"
x = "memory_gb"
"""
TRACE = "HashOwner,HashApp,HashFunction,Trigger,1,2\no,a,f,http,9,9\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text(TRACE)
    return tmp_path


def setup_with(run: Run, **changes: object) -> Setup:
    return run.setup.model_copy(update={"system": run.setup.system.model_copy(update=changes)})


def laid_out(text: str, folder: Path) -> list[Run]:
    return list(runs(scenarios.parse(text, "s.toml"), folder))


def test_what_a_scenario_says_is_what_a_run_gets(folder: Path) -> None:
    found = laid_out(TEXT, folder)
    assert len(found) == 2 * 2 * (2 + 4)
    plain = next(run for run in found if run.system == "plain" and run.point == {"memory_gb": 8})
    assert (plain.settings.retain, plain.settings.templates, plain.settings.fast_init) == (False, False, False)
    assert (plain.settings.keepalive.ttl_s, plain.settings.preload.policy) == (60.0, "none")
    assert (plain.settings.memory_bytes, plain.settings.nodes) == (8 * 1024**3, 1)
    ours = next(run for run in found if run.system == "ours" and run.point["preload.window"] == 10)
    assert (ours.settings.keepalive.policy, ours.settings.preload.policy) == ("pagurus", "opportunistic")
    assert (ours.settings.preload.p_load, ours.settings.preload.window, ours.settings.fast_init) == (0.1, 10, True)
    assert not ours.settings.function_templates, "the paper has none"
    own = replace(ours, setup=setup_with(ours, function_templates=True))
    assert own.settings.function_templates
    assert own.id != ours.id
    assert ours.name == "ours, Normal, preload.window = 10, memory_gb = 4, seed 1"


def test_the_users_configuration_has_no_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [run.id for run in laid_out(TEXT, folder)]
    monkeypatch.setenv("INSTAINFER_PRELOAD__P_OFFLOAD", "0.5")
    monkeypatch.setenv("INSTAINFER_KEEPALIVE__POLICY", "histogram")
    assert [run.id for run in laid_out(TEXT, folder)] == before


def test_an_id_says_everything_but_names(folder: Path) -> None:
    found = laid_out(TEXT, folder)
    assert len({run.id for run in found}) == len(found)
    renamed = TEXT.replace('"ours"', '"mine"').replace('label = "Normal"', 'label = "N"').replace("small", "other")
    assert [run.id for run in laid_out(renamed, folder)] == [run.id for run in found]
    for old, new in (
        ("rates = [4, 2]", "rates = [4, 3]"),
        ("p_load = 0.1", "p_load = 0.2"),
        ("minutes = 5", "minutes = 6"),
    ):
        other = laid_out(TEXT.replace(old, new), folder)
        assert sum(run.id in {each.id for each in found} for run in other) < len(found), new
    before = [run.id for run in found]
    (folder / "t.csv").write_text(TRACE.replace("9,9", "9,87"))
    changed = [run.workload for run, id_ in zip(laid_out(TEXT, folder), before, strict=True) if run.id != id_]
    assert changed == ["Real"] * (len(found) // 2)


def test_equal_set_ups_are_one_run(folder: Path) -> None:
    text = (
        TEXT
        + '\n[[system]]\nlabel = "plain too"\nbaseline = "stateless"\nkeepalive = { ttl_s = 60 }\npreload = "off"\n'
    )
    text += "templates = false\n"
    ids = {(run.system, run.workload, run.seed, run.setup.memory_gb): run.id for run in laid_out(text, folder)}
    assert ids["plain", "Normal", 1, 4] == ids["plain too", "Normal", 1, 4]


def test_the_same_seed_gives_every_system_the_same_calls(folder: Path) -> None:
    calls = {
        (run.system, run.seed): list(source(run.setup.workload, run.seed, run.folder).workload.arrivals(run.seed))
        for run in laid_out(TEXT, folder)
        if run.workload == "Normal"
    }
    assert calls["plain", 1] == calls["ours", 1] != calls["ours", 2]
    assert calls["plain", 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("p_load", "p_laod", r"s.toml is not a scenario: system\[ours\].preload.p_laod: there is no such key"),
        ("p_load = 0.1", "p_load = 2", r"system\[ours\].preload.p_load: Input should be less than 1"),
        ('"normal"', '"odd"', r"workload\[Normal\].group\[0\].class: Input should be 'predictable', 'normal' or 'burs"),
        (
            "minutes = 5",
            "minute = 5",
            r"workload\[Normal\].minutes: Field required; workload\[Normal\].minute: there is",
        ),
        ('kind = "trace"', 'kind = "tape"', r"workload\[Real\]: Input tag 'tape' found"),
        ('label = "ours"', 'label = "plain"', "there are two of the system 'plain'"),
        ('"preload.window"', '"preload.windows"', "'preload.windows' cannot be varied; what can: keepalive.policy"),
        (
            'systems = ["ours"]',
            'systems = ["his"]',
            "the sweep of preload.window names the system 'his'; there are: pl",
        ),
        ('x = "memory_gb"', 'x = "nodes"', "the report 'Memory' names the sweep 'nodes'; there are: preload.window"),
        ('x = "memory_gb"', "", "the report 'Memory' needs x"),
        ('kind = "sweep"', 'kind = "groups"', "the report 'Memory' needs bands"),
        ('x = "memory_gb"', 'x = "memory_gb"\npublished = { his = [1] }', "published, names the system 'his'"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "there are two of the seed 1"),
        ("seeds = [1, 2]", "seeds = 1", "seeds: Input should be a valid tuple"),
        ("seeds = [1, 2]", "seeds = [1", "s.toml is not valid TOML"),
        ('name = "small"', "", "name: Field required"),
        ("memory_gb = 6", 'reference = "his"', "reference names the system 'his'"),
    ],
)
def test_mistakes_are_named_with_their_place(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(BadInput, match=message):
        scenarios.parse(TEXT.replace(old, new, 1), "s.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "values = [4, 8]",
            "values = [4, -1]",
            "small: plain cannot have memory_gb = -1: memory_gb: Input should be gr",
        ),
        (
            "values = [5, 10]",
            "values = [1]",
            "ours cannot have preload.window = 1, memory_gb = 4: system.preload.windo",
        ),
        ('"preload.window"', '"workload.scale"', "Real: workload.scale can be varied for generated workloads only"),
        ('"preload.window"', '"workload.calls_per_minute"', "Real: .* cannot be varied for a trace"),
    ],
)
def test_values_that_cannot_be_are_named(folder: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        laid_out(TEXT.replace(old, new, 1), folder)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"Real: no trace at .*t.csv"):
        [run.id for run in laid_out(TEXT, tmp_path)]
    with pytest.raises(NotFound, match="no cost set"):
        laid_out(TEXT.replace("memory_gb = 6", 'costs = "none.json"'), tmp_path)
    with pytest.raises(NotFound, match=r"no scenario 'table2': give the path of a TOML file, or one of: .*table1"):
        scenarios.find("table2")
    with pytest.raises(NotFound, match="no scenario at"):
        scenarios.load(tmp_path / "none.toml")
    assert scenarios.find("table1").name == "table1.toml"


def workload(**varied: Any) -> Generated:
    """The generated workload with parameters varied by a sweep."""
    sweeps = "".join(f'[[sweep]]\nparameter = "workload.{key}"\nvalues = [{value}]\n' for key, value in varied.items())
    text = TEXT[: TEXT.index("[[sweep]]")].replace('kind = "trace"\nfile = "t.csv"\nclass = "predictable"', "") + sweeps
    text = text.replace('[[workload]]\nlabel = "Real"\n', "")
    made = next(runs(scenarios.parse(text, "s.toml"), Path())).setup.workload
    assert isinstance(made, Generated)
    return made


def test_rates_are_dealt_by_the_seed_and_scaled() -> None:
    plain = Generated(
        label="x", minutes=1, group=(Group.model_validate({"class": "normal", "functions": 4, "rates": [4, 2]}),)
    )
    dealt = [[each.calls_per_minute for each in mix(plain, seed)] for seed in range(8)]
    assert all(Counter(rates) == {4.0: 2, 2.0: 2} for rates in dealt)
    assert len({tuple(rates) for rates in dealt}) > 1
    assert mix(plain, 3) == mix(plain, 3)
    scaled = mix(plain.model_copy(update={"calls_per_minute": 6.0}), 0)
    assert [each.calls_per_minute for each in scaled] == [pytest.approx(rate / 2) for rate in dealt[0]]


def test_workloads_can_be_varied() -> None:
    assert workload(scale=3).group[0].rates == (12.0, 6.0)
    assert workload(functions=7).group[0].functions == 7
    assert workload(minutes=9).minutes == 9
    busy = workload(calls_per_minute=10, scale=2)
    assert busy.calls_per_minute == 20.0
    assert sum(each.calls_per_minute for each in mix(busy, 1)) == pytest.approx(20.0)


def test_parts_of_a_population_are_as_busy_as_wanted(tmp_path: Path) -> None:
    wanted = {"label": "x", "kind": "population", "minutes": 120, "of": 60, "functions": 5, "class": "predictable"}
    bounds = {"min_per_day": 200, "max_per_day": 4000}
    found = source(Drawn.model_validate({**wanted, **bounds, "calls_per_minute": 12}), 1, tmp_path)
    assert (found.facts["functions"], found.facts["duration_s"]) == (5, 7200.0)
    assert found.facts["calls"] == pytest.approx(1440, rel=0.1)
    assert found.facts["classes"] == {"predictable": 5}
    as_drawn = source(Drawn.model_validate({**wanted, **bounds}), 1, tmp_path)
    assert {row.name for row in as_drawn.workload.functions} == {row.name for row in found.workload.functions}
    assert as_drawn.facts["calls"] != found.facts["calls"]


def test_traces_are_selected_by_the_seed(folder: Path) -> None:
    rows = "".join(f"o,a,f{number},http,9,9\n" for number in range(6))
    (folder / "many.csv").write_text(TRACE.splitlines()[0] + "\n" + rows)
    wanted = TraceFile.model_validate({"label": "x", "kind": "trace", "file": "many.csv", "functions": 2})
    drawn = {seed: tuple(row.name for row in source(wanted, seed, folder).workload.functions) for seed in range(5)}
    assert all(len(names) == 2 for names in drawn.values())
    assert len(set(drawn.values())) > 1


@pytest.mark.parametrize("name", ["budget", "price"])
def test_memory_is_given_or_has_a_price(name: str) -> None:
    path = scenarios.find(name)
    small = re.sub(r"(?m)^(minutes|calls_per_minute) = .*", r"\1 = 5", path.read_text())
    planned = list(runs(scenarios.parse(small, name), path.parent))
    campaign = Campaign(scenarios.parse(small, name), "", [entry(run) for run in planned], {})
    first = [run for run in planned if run.point == next(each.point for each in planned if each.system == run.system)]
    documents = {run.id: simulate(run) for run in first if run.seed == 1}
    told = chapters(Cells(replace(campaign, documents=documents)))[-1]
    systems = {run.system for run in planned}
    assert {row[1] for grid in told.grids for row in grid.rows if row[2:] != ["–"] * len(row[2:])} == systems
    assert told.draw is not None
    if name == "budget":
        declared_gb = {
            sum(each.function.memory_bytes for each in simulated(workload, run.costs, run.settings, ())) / GIB
            for run in first
            for workload in [source(run.setup.workload, 1, run.folder).workload]
        }
        assert declared_gb == {100.0}, "so that GB are % of what all functions declare"


@pytest.mark.parametrize("path", scenarios.built_in_files(), ids=lambda path: path.stem)
def test_what_comes_with_us_can_be_run_and_reported(path: Path) -> None:
    scenario = scenarios.load(path)
    assert scenario.name == path.stem
    found = list(runs(scenario, path.parent))
    check(scenario, found)
    assert scenario.report
    assert len(found) <= 160
