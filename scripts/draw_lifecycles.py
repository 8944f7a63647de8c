"""Draw the two life cycles of ``core/lifecycle.py`` into docs/explanation/lifecycles.md, as Mermaid state diagrams.

    python scripts/draw_lifecycles.py

A test compares the document with the tables, so that the drawings cannot grow old.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from blocks import DOCS, rewrite

from instainfer.core.lifecycle import CONTAINER_TRANSITIONS, RESIDENT_TRANSITIONS

DOCUMENT = DOCS / "explanation" / "lifecycles.md"

S = TypeVar("S", bound=StrEnum)


def diagram(transitions: Mapping[S, frozenset[S]]) -> str:
    """A fenced Mermaid diagram; the first state is where every life begins, a state without a way out its end."""
    order = list(transitions)
    arrows = [f"[*] --> {order[0]}"]
    for state, following in transitions.items():
        arrows += [f"{state} --> {then}" for then in sorted(following, key=order.index)]
        arrows += [] if following else [f"{state} --> [*]"]
    return "\n".join(["```mermaid", "stateDiagram-v2", *(f"    {arrow}" for arrow in arrows), "```"])


def parts() -> dict[str, str]:
    """What the script writes, by the name of its place in the document."""
    return {"container": diagram(CONTAINER_TRANSITIONS), "resident": diagram(RESIDENT_TRANSITIONS)}


if __name__ == "__main__":
    rewrite(DOCUMENT, parts())
