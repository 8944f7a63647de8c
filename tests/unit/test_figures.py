"""What reports say is what the results say: every number by hand, every picture one that can be drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from rich.console import Console

from instainfer.core.model import Phases
from instainfer.errors import BadInput
from instainfer.experiments import scenario as scenarios
from instainfer.experiments.campaign import Campaign, Entry
from instainfer.experiments.cells import Cells
from instainfer.experiments.chapter import Chapter
from instainfer.experiments.figures import chapters
from instainfer.experiments.reporting import markdown
from instainfer.report.canvas import styles, svg
from instainfer.report.grid import Grid, number, percent, times
from instainfer.report.page import Page, Section, render
from instainfer.report.pooled import Figures, pool, shares
from instainfer.report.records import PHASES, CallRecord, Latency, summarise
from instainfer.report.results import figures

HEAD = """
name = "made"
title = "Made up"
seeds = [1, 2]

[[workload]]
label = "Normal"
minutes = 1
group = [{ class = "normal", functions = 2, rates = 1 }]

[[system]]
label = "OpenWhisk"
line = "dotted"
baseline = "stateless"

[[system]]
label = "ours"
"""

SWEEP = """
[[sweep]]
parameter = "keepalive.ttl_s"
values = [30, 600]
"""


def result(
    e2e_s: Mapping[str, list[float]], kinds: str = "cold", memory: float = 100.0, lost: int = 0
) -> dict[str, Any]:
    """A run's document: durations of the calls of each function, a tenth of a second of them compute."""
    records = [
        CallRecord(name, 0.0, 0.0, start_kind=kind, phases=Phases(model=value - 0.1, compute=0.1), status="success")
        for name, values in e2e_s.items()
        for value, kind in zip(values, kinds.split() * len(values), strict=False)
    ]
    records += [CallRecord(next(iter(e2e_s)), 0.0, 0.0)] * lost
    functions = {name: [record for record in records if record.function == name] for name in e2e_s}
    run = {
        **figures(summarise(records)),
        "ahead_processor_s": 0.02 * len(records),
        "memory_gb_s": memory,
        "used_gb_s": memory / 2,
        "functions": {name: figures(summarise(each)) for name, each in functions.items()},
        "wall_s": 0.0,
        "costs": "paper",
    }
    classes = {"normal": len(functions)}
    workload = {"calls": len(records), "functions": len(functions), "duration_s": 60.0, "classes": classes}
    return {"runs": [run], "workload": workload, "machine": {}, "version": "0.1.0"}


def campaign(text: str, results: Mapping[tuple[Any, ...], dict[str, Any]]) -> Campaign:
    """`results` by system, seed and the values of the sweeps; what is not in it is missing."""
    scenario = scenarios.parse(text, "made.toml")
    entries, documents = [], {}
    for workload in scenario.workload:
        for system in scenario.system:
            for point in scenario.points(system):
                for seed in scenario.seeds:
                    key = (system.label, seed, *point.values())
                    entries.append(Entry(f"{workload.label}-{key}", workload.label, system.label, point, seed))
                    if key in results:
                        documents[entries[-1].id] = results[key]
    return Campaign(scenario, "repeat me", entries, documents)


def last(text: str, results: Mapping[tuple[Any, ...], dict[str, Any]]) -> Chapter:
    return chapters(Cells(campaign(text, results)))[-1]


TWO = {
    ("OpenWhisk", 1): result({"f": [2.1, 4.1], "g": [6.1]}),
    ("OpenWhisk", 2): result({"f": [4.1]}, memory=300.0),
    ("ours", 1): result({"f": [0.1, 1.1], "g": [1.1]}, "preloaded warm cold"),
    ("ours", 2): result({"f": [2.1]}, "warm", lost=1),
}


def test_seeds_are_pooled_by_their_calls() -> None:
    pooled = pool([TWO["OpenWhisk", 1], TWO["OpenWhisk", 2]])
    assert (pooled.whole.calls, pooled.whole.bad) == (4, 0)
    assert pooled.whole.e2e_ms == pytest.approx(4100.0)
    assert pooled.whole.startup_ms == pytest.approx(4000.0)
    assert pooled.functions["f"].e2e_ms == pytest.approx((2100 + 4100 + 4100) / 3)
    assert pooled.phases_ms["model"] == pytest.approx(4000.0)
    assert set(pooled.phases_ms) == set(PHASES)
    assert (pooled.memory_gb_s, pooled.used_gb_s, pooled.minutes) == (200.0, 100.0, 2.0)
    assert pooled.ahead_ms == pytest.approx(20.0)
    assert [each.e2e_ms for each in pooled.of_seeds] == [pytest.approx(4100.0), pytest.approx(4100.0)]
    exact = Latency.of([2.1, 4.1, 6.1, 4.1])
    assert exact is not None
    assert pooled.e2e_histogram == exact.histogram
    assert [share for _, share in shares(pooled.e2e_histogram)] == [0.25, 0.75, 1.0]


def test_lost_calls_count_but_not_in_means() -> None:
    pooled = pool([TWO["ours", 1], TWO["ours", 2]])
    assert (pooled.whole.calls, pooled.whole.bad) == (5, 1)
    assert pooled.whole.e2e_ms == pytest.approx(4400 / 4)
    assert (pooled.whole.ready, pooled.whole.preloaded) == (0.8, 0.4)
    nothing = pool([result({"f": []}, lost=2)])
    assert (nothing.whole.e2e_ms, nothing.whole.calls, nothing.e2e_histogram) == (None, 2, ())
    assert Figures.of([]).ready == 0.0


def test_table_1_has_our_rows_above_the_papers() -> None:
    report = """
[[report]]
kind = "latency"
title = "Table 1"
[report.published.OpenWhisk]
e2e = [3000]
startup = [2800]
[report.published.ours]
e2e = [600]
startup = [280]
ready = [0.85]
"""
    [grid] = last(HEAD + report, TWO).grids
    assert grid.head == ["system", "E2E Normal", "W+L Normal", "ready %", "pre-loaded %", "ahead, ms a call", "failed"]
    assert grid.rows == [
        ["OpenWhisk", "4,100", "4,000", "0", "0", "20.0", "0"],
        ["  the paper", "3,000", "2,800", "–", "–", "–", "–"],
        ["ours", "1,100 (3.7)", "1,000 (4.0)", "80", "40", "20.0", "1"],
        ["  the paper", "600 (5.0)", "280 (10.0)", "85", "–", "–", "–"],
    ]


def test_functions_stand_beside_the_papers() -> None:
    report = '[[report]]\nkind = "functions"\ntitle = "Fig. 7"\n[report.published.Normal]\nours = [500, 600]\n'
    chapter = last(HEAD + report, TWO)
    assert chapter.grids[0].rows == [
        ["Normal", "OpenWhisk", "3,433", "6,100"],
        ["Normal", "ours", "1,100", "1,100"],
        ["", "  the paper", "500", "600"],
    ]


def test_memory_is_the_mean_over_seeds() -> None:
    report = '[[report]]\nkind = "memory"\ntitle = "Fig. 11"\n[report.published]\nours = 113000\n'
    assert last(HEAD + report, TWO).grids[0].rows == [
        ["Normal", "OpenWhisk", "200", "1.00", "100", "20.0", "–"],
        ["Normal", "ours", "100", "0.50", "50.0", "20.0", "113,000"],
    ]


def test_an_ablation_says_how_many_times_the_full_system_from_seed_to_seed() -> None:
    report = '[[report]]\nkind = "ablation"\ntitle = "Fig. 15"\nreference = "ours"\n'
    report += '[report.published]\nOpenWhisk = "1.2–1.5"\n'
    chapter = last(HEAD + report, TWO)
    assert chapter.grids[0].rows == [
        ["Normal", "OpenWhisk", "4,100", "4,000", "3.7 (1.95–5.35)", "4.0 (2.00–6.00)", "0%", "20.0", "1.2–1.5"],
        ["Normal", "ours", "1,100", "1,000", "1", "1", "80%", "20.0", "–"],
    ]
    assert chapter.findings == ["Normal: the mean end-to-end latency of OpenWhisk is 3.7 times that of ours."]


def test_predictors_are_columns() -> None:
    report = '[[report]]\nkind = "predictors"\ntitle = "Table 4"\n[report.published]\nNormal = ["67 (2.93)"]\n'
    [grid] = last(HEAD + report, TWO).grids
    assert grid.head == ["workload", "ours"]
    assert grid.rows == [["Normal", "80 (3.7)"], ["  ahead, ms a call", "20.0"], ["  the paper", "67 (2.93)"]]


def test_groups_are_by_calls_per_minute() -> None:
    report = '[[report]]\nkind = "groups"\ntitle = "Table 3"\nbands = { hot = 1.5, rare = 0 }\nsystems = ["ours"]\n'
    rows = last(HEAD + report, TWO).grids[0].rows
    assert rows == [
        ["Normal", "ours", "hot", "1", "4", "75%", "25%", "1,100", "1,000"],
        ["Normal", "ours", "rare", "1", "1", "100%", "100%", "1,100", "1,000"],
    ]
    published = "[report.published.ours]\nhot = 0.73\n"
    assert [row[-1] for row in last(HEAD + report + published, TWO).grids[0].rows] == ["73%", "–"]


ALONG = {
    (system, seed, ttl_s): result({"f": [value]}, memory=memory)
    for seed in (1, 2)
    for system, ttl_s, value, memory in (
        ("OpenWhisk", 30, 4.1, 100.0),
        ("OpenWhisk", 600, 2.1, 200.0),
        ("ours", 30, 3.1, 50.0),
        ("ours", 600, 1.1, 100.0),
    )
}
FRONT = """
[[report]]
kind = "front"
title = "The front"
x = "keepalive.ttl_s"
at = { "keepalive.ttl_s" = 600 }
"""


def test_a_front_is_read_in_both_directions() -> None:
    chapter = last(HEAD + SWEEP + FRONT, ALONG)
    readings, points = chapter.grids
    # The baseline has 2,000 ms for 200 GB·s. Ours has them half-way between 3,000 for 50 and 1,000 for 100.
    assert readings.rows == [
        ["Normal", "OpenWhisk", "200 GB·s", "100%", "2,000 ms", "100%"],
        ["Normal", "ours", "75.0 GB·s", "38%", "≤ 1,000 ms", "≤ 50%"],
    ]
    assert points.rows[2:] == [
        ["Normal", "ours", "30", "50.0", "3,000", "20.0"],
        ["Normal", "ours", "600", "100", "1,000", "20.0"],
    ]
    assert chapter.findings == [
        "Normal: ours has the mean start-up latency of OpenWhisk (keep-alive = 600 s), 2,000 ms, with 38% of its "
        "memory, and 1,000 ms with less than its 200 GB·s."
    ]


def test_a_front_without_x_has_a_curve_of_whatever_is_varied_for_each_system() -> None:
    text = HEAD + SWEEP.replace("[30, 600]", '[30, 600]\nsystems = ["OpenWhisk"]')
    text += '[[sweep]]\nparameter = "keepalive.memory_price_s"\nvalues = [0.1, 0.01]\nsystems = ["ours"]\n'
    results = {
        (system, seed, {30: 0.1, 600: 0.01}[value] if system == "ours" else value): each
        for (system, seed, value), each in ALONG.items()
    }
    chapter = last(text + FRONT.replace('x = "keepalive.ttl_s"\n', ""), results)
    readings, points = chapter.grids
    assert readings.rows[1] == ["Normal", "ours", "75.0 GB·s", "38%", "≤ 1,000 ms", "≤ 50%"]
    assert points.head[2] == "at"
    assert [row[2] for row in points.rows] == [
        "keep-alive = 30 s",
        "keep-alive = 600 s",
        "price of memory = 0.1 s/GB·s",
        "price of memory = 0.01 s/GB·s",
    ]
    assert chapter.draw is not None
    assert "0.01 s/GB·s" in svg(chapter.draw(), "x")


def test_what_a_front_does_not_reach_is_said() -> None:
    worse = {key: result({"f": [5.1]}, memory=500.0) if key[0] == "ours" else each for key, each in ALONG.items()}
    chapter = last(HEAD + SWEEP + FRONT, worse)
    assert chapter.grids[0].rows[1] == ["Normal", "ours", "not reached", "–", "not reached", "–"]
    assert chapter.findings == [
        "Normal: ours does not reach the mean start-up latency of OpenWhisk (keep-alive = 600 s), 2,000 ms, and does "
        "not get by with its 200 GB·s."
    ]


def test_a_sweep_has_a_column_for_each_value() -> None:
    report = '[[report]]\nkind = "sweep"\ntitle = "Along"\nx = "keepalive.ttl_s"\n[report.published]\nours = [9, 8]\n'
    grid, costs = last(HEAD + SWEEP + report, ALONG).grids
    assert grid.head == costs.head == ["workload", "keep-alive, s:", "30", "600"]
    assert costs.rows == [["Normal", "OpenWhisk", "20.0", "20.0"], ["Normal", "ours", "20.0", "20.0"]]
    assert grid.rows == [
        ["Normal", "OpenWhisk", "4,100", "2,100"],
        ["Normal", "ours", "3,100", "1,100"],
        ["", "  the paper", "9.0", "8.0"],
    ]


def test_two_sweeps_give_a_curve_for_each_value_of_the_other() -> None:
    text = HEAD + SWEEP + '[[sweep]]\nparameter = "preload.window"\nvalues = [5, 9]\nsystems = ["ours"]\n'
    text += '[[report]]\nkind = "sweep"\ntitle = "Along"\nx = "keepalive.ttl_s"\n'
    results = {("ours", seed, ttl_s, w): result({"f": [w]}) for seed in (1, 2) for ttl_s in (30, 600) for w in (5, 9)}
    chapter = last(text, results)
    assert chapter.grids[0].rows == [
        ["Normal", "OpenWhisk", "–", "–"],
        ["Normal", "ours, W = 5", "5,000", "5,000"],
        ["Normal", "ours, W = 9", "9,000", "9,000"],
    ]
    assert chapter.draw is not None
    assert "ours, W = 9" in svg(chapter.draw(), "x")


def test_a_report_must_say_which_point_it_means() -> None:
    report = '[[report]]\nkind = "latency"\ntitle = "Table 1"\n'
    with pytest.raises(
        BadInput, match=r"'Table 1' must say under `at` which value of keepalive.ttl_s it means for Open"
    ):
        last(HEAD + SWEEP + report, ALONG)
    [grid] = last(HEAD + SWEEP + report + 'at = { "keepalive.ttl_s" = 30 }\n', ALONG).grids
    assert [row[1] for row in grid.rows] == ["4,100", "3,100 (1.32)"]


KINDS: Mapping[str, str] = {
    "functions": "",
    "cdf": "",
    "phases": "",
    "memory": "",
    "ablation": "",
    "front": FRONT,
    "sweep": '[[report]]\nkind = "sweep"\ntitle = "Along"\nx = "keepalive.ttl_s"\nlog = true\n',
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("results", ["whole", "part", "nothing"])
def test_every_picture_can_be_drawn_from_whatever_there_is(kind: str, results: str) -> None:
    report = KINDS[kind] or f'[[report]]\nkind = "{kind}"\ntitle = "T"\n'
    sweep, made = (SWEEP, ALONG) if KINDS[kind] else ("", TWO)
    kept = {"whole": made, "part": {k: v for k, v in made.items() if k[0] == "ours"}, "nothing": {}}[results]
    draw = last(HEAD + sweep + report, kept).draw
    assert draw is not None
    text = svg(draw(), "one")
    assert ET.fromstring(text).tag.endswith("svg")
    assert text == svg(draw(), "one")
    assert ("ours" in text) == (results != "nothing" or kind == "functions")


def test_a_family_shares_a_colour_and_its_members_can_be_told_apart() -> None:
    found = styles([("a", "x", "dotted"), ("b", "x", "dashed"), ("c", "x", "solid"), ("d", "y", "solid")])
    assert found["a"].colour == found["c"].colour != found["d"].colour
    assert len({each.dash for each in found.values()}) == 3
    assert len({(each.fill, each.hatch) for each in found.values()}) == 4
    assert found["c"].fill == found["c"].colour


def test_a_report_of_unfinished_runs_says_what_is_missing() -> None:
    text = HEAD + '[[report]]\nkind = "latency"\ntitle = "Table 1"\n'
    half = campaign(text, {key: each for key, each in TWO.items() if key[0] == "ours"})
    told = markdown(half, chapters(Cells(half)))
    missing = "2 runs are missing: OpenWhisk, Normal, seed 1; OpenWhisk, Normal, seed 2. The command below makes them."
    assert missing in told.partition("    repeat me\n")[0]
    assert "| OpenWhisk | – | – | – | – | – |" in told
    assert "2 runs of 4 with 5 calls, seeds 1, 2; simulated with the costs 'paper'." in told
    whole = campaign(text, TWO)
    assert "missing" not in markdown(whole, chapters(Cells(whole)))


GRID = Grid("Title", ["name", "value"], [["a|b", "1"], ["<c>", "2"]], note="Note.")


def test_a_table_has_three_forms() -> None:
    assert GRID.markdown().splitlines() == [
        "**Title**",
        "",
        "| name | value |",
        "| --- | ---: |",
        r"| a\|b | 1 |",
        "| <c> | 2 |",
        "",
        "Note.",
    ]
    assert '<td class="text">&lt;c&gt;</td><td>2</td>' in GRID.html()
    console = Console(width=60, record=True)
    with console.capture() as shown:
        console.print(GRID.rich())
    assert "a|b" in shown.get()
    assert "Note." in shown.get()


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (number, 0.123, "0.12"),
        (number, 12.34, "12.3"),
        (number, 1234.5, "1,234"),
        (number, 0.0, "0.0"),
        (number, None, "–"),
        (times, 1.084, "1.08"),
        (times, 5.63, "5.6"),
        (times, None, "–"),
        (percent, 0.004, "0.4%"),
        (percent, 0.73, "73%"),
        (percent, 0.0, "0%"),
        (percent, None, "–"),
    ],
)
def test_numbers(form: Callable[[float | None], str], value: float | None, text: str) -> None:
    assert form(value) == text


def test_the_page_has_everything_and_fetches_nothing() -> None:
    section = Section("S & T", "Why.", [GRID], "<svg></svg>", "01-s")
    text = render(Page("The <page>", "About.\n\nMore.", "do --it", "2 runs.", ["Found."], ["Missing."], [section]))
    assert "<h1>The &lt;page&gt;</h1>" in text
    assert text.count("<p>About.</p>") == text.count("<p>More.</p>") == text.count("<p>Found.</p>") == 1
    assert "<code>do --it</code>" in text
    assert "<h2>S &amp; T</h2>" in text
    assert "figures/01-s.svg, .png" in text
    assert "src=" not in text
