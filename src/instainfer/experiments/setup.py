"""Prepares the example functions for deployment: builds their environments, and makes full-size weights."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..environments.builder import Environments, Progress
from ..environments.manifest import Manifest, read_manifest
from ..environments.sample import sample_request
from ..errors import BadFunction
from ..examples import example, examples_dir
from .live import Steps

ENVIRONMENTS = "environments"
"""Folder of the environments in the platform's cache."""
_WEIGHTS = "example-weights"
_WEIGHTS_SEED = 0
_MAKE_WEIGHTS_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """An example function that is ready to be deployed."""

    name: str
    folder: Path
    python: Path
    """Interpreter of the function's environment."""
    weights_dir: Path
    request: bytes


def prepare(names: Sequence[str], cache: Path, weights: Path | None, console: Console) -> list[Prepared]:
    """Build the environments and write the weights that are missing, and show the progress.

    `weights` is a folder with real weights, which replace the seeded ones. Raises `EnvironmentBuildError`, `HostError`
    and `BadFunction`; the last also when weights cannot be made or are missing from `weights`.
    """
    environments = Environments(cache / ENVIRONMENTS)
    prepared = []
    for name in names:
        folder = example(name)
        manifest = read_manifest(folder)
        with Steps(console, name) as steps:
            python = _environment(environments, manifest, steps)
            weights_dir = weights if weights is not None else cache / _WEIGHTS / name
            for path in manifest.weights:
                _ensure_weights(python, folder, weights_dir, path, steps, seeded=weights is None)
        console.print(f"  [green]ready[/green] {name}", highlight=False)
        prepared.append(Prepared(name, folder, python, weights_dir, sample_request(folder)))
    return prepared


def _environment(environments: Environments, manifest: Manifest, steps: Steps) -> Path:
    def tell(progress: Progress) -> None:
        steps.step(f"environment: {progress.text}")

    return asyncio.run(environments.ensure(manifest.requirements, tell)).python


def _ensure_weights(python: Path, folder: Path, weights_dir: Path, path: str, steps: Steps, *, seeded: bool) -> None:
    file = weights_dir / path
    if file.is_file() or (not seeded and (weights_dir / file.name).is_file()):
        return
    if not seeded:
        raise BadFunction(f"{folder.name} needs {path}, which is not in {weights_dir}; put it there")
    steps.step(f"writing seeded weights {path}")
    script = examples_dir() / "make_weights.py"
    arguments = ["--function", str(folder), "--out", str(file), "--seed", str(_WEIGHTS_SEED)]
    finished = subprocess.run(
        [str(python), str(script), *arguments],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MAKE_WEIGHTS_TIMEOUT_S,
        check=False,
    )
    if finished.returncode != 0 or not file.is_file():
        raise BadFunction(f"no weights could be made for {folder.name}:\n{finished.stderr[-2000:]}")
