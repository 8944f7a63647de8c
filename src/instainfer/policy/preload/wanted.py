"""Makes places of functions that somebody has asked for: what is loaded for them, where, and what has to end there."""

from __future__ import annotations

import math

from ...core.lifecycle import UNLOADING
from ...core.model import ResidentKey, function_template_key
from ...core.ports import FunctionView, Stand, SuggestOffload
from ..objective import HELD
from .places import Candidate, Load, Place, bytes_in, is_too_large


def wanted_candidate(function: FunctionView) -> Candidate:
    """What makes one more place of a function that somebody has asked for: its function template, or a resident."""
    own = function.own_template
    if own is not None and function.own_copies == 0 and not is_too_large(function):
        key, is_template, size_bytes = own, True, function.own_bytes
    else:
        key, is_template, size_bytes = function.key, False, function.resident_bytes
    return Candidate(key, function, is_template, 0.0, 0.0, HELD, HELD / (size_bytes or 1), math.inf, is_wanted=True)


def load_wanted(candidate: Candidate, place: Place) -> Load | None:
    """What makes a wanted place, in this container. None if it does not fit, or the container is such a place already.

    A resident is to stand alone among the residents there, and beside no template that is held: a call of another
    function there would end it.
    """
    stands, function = place.contents.stands, candidate.function
    others = [each for each in place.view.residents if not each.is_template and each.state is not UNLOADING]
    others = [each for each in others if each.function != function.key]
    if function_template_key(function.key) in place.holds or (function.key in place.holds and not others):
        return None
    clears: set[ResidentKey] = set()
    lacks_bytes = -place.room_bytes
    if not candidate.is_template:
        if any(stand.gain >= HELD for stand in stands):
            return None
        clears = {each.function for each in others}
        lacks_bytes -= sum(each.charged_bytes for each in others)
    size_bytes = 0 if candidate.key in place.holds else bytes_in(candidate, place.ready)
    lacks_bytes += size_bytes
    ends: list[Stand] = []
    for stand in stands:
        if lacks_bytes <= 0:
            break
        if stand.gain < HELD and stand.key not in clears and stand.key not in (function.key, function.library):
            ends.append(stand)
            lacks_bytes -= stand.size_bytes
    if lacks_bytes > 0 and size_bytes:
        return None
    # Beside a resident that is held, no call forks from the templates there.
    lost = sum(stand.gain for stand in (ends if candidate.is_template else stands) if stand.key != function.key)
    return Load(candidate, place, HELD - lost, size_bytes, ends, sorted(clears))


def clear(load: Load) -> list[SuggestOffload]:
    why = f"{load.candidate.key} is to stand alone there, because somebody asked for it"
    return [SuggestOffload(load.place.view.id, key, why) for key in load.clears]
