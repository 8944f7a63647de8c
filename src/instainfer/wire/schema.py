"""The kinds of values that the fields of messages may hold. No IO.

When a message is decoded, the type and the size of each value are checked here, and nowhere else. A value that is too
large ends the connection. So texts and lists that only inform are cut to their limits when they are encoded, and an
honest sender never exceeds those limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple


class Mismatch(Exception):
    """A value is not allowed in its field. `path` is the place of the value in the field."""

    def __init__(self, expected: str, value: Any, path: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value
        self.path = path


class Kind(NamedTuple):
    """The kind of values that a field may hold."""

    check: Callable[[Any], Any]
    """Turns a value decoded from JSON into the field's value. Raises `Mismatch`."""
    plain: Callable[[Any], Any] | None = None
    """Turns the field's value into a value that JSON can write. None: both are the same."""


def integer(least: int, most: int) -> Kind:
    expected = "a whole number from {} to {}".format(least, most)

    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Mismatch(expected, value)
        return value

    return Kind(check)


def number(least: float, most: float) -> Kind:
    expected = "a number from {:g} to {:g}".format(least, most)

    def check(value: Any) -> float:
        # NaN, which is no number in JSON, fails both comparisons.
        if (type(value) is not float and type(value) is not int) or not least <= value <= most:
            raise Mismatch(expected, value)
        return float(value)

    return Kind(check)


def boolean() -> Kind:
    def check(value: Any) -> bool:
        if value is not True and value is not False:
            raise Mismatch("true or false", value)
        return value

    return Kind(check)


def choice(*allowed: str) -> Kind:
    expected = "one of " + ", ".join(allowed)

    def check(value: Any) -> str:
        if type(value) is not str or value not in allowed:
            raise Mismatch(expected, value)
        return value

    return Kind(check)


def text(most: int, least: int = 0) -> Kind:
    """Text of `least` to `most` characters that UTF-8 can encode."""
    expected = "text of {} to {} characters".format(least, most)

    def check(value: Any) -> str:
        if type(value) is not str or not least <= len(value) <= most or not _is_utf8(value):
            raise Mismatch(expected, value)
        return value

    return Kind(check)


def native(most: int) -> Kind:
    """Text for the operating system, such as paths and variables. It may hold surrogates, but no NUL."""
    expected = "text without NUL of at most {} characters".format(most)

    def check(value: Any) -> str:
        if type(value) is not str or len(value) > most or "\0" in value:
            raise Mismatch(expected, value)
        return value

    return Kind(check)


def prose(most: int) -> Kind:
    """Text for people. Encoding cuts a longer text, and replaces characters that UTF-8 cannot encode."""

    def plain(value: str) -> str:
        if len(value) > most:
            value = value[: max(0, most - 3)] + "..."
        return value if _is_utf8(value) else value.encode("utf-8", "replace").decode("utf-8")

    return Kind(text(most).check, plain)


def name(most: int) -> Kind:
    """Text of printable characters only, so that it can be shown anywhere."""
    expected = "1 to {} printable characters".format(most)

    def check(value: Any) -> str:
        if type(value) is not str or not 0 < len(value) <= most or not value.isprintable():
            raise Mismatch(expected, value)
        return value

    return Kind(check)


def remark(most: int) -> Kind:
    """Text for people that encoding turns into a `name`: it is cut, and unprintable characters become spaces."""

    def plain(value: str) -> str:
        seen = "".join(c if c.isprintable() else " " for c in value[: most + 1]).strip() or "?"
        return seen if len(seen) <= most else seen[: most - 3] + "..."

    return Kind(name(most).check, plain)


def many(item: Kind, most: int) -> Kind:
    """A list of at most `most` items."""
    expected = "a list of at most {} items".format(most)
    check_item, plain_item = item

    def check(value: Any) -> list[Any]:
        if type(value) is not list or len(value) > most:
            raise Mismatch(expected, value)
        try:
            return [check_item(one) for one in value]
        except Mismatch as error:
            raise _inside(error, "an item") from None

    def plain(value: Iterable[Any]) -> list[Any]:
        assert plain_item is not None
        return [plain_item(one) for one in value]

    return Kind(check, None if plain_item is None else plain)


def table(key: Kind, item: Kind, most: int) -> Kind:
    """A dict of at most `most` items."""
    expected = "an object of at most {} items".format(most)

    def check(value: Any) -> dict[Any, Any]:
        if type(value) is not dict or len(value) > most:
            raise Mismatch(expected, value)
        try:
            return {key.check(one): item.check(value[one]) for one in value}
        except Mismatch as error:
            raise _inside(error, "an item") from None

    return Kind(check)


def names(most: int, most_chars_each: int, most_chars: int) -> Kind:
    """A list of `name`. Encoding leaves out invalid names, and those that exceed a limit."""
    inner = many(name(most_chars_each), most)
    expected = "at most {} characters in all".format(most_chars)

    def check(value: Any) -> list[Any]:
        checked: list[Any] = inner.check(value)
        if sum(map(len, checked)) > most_chars:
            raise Mismatch(expected, value)
        return checked

    def plain(value: Iterable[str]) -> list[str]:
        fit = (one for one in value if 0 < len(one) <= most_chars_each and one.isprintable())
        return list(_up_to(islice(fit, most), len, most_chars))

    return Kind(check, plain)


def reasons(most: int, most_chars_each: int, most_chars_reason: int, most_chars: int) -> Kind:
    """A dict of `remark` by `name`. Encoding leaves out invalid names, and items that exceed a limit."""
    key, item = name(most_chars_each), remark(most_chars_reason)
    inner = table(key, item, most)
    expected = "at most {} characters in all".format(most_chars)

    def size(pair: tuple[str, str]) -> int:
        return len(pair[0]) + len(pair[1])

    def check(value: Any) -> dict[Any, Any]:
        checked: dict[Any, Any] = inner.check(value)
        if sum(map(size, checked.items())) > most_chars:
            raise Mismatch(expected, value)
        return checked

    def plain(value: dict[str, str]) -> dict[str, str]:
        assert item.plain is not None
        fit = (
            (one, item.plain(reason))
            for one, reason in value.items()
            if 0 < len(one) <= most_chars_each and one.isprintable()
        )
        return dict(_up_to(islice(fit, most), size, most_chars))

    return Kind(check, plain)


def optional(inner: Kind) -> Kind:
    """A value of the kind `inner`, or None."""
    check_inner, plain_inner = inner

    def check(value: Any) -> Any:
        return None if value is None else check_inner(value)

    def plain(value: Any) -> Any:
        assert plain_inner is not None
        return None if value is None else plain_inner(value)

    return Kind(check, None if plain_inner is None else plain)


def _up_to(items: Iterable[Any], size: Callable[[Any], int], most: int) -> Iterable[Any]:
    """The first items, as many as have a sum of sizes of at most `most`."""
    left = most
    for item in items:
        left -= size(item)
        if left < 0:
            return
        yield item


def _inside(error: Mismatch, where: str) -> Mismatch:
    return Mismatch(error.expected, error.value, error.path or where)


def _is_utf8(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
