"""Five functions of a new user, made from public packages that bring their models along.

Each comes from `instainfer init` to right answers. Then a call that finds its function pre-loaded computes as fast as
one that finds it warm: what libraries compile is kept, and `warmup()` does what they leave to the first use. The times
are the `compute` phases of the records, the medians of several pairs. What is left to the first call, or compiled
again, is in each of them, and other work on the machine in some. So a busy machine gets more tries.

Four functions share an environment. It and the one with PyTorch are built once, in the user's own cache. Loads ahead of
calls yield the processors to everything else, so these tests take long on a machine that is busy.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest
from live import Json, Platform, running, until, write

from instainfer import Client
from instainfer.config import load_config
from instainfer.environments.builder import Environments
from instainfer.environments.manifest import read_manifest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

PAIRS, MOST_PAIRS = 3, 10
MOST = 1.3
"""A pre-loaded call may compute so many times as long as a warm one."""
SLACK_S = 0.005
"""The shortest of these functions compute for a millisecond, in which the first touch of some memory is seen."""

SIGNALS = """
alt-profanity-check==1.9.1
antropy==0.2.3
librosa==0.11.0
lightgbm==4.7.0
mistral-common==1.13.1
mne==1.13.2
numba==0.68.0
numpy==2.3.5
onnxruntime==1.32.0
requests==2.34.2
scikit-learn==1.9.1
speechmos==0.0.1.1
yasa==0.8.1
"""
TORCH = """
antiberty==0.1.3
numpy==2.4.6
safetensors==0.8.0
tokenizers==0.23.3
torch==2.13.0
transformers==5.23.0
"""
WARMUP = """

def warmup():
    with open("sample.json") as file:
        main(json.load(file))
"""

# numba compiles the features (antropy), trees of LightGBM are in the package. Both are imported at the first use only.
SLEEP = """
import json

import mne
import numpy as np
import yasa

RATE_HZ = 100

def main(args):
    samples = args["minutes"] * 60 * RATE_HZ
    noise = np.random.default_rng(7).normal(size=samples)
    if args["slow"]:
        waves = np.cumsum(noise)
        waves -= np.convolve(waves, np.ones(300) / 300, "same")
        waves *= 25 / waves.std()
    else:
        waves = 20 * np.sin(2 * np.pi * 10 * np.arange(samples) / RATE_HZ) + 10 * noise
    raw = mne.io.RawArray(1e-6 * waves[None], mne.create_info(["C4"], RATE_HZ, "eeg"), verbose=False)
    stages = list(yasa.SleepStaging(raw, eeg_name="C4").predict().hypno)
    return {"epochs": len(stages), "mostly_awake": stages.count("WAKE") > len(stages) / 2}
"""

# Two ONNX models that rate recorded speech, made at the first use. librosa compiles with numba, and keeps the result.
SPEECH = """
import json

import numpy as np
from speechmos import dnsmos

RATE_HZ = 16000

def main(args):
    at_s = np.arange(10 * RATE_HZ) / RATE_HZ
    voice = 0.3 * np.sin(2 * np.pi * 220 * at_s) * (np.sin(2 * np.pi * 3 * at_s) > 0)
    noise = np.random.default_rng(1).normal(scale=args["noise"], size=at_s.size)
    return {"background": round(float(dnsmos.run(np.clip(voice + noise, -1, 1), RATE_HZ)["bak_mos"]), 1)}
"""

# A linear model of scikit-learn, which the package unpickles while it is imported.
PROFANITY = """
import json

from profanity_check import predict

def main(args):
    return {"offensive": predict(args["texts"]).tolist()}
"""

# A tokenizer of 131,072 tokens.
TOKENS = """
import json
from importlib.resources import files

from mistral_common.tokens.tokenizers.tekken import Tekkenizer

def load():
    global tokenizer
    tokenizer = Tekkenizer.from_file(files("mistral_common") / "data" / "tekken_240911.json")

def main(args):
    tokens = tokenizer.encode(args["text"], bos=False, eos=False)
    return {"tokens": tokens, "text": tokenizer.decode(tokens)}
"""

# BERT for antibodies (transformers): the package has the weights, its own code is for older versions of transformers.
ANTIBODY = """
import json
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import BertForMaskedLM, BertTokenizer

MODELS = Path(find_spec("antiberty").origin).parent / "trained_models"

def load():
    global tokenizer, model
    tokenizer = BertTokenizer(vocab=str(MODELS / "vocab.txt"), do_lower_case=False)
    model = BertForMaskedLM.from_pretrained(MODELS / "AntiBERTy_md_smooth").eval()

def main(args):
    tokens = tokenizer(" ".join(args["sequence"]).replace("_", "[MASK]"), return_tensors="pt")
    with torch.inference_mode():
        best = model(**tokens).logits.argmax(-1)
    filled = torch.where(tokens["input_ids"] == tokenizer.mask_token_id, best, tokens["input_ids"])
    return {"sequence": tokenizer.decode(filled[0], skip_special_tokens=True).replace(" ", "")}
"""
KNOWN = (  # the heavy chain of an antibody against SARS-CoV-2
    "EVQLVQSGPEVKKPGTSVKVSCKASGFTFMSSAVQWVRQARGQRLEWIGWIVIGSGNTNY"
    "AQKFQERVTITRDMSTSTAYMELSSLRSEDTAVYYCAAPYCSSISCNDGFDIWGQGTMVTVS"
)


class Case(NamedTuple):
    code: str
    asked: list[tuple[Json, Json]]
    """Requests and the right answers. The first request is the sample."""
    requirements: str = SIGNALS
    compiles: bool = False
    """Whether numba keeps something that it has compiled."""


CASES = {
    "sleep": Case(
        SLEEP,
        [
            ({"minutes": 6, "slow": False}, {"epochs": 12, "mostly_awake": True}),
            ({"minutes": 6, "slow": True}, {"epochs": 12, "mostly_awake": False}),
        ],
    ),
    "speech": Case(
        SPEECH,
        [
            ({"noise": 0.01}, {"background": pytest.approx(2.5, abs=0.15)}),
            ({"noise": 0.3}, {"background": pytest.approx(1.2, abs=0.15)}),
        ],
        compiles=True,
    ),
    "profanity": Case(
        PROFANITY,
        [({"texts": ["have a nice day", "you are a damn idiot", "thank you so much"]}, {"offensive": [0, 1, 0]})],
    ),
    "tokens": Case(
        TOKENS,
        [
            (
                {"text": "Hello, wonderful world"},
                {"tokens": [22177, 1044, 32125, 4304], "text": "Hello, wonderful world"},
            ),
        ],
    ),
    "antibody": Case(
        ANTIBODY,
        [
            ({"sequence": KNOWN[:49] + "_" + KNOWN[50:95] + "_" + KNOWN[96:]}, {"sequence": KNOWN}),
            ({"sequence": KNOWN[:21] + "_" + KNOWN[22:]}, {"sequence": KNOWN}),
        ],
        requirements=TORCH,
    ),
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Without function templates, so that calls begin pre-loaded, and not forked from a process that is warm."""
    cache = load_config().cache_dir
    env = {"INSTAINFER_NODE__MEMORY_MB": "6144", "INSTAINFER_NODE__FUNCTION_TEMPLATES": "false"}
    with running(tmp_path_factory.mktemp("first"), INSTAINFER_CACHE=str(cache), **env) as up:
        yield up


@pytest.fixture
def client(platform: Platform) -> Iterator[Client]:
    with Client(home=platform.home) as client:
        yield client


def write_function(platform: Platform, name: str) -> None:
    """As a new user does: begin with what `init` writes, and replace what is in it."""
    case = CASES[name]
    platform.cli("init", name)
    sample = json.dumps(case.asked[0][0])
    files = {"handler.py": case.code + WARMUP, "requirements.txt": case.requirements, "sample.json": sample}
    write(platform.folder / name, files)


def compiled(platform: Platform) -> dict[Path, int]:
    """What numba has compiled for functions, and when."""
    return {path: path.stat().st_mtime_ns for path in (platform.home / "caches").rglob("*.nb[ci]")}


def preloaded_anew(client: Client, name: str) -> None:
    """End what there is of a function, and have it loaded without a call."""
    client.offload(name)
    until(lambda: not client.detail(name)["places"]["ready"])
    client.preload(name, places=1, for_s=600.0)
    until(lambda: client.detail(name)["places"]["ready"] == 1, within_s=300.0)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.torch if name == "antibody" else []) for name in CASES]
)
def test_it_is_deployed_answers_and_is_fast_when_it_is_preloaded(platform: Platform, client: Client, name: str) -> None:
    case = CASES[name]
    write_function(platform, name)
    # Here, because it may take longer than a command has in these tests.
    environments = Environments(load_config().cache_dir / "environments")
    asyncio.run(environments.ensure(read_manifest(platform.folder / name).requirements))
    platform.cli("deploy", name)
    function = client.function(name)
    for request, answer in case.asked:
        assert function(request) == answer
    kept = compiled(platform)
    assert not case.compiles or any(kept)

    preloaded_s: list[float] = []
    warm_s: list[float] = []
    for tried in range(1, MOST_PAIRS + 1):
        preloaded_anew(client, name)
        first, second = function(case.asked[0][0]), function(case.asked[0][0])
        assert (first.start_kind, second.start_kind) == ("preloaded", "warm")
        preloaded_s.append(first.compute_s)
        warm_s.append(second.compute_s)
        if tried >= PAIRS and median(preloaded_s) <= MOST * median(warm_s) + SLACK_S:
            break
    print(f"{name}: preloaded {preloaded_s} s, warm {warm_s} s")  # what `pytest -rP` shows
    assert median(preloaded_s) <= MOST * median(warm_s) + SLACK_S, (preloaded_s, warm_s)
    assert compiled(platform) == kept, "something was compiled again"
