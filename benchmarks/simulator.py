"""How fast the simulator is: calls simulated in a second on one core, by number of functions, with pre-loading on.

    python benchmarks/simulator.py [--functions 100,400,1000] [--calls N] [--preload on|off] [--templates on|off]
                                   [--function-templates on|off] [--predictor P] [--profile] [--json FILE]

The workload is made up: all three classes of arrivals, rates spread evenly (in logarithm) between one call in 50
minutes and ten a minute, memory for containers of a quarter of the functions, the paper's costs. Each size is run
twice, with N and with 2 N calls, to see that memory does not grow with the length of a trace (`peak_mb` is that of a
process of its own). ``--profile`` runs each size once more, under cProfile, and says in which modules the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import multiprocessing
import pstats
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from instainfer.config import PreloadConfig
from instainfer.core.model import GIB
from instainfer.report.results import this_machine
from instainfer.sim.costs import load
from instainfer.sim.run import Outcome, run_simulation
from instainfer.sim.settings import Settings
from instainfer.traces.counts import Counts
from instainfer.traces.generate import MIX, Arrivals, generate

SLOWEST_PER_MINUTE = 0.02
SPREAD = 500.0


def workload(functions: int, calls: int) -> Counts:
    rates = [SLOWEST_PER_MINUTE * SPREAD ** (n / functions) for n in range(functions)]
    mix = tuple(Arrivals(MIX[n % len(MIX)].kind, rate) for n, rate in enumerate(rates))
    return Counts(generate(max(1, round(calls / sum(rates))), functions, seed=1, mix=mix))


def simulate(trace: Counts, options: argparse.Namespace) -> Outcome:
    settings = Settings(
        preload=PreloadConfig(
            policy="opportunistic" if options.preload == "on" else "none", predictor=options.predictor
        ),
        templates=options.templates == "on",
        function_templates=options.function_templates == "on",
        memory_bytes=max(1, len(trace.functions) // 4) * 2 * GIB,
    )
    return run_simulation(trace, load("paper"), settings)


def measure(work: tuple[int, int, argparse.Namespace]) -> dict[str, Any]:
    functions, calls, options = work
    outcome = simulate(workload(functions, calls), options)
    calls = outcome.overall.calls
    return {
        "functions": functions,
        "calls": calls,
        "events": outcome.events,
        "wall_s": outcome.wall_s,
        "calls_per_s": calls / outcome.wall_s,
        "us_per_call": 1e6 * outcome.wall_s / calls,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "preload_rate": outcome.overall.preload_rate,
    }


def modules(functions: int, calls: int, options: argparse.Namespace) -> dict[str, float]:
    """Share of the time spent in each module's own code."""
    trace = workload(functions, calls)
    profile = cProfile.Profile()
    profile.runcall(simulate, trace, options)
    spent: Counter[str] = Counter()
    for (file, _, _), (_, _, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        _, ours, module = file.rpartition("/instainfer/")
        spent[module.removesuffix(".py") if ours else "Python itself"] += own_s
    total_s = sum(spent.values())
    return {module: own_s / total_s for module, own_s in spent.most_common(12)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--functions", default="100,400,1000")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--preload", choices=("on", "off"), default="on")
    parser.add_argument("--templates", choices=("on", "off"), default="on")
    parser.add_argument("--function-templates", choices=("on", "off"), default="off")
    parser.add_argument("--predictor", default=PreloadConfig().predictor, metavar="P")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path, dest="json_file")
    options = parser.parse_args()
    sizes = [int(text) for text in options.functions.split(",")]
    results: list[dict[str, Any]] = []
    # A fresh process for each, because a process's peak of memory never falls.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for functions in sizes:
            for calls in (options.calls, 2 * options.calls):
                found = pool.apply(measure, ((functions, calls, options),))
                results.append(found)
                print(
                    f"{functions:6} functions {found['calls']:9,} calls: {found['calls_per_s']:8,.0f} calls/s, "
                    f"{found['us_per_call']:7.1f} us a call, peak {found['peak_mb']:.0f} MB, "
                    f"pre-loaded {found['preload_rate']:.0%}",
                    flush=True,
                )
    document: dict[str, Any] = {"runs": results, "machine": this_machine()}
    if options.profile:
        document["profiles"] = {str(functions): modules(functions, options.calls, options) for functions in sizes}
        for size, shares in document["profiles"].items():
            print(f"{size} functions: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(document, indent=2) + "\n")
        print(f"written to {options.json_file}", file=sys.stderr)


if __name__ == "__main__":
    main()
