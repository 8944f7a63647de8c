"""Starts of every kind: provoked on a platform that follows its contract, summed up, and missing ones never made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from rich.console import Console

from instainfer.client import Client
from instainfer.core.model import Phases, StartKind
from instainfer.errors import BadFunction
from instainfer.experiments.platform import Setting
from instainfer.experiments.starts import (
    OTHER,
    PROBES,
    Probe,
    has_template,
    is_preloaded,
    is_unfit,
    most_residents,
    provoke,
)
from instainfer.report.starts import KINDS, DirectCall, Start, document, tables

SETTING = Setting("test", retain=True, preload="none", templates=False)


class OneContainer:
    """One container that keeps the function called last, and after so many calls has a template.

    With `forks` it has the template of every function but `OTHER`, once that was called and looked at; if it is not fit
    for that, it says so.
    """

    def __init__(
        self, templated_after: int | None = None, *, works: bool = True, forks: bool = False, fit: bool = True
    ) -> None:
        self.forks, self.fit = forks, fit
        self.standing: set[str] = set()
        self.held = ""
        self.calls: list[str] = []
        self.templated_after = templated_after
        self.works = works

    def invoke(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        kind = "warm" if name == self.held else "prewarmed"
        if self.templated_after is not None and len(self.calls) >= self.templated_after and kind == "prewarmed":
            kind = "templated"
        if kind == "prewarmed" and name in self.standing:
            kind = "forked"
        self.held = name
        self.calls.append(name)
        phases = {"model": 1.0, "handoff": 0.25, "compute": args.get("compute", 0.0)}
        annotations = [{"key": "startKind", "value": kind}, {"key": "phases", "value": phases}]
        return {"response": {"success": self.works, "result": {"error": "no"}}, "annotations": annotations}

    def status(self) -> dict[str, Any]:
        found = status(resident(self.held), *(resident(f"loaded:guest/{name}@0.0.1") for name in self.standing))
        if self.forks and self.fit:
            self.standing |= {self.held} - {OTHER}
        unfit = None if self.fit else "it has threads"
        found["nodes"][0]["functions"] = [{"function": "guest/f@0.0.1", "unfit": unfit}]
        return found

    @property
    def client(self) -> Client:
        return cast(Client, self)


def resident(name: str, state: str = "loaded", origin: str = "call") -> dict[str, Any]:
    key = name if name.startswith(("template:", "loaded:")) else f"guest/{name}@0.0.1"
    return {"function": key, "state": state, "origin": origin, "bytes": 100}


def status(*residents: dict[str, Any], state: str = "idle") -> dict[str, Any]:
    return {"nodes": [{"containers": [{"id": "c1", "state": state, "residents": list(residents)}]}]}


def test_every_kind_has_its_probe() -> None:
    assert [kind for probe in PROBES for kind in probe.kinds] == [
        *(StartKind.COLD, StartKind.PREWARMED, StartKind.WARM),
        *(StartKind.TEMPLATED, StartKind.FORKED, StartKind.PRELOADED),
    ]


def test_prewarmed_and_warm_starts_come_in_turn() -> None:
    platform = OneContainer()
    probe = Probe(SETTING, (StartKind.PREWARMED, StartKind.WARM))
    starts = provoke(platform.client, "f", b'{"compute": 2.0}', probe, 2)
    assert [start.kind for start in starts] == ["prewarmed", "prewarmed", "warm", "warm"]
    assert starts[0] == Start("f", StartKind.PREWARMED, Phases(model=1.0, handoff=0.25, compute=2.0), 100)
    assert platform.calls == [OTHER, "f", "f"] * 2


def test_starts_of_another_kind_than_wanted_are_not_used() -> None:
    probe = Probe(SETTING, (StartKind.TEMPLATED,))
    late = OneContainer(templated_after=4)
    assert [start.kind for start in provoke(late.client, "f", b"{}", probe, 3)] == ["templated"] * 3
    never = OneContainer()
    assert provoke(never.client, "f", b"{}", probe, 3) == []


def test_forked_starts_come_when_the_template_stands_and_another_call_has_ended_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("instainfer.experiments.starts.PAUSE_S", 0.0)
    platform = OneContainer(forks=True)
    starts = provoke(platform.client, "f", b"{}", Probe(SETTING, (StartKind.FORKED,)), 2)
    assert [(start.kind, start.resident_bytes) for start in starts] == [("forked", 100)] * 2
    assert platform.calls == ["f", OTHER, "f"] * 2
    unfit = OneContainer(forks=True, fit=False)
    assert provoke(unfit.client, "f", b"{}", Probe(SETTING, (StartKind.FORKED,)), 2) == []
    assert set(unfit.calls) == {"f"}, "there is nothing to wait for"


def test_a_template_of_a_function_is_not_the_function() -> None:
    template = resident("loaded:guest/f@0.0.1", origin="preload")
    assert has_template(status(template), "f")
    assert not has_template(status(template, state="busy"), "f")
    assert not has_template(status({**template, "state": "loading"}), "f")
    assert not has_template(status(resident("f"), resident("loaded:guest/g@0.0.1")), "f")
    assert not is_preloaded(status(template), "f")
    told = {"nodes": [{"functions": [{"function": "guest/f@0.0.1", "unfit": "why"}], "containers": []}]}
    assert is_unfit(told, "f")
    assert not is_unfit(told, "g")


def test_a_call_that_fails_is_an_error() -> None:
    with pytest.raises(BadFunction, match="a call of other failed"):
        provoke(OneContainer(works=False).client, "f", b"{}", Probe(SETTING, (StartKind.WARM,)), 1)


def test_preloaded_is_what_a_call_would_find_loaded() -> None:
    ready = resident("f", origin="preload")
    assert is_preloaded(status(resident("other"), ready), "f")
    assert not is_preloaded(status(ready), "g")
    assert not is_preloaded(status(ready, state="busy"), "f")
    assert not is_preloaded(status(resident("f")), "f")
    assert not is_preloaded(status(ready, resident("template:guest/env", "loading")), "f")
    assert not is_preloaded(status(ready | {"function": "loaded:guest/f@0.0.1"}), "f")


def test_residents_are_counted_until_nothing_changes() -> None:
    template = resident("template:guest/env")
    looks = [
        (0.0, status(resident("f"), state="busy")),
        (1.0, status(resident("f"), template, resident("g", "loading"))),
        (5.0, status(resident("f"), template, resident("g"), resident("h"))),
        (6.0, status(resident("f"), template, resident("h"))),
        (8.0, status(resident("f"), template, resident("h"))),
        (9.0, status(*(resident(name) for name in "abcdef"))),
    ]
    assert most_residents(iter(looks), settled_s=2.0) == 3
    assert most_residents(iter(looks), settled_s=9.0) == 6
    assert most_residents(iter(()), settled_s=1.0) == 0


def start(function: str, kind: StartKind, startup_s: float, size: int | None = 1000) -> Start:
    return Start(function, kind, Phases(model=startup_s, compute=0.1), size)


STARTS = [
    start("resnet50", StartKind.PREWARMED, 2.0, 3000),
    start("resnet50", StartKind.PREWARMED, 1.0, 1000),
    start("resnet50", StartKind.PREWARMED, 1.5, None),
    start("resnet50", StartKind.TEMPLATED, 0.1),
    start("resnet50", StartKind.FORKED, 0.02, 64 << 20),
    start("resnet50", StartKind.WARM, 0.0),
    start("resnet50", StartKind.PRELOADED, 0.004),
    start("vgg19", StartKind.PREWARMED, 3.0),
    start("vgg19", StartKind.TEMPLATED, 0.1),
    start("vgg19", StartKind.PRELOADED, 0.006),
    start("bert_base", StartKind.PREWARMED, 5.0),
]
NAMES = ["resnet50", "vgg19", "bert_base"]


def test_a_document_holds_medians_and_says_what_is_missing() -> None:
    direct = {"resnet50": DirectCall(1.0, 0.5, 0.1), "bert_base": DirectCall(1.0, 0.5, 0.1)}
    found = document(NAMES, STARTS, direct, {2048: {"without_templates": 2, "with_templates": 5}}, {"cores": 2})
    prewarmed = found["functions"]["resnet50"]["prewarmed"]
    assert (prewarmed["n"], prewarmed["resident_bytes"]) == (3, 2000)
    assert prewarmed["startup_ms"] == {"p50": pytest.approx(1500.0), "p99": pytest.approx(1990.0)}
    assert prewarmed["phases_ms"]["model"] == pytest.approx(1500.0)
    assert list(found["functions"]["bert_base"]) == ["prewarmed"]
    assert ["bert_base", "templated"] in found["missing"]
    assert len(found["missing"]) == len(NAMES) * len(KINDS) - 9
    summary = found["summary"]
    # 15 for resnet50, 30 for vgg19; bert_base has no templated start.
    assert summary["templated_vs_prewarmed_speedup_median"] == pytest.approx(22.5)
    assert summary["resnet50_templated_ms"] == pytest.approx(100.0)
    # 120 ms over 100 ms.
    assert (summary["forked_vs_warm"], summary["forked_mb"]) == (pytest.approx(1.2), 64.0)
    assert summary["preloaded_p50_ms"] == pytest.approx(5.0)
    # 104 ms over 100 ms; bert_base has no preloaded start.
    assert summary["preloaded_vs_direct"] == pytest.approx(1.04)
    assert summary["residents_in_2048MB"] == {"without_templates": 2, "with_templates": 5}
    assert found["machine"] == {"cores": 2}


def test_what_did_not_occur_is_missing_and_never_made_up() -> None:
    found = document(["alexnet"], [start("alexnet", StartKind.COLD, 2.0)], {}, {}, {})
    assert [value for value in found["summary"].values() if value] == []
    text = shown(found)
    assert text.count("missing") == 7
    assert "2,000" in text


def test_tables_fit_into_80_columns() -> None:
    found = document(NAMES, STARTS, {}, {2048: {"without_templates": 2}}, {})
    text = shown(found)
    assert "…" not in text
    assert "22.50x" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def shown(found: Mapping[str, Any]) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*tables(found), sep="\n")
    return capture.get()
