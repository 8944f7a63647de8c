"""Measures a call without any platform: the handler runs in a plain process of its environment's Python.

This is the reference for the platform's own cost: a call of a pre-loaded function should take hardly longer than
``main(args)`` in a process that has just loaded the model.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..environments.package import pack
from ..errors import BadFunction

WAIT_S = 3.0
"""A pre-loaded function has waited for its call, so the direct call waits as long. After seconds in which the machine
did other things, processor caches are cold and clocks are low, and the same call takes up to 1.7 times as long."""

_TIMEOUT_S = 300.0

# The script runs on the function's Python (3.9 or newer). It writes results to a file, because functions may print.
_SCRIPT = """
import importlib, json, os, sys, time
from instainfer.runtime.answers import encode_answer
from instainfer.runtime.coroutines import awaited
handler_name, main_name, request_file, calls, answer_file, wait_s = sys.argv[1:7]
sys.path.insert(0, os.getcwd())
with open(request_file, "rb") as file:
    request = file.read()
begin = time.perf_counter()
handler = importlib.import_module(handler_name)
imported = time.perf_counter()
if hasattr(handler, "load"):
    awaited(handler.load())
loaded = time.perf_counter()
if hasattr(handler, "warmup"):
    awaited(handler.warmup())
time.sleep(float(wait_s))
times = []
for _ in range(int(calls)):
    began = time.perf_counter()
    encode_answer(awaited(getattr(handler, main_name)(json.loads(request))), "the answer")
    times.append(time.perf_counter() - began)
with open(answer_file, "w") as file:
    json.dump({"library_s": imported - begin, "model_s": loaded - imported, "calls_s": times}, file)
"""


@dataclass(frozen=True, slots=True)
class Direct:
    """Seconds that one function takes without a platform."""

    library_s: float
    model_s: float
    first_s: float
    """The first call in a process that has loaded, has run ``warmup()`` if there is one, and has waited for `WAIT_S`.
    A call of a pre-loaded function does the same."""
    later_s: float
    """Median of the later calls."""


class _Answer(msgspec.Struct):
    library_s: float
    model_s: float
    calls_s: list[float]


def measure(
    python: Path, folder: Path, request: bytes, weights_dir: Path | None = None, *, calls: int = 6
) -> Direct | None:
    """Time a function that has ``main(args)``; return None for a script, which has no such function.

    `calls` is at least 2. Raises `BadFunction` with the process's error output when the process fails.
    """
    package = pack(folder, weights_dir)
    if package.manifest.style != "action":
        return None
    with tempfile.TemporaryDirectory(prefix="instainfer-direct-") as temporary:
        place = Path(temporary)
        code = place / "function"
        shutil.copytree(folder, code, ignore=shutil.ignore_patterns("__pycache__"))
        for path, file in package.weights.items():
            _link(code / path, file)
        # Functions may import this package, but must not see the rest of our site-packages.
        (place / "shim").mkdir()
        _link(place / "shim" / "instainfer", Path(__file__).resolve().parents[1])
        (place / "request.json").write_bytes(request)
        arguments = [package.manifest.handler, package.manifest.main, "../request.json", str(calls), "../answer.json"]
        arguments.append(str(WAIT_S))
        finished = subprocess.run(
            [str(python), "-c", _SCRIPT, *arguments],
            cwd=code,
            env={**os.environ, **package.manifest.env, "PYTHONPATH": str(place / "shim")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if finished.returncode != 0:
            raise BadFunction(f"{folder.name} fails when it is run directly:\n{finished.stderr[-2000:]}")
        answer = msgspec.json.decode((place / "answer.json").read_bytes(), type=_Answer)
    first_s, *later = answer.calls_s
    return Direct(answer.library_s, answer.model_s, first_s, statistics.median(later))


def _link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target.resolve())
