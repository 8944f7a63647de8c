"""Classify an image with ResNet-18 (He et al. 2015).

    {"image": "<JPEG or PNG in base64>", "top": 5}  ->  {"top": [{"index": 652, "score": 0.93}, ...]}

11.7 million parameters: importing the libraries takes far longer than loading the model.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from imagenet import classify, restore, warm_up
from pytorchcv.models.resnet import resnet18

SIZE = 224
WEIGHTS = Path(__file__).with_name("resnet18.pt")


def build() -> torch.nn.Module:
    """The architecture, with random weights."""
    return resnet18()


@functools.cache
def load() -> torch.nn.Module:
    """The model with its weights, ready to answer."""
    return restore(build(), WEIGHTS)


def warmup() -> None:
    """After a load ahead of time: let the first request find everything ready."""
    warm_up(load(), SIZE)


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    return classify(load(), args, SIZE)
