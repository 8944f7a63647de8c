"""Removes old data while the platform runs, so that no file or table grows for ever, and also on request.

=====================  =============================================================================================
records                every five minutes, as `instainfer.controller.retention` decides
code, caches           soon after the last version that had them was replaced or deleted; a cache that has grown beyond
                       ``limits.cache_mb`` is emptied within a minute
environments, weights  every hour, if no home needs them and they were not used for ``retention.unused_max_age_s``
=====================  =============================================================================================

All file and database work runs in threads, so that it does not block the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ..config import RetentionConfig
from ..environments.builder import Environment, Progress
from ..environments.caches import Caches
from ..environments.content import explaining_full_disk
from ..environments.homes import HomeNote, Needs
from ..environments.requirements import Requirements
from ..environments.unused import Places, Unused, leftovers, mark_used, unused_code
from ..errors import InstaInferError
from . import retention
from .actions import Actions
from .auth import Identity, Keyring
from .bodies import Budget, check_content_type, decoded, read_body
from .catalog import Catalog
from .collections import header, one_route_per_path, private
from .deployment import EnvironmentMaker
from .driver import ClusterDriver
from .responses import encode
from .store import Store
from .upkeep import Tell, clean_cache, freed, remove_all, settled_s, used_caches, used_code, used_weights

CODE_EVERY_S = 30.0
CACHES_EVERY_S = 60.0
RECORDS_EVERY_S = 300.0
CACHE_EVERY_S = 3600.0
LEAVING_S = 20.0
"""Shortest time between finding code unused and removing it. Meanwhile nodes end the residents that still use it."""
PAUSE_S = 0.02
"""Pause between two removals of records, in which calls can use the disk."""
_MOST_BODY_BYTES = 10_000

log = logging.getLogger(__name__)


class NotedEnvironments:
    """An `EnvironmentMaker` that notes in the shared cache which environments this home needs, before they are used."""

    def __init__(self, inner: EnvironmentMaker, note: HomeNote) -> None:
        self._inner = inner
        self._note = note
        self._one_at_a_time = asyncio.Lock()

    async def ensure(
        self, requirements: Requirements, progress: Callable[[Progress], None] | None = None
    ) -> Environment:
        environment = await self._inner.ensure(requirements, progress)
        with explaining_full_disk(self._note.path):
            async with self._one_at_a_time:
                await asyncio.to_thread(self._note.add, [environment.digest])
        return environment

    async def renew(self, needs: Callable[[Needs], Needs]) -> Needs:
        """Replace the noted needs by the result of `needs`, which gets the old ones. `ensure` adds none meanwhile."""
        async with self._one_at_a_time:
            written = await asyncio.to_thread(self._note.read) or Needs()
            new = needs(written)
            await asyncio.to_thread(self._note.write, new)
            return new


class _Sighting(NamedTuple):
    """Code that was found unused."""

    unused: Unused
    at_s: float
    changes: frozenset[object]
    """Puts and deletes that were under way at that time. Each put may be about to use the code."""


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: bool = False
    unused_for_s: float | None = None


_decode_wanted = msgspec.json.Decoder(_Wanted).decode


def sweep_home(places: Places) -> None:
    """Remove the temporary files of a killed platform. Must be called before anything of this platform starts."""
    found = list(remove_all(leftovers(places), lambda _: None, dry_run=False))
    if found:
        total_bytes = sum(each.size_bytes for each in found)
        log.info("removed %d leftovers of a platform that was killed, %d bytes", len(found), total_bytes)


class Housekeeping:
    """The housekeeping of one running platform. Call `start` after `Actions.restore`, and `close` at the end."""

    def __init__(
        self,
        rules: RetentionConfig,
        places: Places,
        store: Store,
        *,
        caches: Caches,
        most_cache_bytes: int,
        driver: ClusterDriver,
        catalog: Catalog,
        environments: NotedEnvironments,
        note: HomeNote,
    ) -> None:
        self._rules = rules
        self._places = places
        self._store = store
        self._caches = caches
        self._most_cache_bytes = most_cache_bytes
        self._driver = driver
        self._catalog = catalog
        self._environments = environments
        self._note = note
        self._actions: Actions | None = None
        self._sightings: dict[Path, _Sighting] = {}
        self._at_work = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed_bytes = 0
        self._removed = 0
        self._last_error: str | None = None

    def start(self, actions: Actions) -> None:
        self._actions = actions
        self._tasks.add(asyncio.create_task(self._keep_house(actions)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def status(self) -> dict[str, Any]:
        return {"removed": self._removed, "freed_bytes": self._freed_bytes, "last_error": self._last_error}

    async def clean(self, tell: Tell, *, dry_run: bool, idle_s: float) -> None:
        """Remove everything that may be removed now.

        `tell` receives progress events and may be called from threads. `idle_s` is the time in seconds for which
        environments and weights must not have been used. With `dry_run` nothing is removed, only reported.
        """
        assert self._actions is not None
        await self._actions.restored()
        async with self._at_work:
            leaving = await self._clean_code(self._actions, tell, dry_run=dry_run)
            await self._trim_records(tell, dry_run=dry_run)
            await self._clean_cache(self._actions, tell, idle_s, dry_run=dry_run, leaving=leaving)

    def routes(self, keyring: Keyring) -> list[Route]:
        return one_route_per_path([("POST", "/instainfer/v1/clean", private(keyring, self._handle))])

    # -- periodic work ---------------------------------------------------------------------------------------------

    async def _keep_house(self, actions: Actions) -> None:
        await actions.restored()
        turns = (
            (self._records_turn, RECORDS_EVERY_S),
            (self._cache_turn, CACHE_EVERY_S),
            (self._bound_turn, CACHES_EVERY_S),
            (self._code_turn, CODE_EVERY_S),
        )
        due_s = [0.0, 0.0, 0.0, time.monotonic() + CODE_EVERY_S]
        while True:
            for number, (turn, every_s) in enumerate(turns):
                if time.monotonic() >= due_s[number]:
                    async with self._at_work:
                        await self._guarded(turn, actions)
                    due_s[number] = time.monotonic() + every_s
            await asyncio.sleep(max(0.0, min(due_s) - time.monotonic()))

    async def _guarded(self, turn: Callable[[Actions], Awaitable[None]], actions: Actions) -> None:
        try:
            await turn(actions)
        except Exception as error:  # a failure must end neither the housekeeping nor the platform
            self._last_error = str(error)
            log.exception("something unused could not be removed; next attempt later")
        else:
            self._last_error = None

    async def _records_turn(self, _: Actions) -> None:
        await self._trim_records(_quietly, dry_run=False)

    async def _code_turn(self, actions: Actions) -> None:
        await self._clean_code(actions, _quietly, dry_run=False)

    async def _bound_turn(self, _: Actions) -> None:
        await asyncio.to_thread(self._caches.bound, self._most_cache_bytes)

    async def _cache_turn(self, actions: Actions) -> None:
        if self._rules.unused_max_age_s:
            await self._clean_cache(actions, _quietly, self._rules.unused_max_age_s, dry_run=False, leaving=[])
        else:
            await self._renew_note(actions)

    # -- the work --------------------------------------------------------------------------------------------------

    async def _trim_records(self, tell: Tell, *, dry_run: bool) -> None:
        now_ms = time.time_ns() // 1_000_000
        read, write = self._store.read, self._store.write
        for name in await read(retention.namespaces_with_records):
            before_ms = await read(
                partial(retention.oldest_to_keep_ms, namespace=name, rules=self._rules, now_ms=now_ms)
            )
            count, size_bytes = await read(partial(retention.count_before, namespace=name, before_ms=before_ms))
            if not count:
                continue
            remove_some = partial(retention.remove_some, namespace=name, before_ms=before_ms)
            for _ in range(0 if dry_run else -(-count // retention.MOST_AT_ONCE)):
                await write(remove_some)
                await asyncio.sleep(PAUSE_S)
            why = f"{count} records of {name} that are beyond what retention keeps; their room is used again"
            tell(freed("records", str(self._store.path), why, size_bytes))

    async def _clean_code(self, actions: Actions, tell: Tell, *, dry_run: bool) -> list[Unused]:
        """Remove code and caches that were found unused at least `LEAVING_S` ago and have not been used since."""
        used = await self._store.read(used_code)
        used |= {registration.spec.folder.name for registration in self._driver.registrations}
        cached: Set[Path] = frozenset()
        if self._most_cache_bytes:
            cached = await self._store.read(partial(used_caches, caches=self._caches))
        cached |= {known.spec.cache for known in self._driver.registrations if known.spec.cache is not None}
        found = await asyncio.to_thread(lambda: [*unused_code(self._places, used), *self._caches.unused(cached)])
        now_s = time.monotonic()
        # The order matters: a put that began before the folders were listed has either ended and marked its folder as
        # used, or is among these changes.
        changes = actions.changes
        before, self._sightings = self._sightings, {}
        ripe = []
        for each in found:
            sighting = before.get(each.path, _Sighting(each, now_s, changes))
            is_ripe = each.path in before and now_s - sighting.at_s >= LEAVING_S and not sighting.changes & changes
            if is_ripe:
                ripe.append(sighting.unused)  # its `remove` does nothing if the code was used since this sighting
            if dry_run or not is_ripe:
                self._sightings[each.path] = sighting
        return await self._remove(ripe, tell, dry_run=dry_run)

    async def _clean_cache(
        self, actions: Actions, tell: Tell, idle_s: float, *, dry_run: bool, leaving: list[Unused]
    ) -> None:
        needs = await self._renew_note(actions)

        def clean() -> list[Unused]:
            mark_used(self._places, needs)
            return clean_cache(
                self._places, self._note, needs, idle_s, tell, dry_run=dry_run, leaving=leaving if dry_run else []
            )

        self._count(await asyncio.to_thread(clean), dry_run=dry_run)

    async def _renew_note(self, actions: Actions) -> Needs:
        """Write the current needs of this home to its note in the cache."""
        weights = await self._store.read(partial(used_weights, places=self._places))

        def needs(written: Needs) -> Needs:
            environments = frozenset(known.function.environment for known in self._driver.registrations)
            exact = Needs(environments, weights)
            # While actions change, noted environments may be about to be used. While an action is not ready, its
            # environment is not known. In both cases the old needs are kept as well.
            return exact if self._catalog.all_ready and not actions.changes else exact | written

        return await self._environments.renew(needs)

    async def _remove(self, found: list[Unused], tell: Tell, *, dry_run: bool) -> list[Unused]:
        gone = await asyncio.to_thread(lambda: list(remove_all(found, tell, dry_run=dry_run)))
        self._count(gone, dry_run=dry_run)
        return gone

    def _count(self, gone: list[Unused], *, dry_run: bool) -> None:
        if not dry_run:
            self._removed += len(gone)
            self._freed_bytes += sum(each.size_bytes for each in gone)

    # -- on request ------------------------------------------------------------------------------------------------

    async def _handle(self, request: Request, caller: Identity) -> Response:
        check_content_type(header(request, b"content-type"))
        with Budget(_MOST_BODY_BYTES).lease() as lease:
            body = await read_body(request.receive, header(request, b"content-length"), _MOST_BODY_BYTES, lease)
            wanted = decoded(_decode_wanted, body or b"{}")
        idle_s = settled_s(wanted.unused_for_s)
        return StreamingResponse(self._tell_clean(idle_s, dry_run=wanted.dry_run), media_type="application/x-ndjson")

    async def _tell_clean(self, idle_s: float, *, dry_run: bool) -> AsyncIterator[bytes]:
        """The lines of the answer. The work goes on even when the caller disconnects."""
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()

        def tell(event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, encode(event) + b"\n")

        async def clean() -> None:
            try:
                await self.clean(tell, dry_run=dry_run, idle_s=idle_s)
                tell({"event": "done"})
            except Exception as error:  # the caller is told of any failure, because the answer has already begun
                if not isinstance(error, InstaInferError | OSError):
                    log.exception("cleaning up failed in an unexpected way")
                tell({"event": "failed", "kind": "cleaning", "path": "", "error": str(error)})
            finally:
                loop.call_soon(lines.put_nowait, None)

        task = asyncio.create_task(clean())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        while (line := await lines.get()) is not None:
            yield line


def _quietly(_: dict[str, Any]) -> None:
    return
