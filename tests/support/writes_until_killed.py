"""A process that accepts and finishes activations until it is killed; says on standard output what was promised."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from instainfer.controller.store import open_store
from support.records import ended, running


async def main(path: Path) -> None:
    store = open_store(path)
    number = 0
    while True:
        batch = range(number, number + 7)
        await asyncio.gather(*(store.accepted(running(n)) for n in batch))
        print(*batch, flush=True)
        for n in batch:
            if n % 3:
                store.finished(ended(n))
        number += 7


asyncio.run(main(Path(sys.argv[1])))
