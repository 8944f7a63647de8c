"""What each home needs of a cache that several of them share, written down in the cache itself.

::

    CACHE/homes/<digest of the home's path>.json     {"home", "environments", "weights"}

Whoever removes from the cache keeps what any of these notes names. So a platform that is stopped is respected like one
that runs, which a lock alone could not give. A note is written before what it names is relied upon. It counts for as
long as the home's records are there; and where they cannot be seen (the home was removed, or lies where only its own
platform can look), for as long as somebody renews it.
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
    """What must stay in a cache."""

    environments: frozenset[str] = frozenset()
    """Names of their folders."""
    weights: frozenset[str] = frozenset()
    """``sha256:<hex>``."""

    def __or__(self, other: Needs) -> Needs:
        return Needs(self.environments | other.environments, self.weights | other.weights)


class HomeNote:
    """The note of one home. Only whoever holds the home's lock may write it."""

    def __init__(self, cache: Path, home: Path) -> None:
        self._home = str(home.absolute())
        self.path = cache / FOLDER / f"{hashlib.sha256(self._home.encode()).hexdigest()[:32]}.json"
        self._written: Needs | None = None

    def read(self) -> Needs | None:
        """What was written last, also by an earlier platform; None when nothing was, or nothing that can be read."""
        if self._written is None:
            with suppress(FileNotFoundError, HostError):
                self._written = _read(self.path)[1]
        return self._written

    def write(self, needs: Needs) -> None:
        """Write it down, or when it is so already, renew it. Raises OSError."""
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
        """Write down that these are needed as well."""
        known = self.read() or Needs()
        more = known | Needs(frozenset(environments))
        if more != known or not self.path.exists():
            self.write(more)


def since_file(cache: Path) -> Path:
    """A file that is as old as the notes of this cache, made when it is not there.

    What was used last before there were notes may belong to a home that has had no occasion to write one: its time
    begins with the first note.
    """
    path = cache / FOLDER / ".since"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path


def needs_of_others(cache: Path, own: HomeNote, forget_after_s: float, now_s: float) -> tuple[Needs, list[Path]]:
    """What other homes need, and notes of homes that are gone. `now_s` is the time since the epoch.

    Raises `HostError` for a note that cannot be read: better nothing is removed than what somebody needs.
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
            continue  # another was quicker
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
