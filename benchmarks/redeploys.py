"""Whether a platform grows with redeployments: one function is replaced and called again and again.

    python benchmarks/redeploys.py [--count N] [--json FILE]

A platform of its own is started on loopback, with a home in a temporary folder. Each round puts a new version of one
function, which differs in its code, and calls it once. In between, and at the end once the platform had time to clean
up, it is looked at from outside: the memory of its process (RSS), its descriptors and threads, the processes below it,
files in its home, and the size of the records. Growth is told per thousand redeployments, from the second look to the
last: before that caches fill. Exit code 1 when something has grown that must not. 1,000 rounds take some minutes;
the default of 100 shows files and descriptors.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from instainfer.client import Client
from instainfer.experiments.platform import Platform, Setting, running

LOOKS = 10
CLEAN_UP_S = 150.0
"""Longest time that the platform is given to remove what nothing refers to."""
MEMORY_MB = 512
ALLOWED = {"rss_kb": 8 * 1024, "descriptors": 10, "threads": 6, "processes": 4, "files": 20}
"""By how much the last look may be above the second, whatever the number of rounds."""


@dataclass(frozen=True, slots=True)
class Look:
    """What there was after so many rounds."""

    rounds: int
    rss_kb: int
    descriptors: int
    threads: int
    processes: int
    files: int
    records_kb: int


def archive(number: int) -> str:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        writing.writestr("handler.py", f"def main(args):\n    return {{'round': {number}}}\n")
    return base64.b64encode(packed.getvalue()).decode()


def one_round(client: Client, number: int) -> None:
    code = {"kind": "python:3", "code": archive(number), "binary": True}
    client.put_action("again", {"exec": code, "limits": {"memory": 128}})
    record = client.invoke("again")
    if record["response"]["result"] != {"round": number}:
        raise SystemExit(f"round {number} was answered with {record['response']}")


def look(platform: Platform, rounds: int) -> Look:
    process = Path("/proc") / str(platform.pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    home = platform.folder / "home"
    return Look(
        rounds,
        rss_kb=int(status["VmRSS"].split()[0]),
        descriptors=len(os.listdir(process / "fd")),
        threads=int(status["Threads"]),
        processes=len(below(platform.pid)),
        files=sum(len(folders) + len(files) for _, folders, files in os.walk(home)),
        records_kb=sum(path.stat().st_size for path in home.glob("records.sqlite*")) // 1024,
    )


def below(pid: int) -> set[int]:
    """Every process that descends from this one."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def settle(platform: Platform, rounds: int, files: int) -> Look:
    """The last look: once code is gone that no function has, or the platform had long enough for that."""
    give_up = time.monotonic() + CLEAN_UP_S
    while (last := look(platform, rounds)).files > files and time.monotonic() < give_up:
        time.sleep(1)
    return last


def measure(count: int, folder: Path) -> list[Look]:
    setting = Setting("redeploys", retain=True, preload="opportunistic", templates=True)
    looks = []
    with running(setting, folder / "platform", folder / "cache", MEMORY_MB) as platform, platform.client() as client:
        for number in range(count):
            one_round(client, number)
            if (number + 1) % max(1, count // LOOKS) == 0:
                looks.append(look(platform, number + 1))
                print("  ".join(f"{name} {value}" for name, value in asdict(looks[-1]).items()), flush=True)
        print("waiting for what nothing refers to to be removed", flush=True)
        looks.append(settle(platform, count, looks[0].files - count // LOOKS))
        print("  ".join(f"{name} {value}" for name, value in asdict(looks[-1]).items()), flush=True)
    return looks


def growth(looks: Sequence[Look]) -> Mapping[str, int]:
    first, last = asdict(looks[1]), asdict(looks[-1])
    return {name: last[name] - first[name] for name in ALLOWED}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100, metavar="N", help="redeployments; default: 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the looks here")
    options = parser.parse_args()
    if options.count < 2 * LOOKS:
        parser.error(f"--count is at least {2 * LOOKS}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="instainfer-redeploys-") as temporary:
        looks = measure(options.count, Path(temporary))
    grown = growth(looks)
    too_much = {name: by for name, by in grown.items() if by > ALLOWED[name]}
    print(f"{options.count} redeployments in {time.monotonic() - began:.0f} s; grown since the second look: {grown}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in looks], indent=1))
    if too_much:
        print(f"too much: {too_much}", file=sys.stderr)
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
