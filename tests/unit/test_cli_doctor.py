"""`instainfer doctor`: what this host gives, and what to do about the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_harness import Platform, runner

from instainfer.backends.layers import layers
from instainfer.cli import doctor
from instainfer.runtime import boot, landlock, seccomp
from instainfer.runtime import layers as tried


def test_every_layer_that_is_tried_is_explained() -> None:
    assert set(doctor._LAYERS) == set(layers()) == set(tried._ATTEMPTS)


def test_what_a_child_could_do_is_what_is_said() -> None:
    command = [sys.executable, "-I", "-S", str(boot.__file__), "layers"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (found["files"] == "") is (landlock.abi() > 0)
    assert (found["signals"] == "") is (landlock.abi() >= 6)
    assert (found["calls"] == "") is seccomp.is_available()


def test_a_layer_that_changes_nothing_is_not_there() -> None:
    def takes_nothing(_: int) -> None:
        tried._must_fail(int, 0)

    assert tried.tried(takes_nothing) == "it was taken, and int is still possible"


def test_what_is_missing_comes_with_its_reason_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(Platform(), tmp_path, monkeypatch)
    found = dict.fromkeys(doctor._LAYERS, "") | {"files": "this kernel has none"}
    done = run("doctor", layers=lambda: found)
    assert "missing  files: this kernel has none" in done.stdout
    assert "use a kernel with Landlock" in done.stdout
    assert done.stdout.count("works ") == len(found) - 1
    told = json.loads(run("doctor", "--json", layers=lambda: found).stdout)["layers"]
    assert [each["layer"] for each in told if not each["works"]] == ["files"]
