"""Remembers which modules the functions of an environment import: learned from loads, kept on disk between starts."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock

from ..core.model import ResidentKey
from ..wire.bounds import MOST_MODULE_CHARS, MOST_MODULES

MOST_FILES = 200
"""Number of environments remembered on disk. Beyond that, the one that was written longest ago is deleted."""

log = logging.getLogger(__name__)


class LearnedModules:
    """Dotted module names in the order of their imports, by template key, kept in `folder` if one is given.

    `read` reads from the disk and may be called in any thread. After `read`, only this object's own thread uses the
    disk, so the other methods do not wait for it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._modules: dict[ResidentKey, tuple[str, ...]] = {}
        self._is_read = folder is None
        self._reading = Lock()
        self._writer: ThreadPoolExecutor | None = None

    def read(self) -> None:
        """Read the modules that earlier starts have learned. A second call does nothing."""
        with self._reading:
            if not self._is_read and self._folder is not None:
                for path in _newest_last(self._folder)[-MOST_FILES:]:
                    self._modules.update(_read(path))
            self._is_read = True

    def of(self, template: ResidentKey) -> tuple[str, ...]:
        """The learned modules, empty at first. Returns the same object until a new module is learned."""
        if not self._is_read:
            self.read()
        return self._modules.setdefault(template, ())

    def add(self, template: ResidentKey, modules: Iterable[str]) -> None:
        """Note modules that were imported by a function that can be forked from this template."""
        known = self.of(template)
        fit = (name for name in modules if 0 < len(name) <= MOST_MODULE_CHARS and name.isprintable())
        merged = tuple(dict.fromkeys((*known, *fit)))[:MOST_MODULES]
        if merged == known:
            return
        self._modules[template] = merged
        if self._folder is not None:
            if self._writer is None:
                self._writer = ThreadPoolExecutor(1, "learned-modules")
            self._writer.submit(_write, self._folder, template, merged)

    def close(self) -> None:
        """Wait until everything has been written to disk."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.shutdown()


def _path(folder: Path, template: ResidentKey) -> Path:
    return folder / f"{hashlib.sha256(template.encode()).hexdigest()[:32]}.json"


def _newest_last(folder: Path) -> list[Path]:
    found = []
    for path in folder.glob("*.json"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found)]


def _read(path: Path) -> dict[ResidentKey, tuple[str, ...]]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("what was learned of an environment cannot be read and is learned anew: %s: %s", path, error)
        return {}
    template, modules = (content.get(name) for name in ("template", "modules")) if isinstance(content, dict) else (0, 0)
    if not isinstance(template, str) or not isinstance(modules, list) or _path(path.parent, template) != path:
        return {}
    return {template: tuple(name for name in modules if isinstance(name, str))[:MOST_MODULES]}


def _write(folder: Path, template: ResidentKey, modules: tuple[str, ...]) -> None:
    path = _path(folder, template)
    partial = path.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"template": template, "modules": modules}))
        partial.replace(path)
        for file in _newest_last(folder)[: -MOST_FILES or None]:
            file.unlink()
    except OSError as error:
        log.warning("what was learned for %s is forgotten at the platform's end: %s: %s", template, path, error)
