"""What people type at the command line, and how numbers read there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from instainfer.cli.values import PAIR, data, duration_s, parameters, seconds, size, size_mb
from instainfer.errors import BadInput, NotFound

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "mb"),
    [
        ("2GB", 2048),
        ("2gb", 2048),
        ("2 GiB", 2048),
        ("2G", 2048),
        ("1.5GB", 1536),
        ("2048MB", 2048),
        ("2048", 2048),
        ("64m", 64),
    ],
)
def test_a_size_is_read_in_mb(text: str, mb: int) -> None:
    assert size_mb(text) == mb


@pytest.mark.parametrize("text", ["", "GB", "2TB", "-1GB", "0", "0.5MB", "1e3", "2GB!", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not"):
        size_mb(text)


@pytest.mark.parametrize(
    ("text", "value"), [("60s", 60.0), ("60", 60.0), ("500ms", 0.5), ("2min", 120.0), ("2m", 120.0), ("1.5h", 5400.0)]
)
def test_a_duration_is_read_in_seconds(text: str, value: float) -> None:
    assert duration_s(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "s", "-1s", "0", "1 day", "inf"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-0.5", -0.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ('{"a": [1]}', {"a": [1]}),
        ("cat", "cat"),
        ("a cat", "a cat"),
        ("", ""),
        ("{broken", "{broken"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("007", "007"),
    ],
)
def test_a_parameter_is_json_if_it_reads_as_such_else_text(text: str, value: Any) -> None:
    assert parameters([f"key{PAIR}{text}"]) == {"key": value}


def test_parameters_keep_order_and_the_last_of_a_key_wins() -> None:
    read = parameters([f"b{PAIR}1", f"a=c{PAIR}2", f"b{PAIR}3"])
    assert list(read.items()) == [("b", 3), ("a=c", 2)]


def test_data_is_an_object_given_as_text_or_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"text": "grüezi"}', encoding="utf-8")
    assert data(f"@{file}") == data('{"text": "grüezi"}') == {"text": "grüezi"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "is a JSON array; a function takes a JSON object"),
        ("null", "is a JSON null"),
        ("true", "is a JSON boolean"),
        ("3", "is a JSON number"),
        ('"x"', "is a JSON string"),
        ("{", "is not valid JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
    ],
)
def test_data_that_is_no_object_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        data(text)


def test_data_from_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no file .*none\.json"):
        data(f"@{tmp_path / 'none.json'}")
    with pytest.raises(BadInput, match=r"cannot read .* directory"):
        data(f"@{tmp_path}")


def test_data_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(BadInput, match=r"is not UTF-8 text \(byte 7\); save it as UTF-8"):
        data(f"@{file}")


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 MB"),
        (MIB // 2, "0.5 MB"),
        (18 * MIB, "18 MB"),
        (512 * MIB, "512 MB"),
        (1024 * MIB, "1.0 GB"),
        (2560 * MIB, "2.5 GB"),
    ],
)
def test_sizes_for_people(n_bytes: int, text: str) -> None:
    assert size(n_bytes) == text


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.0, "0.0 ms"),
        (0.0041, "4.1 ms"),
        (0.31, "310 ms"),
        (0.9996, "1.00 s"),
        (2.35, "2.35 s"),
        (61.0, "61 s"),
        (600.0, "10 min"),
        (7500.0, "2 h 5 min"),
        (100 * 3600.0, "4 d 4 h"),
    ],
)
def test_durations_for_people(value_s: float, text: str) -> None:
    assert seconds(value_s) == text
