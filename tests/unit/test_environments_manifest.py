"""What ``function.toml`` may say, and what a wrong one is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from instainfer.environments.manifest import Manifest, Requirements, read_manifest
from instainfer.environments.windows import Window
from instainfer.errors import BadFunction

FULL = """
name = "resnet50"
handler = "app.serve"
main = "answer"
style = "script"
requirements = "needs.txt"
no_deps = ["pytorchcv==0.0.74"]
python = "3.11"
image = "tools/media:1"
memory = "2GB"
timeout = "500ms"
logs = "10MB"
weights = ["models/resnet50.pt"]
fast_init = true
template = ["torch", "PIL.Image"]
min_resident = 2
warm = ["mon-fri 08:00-18:00", "Sat 22:00-02:00 Europe/Berlin"]
keep_alive = "30min"
[env]
OMP_NUM_THREADS = "1"
"""


def make_folder(folder: Path, toml: str | None = "", **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    if toml is not None:
        (folder / "function.toml").write_text(toml)
    for name, content in (files or {"handler.py": ""}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_every_key(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, FULL, **{"app/serve.py": "", "needs.txt": "torch==2.13.0\n"})
    assert read_manifest(folder) == Manifest(
        name="resnet50",
        handler="app.serve",
        main="answer",
        style="script",
        requirements=Requirements("torch==2.13.0\n", ("pytorchcv==0.0.74",), "3.11", "tools/media:1"),
        memory_mb=2048,
        timeout_ms=500,
        logs_mb=10,
        weights=("models/resnet50.pt",),
        fast_init=True,
        template=("torch", "PIL.Image"),
        min_resident=2,
        warm=(
            Window(frozenset(range(5)), 480, 1080),
            Window(frozenset([5]), 1320, 120, "Europe/Berlin"),
        ),
        keep_alive_s=1800.0,
        env={"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [('"0s"', 0.0), ("0", 0.0), ("90", 90.0), ('"2h"', 7200.0), ('" 5 min "', 300.0), ('"forever"', math.inf)],
)
def test_how_long_what_a_call_leaves_stays(tmp_path: Path, value: str, seconds: float) -> None:
    assert read_manifest(make_folder(tmp_path, f"keep_alive = {value}")).keep_alive_s == seconds


def test_an_empty_manifest_leaves_everything_to_the_platform(tmp_path: Path) -> None:
    assert read_manifest(make_folder(tmp_path)) == Manifest(memory_mb="auto")


def test_folder_without_manifest(tmp_path: Path) -> None:
    action = make_folder(tmp_path / "action", None, **{"__main__.py": "", "requirements.txt": "six\n"})
    assert read_manifest(action) == Manifest(handler="__main__", requirements=Requirements("six\n"))
    assert read_manifest(make_folder(tmp_path / "lone", None)).handler == "handler"


@pytest.mark.parametrize(
    ("toml", "quantity"),
    [
        ("memory = 512", 512),
        ('memory = "512MB"', 512),
        ('memory = "2 GB"', 2048),
        ('memory = "auto"', "auto"),
        ("timeout = 60", 60_000),
        ('timeout = "60s"', 60_000),
        ('timeout = "500ms"', 500),
    ],
)
def test_units(tmp_path: Path, toml: str, quantity: int | str) -> None:
    manifest = read_manifest(make_folder(tmp_path, toml))
    assert (manifest.timeout_ms or manifest.memory_mb) == quantity


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        (
            'colour = "red"',
            "colour",
            "allowed: build, env, fast_init, fork, fresh, handler, idempotent, image, keep_alive, logs",
        ),
        ("min_resident = 65", "min_resident", "from 0 to 64"),
        ("min_resident = -1", "min_resident", "from 0 to 64"),
        ("min_resident = true", "min_resident", "from 0 to 64"),
        ('min_resident = "2"', "min_resident", "from 0 to 64"),
        ('warm = "mon 08:00-18:00"', "warm", "a list"),
        ('warm = ["monday 08:00-18:00"]', "warm", "not written like"),
        ('warm = ["mon 8:00-18:00"]', "warm", "not written like"),
        ('warm = ["mon 08:00-24:01"]', "warm", "24:01 is not a time"),
        ('warm = ["mon 08:60-09:00"]', "warm", "08:60 is not a time"),
        ('warm = ["mon 08:00-08:00"]', "warm", "no length"),
        ('warm = ["mon 08:00-18:00 Europe/Nowhere"]', "warm", "not a time zone"),
        ('warm = ["mon 08:00-18:00 ../../etc/passwd"]', "warm", "not written like"),
        ('warm = ["mon 08:00-18:00 /etc/passwd"]', "warm", "not a time zone"),
        (f"warm = {['mon 08:00-18:00'] * 33}", "warm", "too many"),
        ('keep_alive = "soon"', "keep_alive", "forever"),
        ('keep_alive = "-1s"', "keep_alive", "forever"),
        ("keep_alive = -1", "keep_alive", "forever"),
        ("keep_alive = true", "keep_alive", "forever"),
        ("keep_alive = inf", "keep_alive", "forever"),
        ("name = 3", "name", "letters"),
        ('name = "a/b"', "name", "letters"),
        ('handler = "handler.py"', "handler", "without .py"),
        ('handler = "absent"', "handler", "there is no absent.py"),
        ('main = "not a name"', "main", "name of a function"),
        ('style = "lambda"', "style", '"action" or "script"'),
        ('requirements = "absent.txt"', "requirements", "absent.txt cannot be read"),
        ('requirements = "../up.txt"', "requirements", "in the folder"),
        ('no_deps = "six"', "no_deps", "a list"),
        ('build = "wheel"', "build", '"wheels" or "source"'),
        ('no_deps = ["-e six"]', "no_deps", "editable"),
        ("python = 3.11", "python", '"3.11"'),
        ('python = "3.8"', "python", "3.9 or newer"),
        ('image = "An image"', "image", "the name of an image"),
        ('image = ""', "image", "the name of an image"),
        ('memory = "2TB"', "memory", '"2GB"'),
        ("memory = true", "memory", "whole MB"),
        ('memory = "automatic"', "memory", 'or "auto"'),
        ("idempotent = 1", "idempotent", "true or false"),
        ("memory = 0", "memory", "above 0"),
        ("memory = 1.5", "memory", "whole MB"),
        ('timeout = "1 hour"', "timeout", '"500ms"'),
        ("logs = -1", "logs", "above 0"),
        ('weights = ["/etc/passwd"]', "weights", "inside the folder"),
        ('weights = ["a/../../b"]', "weights", "inside the folder"),
        ('weights = ["a", "a"]', "weights", "twice"),
        ('weights = [".instainfer/x"]', "weights", "inside the folder"),
        ("fast_init = 1", "fast_init", "true or false"),
        ('fast_init = "yes"', "fast_init", "true or false"),
        ('template = "torch"', "template", '["torch", "PIL.Image"]'),
        ('template = ["torch", "not-a-module"]', "template", "'not-a-module' is not a module's name"),
        ('template = ["torch."]', "template", "module's name"),
        ('template = ["torch", "torch"]', "template", "twice"),
        ('env = "x"', "env", "a table"),
        ("[env]\nA = 1", "env.A", "not a string"),
        ('[env]\n__OW_API_KEY = "x"', "env.__OW_API_KEY", "may set"),
        ("name = \nmain", "function.toml", "line 1"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(tmp_path: Path, toml: str, key: str, said: str) -> None:
    with pytest.raises(BadFunction) as caught:
        read_manifest(make_folder(tmp_path, toml))
    assert "function.toml" in str(caught.value)
    assert key in str(caught.value)
    assert said in str(caught.value)


def test_a_package_is_resolved_with_or_without_its_dependencies(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path, 'no_deps = ["Py_TorchCV==1"]', **{"handler.py": "", "requirements.txt": "py-torchcv>=1"}
    )
    with pytest.raises(BadFunction, match="py-torchcv is in requirements too"):
        read_manifest(folder)


def test_no_handler_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadFunction, match=r"neither handler\.py nor __main__\.py"):
        read_manifest(make_folder(tmp_path, "", **{"other.py": ""}))
    with pytest.raises(BadFunction, match="no such folder"):
        read_manifest(tmp_path / "absent")


@pytest.mark.parametrize(
    "line",
    [
        "six",
        "six==1.16.0",
        "numpy >= 2, < 3",
        "numpy>=2,<3 ; python_version > '3.9'",
        "uvicorn[standard]>=0.40",
        "zope.interface==7.*",
        "six  # a comment",
        "# only a comment",
        "",
        f"six==1.16.0 --hash=sha256:{'a' * 64}",
        f"six==1.16.0 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}",
        "torch==2.13.0+cpu",
    ],
)
def test_requirements_that_are_accepted(tmp_path: Path, line: str) -> None:
    folder = make_folder(tmp_path, "", **{"handler.py": "", "requirements.txt": line})
    assert read_manifest(folder).requirements.text == line


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-e .", "editable"),
        ("--editable=src", "editable"),
        ("-r more.txt", "other files"),
        ("-c limits.txt", "other files"),
        ("--index-url https://example.org/simple", "host's pip configuration"),
        ("six --global-option=x", "not a requirement"),
        ("./six", "local paths"),
        ("/tmp/six.whl", "local paths"),
        ("six-1.16.0-py3-none-any.whl", "local paths"),
        ("git+https://example.org/six", "addresses"),
        ("six @ https://example.org/six.whl", "addresses"),
        ("https://example.org/six.whl", "addresses"),
        ("six=1", "not a requirement"),
        ("six 1.16.0", "not a requirement"),
        ("six == ", "not a requirement"),
    ],
)
def test_requirements_that_are_refused(tmp_path: Path, line: str, reason: str) -> None:
    folder = make_folder(tmp_path, "", **{"handler.py": "", "requirements.txt": f"# first\n{line}\n"})
    with pytest.raises(BadFunction, match=reason) as caught:
        read_manifest(folder)
    assert "requirements.txt, line 2" in str(caught.value)
