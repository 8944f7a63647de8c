"""Whether a platform that is used for long stays as small as it was: memory, descriptors, files and processes.

    python benchmarks/soak.py [--calls N] [--functions N] [--connections N] [--memory-mb M] [--fresh] [--json FILE]

Starts a platform of its own in a temporary folder, with so little memory that its functions take turns in their
containers, deploys the functions, calls them at random through HTTP, and looks at the platform after every twentieth of
the calls: at the platform's own process, at all processes below it, and at the files in its home without the records,
which grow with every call until `retention` removes them. With ``--fresh`` each call has a process of its own. The
first quarter is for growing up; what is compared is the median of the second quarter with that of the last one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from overhead import Caller, running_platform

from instainfer.address import credentials
from instainfer.client import Client
from instainfer.runtime.memory import charged_bytes, children, family

LOOKS = 20
MIB = 1024 * 1024
CODE = """
filler = bytearray({mib} * 1024 * 1024)


def main(args):
    return {{"n": args.get("n", 0)}}
"""


def action(mib: int, *, fresh: bool) -> dict[str, Any]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("handler.py", CODE.format(mib=mib))
        archive.writestr("function.toml", f"fresh = {str(fresh).lower()}\n")
    code = base64.b64encode(packed.getvalue()).decode()
    return {"exec": {"kind": "python:3", "code": code, "binary": True}, "limits": {"memory": 128, "timeout": 10_000}}


def platform_pid(folder: Path) -> int:
    pid: int = json.loads((folder / "ready.json").read_text())["pid"]
    return pid


def look(folder: Path) -> dict[str, float]:
    """What the platform takes now."""
    pid = platform_pid(folder)
    below = [child for child in family(children(pid)) if child != pid]
    # Unlike `rglob`, `walk` passes over what is removed meanwhile, as the folders of processes are.
    files = [name for _, folders, names in os.walk(folder / "home") for name in (*folders, *names)]
    return {
        "platform_mb": round(charged_bytes(pid) / MIB, 1),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "processes_below": len(below),
        "managers_and_functions_mb": round(sum(map(charged_bytes, below)) / MIB, 1),
        "files": sum(not name.startswith("records.") for name in files),
    }


async def call_them(
    address: tuple[str, int], requests: list[bytes], calls: int, connections: int, seed: int
) -> list[float]:
    """So many calls of functions chosen at random, by so many callers. Returns the milliseconds that each took."""
    left = calls
    took_ms: list[float] = []

    async def work(number: int) -> None:
        nonlocal left
        draw = random.Random(f"{seed}/{number}")
        async with Caller(address, b"") as caller:
            while left > 0:
                left -= 1
                caller.request = draw.choice(requests)
                began = time.perf_counter()
                await caller.call()
                took_ms.append(1e3 * (time.perf_counter() - began))

    await asyncio.gather(*(work(number) for number in range(connections)))
    return took_ms


def soak(options: argparse.Namespace) -> dict[str, Any]:
    os.environ["INSTAINFER_NODE__MEMORY_MB"] = str(options.memory_mb)
    with tempfile.TemporaryDirectory(prefix="instainfer-soak-") as temporary:
        folder = Path(temporary)
        with running_platform(folder) as url:
            _, auth = credentials(folder / "home")
            host, port = url.removeprefix("http://").split(":")
            token = base64.b64encode(auth.encode()).decode()
            requests = []
            with Client(url, auth) as client:
                for number in range(options.functions):
                    client.put_action(f"f{number}", action(1 + 3 * number, fresh=options.fresh), overwrite=True)
                    requests.append(
                        (
                            f"POST /api/v1/namespaces/_/actions/f{number}?blocking=true HTTP/1.1\r\nHost: {host}\r\n"
                            f"Authorization: Basic {token}\r\nContent-Type: application/json\r\n"
                            "Content-Length: 2\r\n\r\n{}"
                        ).encode()
                    )
            looks, took_ms = [], list[float]()
            began = time.perf_counter()
            for number in range(LOOKS):
                share = options.calls // LOOKS
                took_ms += asyncio.run(call_them((host, int(port)), requests, share, options.connections, number))
                looks.append({"calls": share * (number + 1), **look(folder)})
                print(json.dumps(looks[-1]), flush=True)
            took_s = time.perf_counter() - began
    quarter = LOOKS // 4
    compared = {
        name: {
            "second_quarter": statistics.median(each[name] for each in looks[quarter : 2 * quarter]),
            "last_quarter": statistics.median(each[name] for each in looks[-quarter:]),
        }
        for name in looks[0]
        if name != "calls"
    }
    p50, p99 = (round(statistics.quantiles(took_ms, n=100)[place], 2) for place in (49, 98))
    return {
        "calls": options.calls,
        "calls_per_s": round(options.calls / took_s, 1),
        "p50_ms": p50,
        "p99_ms": p99,
        "compared": compared,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--functions", type=int, default=6)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--memory-mb", type=int, default=512, help="memory for containers")
    parser.add_argument("--fresh", action="store_true", help="a process of its own for each call")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    figures = soak(options)
    print(
        f"{figures['calls']} calls, {figures['calls_per_s']} a second, "
        f"p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms"
    )
    for name, each in figures["compared"].items():
        print(f"{name:28} second quarter {each['second_quarter']:>8}   last quarter {each['last_quarter']:>8}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
