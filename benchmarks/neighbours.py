"""What calls that compute at the same time cost each other, as the platform starts processes and as libraries would.

    python benchmarks/neighbours.py [--function NAME] [--calls N] [--json FILE]

An example function is deployed four times: twice as it is, with threads of OpenMP that sleep while they wait, and twice
with libgomp's own default, which is to spin for 300,000 rounds first. All are called until they are warm. Then one is
called alone, and two of the same kind are called at once, N times each; the kinds take turns, so that both meet the
same machine. Told are medians and means of the end-to-end latency. A minute; PyTorch's functions show it best, and a
machine whose processors have other things to do shows nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

from rich.console import Console

from instainfer.client import Client
from instainfer.config import load_config
from instainfer.deployment import deploy
from instainfer.errors import InstaInferError
from instainfer.experiments.platform import Setting, running
from instainfer.experiments.setup import Prepared, prepare
from instainfer.experiments.starts import call
from instainfer.report.results import this_machine
from instainfer.report.tables import ms, plain

KINDS = {"asleep": "", "spinning": '\n[env]\nGOMP_SPINCOUNT = "300000"\n'}
"""How threads wait, and what the function's description says for it."""
_ROUNDS = 4
_MEMORY_MB = 2048


def deployed(client: Client, each: Prepared, folder: Path) -> dict[str, tuple[str, str]]:
    """Names of two copies of the function for each of `KINDS`."""
    names = {}
    for kind, env in KINDS.items():
        place = folder / kind
        shutil.copytree(each.folder, place)
        with (place / "function.toml").open("a", encoding="utf-8") as description:
            description.write(env)
        names[kind] = (f"{kind}-1", f"{kind}-2")
        for name in names[kind]:
            deploy(client, place, each.weights_dir, name=name, memory_mb=_MEMORY_MB)
    return names


def times_s(client: Client, name: str, args: dict[str, Any], calls: int) -> list[float]:
    """End-to-end latencies of calls, one after the other."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call(client, name, args)
        times.append(time.perf_counter() - began)
    return times


def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    cache = load_config().cache_dir.absolute()
    (each,) = prepare([options.function], cache, None, console)
    args = json.loads(each.request)
    setting = Setting("neighbours", retain=True, preload="none", templates=False)
    found: dict[str, dict[str, list[float]]] = {kind: {"alone": [], "together": []} for kind in KINDS}
    with (
        tempfile.TemporaryDirectory(prefix="instainfer-neighbours-") as temporary,
        running(setting, Path(temporary) / "platform", cache, len(KINDS) * 2 * _MEMORY_MB) as platform,
        platform.client() as first,
        platform.client() as second,
        ThreadPoolExecutor(2) as callers,
    ):
        names = deployed(first, each, Path(temporary))
        for name in (name for pair in names.values() for name in pair):
            for _ in range(3):
                call(first, name, args)
        calls = max(1, options.calls // _ROUNDS)
        for _ in range(_ROUNDS):
            for kind, pair in names.items():
                found[kind]["alone"] += times_s(first, pair[0], args, calls)
                for times in callers.map(times_s, (first, second), pair, repeat(args), repeat(calls)):
                    found[kind]["together"] += times
    return {
        "function": options.function,
        "latency_ms": {
            kind: {
                how: {"median": 1e3 * statistics.median(times), "mean": 1e3 * statistics.fmean(times)}
                for how, times in measured.items()
            }
            for kind, measured in found.items()
        },
        "machine": this_machine(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--function", default="resnet50", metavar="NAME", help="of the examples; default: resnet50")
    parser.add_argument("--calls", type=int, default=60, metavar="N", help="of each function, alone and together")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)
    try:
        figures = measure(options, Console(stderr=True))
    except InstaInferError as error:
        sys.exit(f"neighbours: {error}")
    table = plain("end-to-end latency of warm calls (ms)", "threads wait")
    for head in ("alone, median", "mean", "two at once, median", "mean"):
        table.add_column(head, justify="right")
    for kind, measured in figures["latency_ms"].items():
        table.add_row(kind, *(ms(measured[how][which]) for how in measured for which in ("median", "mean")))
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
