"""Checks the parts of a sequence that is put, and makes the action that it is. Refusals have the texts of OpenWhisk."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..core.model import FunctionKey
from ..errors import BadInput, Conflict, NotFound
from .packages import Packages
from .paths import EntityPath
from .puts import ActionPut, asked_limits, merged_annotations, next_version
from .records import SEQUENCE, Action, ActionLimits

MOST_PARTS = 50
"""Most functions that one call of a sequence may run, those of sequences in it included. It is OpenWhisk's number."""
TOO_LONG = "Too many actions in the sequence."
CYCLIC = "Sequence may not refer to itself."
EMPTY = "No component specified for the sequence."
NO_COMPONENT = "Sequence component does not exist."


def checked_components(packages: Packages, path: EntityPath, components: Sequence[str]) -> list[str]:
    """The parts of the sequence that is put at `path`, as fully qualified names.

    Raises `BadInput` for none or too many, for one that does not exist, and for a sequence in itself, and `NotAllowed`
    for one that this namespace may not call.
    """
    parts = [EntityPath.parsed(text, path.namespace) for text in components]
    if not parts:
        raise BadInput(EMPTY)
    _count(packages, path, parts, depth=0)
    return [f"/{part}" for part in parts]


def _count(packages: Packages, path: EntityPath, parts: Sequence[EntityPath], *, depth: int) -> int:
    """The number of functions that a call of a sequence with these parts runs."""
    if len(parts) > MOST_PARTS or depth > MOST_PARTS:
        raise BadInput(TOO_LONG)
    count = 0
    for part in parts:
        if part == path:
            raise BadInput(CYCLIC)
        try:
            action = packages.resolve(path.namespace, part).deployed.action
        except (NotFound, Conflict):
            raise BadInput(NO_COMPONENT) from None
        if action.path == path:
            raise BadInput(CYCLIC)
        inner = [EntityPath.parsed(text, path.namespace) for text in action.components or ()]
        count += _count(packages, path, inner, depth=depth + 1) if inner else 1
        if count > MOST_PARTS:
            raise BadInput(TOO_LONG)
    return count


def new_sequence(
    path: EntityPath,
    wanted: ActionPut,
    old: Action | None,
    components: list[str],
    *,
    key: FunctionKey,
    limits: ActionLimits,
) -> Action:
    """The sequence with these parts, in place of the action `old`. It has no parameters of its own, as in OpenWhisk."""
    return Action(
        path=path,
        version=next_version(wanted.version, old),
        key=key,
        updated_ms=time.time_ns() // 1_000_000,
        publish=wanted.publish if wanted.publish is not None else (old.publish if old else False),
        kind=SEQUENCE,
        main=None,
        binary=False,
        code_digest="",
        components=components,
        parameters=[{"key": "_actions", "value": components}],
        annotations=merged_annotations(wanted, SEQUENCE, old),
        asked=asked_limits(wanted.limits, old),
        limits=limits,
    )
