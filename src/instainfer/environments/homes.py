"""Notes in a cache that several homes share. Each note says which environments and weights one home needs.

::

    CACHE/homes/<digest of the home's path>.json     {"home", "environments", "weights"}

A cleaner of the cache keeps everything that any note names. So a stopped platform keeps its files as a running one
does, which a lock could not ensure. A home writes its note before it relies on the named files. A note is valid while
the home's records exist. If they cannot be seen (the home was removed, or only its own platform can look there), the
note is valid while its platform renews it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostError
from .lock import write_durably

FOLDER = "homes"
_RECORDS = "records.sqlite"


@dataclass(frozen=True, slots=True)
class Needs:
    """The environments and weights that must stay in a cache."""

    environments: frozenset[str] = frozenset()
    """Names of the environments' folders."""
    weights: frozenset[str] = frozenset()
    """Digests, each ``sha256:<hex>``."""

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.environments | other.environments, self.weights | other.weights)


class HomeNote:
    """The note of one home. Only the holder of the home's lock may write it."""

    def __init__(self, cache: Path, home: Path) -> None:
        self._home = str(home.absolute())
        self.path = cache / FOLDER / f"{hashlib.sha256(self._home.encode()).hexdigest()[:32]}.json"
        self._written: Needs | None = None

    def read(self) -> Needs | None:
        """The needs in the latest note, also of an earlier platform; None if there is no note or it cannot be read."""
        if self._written is None:
            with suppress(FileNotFoundError, HostError):
                self._written = _read(self.path)[1]
        return self._written

    def write(self, needs: Needs) -> None:
        """Write the note, or renew its time if it already says the same. Raises OSError."""
        if self.read() == needs:
            with suppress(FileNotFoundError):
                os.utime(self.path)
                return
        content = {
            "home": self._home,
            "environments": sorted(needs.environments),
            "weights": sorted(needs.weights),
        }
        since_file(self.path.parent.parent)
        write_durably(self.path, json.dumps(content, indent=1))
        self._written = needs

    def add(self, environments: Iterable[str]) -> None:
        """Add environments to the note."""
        known = self.read() or Needs()
        more = known | Needs(frozenset(environments))
        if more != known or not self.path.exists():
            self.write(more)


def since_file(cache: Path) -> Path:
    """A file that is as old as the first note of this cache. It is made if it does not exist.

    Files that were last used before the first note may belong to a home that has not written its note yet. So their
    idle time counts from the first note.
    """
    path = cache / FOLDER / ".since"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path


def needs_of_others(cache: Path, own: HomeNote, forget_after_s: float, now_s: float) -> tuple[Needs, list[Path]]:
    """The needs of other homes, and the notes of homes that are gone. `now_s` is the time since the epoch.

    Raises `HostError` for a note that cannot be read, because its home may need anything in the cache.
    """
    needs = Needs()
    gone = []
    for path in sorted((cache / FOLDER).glob("*.json")):
        if path == own.path:
            continue
        try:
            home, its_needs = _read(path)
            age_s = now_s - path.stat().st_mtime
        except FileNotFoundError:
            continue  # another process has removed the note
        if age_s > forget_after_s and not (home / _RECORDS).exists():
            gone.append(path)
        else:
            needs |= its_needs
    return needs, gone


def _read(path: Path) -> tuple[Path, Needs]:
    try:
        content = json.loads(path.read_bytes())
        needs = Needs(frozenset(map(str, content["environments"])), frozenset(map(str, content["weights"])))
        return Path(content["home"]), needs
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"{path}, where a home says what it needs of the cache, cannot be read ({error!r}); start the platform of "
            "that home, which writes it anew, or remove it if the home is no more"
        ) from error
