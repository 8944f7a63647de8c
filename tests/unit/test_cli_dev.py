"""``instainfer dev``: what is done after a change, and what is shown; the folder is watched by a list of changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_harness import ACTION, AT, Platform, Run, record, runner

from instainfer.cli.doors import _watch
from instainfer.errors import EnvironmentBuildError, Unreachable

LINE = record({})["logs"][0]


@pytest.fixture
def platform() -> Platform:
    return Platform({"GET activations": (200, []), "POST actions/resnet50": (200, record({"answer": 1}))})


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "handler.py").write_text("def main(args):\n    return {}\n")
    (folder / "sample.json").write_text('{"n": 1}')
    return runner(platform, tmp_path, monkeypatch)


class Deploys:
    """Stands for `instainfer.deployment.deploy`. The given errors are raised first, one each time."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.versions = 0

    def __call__(self, *_: Any, **__: Any) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        self.versions += 1
        return {**ACTION, "version": f"0.0.{self.versions}"}


def watching(*changes: bool) -> Any:
    def watch(folder: Path) -> Iterator[bool]:
        yield from changes

    return watch


def test_it_is_deployed_at_first_and_after_each_change(run: Run, platform: Platform) -> None:
    deploys = Deploys()
    platform.answers["GET activations"] = (200, [])
    result = run("dev", "f", *AT, deploy=deploys, watch=watching(False, False, True, False))
    assert (result.exit_code, deploys.versions) == (0, 2)
    assert result.stdout == '{"answer":1}\n' * 2
    assert "watching f; Ctrl-C ends this\n" in result.stderr
    assert "resnet50 0.0.2 is deployed\npreloaded, 4.1 ms start-up + 31 ms compute\n" in result.stderr
    assert [asked[2] for asked in platform.asked if asked[0].startswith("POST")] == [{"n": 1}] * 2


def test_a_mistake_is_told_and_the_next_change_is_waited_for(run: Run) -> None:
    deploys = Deploys(EnvironmentBuildError("the requirements cannot be installed"))
    result = run("dev", "f", *AT, deploy=deploys, watch=watching(False, True))
    assert (result.exit_code, deploys.versions) == (0, 1)
    assert "instainfer: the requirements cannot be installed" in result.stderr


def test_without_a_platform_it_ends(run: Run) -> None:
    deploys = Deploys(Unreachable("no InstaInfer at http://here:1; start it with `instainfer up`"))
    assert run("dev", "f", *AT, deploy=deploys, watch=watching(False, True)).exit_code == 5


def test_what_python_cannot_read_is_not_deployed(run: Run, tmp_path: Path) -> None:
    deploys = Deploys()
    handler = tmp_path / "f" / "handler.py"

    def watch(folder: Path) -> Iterator[bool]:
        yield False
        handler.write_text("def main(args:\n")
        yield True
        (tmp_path / "f" / ".instainferignore").write_text("handler.py\n")
        yield False

    result = run("dev", "f", *AT, deploy=deploys, watch=watch)
    assert deploys.versions == 1
    assert "f/handler.py is not deployed, for it cannot be read; correct it\n" in result.stderr
    assert "SyntaxError: '(' was never closed" in result.stderr


def test_logs_and_tracebacks_of_all_calls_are_shown(run: Run, platform: Platform) -> None:
    error = 'main(args) raised ValueError: no\n  File "handler.py", line 7\x1b[2J'
    failed = record({"error": error}, status="action developer error")

    def watch(folder: Path) -> Iterator[bool]:
        yield False
        platform.answers["GET activations"] = (200, [failed])
        yield False
        yield False

    result = run("dev", "f", *AT, deploy=Deploys(), watch=watch)
    assert result.stdout == f'{{"answer":1}}\n{LINE}\n'
    assert result.stderr.count("): main(args) raised ValueError: no (action developer error)\n") == 1
    assert "line 7" not in result.stderr, "the traceback is in the logs"


def test_without_a_sample_it_is_not_called(run: Run, platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "f" / "sample.json").unlink()
    assert "no sample.json" in run("dev", "f", *AT, deploy=Deploys(), watch=watching(False)).stderr
    assert [asked for asked in platform.asked if asked[0].startswith("POST")] == []


def test_ctrl_c_ends_it_in_order(run: Run) -> None:
    def watch(folder: Path) -> Iterator[bool]:
        yield False
        raise KeyboardInterrupt

    result = run("dev", "f", *AT, deploy=Deploys(), watch=watch)
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_not_there_is_said(run: Run) -> None:
    result = run("dev", "nowhere", *AT)
    assert (result.exit_code, "instainfer init nowhere" in result.stderr) == (3, True)


def test_only_changes_of_what_is_packed_count(tmp_path: Path) -> None:
    (tmp_path / ".instainferignore").write_text("notes/\n")
    (tmp_path / "notes").mkdir()
    changes = _watch(tmp_path)
    assert next(changes) is False
    (tmp_path / "notes" / "one.txt").write_text("x")
    (tmp_path / "handler.pyc").write_text("x")
    assert next(changes) is False
    (tmp_path / "handler.py").write_text("x")
    assert next(changes) is True
    changes.close()  # type: ignore[attr-defined]
