"""Requirements come from strangers: whatever is in them is judged quickly, and nothing in them reaches the host."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from instainfer.environments.content import ContentStore
from instainfer.environments.folders import FunctionFolders
from instainfer.environments.manifest import read_manifest
from instainfer.environments.requirements import (
    MAX_LENGTH,
    MAX_REQUIREMENTS,
    first_refused,
    logical_lines,
    package_name,
    refusal,
)
from instainfer.errors import BadFunction, BadInput, shown


@pytest.mark.parametrize(
    "line",
    [
        "a" + " " * 700 + "!",
        "a" + " " * 900_000 + "!",
        " " * 900_000,
        "a #" * 300_000,
        "#" * 900_000,
        "a" + " --hash=" * 100_000,
        "a" + " --hash=sha256:ab" * 50_000,
        "a[" + "b," * 490,
        "a>=" + "1." * 490 + "!",
        "a;" + "(" * 990,
        "a===" + "(" * 900,
        "a" + "-." * 450 + "!",
    ],
    ids=lambda line: f"{line[:6]}{len(line)}",
)
def test_no_line_takes_long(line: str) -> None:
    before_s = time.thread_time()
    list(logical_lines(line))
    refusal(line)
    # A cubic expression took 3.5 s for the first of these, a quadratic one hours for the second.
    assert time.thread_time() - before_s < 0.5


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a" * (MAX_LENGTH + 1), "shorten it"),
        ("six==${HOME}", "neither $"),
        ("six; python_version > '3\n--index-url=http://example.org'", "control characters"),
        ("six\0", "control characters"),
        ("six; " + "(" * 400, "not a requirement"),
        ("six>=banana", "not a requirement"),
    ],
)
def test_what_would_reach_the_host_is_refused(line: str, reason: str) -> None:
    assert reason in (refusal(line) or "")


def test_hashes_do_not_count_as_length() -> None:
    line = "Zope.Interface[a]==7.0 " + " ".join(f"--hash=sha256:{'a' * 64}" for _ in range(100))
    assert refusal(line) is None
    assert package_name(line) == "zope-interface"


def test_there_are_bounds_on_all_of_them() -> None:
    number, _, reason = first_refused("six\n" * (MAX_REQUIREMENTS + 1)) or (0, "", "")
    assert number == MAX_REQUIREMENTS + 1
    assert "ask for fewer" in reason


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("x = " + "[" * 5000, "function.toml: not valid TOML"),
        ("memory = 1" + "0" * 5000, "function.toml: not valid TOML"),
        ("memory = 1" + "0" * 4200, "function.toml: memory"),
        ("memory = 0x1" + "0" * 5000, "function.toml: memory"),
        (f'memory = "{"9" * 4300}GB"', "function.toml: memory"),
        (f"name = 0x1{'0' * 5000}", "function.toml: name"),
        (f'handler = "{"a" * 5000}"', "function.toml: handler"),
        (f'main = "{"a" * 5000}"', "function.toml: main"),
        (f'requirements = "{"a" * 5000}"', "function.toml: requirements"),
        (f'weights = ["{"a" * 5000}"]', "function.toml: weights"),
        ("[env]\nA = " + "a." * 3000 + "a = 1", "function.toml"),
        ("[env]\n" + "a." * 3000 + "a = 1", "function.toml: env"),
        ("#" * 70_000, "shorten it"),
        ("a" * 60_000 + " = 1", "unknown key"),
    ],
    ids=lambda text: text[:24],
)
def test_a_manifest_that_is_out_of_bounds_is_refused_in_few_words(tmp_path: Path, toml: str, said: str) -> None:
    (tmp_path / "handler.py").write_text("")
    (tmp_path / "function.toml").write_text(toml)
    with pytest.raises(BadFunction) as caught:
        read_manifest(tmp_path, label="the code")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"\\ud800": "sha256:x"}', '{"' + "a" * 5000 + '": "x"}', '{"a": 1' + "0" * 5000 + "}"],
    ids=["deep", "surrogate", "long", "digits"],
)
def test_a_list_of_weights_that_is_out_of_bounds_is_refused(tmp_path: Path, text: str) -> None:
    code = _zipped({"handler.py": "", ".instainfer/weights.json": text})
    with pytest.raises(BadInput, match=r"weights\.json"):
        _folders(tmp_path).materialise(code, binary=True)


def test_an_archive_with_features_of_another_age_is_refused(tmp_path: Path) -> None:
    code = bytearray(_zipped({"handler.py": ""}))
    entry = code.index(b"PK\x01\x02")
    code[entry + 6] = 250  # the version that is needed to extract it: 25.0
    with pytest.raises(BadInput, match="not a sound zip archive"):
        _folders(tmp_path).materialise(bytes(code), binary=True)


def test_an_archive_with_a_vast_directory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too many files"):
        _folders(tmp_path).materialise(b"PK\x01\x02" * 100_001, binary=True)


def test_what_is_shown_of_a_value_is_short_and_never_fails() -> None:
    assert shown("a") == "'a'"
    assert len(shown("a" * 10_000)) == 103
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert shown(nested) == shown(10**5000) == "what was given"


def _folders(root: Path) -> FunctionFolders:
    return FunctionFolders(root / "functions", ContentStore(root / "content"))


def _zipped(files: dict[str, str]) -> bytes:
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        for name, text in files.items():
            writing.writestr(name, text)
    return packed.getvalue()
