"""`fast_init`: exactly the outputs of the plain path, for every example function, at a fraction of its cost."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_examples_correct import FUNCTIONS, Pythons, deploy, deployed, python_of, run, sample

from instainfer.environments.manifest import read_manifest

__all__ = ["deployed", "python_of"]
pytestmark = [pytest.mark.acceptance, pytest.mark.torch, pytest.mark.timeout(1800)]

ALL = tuple(sorted(path.name for path in FUNCTIONS.iterdir()))
FAST = tuple(name for name in ALL if read_manifest(FUNCTIONS / name).fast_init)
# The tensors of sentence_similarity's file are not aligned as PyTorch's own memory is: to compute with them where they
# lie would change the last bits of some results, so they are copied.
SHARED = tuple(name for name in FAST if name != "sentence_similarity")
CASES = Path(__file__).with_name("fast_init_cases.py")
CASE_NAMES = [line[4:].split("(")[0] for line in CASES.read_text("utf-8").splitlines() if line.startswith("def case_")]

# Loads the function, then answers one request, which is told with a digest of what every module computed for it.
PROBE = """
import gc, hashlib, importlib, json, runpy, sys, time
folder, style, wanted, request = sys.argv[1], sys.argv[2], sys.argv[3] == "fast", json.loads(sys.argv[4])
sys.path.insert(0, folder)
from instainfer.runtime import shim
from instainfer.runtime.fast_init import FastInit

digest, told = hashlib.sha256(), {"tensors": 0}

def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)
    elif hasattr(value, "items"):
        for _, item in value.items():
            yield from tensors(item)

def take(module, inputs, output):
    for tensor in tensors(output):
        digest.update(str((type(module).__name__, tensor.dtype, tensor.shape)).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
        told["tensors"] += 1

def anonymous_bytes():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))

def loaded():
    global torch
    fast_init.finish()
    told["load_s"] = time.perf_counter() - began
    told["load_bytes"] = anonymous_bytes() - before
    torch = sys.modules.get("torch")
    if torch is not None:
        modules = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.nn.Module)]
        weights = {id(weight): weight.nbytes for module in modules for weight in module.parameters(recurse=False)}
        told["weights_bytes"] = sum(weights.values())
        torch.nn.modules.module.register_module_forward_hook(take)

class Session(shim.Session):
    def receive(self):
        if "load_s" in told:
            raise SystemExit
        loaded()
        return request
    def reply(self, value):
        told["answer"] = value

with FastInit(wanted=wanted) as fast_init:
    if style == "script":
        shim.attach(Session())
        began, before = time.perf_counter(), anonymous_bytes()
        try:
            runpy.run_path(folder + "/handler.py", run_name="__main__")
        except SystemExit:
            pass
    else:
        handler = importlib.import_module("handler")
        began, before = time.perf_counter(), anonymous_bytes()
        handler.load()
        loaded()
        told["answer"] = handler.main(request)
told["digest"] = digest.hexdigest()
if style == "action" and hasattr(handler, "warmup"):
    count = told["tensors"]
    handler.warmup()
    told["warmup_tensors"] = told["tensors"] - count
    told["tensors"] = count
print(json.dumps(told))
"""


class Both(NamedTuple):
    """What the two paths told."""

    plain: dict[str, Any]
    fast: dict[str, Any]


@pytest.fixture(scope="module")
def probed(python_of: Pythons, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function's two paths, in processes of their own, once."""

    @cache
    def probe(name: str) -> Both:
        folder = tmp_path_factory.mktemp(name)
        python = python_of(name)
        deploy(name, folder)
        return Both(*(one_path(python, name, folder, path) for path in ("plain", "fast")))

    return probe


def one_path(python: Path, name: str, folder: Path, path: str) -> dict[str, Any]:
    style = read_manifest(folder).style
    done = run(python, "-c", PROBE, str(folder), style, path, json.dumps(sample(name)))
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("name", ALL)
def test_every_tensor_is_the_same_to_the_last_bit(name: str, probed: Any) -> None:
    plain, fast = probed(name)
    assert fast["answer"] == plain["answer"]
    assert "error" not in fast["answer"]
    assert fast["tensors"] == plain["tensors"]
    assert (plain["tensors"] > 10) == (name in FAST)
    assert fast["digest"] == plain["digest"]


@pytest.mark.parametrize("name", FAST)
def test_a_warm_up_goes_all_the_way_through_the_model(name: str, probed: Any) -> None:
    fast = probed(name).fast
    if read_manifest(FUNCTIONS / name).style == "action":
        assert fast["warmup_tensors"] >= fast["tensors"]


@pytest.mark.parametrize("name", SHARED)
def test_weights_are_not_copied_into_private_memory(name: str, probed: Any) -> None:
    plain, fast = probed(name)
    assert fast["weights_bytes"] == plain["weights_bytes"] > 2**20
    assert plain["load_bytes"] - fast["load_bytes"] > 0.8 * fast["weights_bytes"]


def test_a_fast_load_of_the_largest_is_at_least_three_times_faster(probed: Any) -> None:
    plain, fast = probed("vgg19")
    assert fast["load_s"] < plain["load_s"] / 3


@pytest.fixture(scope="module")
def cases(python_of: Pythons, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    done = run(python_of("resnet18"), str(CASES), str(tmp_path_factory.mktemp("cases")))
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    assert sorted(found) == sorted(CASE_NAMES)
    return found


@pytest.mark.parametrize("case", CASE_NAMES)
def test_case(case: str, cases: dict[str, str]) -> None:
    assert not cases[case], cases[case]
