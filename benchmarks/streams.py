"""The platform's own cost of a streamed answer, through HTTP, with records kept.

    python benchmarks/streams.py [--calls N] [--values N] [--json FILE]

Starts a platform of its own in a temporary folder, deploys a function that yields, warms it up, then measures

- ``first_p50_ms``, ``first_p99_ms``: from the request to the first value, one call after the other;
- ``one_p50_ms``: the same function asked for one answer, for comparison;
- ``small_values_per_s``, ``large_mb_per_s``: how fast the values of one call come, of 10 bytes and of 1 MB each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from overhead import running_platform

from instainfer.address import credentials
from instainfer.client import Client, Function

CODE = """
def main(args):
    value = "x" * args["bytes"]
    for _ in range(args["values"]):
        yield value
"""
ACTION = {"exec": {"kind": "python:3", "code": CODE}, "limits": {"memory": 256}}


def seconds_to_first(function: Function) -> float:
    began_s = time.perf_counter()
    with function.stream(values=2, bytes=10) as values:
        next(values)
        took_s = time.perf_counter() - began_s
        for _ in values:
            pass
    return took_s


def seconds_to_answer(function: Function) -> float:
    began_s = time.perf_counter()
    function(values=2, bytes=10)
    return time.perf_counter() - began_s


def seconds_for_all(function: Function, values: int, value_bytes: int) -> float:
    began_s = time.perf_counter()
    count = sum(1 for _ in function.stream(values=values, bytes=value_bytes))
    assert count == values
    return time.perf_counter() - began_s


def measured(calls: int, values: int) -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder)) as url:
        _, key = credentials(Path(folder) / "home")
        with Client(url, key) as client:
            client.put_action("values", ACTION)
            function = client.function("values")
            for _ in range(calls // 10):
                seconds_to_first(function)
            first_s = [seconds_to_first(function) for _ in range(calls)]
            yield "first_p50_ms", statistics.median(first_s) * 1e3
            yield "first_p99_ms", sorted(first_s)[calls * 99 // 100] * 1e3
            yield "one_p50_ms", statistics.median(seconds_to_answer(function) for _ in range(calls)) * 1e3
            yield "small_values_per_s", values / seconds_for_all(function, values, 10)
            yield "large_mb_per_s", 100 / seconds_for_all(function, 100, 1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description="The platform's own cost of a streamed answer.")
    parser.add_argument("--calls", type=int, default=500, help="calls of which the first value is timed")
    parser.add_argument("--values", type=int, default=50_000, help="small values of one call")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = dict(measured(options.calls, options.values))
    for name, figure in figures.items():
        print(f"{name:20} {figure:10,.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
