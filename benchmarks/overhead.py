"""The platform's own cost: blocking calls of a function that does nothing, through HTTP, with records kept.

    python benchmarks/overhead.py [--calls N] [--seconds S] [--connections N] [--json FILE]

Starts a platform of its own in a temporary folder, deploys the function, warms it up, then measures

- latency: one caller, one call after the other (``p50_ms``, ``p99_ms``),
- throughput: several callers, each one call after the other (``calls_per_s``).

The client is a bare socket that sends prepared bytes, so that it is the platform that is measured and not a client.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instainfer.address import credentials
from instainfer.client import Client

NOOP = {"exec": {"kind": "python:3", "code": "def main(args):\n    return {}\n"}, "limits": {"memory": 128}}


@contextmanager
def running_platform(folder: Path) -> Iterator[str]:
    """A platform of our own; yields its address."""
    ready = folder / "ready.json"
    environment = os.environ | {"INSTAINFER_HOME": str(folder / "home")}
    process = subprocess.Popen(
        [sys.executable, "-m", "instainfer.cli.main", "up", "--port", "0", "--ready-file", str(ready)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        # Its first word comes when it is ready.
        if not process.stdout.readline():
            raise SystemExit(f"the platform ended with status {process.wait()} before it was ready")
        yield json.loads(ready.read_text())["api_host"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


class Caller:
    """One connection; `call` sends the request and waits for the whole answer."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.address, self.request = address, request

    async def __aenter__(self) -> Caller:
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def call(self) -> None:
        self.writer.write(self.request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n", maxsplit=1)[0])
        body = await self.reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"a call failed:\n{head.decode()}\n{body.decode()}")


def latencies_ms(address: tuple[str, int], request: bytes, calls: int) -> list[float]:
    """One caller on a blocking socket, which costs the client least."""
    times = []
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(calls):
            started = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
            head, _, body = answer.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"a call failed:\n{head.decode()}\n{body.decode()}")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n", maxsplit=1)[0])
            while len(body) < length:
                body += connection.recv(65536)
            times.append((time.perf_counter() - started) * 1000)
    return times


async def throughput(address: tuple[str, int], request: bytes, connections: int, seconds: float) -> float:
    """Calls a second that `connections` callers get answered."""
    done = 0
    end = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal done
        async with Caller(address, request) as caller:
            while time.perf_counter() < end:
                await caller.call()
                done += 1

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return done / (time.perf_counter() - started)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="instainfer-overhead-") as temporary:
        folder = Path(temporary)
        with running_platform(folder) as url:
            _, auth = credentials(folder / "home")
            with Client(url, auth) as client:
                client.put_action("noop", NOOP, overwrite=True)
                host, port = url.removeprefix("http://").split(":")
                token = base64.b64encode(auth.encode()).decode()
                request = (
                    f"POST /api/v1/namespaces/_/actions/noop?blocking=true HTTP/1.1\r\nHost: {host}\r\n"
                    f"Authorization: Basic {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
                ).encode()
                address = (host, int(port))
                latencies_ms(address, request, 200)
                times = sorted(latencies_ms(address, request, options.calls))
                rate = asyncio.run(throughput(address, request, options.connections, options.seconds))
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "p50_ms": round(cuts[49], 3),
        "p99_ms": round(cuts[98], 3),
        "calls_per_s": round(rate, 1),
        "calls": options.calls,
        "connections": options.connections,
        "seconds": options.seconds,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=3000, help="calls of the latency measurement")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the throughput measurement")
    parser.add_argument("--connections", type=int, default=4, help="callers of the throughput measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    figures = measure(options)
    print(f"latency     p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms  ({options.calls} calls, one caller)")
    print(f"throughput  {figures['calls_per_s']} calls/s  ({options.connections} callers, {options.seconds:g} s)")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
