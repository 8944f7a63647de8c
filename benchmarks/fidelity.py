"""How close the simulator comes to the live platform: one trace on both, with costs measured here.

    python benchmarks/fidelity.py [--functions NAME ...] [--minutes N] [--seed N] [--memory-mb N] [--repeat N]
                                  [--costs FILE] [--live-runs N] [--runs LABEL ...] [--out DIR]

Measures a cost set as `instainfer profile` does (or takes one), replays a generated trace on a fresh platform at its
own speed, once for each setting, and simulates the same calls with the same settings. Compared are mean and p95 of the
end-to-end latency, and, call by call, the start kinds; then where they differ most. With ``--live-runs 2`` each live
run is made twice and the second is compared with the first as well: closer than that nobody can come.

Settings: plain keep-alive, and pre-loading with templates (the default configuration). All eight functions of the
paper over five minutes take half an hour, most of it for the costs. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from instainfer.config import load_config
from instainfer.errors import InstaInferError
from instainfer.examples import PAPER
from instainfer.experiments import fidelity
from instainfer.experiments.live import ReplayView, Steps
from instainfer.experiments.platform import Setting, chosen
from instainfer.experiments.profile import Profiled, measure, prepared
from instainfer.experiments.workload import plan, without_idle_beginning
from instainfer.report.records import CallRecord, to_line
from instainfer.report.results import this_machine
from instainfer.report.tables import ms, plain
from instainfer.sim.costs import CostSet, dump, load
from instainfer.sim.fidelity import Fidelity, Pair, compare
from instainfer.traces.counts import Counts
from instainfer.traces.generate import generate

_CONTAINERS = 5
"""As many of the largest functions' containers fit by default."""


class Bench:
    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self.options = options
        self.console = console
        self.cache = load_config().cache_dir.absolute()
        self.functions: list[Profiled] = prepared(options.functions, self.cache, options.weights, console)
        names = [each.prepared.name for each in self.functions]
        trace = generate(options.minutes, len(names), options.seed)
        requests = {each.prepared.name: each.prepared.request for each in self.functions}
        planned = plan(Counts(trace), options.seed, names, requests)
        calls, duration_s = without_idle_beginning(planned, trace.duration_s)
        memory_mb = options.memory_mb or _CONTAINERS * max(each.memory_mb for each in self.functions)
        self.scene = fidelity.Scene(self.functions, calls, duration_s, memory_mb)

    def costs(self, folder: Path) -> CostSet:
        if self.options.costs is not None:
            return load(str(self.options.costs))
        with Steps(self.console, "measuring") as steps:
            costs = measure(self.functions, folder, self.cache, self.options.repeat, steps)
        (self.options.out / "costs.json").write_bytes(dump(costs))
        return costs

    def live(self, setting: Setting, folder: Path) -> list[CallRecord]:
        view = ReplayView(len(self.scene.calls), self.scene.duration_s)
        with fidelity.ready(self.scene, setting, folder, self.cache) as platform, view.shown(self.console):
            records = asyncio.run(fidelity.live(self.scene, platform, view))
        (self.options.out / f"{folder.name}.jsonl").write_text("".join(to_line(r, folder.name) for r in records))
        (folder / "story.jsonl").replace(self.options.out / f"{folder.name}.story.jsonl")
        return records

    def run(self) -> dict[str, Any]:
        self.options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="instainfer-fidelity-") as temporary:
            folder = Path(temporary)
            costs = self.costs(folder)
            found = {setting.label: self.compared(setting, costs, folder) for setting in chosen(self.options.runs)}
        scene = self.scene
        document = {
            "settings": {
                label: {name: each.to_json() for name, each in results.items()} for label, results in found.items()
            },
            "calls": len(scene.calls),
            "duration_s": scene.duration_s,
            "memory_mb": scene.memory_mb,
            "seed": self.options.seed,
            "functions": [each.prepared.name for each in self.functions],
            "costs": costs.source,
            "machine": this_machine(),
        }
        (self.options.out / "fidelity.json").write_text(json.dumps(document, indent=2) + "\n")
        for label, results in found.items():
            for name, each in results.items():
                show(f"{label}: {name}", each)
        return document

    def compared(self, setting: Setting, costs: CostSet, folder: Path) -> dict[str, Fidelity]:
        """The simulation, and further live runs, beside the first live run."""
        self.console.rule(setting.label, align="left")
        runs = [self.live(setting, folder / f"{setting.label}-{n}") for n in range(1, self.options.live_runs + 1)]
        exact = msgspec.structs.replace(costs, noise_sigma=0.0)
        results = {
            "live and simulated": compare(runs[0], fidelity.simulated(self.scene, setting, exact)),
            "live and simulated with noise": compare(runs[0], fidelity.simulated(self.scene, setting, costs)),
        }
        for number, records in enumerate(runs[1:], 2):
            results[f"live, and live once more ({number})"] = compare(runs[0], records)
        return results


def show(title: str, found: Fidelity) -> None:
    console = Console()
    console.rule(title, align="left")
    table = plain(f"{found.calls} calls, end-to-end (ms)", "")
    for name in ("first", "second", "error"):
        table.add_column(name, justify="right")
    add(table, {"mean": found.mean_ms, "p95": found.p95_ms})
    table.add_section()
    add(table, found.phases_ms)
    table.add_section()
    add(table, found.functions)
    console.print(table)
    console.print(f"start kinds agree for {found.agreement:.1%} of the calls")
    for live, simulated, count in found.disagreements()[:6]:
        console.print(f"  {count:4} {live} taken for {simulated}", highlight=False)
    console.print("close enough" if found.is_close else "NOT close enough")


def add(table: Table, pairs: Mapping[str, Pair]) -> None:
    for name, pair in pairs.items():
        error = f"{pair.error:+.0%}" if max(pair.live, pair.simulated) >= 1.0 else ""
        table.add_row(name, ms(pair.live), ms(pair.simulated), error)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--functions", nargs="+", default=list(PAPER), metavar="NAME", help="or folders")
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--memory-mb", type=int, metavar="N", help="for containers; default: five of the largest")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="starts of each kind for the costs")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="real weights; default: seeded ones")
    parser.add_argument("--costs", type=Path, metavar="FILE", help="a cost set that was measured before")
    parser.add_argument("--live-runs", type=int, default=1, metavar="N")
    labels = ["keep-alive", "instainfer+templates"]
    parser.add_argument("--runs", nargs="+", default=labels, metavar="LABEL", help=f"default: {' '.join(labels)}")
    parser.add_argument("--out", type=Path, default=Path("fidelity-out"), metavar="DIR")
    try:
        document = Bench(parser.parse_args(arguments), Console(stderr=True)).run()
    except InstaInferError as error:
        sys.exit(f"fidelity: {error}")
    if not all(results["live and simulated"]["is_close"] for results in document["settings"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
