"""Count the letters of a text.

{"text": "Hello"}  ->  {"letters": 5, "most": "l"}
"""

from __future__ import annotations

import collections
import string
from typing import Any

letters: set[str] = set()


def load() -> None:
    """Make ready what every call needs, such as a model. Called once, before the first request."""
    letters.update(string.ascii_letters)


def main(args: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    text = args.get("text")
    if not isinstance(text, str):
        return {"error": 'the request needs a "text"'}
    counted = collections.Counter(c for c in text.lower() if c in letters)
    print("counted", counted.total(), "letters")  # goes to `instainfer logs`
    return {"letters": counted.total(), "most": counted.most_common(1)[0][0] if counted else None}
