"""The starters of new functions, and `instainfer init`, which copies them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from cli_harness import Platform, Run, runner

from instainfer.cli.init import Template
from instainfer.environments.manifest import read_manifest
from instainfer.environments.package import pack
from instainfer.environments.sample import sample_request
from instainfer.examples import examples_dir
from instainfer.starters import NAME

STARTERS = examples_dir() / "starters"
ALL = get_args(Template)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(Platform(), tmp_path, monkeypatch)


def test_each_starter_can_be_chosen() -> None:
    assert sorted(path.name for path in STARTERS.iterdir()) == sorted(ALL)


@pytest.mark.parametrize("template", ALL)
def test_a_starter_is_a_function_with_all_that_belongs_to_it(template: str) -> None:
    folder = STARTERS / template
    manifest = read_manifest(folder)
    assert manifest.name == NAME
    assert manifest.style == ("script" if template == "script" else "action")
    assert all("==" in line for line in (*manifest.requirements.lines, *manifest.requirements.no_deps))
    assert bool(manifest.requirements.lines) == (template not in ("plain", "script"))
    assert json.loads(sample_request(folder))
    assert (folder / "README.md").read_text().startswith(f"# {NAME}\n")
    assert list(pack(folder).weights) == list(manifest.weights)


@pytest.mark.parametrize("template", ALL)
def test_init_writes_the_starter_under_the_new_name(run: Run, tmp_path: Path, template: str) -> None:
    result = run("init", "some/flower", "--template", template)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "instainfer dev some/flower" in result.stderr
    folder = tmp_path / "some" / "flower"
    assert {path.name for path in folder.iterdir()} == {path.name for path in (STARTERS / template).iterdir()}
    assert read_manifest(folder).name == "flower"
    assert "instainfer invoke flower " in (folder / "README.md").read_text()
    assert (folder / "handler.py").read_text() == (STARTERS / template / "handler.py").read_text()


def test_init_for_programs(run: Run) -> None:
    found = json.loads(run("init", "f", "--json").stdout)
    files = ["README.md", "function.toml", "handler.py", "requirements.txt", "sample.json"]
    assert found == {"name": "f", "folder": "f", "files": files}


def test_init_overwrites_nothing_and_refuses_what_no_function_can_be_called(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    refused = run("init", "mine")
    assert refused.exit_code == 1
    assert refused.stderr == "instainfer: mine exists already, and nothing is overwritten; give another name\n"
    assert list((tmp_path / "mine").iterdir()) == []
    assert run("init", "no'quotes").exit_code == 2
    assert run("init", ".").exit_code == 2
    assert run("init", "f", "--template", "cobol").exit_code == 2
    (tmp_path / "file").touch()
    assert "cannot write file/f: Not a directory" in run("init", "file/f").stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]
