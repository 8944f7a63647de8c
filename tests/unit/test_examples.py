"""The example functions as files: complete, well-formed, consistent. What they answer is tests/acceptance' business."""

from __future__ import annotations

import ast
import base64
import json
from pathlib import Path

import pytest

from instainfer.environments.manifest import read_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"
FUNCTIONS = EXAMPLES / "functions"
CLASSIFIERS = ("alexnet", "googlenet", "inception_v3", "resnet152", "resnet18", "resnet18_script", "resnet50", "vgg19")
TEXT_MODELS = ("bert_base", "sentence_similarity")
SEEDED = (*(name for name in CLASSIFIERS if name != "resnet18_script"), "bert_base")
ALL = tuple(sorted(path.name for path in FUNCTIONS.iterdir()))
MAX_REQUEST_BYTES = 60_000


def sample(name: str) -> dict[str, object]:
    content = (FUNCTIONS / name / "sample.json").read_bytes()
    assert len(content) < MAX_REQUEST_BYTES
    request = json.loads(content)
    assert isinstance(request, dict)
    return request


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    assert ast.get_docstring(tree), f"{path} does not say what it is"
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_folders_are_those_that_are_tested() -> None:
    assert set(ALL) == {*CLASSIFIERS, *TEXT_MODELS, "filetype"}


@pytest.mark.parametrize("name", ALL)
def test_the_manifest_is_accepted(name: str) -> None:
    read = read_manifest(FUNCTIONS / name)
    assert read.name == name
    assert read.requirements.lines
    assert read.memory_mb is not None
    assert read.timeout_ms is not None
    assert read.style == ("script" if name == "resnet18_script" else "action")


@pytest.mark.parametrize("name", ALL)
def test_models_of_pytorch_are_built_for_loading(name: str) -> None:
    read = read_manifest(FUNCTIONS / name)
    assert read.fast_init == any(line.startswith("torch==") for line in read.requirements.lines)


@pytest.mark.parametrize("name", ALL)
def test_every_package_is_pinned(name: str) -> None:
    requirements = read_manifest(FUNCTIONS / name).requirements
    lines = [*requirements.lines, *requirements.no_deps]
    assert all(line.count("==") == 1 and not set(line) & set("<>~*; ") for line in lines), lines


@pytest.mark.parametrize("family", [CLASSIFIERS, TEXT_MODELS], ids=["classifiers", "text"])
def test_a_family_shares_one_environment(family: tuple[str, ...]) -> None:
    assert len({read_manifest(FUNCTIONS / name).requirements for name in family}) == 1


def test_the_classifiers_have_equal_copies_of_what_they_share() -> None:
    assert len({(FUNCTIONS / name / "imagenet.py").read_bytes() for name in CLASSIFIERS}) == 1


@pytest.mark.parametrize("name", ALL)
def test_the_handler_keeps_the_contract(name: str) -> None:
    defined = functions_in(FUNCTIONS / name / "handler.py")
    read = read_manifest(FUNCTIONS / name)
    if read.style == "script":
        assert defined == set()
        return
    assert {"load", "main"} <= defined
    assert ("warmup" in defined) == (name != "filetype")
    # Those with a weights file of their own are those that make_weights.py can write one for.
    assert ("build" in defined) == (name in SEEDED)
    assert read.weights == ((f"{name}.pt",) if name in SEEDED else ())


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_the_source_is_plain_python_that_leaves_the_machine_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    compile(text, str(path), "exec")
    if path.name != "make_weights.py":
        assert "set_num_threads" not in text, "how many threads a function gets is the platform's decision"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_sample_carries_a_jpeg(name: str) -> None:
    image = sample(name)["image"]
    assert isinstance(image, str)
    content = base64.b64decode(image, validate=True)
    assert content.startswith(b"\xff\xd8\xff")
    assert content.endswith(b"\xff\xd9")


def test_the_samples_of_the_others_are_what_their_handlers_read() -> None:
    assert str(sample("bert_base")["text"]).count("[MASK]") == 1
    assert sample("sentence_similarity").keys() == {"a", "b"}
    assert isinstance(sample("filetype")["text"], str)


def test_the_photograph_is_small_and_its_origin_told() -> None:
    content = (EXAMPLES / "samples" / "photo.jpg").read_bytes()
    assert content.startswith(b"\xff\xd8\xff")
    assert len(content) <= MAX_REQUEST_BYTES
    assert "Grace Hopper" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_function() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in ALL if f"| `{name}` |" not in text] == []
