"""Models of series that libraries fit. Policies do not import this room: the catalog hands its models to them.

The libraries are in the extra ``forecast`` and are imported when a model is first asked for.
"""

from __future__ import annotations

from ..errors import HostError


def missing(name: str, library: str) -> HostError:
    """What to raise when a library of the extra is not there."""
    return HostError(f"{name} needs {library}, which is not installed; call: pip install 'instainfer[forecast]'")
