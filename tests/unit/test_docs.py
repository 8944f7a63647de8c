"""The documents say what the code says: tables and diagrams that are generated, references that must be complete."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from instainfer.controller.checks import CheckedPuts
from instainfer.controller.collections import Collections
from instainfer.controller.native import Native
from instainfer.controller.package_calls import PackageCalls
from instainfer.controller.trigger_calls import TriggerCalls
from instainfer.core.lifecycle import CONTAINER_TRANSITIONS, RESIDENT_TRANSITIONS
from instainfer.core.model import FailureKind, Phases, StartKind
from instainfer.environments.manifest import read_manifest
from instainfer.errors import BadFunction

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")] + [*DOCS.rglob("*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)")
_SOURCE = re.compile(r"`((?:[\w.]+/)+\w+\.(?:py|md|toml))`")
_INVENTED = {"my_function", "NAME"}
"""Names in examples, of things that need not exist."""


def text_of(*parts: str) -> str:
    return DOCS.joinpath(*parts).read_text(encoding="utf-8")


def first_cells(text: str) -> list[str]:
    """What stands in code in the first column of the tables of a text."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import one of the scripts that write parts of the documents."""

    def importing(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(ROOT / "scripts"))
        return import_module(name)

    return importing


@pytest.mark.parametrize("name", ["write_configuration", "write_metrics", "draw_lifecycles"])
def test_what_a_script_writes_is_current(script: Any, name: str) -> None:
    writer, fill = script(name), script("blocks").fill
    text = writer.DOCUMENT.read_text(encoding="utf-8")
    assert fill(text, writer.parts()) == text, f"call: python scripts/{name}.py"


def test_every_key_and_every_command_is_in_the_reference(script: Any) -> None:
    writer = script("write_configuration")
    text = text_of("reference", "configuration.md")
    described = first_cells(text)
    assert [key for key, _ in writer.configuration_keys() if key not in described] == []
    assert [key for key, field in writer.configuration_keys() if not field.description] == []
    named = [name for name, _ in writer.commands()]
    assert "instainfer up" in named
    assert [name for name in named if f"### `{name}`" not in text] == []


def test_a_part_without_a_place_is_an_error(script: Any) -> None:
    blocks = script("blocks")
    assert blocks.fill("a\n<!-- begin: x -->\nold\n<!-- end: x -->\n", {"x": r"new \1"}) == (
        "a\n<!-- begin: x -->\n\nnew \\1\n\n<!-- end: x -->\n"
    )
    with pytest.raises(ValueError, match="a place for y"):
        blocks.fill("nothing", {"y": "new"})


@pytest.mark.parametrize(
    ("heading", "transitions"), [("## Container", CONTAINER_TRANSITIONS), ("## Resident", RESIDENT_TRANSITIONS)]
)
def test_every_change_of_state_is_explained_and_no_other(heading: str, transitions: Any) -> None:
    section = text_of("explanation", "lifecycles.md").split(heading)[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in section.splitlines() if line.startswith("| ")]
    explained = [(before, after) for before, after, why in rows if why and before != "from"]
    wanted = {(a.replace("_", " "), b.replace("_", " ")) for a, following in transitions.items() for b in following}
    assert len(explained) == len(set(explained))
    assert set(explained) == wanted


def test_every_key_of_a_manifest_is_in_its_table(tmp_path: Path) -> None:
    (tmp_path / "handler.py").touch()
    (tmp_path / "function.toml").write_text("nonsense = 1\n")
    with pytest.raises(BadFunction) as refused:
        read_manifest(tmp_path)
    known = str(refused.value).split("allowed: ")[1].split(", ")
    table = text_of("howto", "write-a-function.md").split("## function.toml")[1].split("\n## ")[0]
    described = first_cells(table)
    assert sorted(described) == sorted(known), "the table in docs/howto/write-a-function.md has other keys"


def test_every_way_to_fail_is_told() -> None:
    table = text_of("howto", "write-a-function.md").split("## When it does not work")[1]
    assert set(first_cells(table)) == set(FailureKind)


def test_every_route_is_in_the_api_reference() -> None:
    nothing = cast(Any, None)
    rest = {"content": nothing, "environments": nothing, "status": nothing, "explain": nothing, "wishes": nothing}
    rest |= {"caches": nothing, "uploads": nothing, "forks": True, "max_body_bytes": 0}
    native = Native(nothing, nothing, nothing, nothing, **rest)
    collections = Collections(nothing, nothing, nothing, nothing, nothing, activations=nothing, budget=nothing)
    packages = PackageCalls(nothing, nothing, nothing, nothing, nothing)
    triggers = TriggerCalls(nothing, nothing, nothing, nothing, now=nothing, max_body_bytes=0)
    checked = CheckedPuts(nothing, nothing, nothing, nothing, nothing, server=nothing, now=nothing)
    routes = [*collections.routes(), *packages.routes(), *triggers.routes(), *native.routes(), *checked.routes()]
    text = text_of("reference", "api.md")
    paths = {route.path.removesuffix("/") or "/" for route in routes}
    assert len(paths) > 10
    assert [path for path in sorted(paths) if f"{path}`" not in text] == []


def test_the_words_for_starts_and_phases_are_in_the_glossary() -> None:
    assert set(first_cells(text_of("glossary.md"))) == {*StartKind, *Phases.__dataclass_fields__}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_refers_to_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in _LINK.findall(text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    places = (ROOT, ROOT / "src" / "instainfer", ROOT / "src" / "instainfer" / "policy", page.parent)
    files = [file for file in _SOURCE.findall(text) if not any(name in file for name in _INVENTED)]
    assert [file for file in files if not any((place / file).exists() for place in places)] == []
