"""Which modules the functions of an environment import, learned from their loads and remembered between starts."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from ..core.model import ResidentKey
from ..wire.bounds import MOST_MODULE_CHARS, MOST_MODULES

MOST_FILES = 200
"""Environments remembered on disk; beyond that the one that was learned longest ago is forgotten."""

log = logging.getLogger(__name__)


class LearnedModules:
    """By template key, dotted names in the order in which they were imported; kept in `folder` if there is one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._modules: dict[ResidentKey, tuple[str, ...]] = {}

    def of(self, template: ResidentKey) -> tuple[str, ...]:
        """Empty when nothing has been learned. The same object until something new is."""
        known = self._modules.get(template)
        if known is None:
            known = self._modules[template] = self._read(template)
        return known

    def add(self, template: ResidentKey, modules: Iterable[str]) -> None:
        """A function that can be forked from this template imported these as well."""
        known = self.of(template)
        fit = (name for name in modules if 0 < len(name) <= MOST_MODULE_CHARS and name.isprintable())
        merged = tuple(dict.fromkeys((*known, *fit)))[:MOST_MODULES]
        if merged != known:
            self._modules[template] = merged
            self._write(template, merged)

    def _path(self, template: ResidentKey) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{hashlib.sha256(template.encode()).hexdigest()[:32]}.json"

    def _read(self, template: ResidentKey) -> tuple[str, ...]:
        path = self._path(template)
        if path is None:
            return ()
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            log.warning("what was learned for %s cannot be read and is learned anew: %s: %s", template, path, error)
            return ()
        modules = content.get("modules") if isinstance(content, dict) else None
        if not isinstance(modules, list) or content.get("template") != template:
            return ()
        return tuple(name for name in modules if isinstance(name, str))[:MOST_MODULES]

    def _write(self, template: ResidentKey, modules: tuple[str, ...]) -> None:
        path = self._path(template)
        if path is None:
            return
        partial = path.with_suffix(".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"template": template, "modules": modules}))
            partial.replace(path)
            files = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
            for file in files[: -MOST_FILES or None]:
                file.unlink()
        except OSError as error:
            log.warning("what was learned for %s is forgotten at the platform's end: %s: %s", template, path, error)
