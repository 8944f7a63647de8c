"""Finds the example functions in the repository or in the installed package."""

from __future__ import annotations

from pathlib import Path

from .errors import NotFound

PAPER = ("alexnet", "vgg19", "inception_v3", "resnet18", "resnet50", "resnet152", "googlenet", "bert_base")
"""The eight functions of the paper."""


def examples_dir() -> Path:
    """The folder with ``functions/`` and ``make_weights.py``. Raises `NotFound` if this installation lacks it."""
    package = Path(__file__).resolve().parent
    places = (package / "_examples", package.parents[1] / "examples")
    for place in places:
        if (place / "functions").is_dir():
            return place
    raise NotFound(
        f"no example functions in {' or '.join(map(str, places))}; install InstaInfer from its wheel or clone"
    )


def example(name: str) -> Path:
    """The folder of one example function. Raises `NotFound` for an unknown name, and lists the known ones."""
    functions = examples_dir() / "functions"
    folder = functions / name
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in functions.iterdir() if path.is_dir()))
        raise NotFound(f"no example function {name}; there are {there}")
    return folder
