"""Classify an image with GoogLeNet (Szegedy et al. 2014), also known as Inception v1.

    {"image": "<JPEG or PNG in base64>", "top": 5}  ->  {"top": [{"index": 652, "score": 0.93}, ...]}

6.6 million parameters, with batch norm. The architecture is written out in googlenet.py.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from googlenet import TRAINING_ONLY, GoogLeNet
from imagenet import classify, restore, warm_up

SIZE = 224
WEIGHTS = Path(__file__).with_name("googlenet.pt")


def build() -> torch.nn.Module:
    """The architecture, with random weights."""
    return GoogLeNet()


@functools.cache
def load() -> torch.nn.Module:
    """The model with its weights, ready to answer."""
    return restore(build(), WEIGHTS, unused=TRAINING_ONLY)


def warmup() -> None:
    """After a load ahead of time: let the first request find everything ready."""
    warm_up(load(), SIZE)


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    return classify(load(), args, SIZE)
