"""Write the tables of docs/reference/metrics.md from the metrics themselves.

    python scripts/write_metrics.py

A test compares the document with what this script would write.
"""

from __future__ import annotations

import inspect
import re

from blocks import DOCS, rewrite, table

from instainfer.controller.counts import BUCKETS_S
from instainfer.controller.metrics import FAMILIES
from instainfer.core.model import EndCause

DOCUMENT = DOCS / "reference" / "metrics.md"


def metrics() -> str:
    rows = [
        (f"`{each.full_name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels), each.meaning)
        for each in FAMILIES
    ]
    return table(("metric", "kind", "labels", "meaning"), rows)


def causes() -> str:
    """The causes with the sentences that stand below them in the code."""
    told = re.findall(r'= "(\w+)"\n    """(.*?)"""', inspect.getsource(EndCause), re.DOTALL)
    return table(("cause", "meaning"), [(f"`{value}`", " ".join(meaning.split())) for value, meaning in told])


def parts() -> dict[str, str]:
    """What the script writes, by the name of its place in the document."""
    return {
        "metrics": metrics(),
        "causes": causes(),
        "buckets": f"    {', '.join(f'{bound:g}' for bound in BUCKETS_S)}",
    }


if __name__ == "__main__":
    rewrite(DOCUMENT, parts())
