"""Parts of a document that a program writes, between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def fill(text: str, parts: Mapping[str, str]) -> str:
    """`text` with each part in its place. Raises ValueError for a part that has none."""
    for name, content in parts.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        found = place.search(text)
        if found is None:
            raise ValueError(f"the document needs a place for {name}: {begin} and, on a later line, {end}")
        text = f"{text[: found.start()]}{begin}\n\n{content}\n\n{end}{text[found.end() :]}"
    return text


def rewrite(path: Path, parts: Mapping[str, str]) -> None:
    """Bring a document up to date."""
    path.write_text(fill(path.read_text(encoding="utf-8"), parts), encoding="utf-8")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
