"""Verdicts on forking from before: where they were given, and whether they still hold.

A verdict is about the code, the packages, the machine and its kernel. It is kept with the version of its function, and
used again only for the same environment on the same host.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from .. import __version__
from ..core.model import Function, Verdict
from ..errors import one_line

REASON_CHARS = 1000
"""What is kept of a reason at most. It comes from the function's process."""
HOST_CHARS = 300


class KnownVerdict(NamedTuple):
    """A verdict, with what it is true for."""

    verdict: Verdict
    host: str
    environment: str

    def holds_for(self, function: Function, host: str) -> bool:
        return (self.host, self.environment) == (host, function.environment)


def known(verdict: Verdict, function: Function, host: str) -> KnownVerdict:
    """A verdict as it is kept: its reason is one line of a sane length, which any table and any terminal takes."""
    return KnownVerdict(Verdict(verdict.fit, one_line(verdict.reason, REASON_CHARS)), host, function.environment)


def this_host() -> str:
    """A short text that identifies this host, its kernel, and the version of InstaInfer that judges."""
    name = os.uname()
    return one_line(f"{__version__} {name.nodename} {name.release} {name.machine}", HOST_CHARS)
