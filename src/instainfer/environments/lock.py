"""The lock: the exact versions of all packages in an environment. Its digest names the environment.

A lock is kept per (requirements, Python, platform), so that deploying again needs no network. A lock names no index and
no host, because the same packages make the same environment, whichever source they came from.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .content import sync_folder
from .interpreters import Interpreter
from .requirements import Requirements, logical_lines

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?P<rest>.*)")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_DIGEST_DIGITS = 24


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """One package in exactly one version."""

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    """``sha256:<hex>`` of every archive that may be installed; empty if its source did not list them."""

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class Lock:
    """All packages of an environment, sorted by name. Dependencies are included, so installing resolves nothing."""

    pins: tuple[Pin, ...] = ()

    @classmethod
    def of(cls, resolved: Iterable[Pin], without_deps: Iterable[Pin]) -> Lock:
        """Join both resolutions. For a package that is in both, the version of `without_deps` is taken."""
        pins = {pin.name: pin for pin in (*resolved, *without_deps)}
        return cls(tuple(sorted(pins.values())))

    @classmethod
    def parse(cls, text: str) -> Lock:
        return cls(tuple(sorted(parse_pins(text))))

    @property
    def hashed(self) -> bool:
        """Whether every pin has hashes. pip and uv can check either all archives or none."""
        return bool(self.pins) and all(pin.hashes for pin in self.pins)

    @property
    def text(self) -> str:
        """The lock as a requirements file, which pip, uv and people can read."""
        hashed = self.hashed
        lines = [" \\\n    ".join((str(pin), *(f"--hash={h}" for h in pin.hashes if hashed))) for pin in self.pins]
        return "".join(f"{line}\n" for line in lines)

    def digest(self, interpreter: Interpreter, *, from_source: bool = False) -> str:
        """The name of the environment that is built from this lock with that interpreter.

        Where code of packages has run, any file may be its work, so one built of wheels alone has another name.
        """
        named: list[object] = [self.text, interpreter.version, interpreter.tag, interpreter.platform]
        named += [*([interpreter.contents] if interpreter.contents else []), *_mark(from_source)]
        return f"env-{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:_DIGEST_DIGITS]}"


def lock_key(requirements: Requirements, interpreter: Interpreter, sources: str = "") -> str:
    """The name of the lock for the requirements. Comments in them do not change it.

    `sources` is what the operator's configuration says of packages, which are resolved anew when it changes.
    """
    asked: list[object] = [requirements.lines, requirements.no_deps, interpreter.tag, interpreter.platform]
    asked += [*([sources] if sources else []), *_mark(requirements.from_source)]
    return f"lock-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:_DIGEST_DIGITS]}"


def _mark(from_source: bool) -> list[str | bool]:
    return [True] if from_source else []


def parse_pins(text: str) -> list[Pin]:
    """Read ``name==version --hash=...`` lines. Raises `ValueError` for any other line."""
    pins = []
    for number, line in logical_lines(text):
        match = _PIN.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} of a lock is not an exact version: {line!r}")
        pins.append(pin(match["name"], match["version"], _HASH.findall(match["rest"])))
    return pins


def pin(name: str, version: str, hashes: Iterable[str]) -> Pin:
    return Pin(re.sub(r"[-_.]+", "-", name).lower(), version, tuple(sorted(hashes)))


def write_durably(path: Path, text: str) -> None:
    """Write a file so that it exists completely or not at all, even after a power failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    sync_folder(path.parent)
