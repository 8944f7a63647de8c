"""Clients for a platform, `Client` and `AsyncClient`: they call functions, and have the rest of the API.

`blocking.py` and `asynchronous.py` send what `steps.py` (calls) and `api.py` (all else) say; `functions.py` is what a
program calls, `results.py` what it gets, and `answers.py` says what an answer of the platform means.
"""

from __future__ import annotations

from .answers import Json
from .asynchronous import AsyncClient
from .blocking import Client
from .functions import AsyncCall, AsyncFunction, AsyncStream, Call, Function, Stream
from .results import Ended, Result

__all__ = [
    "AsyncCall",
    "AsyncClient",
    "AsyncFunction",
    "AsyncStream",
    "Call",
    "Client",
    "Ended",
    "Function",
    "Json",
    "Result",
    "Stream",
]
