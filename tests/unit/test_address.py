"""Whose address and key a command or a program uses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from instainfer.address import Address, resolve
from instainfer.errors import NotAllowed, Unreachable

NOTHING = Address("", "")
ENVIRON = {"INSTAINFER_API_HOST": "http://env:1", "INSTAINFER_AUTH": "env:key"}


def stored() -> tuple[str, str]:
    return "http://home:2", "home:key"


def nothing_stored() -> tuple[str, str]:
    raise Unreachable("no address and key; start it with `instainfer up`")


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        (Address("http://flag:3", "flag:key"), ENVIRON, Address("http://flag:3", "flag:key")),
        (Address("http://flag:3", ""), ENVIRON, Address("http://flag:3", "env:key")),
        (NOTHING, ENVIRON, Address("http://env:1", "env:key")),
        (NOTHING, {"INSTAINFER_AUTH": "env:key"}, Address("http://home:2", "env:key")),
        (NOTHING, {}, Address("http://home:2", "home:key")),
    ],
)
def test_the_strongest_source_wins_for_each_of_the_two(
    given: Address, environ: Mapping[str, str], expected: Address
) -> None:
    assert resolve(given, environ, stored) == expected


def test_what_is_stored_is_not_looked_for_when_both_are_known() -> None:
    assert resolve(NOTHING, ENVIRON, nothing_stored) == Address("http://env:1", "env:key")


def test_an_address_without_a_key_is_not_allowed() -> None:
    with pytest.raises(NotAllowed, match="no key for http://flag:3; give it"):
        resolve(Address("http://flag:3", ""), {}, nothing_stored)


def test_without_any_address_the_platform_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="instainfer up"):
        resolve(NOTHING, {}, nothing_stored)
