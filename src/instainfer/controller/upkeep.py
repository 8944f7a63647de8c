"""Finds the code and weights that the records of a home refer to, and removes the rest, reporting it as events.

A running platform uses this module in `instainfer.controller.housekeeping`. ``instainfer clean`` uses it for a home
whose platform is stopped.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa

from ..config import Config
from ..environments.caches import Caches
from ..environments.folders import folder_name, weights_of
from ..environments.homes import HomeNote, Needs, needs_of_others
from ..environments.unused import Places, Unused, leftovers, links_in, unused_code, unused_in_cache
from ..errors import BadInput, HostError
from . import queries, retention
from .database import RECORDS, open_database

SETTLED_AFTER_S = 3600.0
"""Whatever in the shared cache was used within this time is never removed, because a deployment may be about to use
it."""

FORGET_HOME_AFTER_S = 7 * 86_400.0
"""If the records of a home are not visible and its note was not renewed for this time, the home counts as removed."""

Event: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[Event], None]

log = logging.getLogger(__name__)


def used_code(connection: sa.Connection) -> frozenset[str]:
    """The names of the folders with the code of the stored functions."""
    return frozenset(folder_name(digest, binary=binary) for digest, binary in queries.all_code(connection))


def used_caches(connection: sa.Connection, caches: Caches) -> frozenset[Path]:
    """The folders of the stored functions' caches."""
    return frozenset(caches.folder(action.namespace, action.key) for action in queries.all_actions(connection))


def used_weights(connection: sa.Connection, places: Places) -> frozenset[str]:
    """The digests of the weights that the stored functions refer to."""
    found: frozenset[str] = frozenset()
    for digest, binary in queries.all_code(connection):
        if binary:
            folder = places.functions / folder_name(digest, binary=binary)
            found |= weights_of(folder, None if folder.is_dir() else queries.find_code(connection, digest))
    return found


def remove_all(found: Iterable[Unused], tell: Tell, *, dry_run: bool) -> Iterator[Unused]:
    """Remove the things found, report each as an event, and yield those removed (in a dry run: to be removed)."""
    for each in found:
        tell({"event": "progress", "text": f"{each.kind}: {each.path}"})
        try:
            if not dry_run and not each.remove():
                continue
        except OSError as error:
            log.warning("%s", error)
            tell({"event": "failed", "kind": each.kind, "path": str(each.path), "error": str(error)})
            continue
        tell(freed(each.kind, str(each.path), each.why, each.size_bytes))
        yield each


def freed(kind: str, path: str, why: str, size_bytes: int) -> Event:
    return {"event": "freed", "kind": kind, "path": path, "why": why, "bytes": size_bytes}


def clean_cache(
    places: Places, note: HomeNote, own: Needs, idle_s: float, tell: Tell, *, dry_run: bool, leaving: Iterable[Unused]
) -> list[Unused]:
    """Remove environments and weights that no home needs and that were not used for `idle_s` seconds.

    `leaving` is the code that a real run would have removed before. A dry run needs it, because that code may hold the
    last links to some weights.
    """
    now_s = time.time()
    others, gone = needs_of_others(places.cache, note, max(idle_s, FORGET_HOME_AFTER_S), now_s)
    freed_links = links_in(each.path for each in leaving) if dry_run else None
    found = list(remove_all(unused_in_cache(places, own | others, idle_s, now_s, freed_links), tell, dry_run=dry_run))
    for path in gone:
        if not dry_run:
            path.unlink(missing_ok=True)
        tell(freed("note", str(path), "its home is no more", 0))
    return found


def settled_s(asked_s: float | None) -> float:
    """The seconds for which a thing must have been unused before it is removed: the given ones, or else the default.

    Raises `BadInput` if fewer than `SETTLED_AFTER_S` are given.
    """
    if asked_s is None:
        return SETTLED_AFTER_S
    if not asked_s >= SETTLED_AFTER_S:
        raise BadInput(
            f"unused for {asked_s:g} s is too short; it is at least {SETTLED_AFTER_S:g} s, as others may deploy"
        )
    return asked_s


def clean_stopped(config: Config, tell: Tell, *, dry_run: bool, idle_s: float | None) -> None:
    """Clean a home whose platform is stopped. `idle_s` is checked by `settled_s`.

    Raises `HomeInUse` when a platform runs on this home, and `HostError` when the home cannot be used.
    """
    idle_s = settled_s(idle_s)
    places = Places.of(config.home, config.cache_dir)
    caches = Caches(places.caches)
    path = config.home / RECORDS
    if not path.exists():
        raise HostError(f"there is no home at {config.home}; name it with --home")
    engine, lock_fd = open_database(path)
    try:
        tell({"event": "progress", "text": "looking at what functions need"})
        with engine.connect() as connection:
            code = used_code(connection)
            weights = used_weights(connection, places)
            cached = used_caches(connection, caches)
        list(remove_all(leftovers(places), tell, dry_run=dry_run))
        leaving = list(remove_all(unused_code(places, code), tell, dry_run=dry_run))
        list(remove_all(caches.unused(cached), tell, dry_run=dry_run))
        note = HomeNote(places.cache, places.home)
        written = note.read()
        if code and written is None:
            text = "what is unused in the cache is not known yet; start the platform once, which notes what it needs"
            tell({"event": "failed", "kind": "environment", "path": str(places.cache), "error": text})
        else:
            needs = Needs(written.environments if written is not None and code else frozenset(), weights)
            if not dry_run:
                note.write(needs)
            clean_cache(places, note, needs, idle_s, tell, dry_run=dry_run, leaving=leaving)
        _clean_records(engine, config, tell, dry_run=dry_run)
    finally:
        engine.dispose()
        os.close(lock_fd)


def _clean_records(engine: sa.Engine, config: Config, tell: Tell, *, dry_run: bool) -> None:
    path = str(config.home / RECORDS)
    now_ms = time.time_ns() // 1_000_000
    with engine.connect() as connection:
        namespaces = retention.namespaces_with_records(connection)
    told_bytes = 0
    for namespace in namespaces:
        with engine.connect() as connection:
            before_ms = retention.oldest_to_keep_ms(connection, namespace, config.retention, now_ms)
            count, size_bytes = retention.count_before(connection, namespace, before_ms)
        if not count:
            continue
        removed = 0
        while not dry_run and removed < count:
            with engine.begin() as connection:
                some = retention.remove_some(connection, namespace, before_ms)
            if not some:
                break
            removed += some
            tell({"event": "progress", "text": f"records of {namespace}: {removed} of {count}"})
        told_bytes += size_bytes
        tell(freed("records", path, f"{count} records of {namespace} that are beyond what retention keeps", size_bytes))
    with engine.connect() as connection:
        room_bytes = retention.free_bytes(connection)
    if room_bytes:
        if not dry_run:
            tell({"event": "progress", "text": "giving the records' free room back to the disk"})
            retention.compact(engine)
        # The records that were just removed have been reported already, and their space is part of `room_bytes` now.
        more_bytes = room_bytes if dry_run else max(0, room_bytes - told_bytes)
        tell(freed("room", path, "room of records and code that were removed earlier", more_bytes))
