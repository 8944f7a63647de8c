"""What counts as an answer."""

from __future__ import annotations

import datetime
import json
from array import array
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import numpy
import pandas
import pytest
from pydantic import BaseModel

from instainfer.runtime import answers
from instainfer.runtime.answers import check_printed, encode_answer


@pytest.mark.parametrize("value", [{}, [], {"a": [1, 2.5, None, True, "ü"]}, [{"b": {}}]])
def test_objects_and_arrays_are_answers(value: Any) -> None:
    answer, failure = encode_answer(value, "it")
    assert failure is None
    assert json.loads(answer) == value


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: float
    y: float


@dataclass
class Box:
    label: Colour
    corner: Point
    hidden: ClassVar[int] = 1


class Person(BaseModel):
    name: str
    born: datetime.date


class Tensor:
    """As of PyTorch, which the tests do without."""

    def tolist(self) -> list[Any]:
        return [[1.5], [2.5]]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (numpy.float32(0.5), 0.5),
        (numpy.float64(0.1), 0.1),
        (numpy.int64(2), 2),
        (numpy.bool_(True), True),
        (numpy.longdouble(0.5), 0.5),
        (numpy.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (numpy.array(7), 7),
        (numpy.array([0.5], dtype=numpy.longdouble), [0.5]),
        (numpy.array([{"a": numpy.int8(1)}], dtype=object), [{"a": 1}]),
        (numpy.datetime64("2026-11-29T12:00:00.123456789"), "2026-11-29T12:00:00.123456789"),
        (numpy.array(["2026-11-29"], dtype="M8[D]"), ["2026-11-29"]),
        (array("d", [0.5]), [0.5]),
        (Tensor(), [[1.5], [2.5]]),
        (pandas.Series([1, 2]), [1, 2]),
        (pandas.Timestamp("2026-11-29T12:00:00Z"), "2026-11-29T12:00:00+00:00"),
        (datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC), "2026-11-29T12:00:00+00:00"),
        (datetime.date(2026, 11, 29), "2026-11-29"),
        (datetime.time(12, 30), "12:30:00"),
        (Decimal("1.10"), 1.1),
        (Decimal(12), 12),
        (Box(Colour.RED, Point(1, 2)), {"label": "red", "corner": [1, 2]}),
        (Person(name="Ada", born=datetime.date(1815, 12, 10)), {"name": "Ada", "born": "1815-12-10"}),
        ({1}, [1]),
        (frozenset(), []),
        (deque([1, 2]), [1, 2]),
        (range(2), [0, 1]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Path("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (
            {numpy.int64(1): 2, Colour.RED: 3, None: 4, datetime.date(2026, 1, 1): 5},
            {"1": 2, "red": 3, "null": 4, "2026-01-01": 5},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_one_plain_meaning_is_written(value: Any, written: Any) -> None:
    answer, failure = encode_answer({"it": [value]}, "it")
    assert failure is None
    assert json.loads(answer) == {"it": [written]}


def test_an_answer_may_be_such_a_value_itself() -> None:
    assert encode_answer(Box(Colour.RED, Point(1, 2)), "it") == (b'{"label":"red","corner":[1,2]}', None)
    assert encode_answer((numpy.int64(1),), "it") == (b"[1]", None)
    assert encode_answer(numpy.zeros(2), "it") == (b"[0.0,0.0]", None)


class Hostile:
    def tolist(self) -> Any:
        raise RuntimeError("not today")


class HostileDict(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def cyclic() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("text", "it is a str; it must be a dict or a list"),
        (None, "it is a NoneType"),
        (17, "it is a int; it must be a dict or a list"),
        ({"boxes": [0, 1, {"mask": object()}]}, "it cannot be written as JSON: $.boxes[2].mask is a object; use dicts"),
        ({"a": float("nan")}, "$.a: Out of range float values are not JSON compliant"),
        ({"a": numpy.array([[1.0], [numpy.inf]])}, "$.a[1][0]: Out of range"),
        ({"a": "\ud800"}, "$.a: 'utf-8' codec can't encode character '\\ud800' in position 1: surrogates not allowed"),
        ({"two words": [10**5000]}, '$["two words"][0]: Exceeds the limit'),
        ({"a": {(1, 2): 3}}, "$.a has a key that is a tuple; use text"),
        ({"a": {b"b": 3}}, "$.a[\"b'b'\"] is a bytes; it can be text in several ways"),
        (
            {"image": bytearray(b"x")},
            "$.image is a bytearray; it can be text in several ways: use base64.b64encode(...)",
        ),
        ({"p": Decimal("0.1234567890123456789")}, "$.p is a decimal.Decimal; it has more digits than a number"),
        ({"t": datetime.timedelta(1)}, "$.t is a datetime.timedelta; use dicts, lists, text"),
        ({"t": numpy.timedelta64(1, "s")}, "$.t is a numpy.timedelta64; nobody would know its unit"),
        ({"c": [numpy.complex64(1j)]}, "$.c[0] is a complex; use dicts"),
        ([pandas.DataFrame({"a": [1]})], "$[0] is a pandas.DataFrame; use dicts"),
        ((n for n in "ab"), "$ is a generator; use dicts"),
        (cyclic(), "it contains itself, or is nested too deeply"),
        ({"a": Hostile()}, "$.a is a test_runtime_answers.Hostile; not today"),
        (HostileDict(a=1), "it cannot be written as JSON: no items"),
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
