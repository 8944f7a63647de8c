"""Forked processes with real libraries: they answer in every bit as others do, and what cannot be forked says why.

The environments are built in the user's own cache, as for the demo, and so are the weights of the examples.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.process_world import World, asynchronous, world

from instainfer.backends.base import Call, FunctionSpec
from instainfer.backends.managed import ManagedContainer
from instainfer.config import load_config
from instainfer.core.events import LoadFailed, LoadFinished, RunFinished
from instainfer.core.model import FROM_FUNCTION, GIB, function_template_key
from instainfer.environments.builder import Environments
from instainfer.environments.manifest import read_manifest
from instainfer.environments.requirements import Requirements
from instainfer.environments.sample import sample_request
from instainfer.examples import example
from instainfer.experiments.setup import ENVIRONMENTS, prepare

pytestmark = [pytest.mark.acceptance, pytest.mark.torch, pytest.mark.timeout(1800)]

EXAMPLES = (
    "alexnet",
    "bert_base",
    "googlenet",
    "inception_v3",
    "resnet152",
    "resnet18",
    "resnet18_script",
    "resnet50",
    "sentence_similarity",
    "vgg19",
)
LIBRARIES = Requirements(
    "numpy==2.4.6\nscipy==1.17.1\nscikit-learn==1.9.1\nlightgbm==4.7.0\nnumba==0.68.1\nonnxruntime==1.32.0\nonnx==1.23.2",
    no_deps=("xgboost==3.2.0",),
)

DATA = """
import numpy as np
rng = np.random.default_rng(0)
x = rng.random((400, 20)); y = (x[:, 0] + x[:, 1] > 1).astype(int); q = rng.random((5, 20))
"""
ONNX = """
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper
values = np.random.default_rng(0).random(4096).astype("f").tolist()
weights = helper.make_tensor("w", TensorProto.FLOAT, [64, 64], values)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [64, 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [64, 64])], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
options = onnxruntime.SessionOptions()
{options}
session = onnxruntime.InferenceSession(model, options)
def main(args): return session.run(None, {{"x": np.ones((64, 64), "f")}})[0][0].tolist()
"""
NUMBA = """
import numba, numpy as np
@numba.njit(parallel={parallel})
def total(a):
    s = 0.0
    for i in numba.prange(a.size): s += a[i]
    return s
def warmup(): total(np.ones(1000))
def main(args): return [total(np.arange(1000.0))]
"""
FIT = {
    "numpy": DATA + "def main(args): return (x.T @ x).tolist()",
    "scikit-learn, a forest with n_jobs": DATA
    + """
from sklearn.ensemble import RandomForestClassifier
model = RandomForestClassifier(50, n_jobs=2, random_state=0).fit(x, y)
def main(args): return model.predict_proba(q).tolist()
""",
    "scikit-learn, histogram boosting": DATA
    + """
from sklearn.ensemble import HistGradientBoostingClassifier
model = HistGradientBoostingClassifier(max_iter=20).fit(x, y)
def main(args): return model.predict_proba(q).tolist()
""",
    "xgboost": DATA
    + """
import xgboost
model = xgboost.XGBClassifier(n_estimators=20).fit(x, y)
def main(args): return model.predict_proba(q).tolist()
""",
    "lightgbm": DATA
    + """
import lightgbm
model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(x, y)
def main(args): return model.predict_proba(q).tolist()
""",
    "numba": NUMBA.format(parallel=False),
    "onnxruntime with one thread": ONNX.format(
        options="options.intra_op_num_threads = 1; options.inter_op_num_threads = 1"
    ),
}
UNFIT = {
    "onnxruntime with a pool": (ONNX.format(options="options.intra_op_num_threads = 2"), "starts a thread"),
    "numba in parallel": (NUMBA.format(parallel=True), " in warmup()"),  # it ends itself, or hangs
    "a thread": (
        "import threading, time\ndef load(): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "def main(args): return {}",
        "load() has started a thread",
    ),
    "a connection": (
        "import socket\ndef load():\n    global pair\n    pair = socket.socketpair()\ndef main(args): return {}",
        "load() opens a connection (socket)",
    ),
}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.process_world.PATIENCE_S", 300.0)  # a busy machine may load PyTorch for a minute


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of an environment with all these libraries."""
    environments = Environments(load_config().cache_dir.absolute() / ENVIRONMENTS)
    return asyncio.run(environments.ensure(LIBRARIES)).python


async def answer(w: World, container: ManagedContainer, spec: FunctionSpec, activation: str, args: bytes) -> bytes:
    container.run(spec, Call(activation, spec.key, args))
    finished = await w.wait_for(RunFinished, lambda event: event.activation == activation)
    assert finished.failure is None, finished.failure
    result = w.answers[activation].result
    assert result is not None
    return bytes(result)


async def compare(w: World, spec: FunctionSpec, args: bytes = b"{}", *, proves: bool = False) -> None:
    """Two forked processes, one after the other, and one from nothing have to give the same bytes."""
    container, other = await w.container(4 * GIB), await w.container(4 * GIB)
    container.load_function_template(spec, proves=proves)
    key = function_template_key(spec.key)
    made = await w.wait_for((LoadFinished, LoadFailed), lambda event: event.function == key)  # type: ignore[arg-type]
    assert isinstance(made, LoadFinished), made
    first = await answer(w, container, spec, "first", args)
    again = await answer(w, container, spec, "again", args)
    container.offload(spec.key)
    second = await answer(w, container, spec, "second", args)
    sources = [event.source for event in w.events if isinstance(event, LoadFinished) and event.function == spec.key]
    assert sources == [FROM_FUNCTION, FROM_FUNCTION]
    plain = await answer(w, other, spec, "plain", args)
    assert first == again == second == plain


@pytest.mark.parametrize("name", EXAMPLES)
@asynchronous
async def test_examples_answer_the_same_in_every_bit_where_they_are_forked(tmp_path: Path, name: str) -> None:
    cache = load_config().cache_dir.absolute()
    trained = name.removesuffix("_script")  # the script has the weights of the action
    (each,) = await asyncio.to_thread(prepare, [trained], cache, None, Console(quiet=True))
    folder = example(name)
    manifest = read_manifest(folder)
    async with world(tmp_path, each.python) as w:
        spec = replace(
            w.function("", name),
            handler=manifest.handler,
            main=manifest.main,
            style=manifest.style,
            fast_init=manifest.fast_init,
            env=manifest.env,
            timeout_s=120.0,
        )
        shutil.copytree(folder, spec.folder, dirs_exist_ok=True)
        for path in manifest.weights:
            (spec.folder / path).unlink(missing_ok=True)
            shutil.copy(each.weights_dir / path, spec.folder / path)
        await compare(w, spec, sample_request(folder), proves=name == "resnet18")


@asynchronous
async def test_an_example_with_a_pool_of_threads_says_so(tmp_path: Path) -> None:
    (each,) = await asyncio.to_thread(
        prepare, ["filetype"], load_config().cache_dir.absolute(), None, Console(quiet=True)
    )
    async with world(tmp_path, each.python) as w:
        spec = w.function("", "filetype", timeout_s=60.0)
        shutil.copytree(each.folder, spec.folder, dirs_exist_ok=True)
        container = await w.container(2 * GIB)
        container.load_function_template(spec, proves=True)
        failed = await w.wait_for(LoadFailed)
        assert "starts a thread" in failed.failure.message
        await answer(w, container, spec, "a1", each.request)


@pytest.mark.parametrize("library", FIT)
@asynchronous
async def test_libraries_that_are_fit(tmp_path: Path, python: Path, library: str) -> None:
    async with world(tmp_path, python) as w:
        await compare(w, w.function(FIT[library], timeout_s=120.0))


@pytest.mark.parametrize("library", UNFIT)
@asynchronous
async def test_libraries_that_are_not_say_why_and_go_on_as_before(tmp_path: Path, python: Path, library: str) -> None:
    code, reason = UNFIT[library]
    async with world(tmp_path, python) as w:
        container, spec = await w.container(2 * GIB), w.function(code, timeout_s=120.0)
        container.load_function_template(spec)
        failed = await w.wait_for(LoadFailed)
        assert reason in failed.failure.message
        await answer(w, container, spec, "a1", b"{}")
