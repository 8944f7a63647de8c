"""The example functions in their real environments: do they answer, and is the answer right?

Environments and weights are made in the user's own cache, as for the demo, so that only the first run has to do it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from instainfer.config import load_config
from instainfer.environments.builder import Environments
from instainfer.environments.manifest import read_manifest
from instainfer.experiments.setup import prepare

pytestmark = [pytest.mark.acceptance, pytest.mark.torch, pytest.mark.timeout(1800)]

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCE = Path(__file__).parents[2] / "src"
"""Where a script finds the module `instainfer`."""
FUNCTIONS = EXAMPLES / "functions"
CLASSIFIERS = ("alexnet", "googlenet", "inception_v3", "resnet152", "resnet18", "resnet50", "vgg19")

# Serves requests, one JSON a line, as the platform would: import, load(), main() for each. Stands alone.
SERVE = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
handler = importlib.import_module("handler")
handler.load()
for line in sys.stdin:
    print(json.dumps(handler.main(json.loads(line))), flush=True)
"""

SAVE_AS_TORCHVISION = """
import sys, torch
torch.save({"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1), "fc.bias": torch.zeros(1000)}, sys.argv[1])
"""

Pythons = Callable[[str], Path]


@pytest.fixture(scope="module")
def python_of() -> Pythons:
    """The interpreter of a function's environment."""
    environments = Environments(load_config().cache_dir / "environments")

    @cache
    def find(name: str) -> Path:
        return asyncio.run(environments.ensure(read_manifest(FUNCTIONS / name).requirements)).python

    return find


@pytest.fixture
def deployed() -> Iterator[Path]:
    """An empty folder, removed at once: pytest would keep three runs of large files."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def run(python: Path, *arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), "-W", "error::UserWarning", *arguments],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def ask(python: Path, folder: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers of a new process to the requests, in order."""
    # A script serves itself: outside a container it is asked by lines, too.
    serve = [str(folder / "handler.py")] if read_manifest(folder).style == "script" else ["-c", SERVE, str(folder)]
    done = run(python, *serve, lines="".join(json.dumps(request) + "\n" for request in requests))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    return answers


def make_weights(python: Path, name: str, out: Path, seed: int = 0) -> str:
    script = str(EXAMPLES / "make_weights.py")
    done = run(python, script, "--function", str(FUNCTIONS / name), "--out", str(out), "--seed", str(seed))
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def weights_of(name: str) -> Path:
    """The folder of a function's seeded weights, which are written if nobody has asked for them before."""
    (prepared,) = prepare([name], load_config().cache_dir.absolute(), None, Console(quiet=True))
    return prepared.weights_dir


def deploy(name: str, folder: Path) -> None:
    """The function with seeded weights, in `folder`."""
    shutil.copytree(FUNCTIONS / name, folder, dirs_exist_ok=True)
    for weights in read_manifest(folder).weights:
        # A script has the weights of the action. Up to 575 MB are not copied.
        (folder / weights).symlink_to(weights_of(Path(weights).stem) / weights)


def sample(name: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((FUNCTIONS / name / "sample.json").read_text(encoding="utf-8"))
    return request


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def stripes(width: int, height: int) -> bytes:
    """A PNG of vertical stripes, red and blue."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + b"".join(b"\xff\0\0" if (column // 8) % 2 else b"\0\0\xff" for column in range(width))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_what_the_image_says_and_the_same_every_time(
    name: str, python_of: Pythons, deployed: Path
) -> None:
    python = python_of(name)
    deploy(name, deployed)
    photo, other = sample(name), {"image": encoded(stripes(300, 260)), "top": 5}

    first, second, third = ask(python, deployed, photo, other, photo)
    best = first["top"]
    assert [entry.keys() for entry in best] == [{"index", "score"}] * 5
    assert all(type(entry["index"]) is int and 0 <= entry["index"] < 1000 for entry in best)
    scores = [entry["score"] for entry in best]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1.0001
    assert second != first, "the answer does not depend on the image"
    # Dropout or training batch norm would show here. `test_fast_init` compares the answers of two processes.
    assert third == first


def test_a_classifier_knows_labels_counts_and_bad_requests(python_of: Pythons, deployed: Path) -> None:
    python = python_of("googlenet")
    deploy("googlenet", deployed)
    (deployed / "labels.txt").write_text("".join(f"kind {i}\n" for i in range(1000)), encoding="utf-8")
    image = sample("googlenet")["image"]

    (answer,) = ask(python, deployed, {"image": image, "top": 1000})
    assert {entry["label"] for entry in answer["top"]} == {f"kind {i}" for i in range(1000)}
    assert all(entry["label"] == f"kind {entry['index']}" for entry in answer["top"])
    assert sum(entry["score"] for entry in answer["top"]) == pytest.approx(1, abs=1e-4)

    bad: list[tuple[dict[str, Any], str]] = [
        ({}, 'no "image"'),
        ({"image": 3}, 'no "image"'),
        ({"image": "%%%"}, "not base64"),
        ({"image": "é"}, "not base64"),
        ({"image": encoded(b"hello")}, "neither a JPEG nor a PNG"),
        ({"image": image[:4000]}, "cannot be read"),
        ({"image": image, "top": 0}, '"top" must be'),
        ({"image": image, "top": True}, '"top" must be'),
    ]
    answers = ask(python, deployed, *(request for request, _ in bad), {"image": image, "top": 1})
    for (request, reason), refused in zip(bad, answers, strict=False):
        assert refused.keys() == {"error"}, request
        assert reason in refused["error"]
    assert answers[-1]["top"][0] == answer["top"][0], "a bad request spoilt the next"


def test_a_very_long_image_is_answered_without_scaling_all_of_it(python_of: Pythons, deployed: Path) -> None:
    python = python_of("googlenet")
    deploy("googlenet", deployed)
    # 60,000 x 1 pixels scaled until the short side has 256 would be 11 GB.
    (answer,) = ask(python, deployed, {"image": encoded(stripes(60_000, 1)), "top": 1})
    assert len(answer["top"]) == 1


def test_the_script_answers_as_the_action_does(python_of: Pythons, deployed: Path) -> None:
    python, request = python_of("resnet18"), sample("resnet18")
    deploy("resnet18", deployed / "action")
    deploy("resnet18_script", deployed / "script")
    expected = ask(python, deployed / "action", request, {})
    assert ask(python, deployed / "script", request, {}) == expected


def test_weights_are_the_same_for_the_same_seed_and_written_whole(python_of: Pythons, deployed: Path) -> None:
    python = python_of("googlenet")
    one, again, two = (deployed / name for name in ("one.pt", "again.pt", "two.pt"))
    said = make_weights(python, "googlenet", one, seed=1)
    make_weights(python, "googlenet", again, seed=1)
    make_weights(python, "googlenet", two, seed=2)
    assert "6.6 million parameters, 26.7 MB, seed 1" in said
    assert one.read_bytes() == again.read_bytes()
    assert one.read_bytes() != two.read_bytes()
    assert sorted(path.name for path in deployed.iterdir()) == ["again.pt", "one.pt", "two.pt"]


def test_functions_without_weights_to_make_are_refused(python_of: Pythons, deployed: Path) -> None:
    script, out = str(EXAMPLES / "make_weights.py"), str(deployed / "x.pt")
    for name in ("sentence_similarity", "resnet18_script"):
        done = run(python_of("resnet18"), script, "--function", str(FUNCTIONS / name), "--out", out)
        assert done.returncode == 2
        assert "has no build()" in done.stderr
    assert list(deployed.iterdir()) == []


def test_weights_in_another_layout_are_refused_with_the_mismatch(python_of: Pythons, deployed: Path) -> None:
    python = python_of("resnet18")
    shutil.copytree(FUNCTIONS / "resnet18", deployed, dirs_exist_ok=True)
    run(python, "-c", SAVE_AS_TORCHVISION, str(deployed / "resnet18.pt")).check_returncode()
    done = run(python, "-c", SERVE, str(deployed))
    assert done.returncode == 1
    assert "resnet18.pt is in torchvision's layout, which is not read here" in done.stderr
    assert "features.init_block.conv.conv.weight" in done.stderr


def test_bert_fills_the_gap_with_tokens(python_of: Pythons, deployed: Path) -> None:
    python, request = python_of("bert_base"), sample("bert_base")
    deploy("bert_base", deployed)
    first, other, again, none, no_mask, too_far, count = ask(
        python,
        deployed,
        request,
        {"text": "A [MASK] sat on the mat."},
        request,
        {},
        {"text": "no gap"},
        {"text": "word " * 600 + "[MASK]"},
        {"text": "[MASK]", "top": "5"},
    )
    assert len(first["top"]) == 5
    assert all(isinstance(entry["token"], str) and 0 < entry["score"] < 1 for entry in first["top"])
    assert other != first
    assert again == first
    assert 'no "text"' in none["error"]
    assert "exactly one [MASK]" in no_mask["error"]
    assert "exactly one [MASK]" in too_far["error"]
    assert '"top" must be' in count["error"]


def test_sentence_similarity_is_that_of_the_trained_model(python_of: Pythons) -> None:
    cat = "A cat sits on the mat."
    pairs = [
        (cat, "A kitten is resting on a rug."),
        ("How do I reset my password?", "I forgot my login credentials, what now?"),
        (cat, "The stock market fell sharply today."),
        ("The weather is lovely today.", "He drove to the stadium."),
        (cat, cat),
        ("A kitten is resting on a rug.", cat),
    ]
    requests = [{"a": a, "b": b} for a, b in pairs]
    answers = ask(python_of("sentence_similarity"), FUNCTIONS / "sentence_similarity", *requests, {"a": cat})
    similar, reset, market, stadium, itself, swapped = (answer["similarity"] for answer in answers[:-1])
    # As measured with the model loaded by transformers' own from_pretrained().
    assert similar == pytest.approx(0.655, abs=0.005)
    assert reset == pytest.approx(0.651, abs=0.005)
    assert market == pytest.approx(0.091, abs=0.005)
    assert stadium == pytest.approx(0.105, abs=0.005)
    assert itself == pytest.approx(1, abs=1e-5)
    assert swapped == pytest.approx(similar, abs=1e-6)
    assert "two sentences" in answers[-1]["error"]


def test_filetype_knows_files_by_their_content(python_of: Pythons) -> None:
    photo = (EXAMPLES / "samples" / "photo.jpg").read_bytes()
    c_source = '#include <stdio.h>\nint main(void) {\n    printf("%d\\n", 3);\n    return 0;\n}\n'
    toml = (FUNCTIONS / "filetype" / "function.toml").read_text(encoding="utf-8")
    expected = [
        (sample("filetype"), "python"),
        ({"text": Path(__file__).read_text(encoding="utf-8")}, "python"),
        ({"content": encoded(Path(__file__).read_bytes())}, "python"),
        ({"content": encoded(photo)}, "jpeg"),
        ({"content": encoded(stripes(40, 40))}, "png"),
        ({"text": c_source}, "c"),
        ({"text": toml}, "toml"),
        ({"text": ""}, "empty"),
    ]
    bad = [({}, "needs either"), ({"text": "a", "content": "YQ=="}, "needs either"), ({"content": "%"}, "not base64")]
    answers = ask(python_of("filetype"), FUNCTIONS / "filetype", *(request for request, _ in [*expected, *bad]))
    found, refused = answers[: len(expected)], answers[len(expected) :]
    assert [answer["type"] for answer in found] == [kind for _, kind in expected]
    assert all(0.5 < answer["score"] <= 1 for answer in found)
    assert found[0]["mime_type"] == "text/x-python"
    assert all(reason in answer["error"] for answer, (_, reason) in zip(refused, bad, strict=True))
