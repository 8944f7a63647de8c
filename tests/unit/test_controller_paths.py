"""The address of an entity, as text and as parts of a URL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instainfer.controller.paths import MAX_NAME_LENGTH, EntityPath, entity_path, is_relative
from instainfer.errors import BadInput

names = st.from_regex(r"\A[A-Za-z0-9_]([A-Za-z0-9_@ .-]{0,20}[A-Za-z0-9_@.-])?\Z")


def test_an_address_prints_its_parts() -> None:
    plain, packaged = EntityPath("guest", None, "f"), EntityPath("guest", "tools", "f")
    assert (str(plain), plain.relative, plain.folder) == ("guest/f", "f", "guest")
    assert (f"{packaged}", packaged.relative, packaged.folder) == ("guest/tools/f", "tools/f", "guest/tools")


@given(names, st.none() | names, names)
def test_what_is_printed_is_read_again(namespace: str, package: str | None, name: str) -> None:
    path = EntityPath(namespace, package, name)
    assert EntityPath.parsed(str(path), namespace) == path
    assert EntityPath.parsed(f"/{path}", namespace) == path
    assert EntityPath.within(namespace, path.relative) == path
    assert is_relative(path.relative)


def test_an_underscore_is_the_callers_own_namespace() -> None:
    assert EntityPath.parsed("/_/f", "guest") == EntityPath("guest", None, "f")
    assert EntityPath.parsed("/_/tools/f", "guest") == EntityPath("guest", "tools", "f")
    assert EntityPath.parsed("/_/_", "guest") == EntityPath("guest", None, "_")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("f", "must contain at least the namespace and the name"),
        ("/f", "must contain at least the namespace and the name"),
        ("", "must contain at least the namespace and the name"),
        ("/guest/", "The name of the entity contains illegal characters."),
        ("/guest//f", "The name of the entity contains illegal characters."),
        ("//f", "The namespace contains illegal characters."),
        ("/guest/a/b/c", "The name of the entity contains illegal characters."),
        ("/guest/f ", "The name of the entity contains illegal characters."),
        ("/gu$st/f", "The namespace contains illegal characters."),
        ("/guest/" + "x" * 257, "Name longer than allowed: 257 > 256."),
        ("/guest/" + "x" * 257 + "/f", "Name longer than allowed: 257 > 256."),
        ("/" + "x" * 257 + "/f", "Namespace longer than allowed: 257 > 256."),
    ],
)
def test_what_is_no_address_is_refused_in_openwhisks_words(text: str, refusal: str) -> None:
    with pytest.raises(BadInput) as caught:
        EntityPath.parsed(text, "guest")
    assert refusal in str(caught.value)


def test_segments_of_a_url_are_decoded_one_by_one() -> None:
    assert entity_path("guest", "a%20b", "p%40q") == EntityPath("guest", "p@q", "a b")
    assert entity_path("guest", "x" * MAX_NAME_LENGTH).name == "x" * MAX_NAME_LENGTH
    with pytest.raises(BadInput):
        entity_path("guest", "a%2Fb")
