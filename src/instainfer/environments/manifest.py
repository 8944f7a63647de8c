"""Reads ``function.toml``, in which the author of a function describes its folder::

    name = "resnet50"                  # a name given on deployment wins
    handler = "handler"                # module to import; default: handler, else __main__
    main = "main"                      # the function in that module that answers a request
    style = "action"                   # or "script"
    requirements = "requirements.txt"  # default: this file, if it exists
    no_deps = ["pytorchcv==0.0.74"]    # packages installed without their dependencies
    python = "3.11"                    # default: the platform's
    build = "source"                   # packages without a wheel are built; default: "wheels"
    image = "my-image"                 # of the containers; default: the platform's
    memory = "2GB"                     # or "2048MB", or 2048; "auto", the default: as much as its runs are seen to need
    timeout = "60s"                    # or "500ms", or 60
    logs = "10MB"
    weights = ["resnet50.pt"]          # files that are stored by content, apart from the code
    fast_init = true                   # build models without the random initialisation that loading overwrites
    template = ["torch", "PIL.Image"]  # modules to import beforehand; default: those of an earlier load
    fork = false                       # never fork a call's process from one that has loaded the function
    fresh = true                       # a new process for each call, so that nothing of one reaches the next
    min_resident = 2                   # places that are always ready: a call there starts at once
    warm = ["mon-fri 08:00-18:00"]     # times in which they are ready (1 place, if min_resident is not given)
    keep_alive = "30min"               # or "0s", or "forever": how long what a call leaves stays
    idempotent = true                  # a call may be repeated whose process was ended for its memory
    [env]
    OMP_NUM_THREADS = "1"

A folder without ``function.toml`` is a plain OpenWhisk action if it contains ``handler.py`` or ``__main__.py``.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NoReturn, TypeAlias

from ..errors import BadFunction, shown
from ..texts import decoded
from .requirements import MAX_TEXT, Requirements, first_refused, logical_lines, package_name, refusal
from .windows import Window, window

__all__ = [
    "MANIFEST",
    "RESERVED",
    "Manifest",
    "Requirements",
    "allows_name",
    "handler_file",
    "read_manifest",
    "relative_path",
]

MANIFEST = "function.toml"
DEFAULT_REQUIREMENTS = "requirements.txt"
RESERVED = ".instainfer"
"""A folder inside a function's code that only InstaInfer writes."""

_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:@-]{0,254}")
AUTO: Final = "auto"
Memory: TypeAlias = int | Literal["auto"]
"""A memory limit in MB, or that it is learned."""

_NAME = re.compile(r"\w|\w[\w@ .-]*[\w@.-]", re.ASCII)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_MEMORY = re.compile(r"([0-9]{1,12})\s*(MB|GB)")
_TIME = re.compile(r"([0-9]{1,12})\s*(ms|s)")
_LONG_UNITS_S = {"s": 1, "min": 60, "h": 3600}
_LONG_TIME = re.compile(r"([0-9]{1,9})\s*(s|min|h)")
_PYTHON = re.compile(r"3\.([0-9]{1,2})")
_OLDEST_MINOR = 9
_MAX_MANIFEST_BYTES = 64 * 1024
_MAX_PATH_BYTES = 255  # of the whole path, so that no name in it exceeds a file system's limit
_MAX_QUANTITY = 10**15
MOST_PLACES = 64
"""Places of one function that may be asked for."""
_MOST_WINDOWS = 32


def allows_name(text: str) -> bool:
    """Whether a function may be called so."""
    return len(text) <= 256 and _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a function from its folder. None stands for the platform's default."""

    name: str | None = None
    handler: str = "handler"
    """Module to import, without ``.py``."""
    main: str = "main"
    style: str = "action"
    """``"action"`` or ``"script"``."""
    requirements: Requirements = field(default_factory=Requirements)
    memory_mb: Memory | None = None
    """None: there is no ``function.toml``."""
    timeout_ms: int | None = None
    logs_mb: int | None = None
    weights: tuple[str, ...] = ()
    """Paths inside the folder, with ``/``."""
    fast_init: bool = False
    template: tuple[str, ...] = ()
    """Modules for the library template; if empty, those that earlier loads of the environment imported."""
    fork: bool = True
    """Whether processes may be forked from one that has loaded the function."""
    fresh: bool = False
    """Whether each call gets a process of its own, which ends after the answer."""
    min_resident: int = 0
    """Number of places that are ready: always, or in the times of `warm` if there are any."""
    warm: tuple[Window, ...] = ()
    keep_alive_s: float | None = None
    """Seconds that what a call leaves stays. May be ``inf``."""
    idempotent: bool = False
    """Whether a call may be repeated after its process was ended for its memory."""
    env: Mapping[str, str] = field(default_factory=dict)


def read_manifest(folder: Path, *, label: str | None = None) -> Manifest:
    """Read the description of the function in a folder. Whether the weights exist is not checked.

    `label` is the folder's name in messages, by default its path. Raises `BadFunction`.
    """
    called = label if label is not None else str(folder)
    if not folder.is_dir():
        raise BadFunction(f"{called}: no such folder")
    reader = _Reader(folder, f"{called}/{MANIFEST}", _table(folder, f"{called}/{MANIFEST}"))
    manifest = Manifest(
        name=reader.name(),
        handler=reader.handler(),
        main=reader.text("main", "main", _is_identifier, "the name of a function"),
        style=reader.text("style", "action", lambda text: text in {"action", "script"}, '"action" or "script"'),
        requirements=reader.requirements(),
        memory_mb=reader.memory(),
        timeout_ms=reader.milliseconds("timeout"),
        logs_mb=reader.megabytes("logs"),
        weights=reader.weights(),
        fast_init=reader.flag("fast_init"),
        fork=reader.flag("fork", default=True),
        fresh=reader.flag("fresh"),
        idempotent=reader.flag("idempotent"),
        template=reader.template(),
        min_resident=reader.places("min_resident"),
        warm=reader.windows("warm"),
        keep_alive_s=reader.keep_alive("keep_alive"),
        env=reader.env(),
    )
    reader.finish()
    return manifest


def relative_path(text: str) -> bool:
    """Whether a text is a plain path inside a folder: no root, no ``.`` or ``..``, and only ``/`` as separator.

    The path must also be short enough for a file system: at most 255 bytes.
    """
    try:
        if len(text.encode()) > _MAX_PATH_BYTES:
            return False
    except UnicodeEncodeError:
        return False
    parts = text.split("/")
    return "\\" not in text and "\0" not in text and all(part not in {"", ".", ".."} for part in parts)


def _is_identifier(text: str) -> bool:
    return len(text) <= _MAX_PATH_BYTES and text.isidentifier()


def _is_module(text: str) -> bool:
    return relative_path(text) and _MODULE.fullmatch(text) is not None


def handler_file(folder: Path, handler: str) -> Path | None:
    """The file that importing the handler's module would read, or None when there is none."""
    module = folder.joinpath(*handler.split("."))
    candidates = (module.with_name(module.name + ".py"), module / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _table(folder: Path, called: str) -> dict[str, Any]:
    try:
        return tomllib.loads(_text_of(folder / MANIFEST, _MAX_MANIFEST_BYTES))
    except FileNotFoundError:
        return {}
    except _Unreadable as error:
        raise BadFunction(f"{called}: {error}") from error
    # A number with thousands of digits raises a ValueError that is not a TOMLDecodeError.
    except (ValueError, RecursionError) as error:
        raise BadFunction(f"{called}: not valid TOML: {error}; correct it") from error
    except OSError as error:
        raise BadFunction(f"{called}: cannot be read: {error.strerror}; make it a file that can be") from error


class _Unreadable(Exception):
    pass


def _text_of(path: Path, most_bytes: int) -> str:
    """A file's text. Raises `OSError`, and `_Unreadable` for a file that is too long or no text."""
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise _Unreadable(f"larger than the {most_bytes} bytes allowed; shorten it")
    try:
        return decoded(data)
    except ValueError as error:
        raise _Unreadable(error) from None


class _Reader:
    """Takes the keys out of one table and checks each. Keys that are left at the end are unknown."""

    def __init__(self, folder: Path, shown: str, table: dict[str, Any]) -> None:
        self._folder = folder
        self._shown = shown
        self._table = table
        self._known: set[str] = set()
        self._is_there = (folder / MANIFEST).is_file()

    def _take(self, key: str) -> Any:
        self._known.add(key)
        return self._table.pop(key, None)

    def _refuse(self, key: str, problem: str, allowed: str) -> NoReturn:
        raise BadFunction(f"{self._shown}: {key}: {problem}; allowed: {allowed}")

    def text(self, key: str, default: str, fits: Callable[[str], object], allowed: str) -> str:
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str) or not fits(value):
            self._refuse(key, f"{shown(value)} is not one", allowed)
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._refuse(key, f"{shown(value)} is not one", "true or false")
        return value

    def name(self) -> str | None:
        allowed = "letters, digits and _, with @ . - and spaces inside, at most 256 characters"
        return self.text("name", "", allows_name, allowed) or None

    def handler(self) -> str:
        value = self._take("handler")
        allowed = "the name of a module in the folder, without .py"
        if value is None:
            for module in ("handler", "__main__"):
                if handler_file(self._folder, module) is not None:
                    return module
            self._refuse("handler", "the folder has neither handler.py nor __main__.py", allowed)
        if not isinstance(value, str) or not _is_module(value) or value.endswith(".py"):
            self._refuse("handler", f"{shown(value)} is not a module's name", allowed)
        if handler_file(self._folder, value) is None:
            self._refuse("handler", f"there is no {value.replace('.', '/')}.py", allowed)
        return value

    def requirements(self) -> Requirements:
        text = self._requirements_text()
        no_deps = self._strings("no_deps", 'a list of requirements such as ["pytorchcv==0.0.74"]')
        for line in no_deps:
            if reason := refusal(line):
                self._refuse("no_deps", f"{shown(line)}: {reason}", "requirements without options")
        wanted = {package_name(line) for _, line in logical_lines(text)}
        if twice := sorted({package_name(line) for line in no_deps} & wanted):
            self._refuse("no_deps", f"{', '.join(twice)} is in requirements too", "each package in one of the two")
        image = self.text("image", "", _IMAGE.fullmatch, "the name of an image, such as tools/imaging:2")
        build = self.text("build", "wheels", lambda text: text in {"wheels", "source"}, '"wheels" or "source"')
        return Requirements(text, no_deps, self._python(), image, from_source=build == "source")

    def _requirements_text(self) -> str:
        value = self._take("requirements")
        allowed = "the path of a file in the folder"
        if value is None:
            value = DEFAULT_REQUIREMENTS
            if not (self._folder / value).is_file():
                return ""
        elif not isinstance(value, str) or not relative_path(value):
            self._refuse("requirements", f"{shown(value)} is not one", allowed)
        where = f"{self._shown.removesuffix(MANIFEST)}{value}"
        try:
            text = _text_of(self._folder / value, MAX_TEXT)
        except OSError as error:
            self._refuse("requirements", f"{value} cannot be read: {error}", allowed)
        except _Unreadable as error:
            raise BadFunction(f"{where}: {error}") from error
        if refused := first_refused(text):
            number, line, reason = refused
            raise BadFunction(f"{where}, line {number}: {shown(line)} is refused: {reason}")
        return text

    def _python(self) -> str | None:
        value = self._take("python")
        if value is None:
            return None
        match = _PYTHON.fullmatch(value) if isinstance(value, str) else None
        if match is None or int(match[1]) < _OLDEST_MINOR:
            self._refuse(
                "python", f"{shown(value)} is not one", f'a version such as "3.11", 3.{_OLDEST_MINOR} or newer'
            )
        return match[0]

    def memory(self) -> Memory | None:
        if self._table.get("memory", AUTO if self._is_there else None) == AUTO:
            self._take("memory")
            return AUTO
        return self.megabytes("memory", ', or "auto"')

    def megabytes(self, key: str, also: str = "") -> int | None:
        allowed = f'whole MB, or text such as "512MB" or "2GB"{also}'
        return self._quantity(key, _MEMORY, {"MB": 1, "GB": 1024}, allowed, 1)

    def milliseconds(self, key: str) -> int | None:
        return self._quantity(key, _TIME, {"ms": 1, "s": 1000}, 'whole seconds, or text such as "500ms" or "60s"', 1000)

    def _quantity(self, key: str, form: re.Pattern[str], units: dict[str, int], allowed: str, bare: int) -> int | None:
        value = self._take(key)
        if value is None:
            return None
        amount = 0
        if isinstance(value, int) and not isinstance(value, bool):
            amount = value * bare
        elif isinstance(value, str) and (match := form.fullmatch(value.strip())):
            amount = int(match[1]) * units[match[2]]
        if not 0 < amount <= _MAX_QUANTITY:
            self._refuse(key, f"{shown(value)} is not one", f"{allowed}, above 0, of at most 12 digits")
        return amount

    def places(self, key: str) -> int:
        value = self._take(key)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_PLACES:
            self._refuse(key, f"{shown(value)} is not one", f"a number from 0 to {MOST_PLACES}")
        return value

    def windows(self, key: str) -> tuple[Window, ...]:
        allowed = f'a list of at most {_MOST_WINDOWS} times of the week, such as ["mon-fri 08:00-18:00 Europe/Berlin"]'
        texts = self._strings(key, allowed)
        if len(texts) > _MOST_WINDOWS:
            self._refuse(key, f"{len(texts)} are too many", allowed)
        windows = []
        for text in texts:
            try:
                windows.append(window(text))
            except ValueError as error:
                self._refuse(key, f"{shown(text)}: {error}", allowed)
        return tuple(windows)

    def keep_alive(self, key: str) -> float | None:
        value = self._take(key)
        if value is None:
            return None
        if value == "forever":
            return math.inf
        match = _LONG_TIME.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is not None:
            return float(int(match[1]) * _LONG_UNITS_S[match[2]])
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_QUANTITY:
            return float(value)
        return self._refuse(key, f"{shown(value)} is not one", 'whole seconds, or text: "0s", "30min", "2h", "forever"')

    def weights(self) -> tuple[str, ...]:
        allowed = 'a list of paths inside the folder, such as ["resnet50.pt"]'
        paths = self._strings("weights", allowed)
        for path in paths:
            if not relative_path(path) or PurePosixPath(path).parts[0] == RESERVED:
                self._refuse("weights", f"{shown(path)} is not a path inside the folder", allowed)
        if len(set(paths)) < len(paths):
            self._refuse("weights", "a path is there twice", allowed)
        return paths

    def template(self) -> tuple[str, ...]:
        allowed = 'a list of modules, such as ["torch", "PIL.Image"]'
        modules = self._strings("template", allowed)
        for module in modules:
            if not _is_module(module):
                self._refuse("template", f"{shown(module)} is not a module's name", allowed)
        if len(set(modules)) < len(modules):
            self._refuse("template", "a module is there twice", allowed)
        return modules

    def env(self) -> dict[str, str]:
        value = self._take("env")
        allowed = "a table of strings, each name letters, digits and _, not starting with __OW_"
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._refuse("env", f"{shown(value)} is not a table", allowed)
        for name, content in value.items():
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None or name.startswith("__OW_"):
                self._refuse(f"env.{name[:_MAX_PATH_BYTES]}", "not a name that a function may set", allowed)
            if not isinstance(content, str) or "\0" in content:
                self._refuse(f"env.{name[:_MAX_PATH_BYTES]}", f"{shown(content)} is not a string", allowed)
        return value

    def _strings(self, key: str, allowed: str) -> tuple[str, ...]:
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._refuse(key, f"{shown(value)} is not one", allowed)
        return tuple(value)

    def finish(self) -> None:
        if self._table:
            unknown = ", ".join(sorted(self._table))
            unknown = unknown if len(unknown) <= _MAX_PATH_BYTES else f"{unknown[:_MAX_PATH_BYTES]}..."
            raise BadFunction(f"{self._shown}: unknown key: {unknown}; allowed: {', '.join(sorted(self._known))}")
