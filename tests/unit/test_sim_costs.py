"""Tests of cost sets: the paper's set, and sets read from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from instainfer.core.model import GIB, MIB
from instainfer.errors import BadInput, NotFound
from instainfer.examples import PAPER
from instainfer.sim import costs
from instainfer.sim.world import Durations


def paper() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(costs.dump(costs.load("paper")))
    return document


def test_the_papers_costs_are_those_of_its_figures() -> None:
    paper = costs.load("paper")
    assert tuple(paper.functions) == PAPER
    # Fig. 14, OpenWhisk's cold end-to-end latency: container, library, model, inference.
    for name, e2e_s in (("resnet18", 1.80), ("inception_v3", 3.89), ("bert_base", 4.97)):
        each = paper.functions[name]
        assert paper.container_s + each.library_s + each.model_s + each.compute_s == pytest.approx(e2e_s, abs=0.01)
    assert {each.memory_bytes for each in paper.functions.values()} == {2 * GIB}
    assert paper.functions["vgg19"].resident_bytes == 1648 * MIB
    assert paper.check() is None


def test_a_forked_process_computes_as_was_measured_of_it() -> None:
    each = costs.load("paper").functions["vgg19"]
    assert each.compute(forked=True) == each.compute(forked=False) == each.first_compute(forked=True) == each.compute_s
    slower = msgspec.structs.replace(each, forked_compute_s=0.3, first_compute_s=0.4)
    assert (slower.compute(forked=True), slower.compute(forked=False)) == (0.3, each.compute_s)
    assert slower.first_compute(forked=True) == 0.4
    assert msgspec.structs.replace(slower, forked_first_compute_s=0.5).first_compute(forked=True) == 0.5


def test_a_function_template_adds_what_it_cannot_share() -> None:
    for name, each in costs.load("paper").functions.items():
        assert each.function_template is not None
        assert each.function_template.bytes < each.forked_bytes, f"{name}: the weights are mapped files"
        assert (each.function_template.fork_s, each.function_template.forked_bytes) == (0.005, 8 * MIB)
    document = paper()
    del document["functions"]["vgg19"]["function_template"]
    document["functions"]["alexnet"]["function_template"] = {"bytes": 1, "fork_s": 0.1, "forked_bytes": 2}
    functions = costs.parse(json.dumps(document).encode(), "here").functions
    assert functions["vgg19"].function_template is None
    assert functions["alexnet"].function_template == costs.FunctionTemplateCosts(1, 0.1, 2, 0.0, None)


def test_two_calls_at_once_take_as_long_as_was_measured() -> None:
    each = msgspec.structs.replace(costs.load("paper").functions["vgg19"], compute_cores=1.6, beside_call=2.0)
    assert 2.0 / (2 * 1.6) * each.crowded(2.0) == pytest.approx(1 / 2.0), "equal parts, and what is lost besides"
    assert each.crowded(4.0) == 1.0, "there is enough for both"
    assert msgspec.structs.replace(each, beside_call=1.2).crowded(2.0) == 1.0, "no better than equal parts"
    assert costs.load("paper").functions["vgg19"].crowded(1.0) == 1.0, "not measured"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_bytes(costs.dump(costs.load("paper")))
    assert costs.load(str(path)) == costs.load("paper")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.pop("container_s"), "container_s"),
        (lambda d: d.update(container_s=-1), "container_s"),
        (lambda d: d.update(containers=1), "containers"),
        (lambda d: d.update(functions={}), "no function"),
        (lambda d: d["functions"]["vgg19"].pop("model_s"), "model_s"),
        (lambda d: d["functions"]["vgg19"].update(model_s="quick"), "functions"),
        (lambda d: d["functions"]["vgg19"].update(beside_load=0.9), "beside_load"),
        (lambda d: d["functions"]["vgg19"].update(environment="jax"), "vgg19 names the environment 'jax'"),
        (lambda d: d["functions"]["vgg19"]["function_template"].pop("fork_s"), "fork_s"),
        (lambda d: d["functions"]["vgg19"]["function_template"].update(spoon_s=1), "spoon_s"),
        (
            lambda d: d["functions"]["vgg19"]["function_template"].update(bytes=3 * GIB),
            "the function template of vgg19 is larger than its memory limit",
        ),
        (lambda d: d["functions"]["vgg19"].update(memory_bytes=MIB), "vgg19 is larger than its memory limit"),
    ],
)
def test_a_malformed_file_is_refused_with_its_name_and_the_place(tmp_path: Path, change: Any, reason: str) -> None:
    document = paper()
    change(document)
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput) as raised:
        costs.load(str(path))
    assert str(path) in str(raised.value)
    assert reason in str(raised.value)


def test_what_is_no_json_and_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text("{")
    with pytest.raises(BadInput, match="not a cost set"):
        costs.load(str(tmp_path / "costs.json"))
    with pytest.raises(NotFound, match="or one of: paper"):
        costs.load("papper")


def test_fast_initialisation_where_it_is_known() -> None:
    document = paper()
    document["functions"]["vgg19"]["fast_model_s"] = 0.013
    del document["functions"]["alexnet"]["fast_model_s"]
    functions = costs.parse(json.dumps(document).encode(), "here").functions
    assert (functions["vgg19"].model(fast=True), functions["vgg19"].model(fast=False)) == (0.013, 2.41)
    assert functions["alexnet"].model(fast=True) == 0.671


def test_noise_keeps_the_mean_and_the_seed_repeats_it() -> None:
    take = Durations(0.3, "seed")
    drawn = [take(2.0) for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, rel=0.01)
    assert min(drawn) > 0
    again, other = Durations(0.3, "seed"), Durations(0.3, "another")
    assert [again(2.0) for _ in range(3)] == drawn[:3]
    assert [other(2.0) for _ in range(3)] != drawn[:3]
    assert Durations(0.0, "seed")(2.0) == 2.0
