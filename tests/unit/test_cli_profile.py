"""``instainfer profile``: what it asks for, and where the cost set goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_harness import Platform, Run, runner
from rich.console import Console

from instainfer.environments.manifest import Manifest
from instainfer.errors import BadFunction, BadInput, NotFound
from instainfer.experiments.profile import Options, prepared
from instainfer.experiments.starts import CONTAINER_MB
from instainfer.sim.costs import CostSet, load, parse


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(Platform(), tmp_path, monkeypatch)


class Measuring:
    """In the place of `experiments.profile.profile`."""

    def __init__(self) -> None:
        self.asked: list[Options] = []

    def __call__(self, options: Options, console: Console) -> CostSet:
        self.asked.append(options)
        console.print("measuring")
        return load("paper")


def test_the_cost_set_goes_to_standard_output(run: Run) -> None:
    measuring = Measuring()
    result = run("profile", profile=measuring)
    assert (result.exit_code, result.stderr) == (0, "measuring\n")
    assert parse(result.stdout.encode(), "stdout") == load("paper")
    assert measuring.asked == [Options((), 5, None)]


def test_a_file_and_a_table_for_people(run: Run, tmp_path: Path) -> None:
    measuring = Measuring()
    options = ["--out", "costs.json", "--repeat", "2", "--weights", "w"]
    result = run("profile", "resnet50", "./mine", *options, profile=measuring)
    assert result.exit_code == 0, result.output
    assert measuring.asked == [Options(("resnet50", "./mine"), 2, Path("w"))]
    assert load(str(tmp_path / "costs.json")) == load("paper")
    assert "vgg19" in result.stdout
    assert "2.41 s" in result.stdout
    assert load("paper").source in result.stderr
    assert "instainfer simulate TRACE --costs costs.json" in result.stderr


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(run: Run) -> None:
    measuring = Measuring()
    result = run("profile", "--out", "no/where.json", profile=measuring)
    assert result.exit_code == 2
    assert "cannot write no/where.json" in result.stderr
    assert measuring.asked == []


def make(folder: Path, manifest: str, request: str | None = "{}") -> str:
    folder.mkdir()
    (folder / "handler.py").write_text("def main(args):\n    return {}\n")
    (folder / "function.toml").write_text(manifest)
    if request is not None:
        (folder / "sample.json").write_text(request)
    return str(folder)


def ready(*names: str, **options: Any) -> list[tuple[str, int, Manifest]]:
    functions = prepared(names, Path("cache"), options.get("weights"), Console(stderr=True))
    return [(each.prepared.name, each.memory_mb, each.manifest) for each in functions]


def test_folders_are_functions_with_their_own_limits(tmp_path: Path) -> None:
    named = make(tmp_path / "a", 'name = "first"\nmemory = "512MB"\nfast_init = true\n')
    plain = make(tmp_path / "b", "")
    first, second = ready(named, plain)
    assert (first[:2], first[2].fast_init) == (("first", 512), True)
    assert second[:2] == ("b", CONTAINER_MB), "its memory is learned"


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", 'name = "first"\n', request=None)
    with pytest.raises(NotFound, match=r"no .*sample\.json; write a request"):
        ready(folder)
    (tmp_path / "a" / "sample.json").write_text("[]")
    with pytest.raises(BadFunction, match="must be a JSON object"):
        ready(folder)
    with pytest.raises(NotFound, match="no example function nobody; there are alexnet"):
        ready("nobody")
    one, other = make(tmp_path / "b", 'name = "same"\n'), make(tmp_path / "c", 'name = "same"\n')
    with pytest.raises(BadInput, match="two functions are named same"):
        ready(one, other)
