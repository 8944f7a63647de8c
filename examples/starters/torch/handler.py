"""Tell the species of an iris from the sizes of its sepal and petal in cm, with PyTorch.

{"flower": [5.1, 3.5, 1.4, 0.2]}  ->  {"species": "setosa", "probability": 0.99}
"""

from __future__ import annotations

from typing import Any

import torch

import instainfer

SPECIES = ("setosa", "versicolor", "virginica")
net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3), torch.nn.Softmax(dim=1))


def load() -> None:
    """Make the model ready. Called once, before the first request."""
    net.load_state_dict(instainfer.load("net.pt"))  # what torch.save(net.state_dict(), "net.pt") has written
    net.eval()


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    flower = args.get("flower")
    if not isinstance(flower, list) or len(flower) != 4:
        return {"error": 'the request needs a "flower" of four numbers'}
    with torch.inference_mode():
        chances = net(torch.tensor([flower], dtype=torch.float32))[0]
    best = int(chances.argmax())
    return {"species": SPECIES[best], "probability": float(chances[best])}
