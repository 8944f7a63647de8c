"""What counts as an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from instainfer.runtime import answers
from instainfer.runtime.answers import check_printed, encode_answer


@pytest.mark.parametrize("value", [{}, [], {"a": [1, 2.5, None, True, "ü"]}, [{"b": {}}]])
def test_objects_and_arrays_are_answers(value: Any) -> None:
    answer, failure = encode_answer(value, "it")
    assert failure is None
    assert json.loads(answer) == value


def cyclic() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("text", "it is a str; it must be a dict or a list"),
        (None, "it is a NoneType"),
        ({"a": {1, 2}}, "Object of type set is not JSON serializable"),
        ({"a": float("nan")}, "not JSON compliant"),
        ({"a": "\ud800"}, "surrogates not allowed"),
        ({(1, 2): 3}, "keys must be"),
        (cyclic(), "Circular reference"),
    ],
)
def test_anything_else_is_a_bad_answer(value: Any, says: str) -> None:
    answer, failure = encode_answer(value, "it")
    assert answer == b""
    assert failure is not None
    assert failure.kind == "bad_answer"
    assert says in failure.message


def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 10)
    assert encode_answer(["12345"], "it")[1] is None
    failure = encode_answer(["1234567"], "it")[1]
    assert failure is not None
    assert failure.message == "it has 11 bytes, more than 10"


def test_a_printed_line_is_passed_on_as_it_was_printed() -> None:
    assert check_printed('{ "a":  1 }', "it") == (b'{ "a":  1 }', None)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (None, "it is missing; call instainfer.reply(value)"),
        ("{'a': 1}", "is not JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("17", "it is 17; it must be a JSON object or array"),
    ],
)
def test_other_printed_lines_are_bad_answers(line: str | None, says: str) -> None:
    answer, failure = check_printed(line, "it")
    assert answer == b""
    assert failure is not None
    assert failure.kind == "bad_answer"
    assert says in failure.message
