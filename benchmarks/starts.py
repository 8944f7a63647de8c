"""What each kind of start costs, for every example function of the paper, in one run.

    python benchmarks/starts.py [--functions NAME ...] [--repeat N] [--weights DIR] [--json FILE]

Builds environments and weights as the demo does, then provokes cold, prewarmed, templated, forked, preloaded and warm
starts on platforms of its own (how: `instainfer.experiments.starts`), times each function without a platform, and
counts how many functions pre-loading brings into one idle container. All eight, five times each, take about a quarter
of an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from instainfer.config import load_config
from instainfer.errors import InstaInferError
from instainfer.examples import PAPER
from instainfer.experiments import direct, starts
from instainfer.experiments.live import Steps
from instainfer.experiments.setup import prepare
from instainfer.report.results import this_machine
from instainfer.report.starts import DirectCall, document, tables


def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    cache = load_config().cache_dir.absolute()
    functions = prepare(options.functions, cache, options.weights, console)
    calls: dict[str, DirectCall] = {}
    with tempfile.TemporaryDirectory(prefix="instainfer-starts-") as temporary, Steps(console, "measuring") as steps:
        folder = Path(temporary)
        found = starts.measure(functions, folder, cache, options.repeat, steps)
        for each in functions:
            steps.step(f"without a platform: {each.name}")
            call = direct.measure(each.python, each.folder, each.request, each.weights_dir)
            if call is not None:
                calls[each.name] = DirectCall(call.library_s, call.model_s, call.first_s)
        residents = {mb: starts.residents(functions, folder, cache, mb, steps) for mb in (1024, 2048)}
    return document(options.functions, found, calls, residents, this_machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--functions", nargs="+", default=list(PAPER), metavar="NAME", help="default: the paper's")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="starts of each kind; default: 5")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="real weights; default: seeded ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    try:
        figures = measure(options, Console(stderr=True))
    except InstaInferError as error:
        sys.exit(f"starts: {error}")
    console = Console()
    for table in tables(figures):
        console.print(table)
        console.print()
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
