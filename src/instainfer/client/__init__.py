"""Clients for a platform: `Client` and `AsyncClient` call functions; `Client` has the rest of the API, too.

`blocking.py` and `asynchronous.py` send what `steps.py` says; `functions.py` is what a program calls, `results.py` what
it gets, and `answers.py` says what an answer of the platform means.
"""

from __future__ import annotations

from .answers import Json
from .asynchronous import AsyncClient
from .blocking import Client
from .functions import AsyncCall, AsyncFunction, Call, Function
from .results import Result

__all__ = ["AsyncCall", "AsyncClient", "AsyncFunction", "Call", "Client", "Function", "Json", "Result"]
