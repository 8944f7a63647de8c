"""Tell the species of an iris from the sizes of its sepal and petal in cm, with onnxruntime.

{"flower": [5.1, 3.5, 1.4, 0.2]}  ->  {"species": "setosa", "probability": 0.98}
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnxruntime

SPECIES = ("setosa", "versicolor", "virginica")


@functools.cache
def load() -> onnxruntime.InferenceSession:
    """The model, ready to answer. Called before the first request."""
    options = onnxruntime.SessionOptions()
    # With one thread a loaded process can be forked, which makes the first call as fast as any other.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    flower = args.get("flower")
    if not isinstance(flower, list) or len(flower) != 4:
        return {"error": 'the request needs a "flower" of four numbers'}
    (chances,) = load().run(["chances"], {"flower": np.array([flower], np.float32)})[0]
    best = int(chances.argmax())
    return {"species": SPECIES[best], "probability": float(chances[best])}
