"""Reads the sample of a function: a request that it can answer, in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import BadFunction, NotFound
from ..texts import read_text

SAMPLE = "sample.json"


def sample_request(folder: Path) -> bytes:
    """Return the sample request in a function's folder, as compact JSON.

    Raises `NotFound` when there is none, and `BadFunction` when it cannot be read or is not a JSON object.
    """
    path = folder / SAMPLE
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise NotFound(f"no {path}; write a request for the function into it, a JSON object") from None
    except OSError as error:
        raise BadFunction(f"cannot read {path}: {error.strerror}; correct it") from None
    except ValueError as error:
        raise BadFunction(f"{path}: {error}") from None
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFunction(f"{path} is not JSON: {error}; correct it") from None
    if not isinstance(request, dict):
        raise BadFunction(f"{path} must be a JSON object: the arguments of one call; correct it")
    return json.dumps(request, separators=(",", ":")).encode()
