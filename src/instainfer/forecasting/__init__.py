"""Time series models that libraries fit. Policies do not import this package: the catalog gives its models to them.

The libraries belong to the extra ``forecast``, and are imported when a model is first used.
"""

from __future__ import annotations

from ..errors import HostError


def missing(name: str, library: str) -> HostError:
    """Return the error to raise when a library of the extra is not installed."""
    return HostError(f"{name} needs {library}, which is not installed; call: pip install 'instainfer[forecast]'")
