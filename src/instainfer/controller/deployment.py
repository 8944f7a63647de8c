"""Prepares an action for the nodes: unpacks its code, builds its environment, and determines its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol, TypeVar

from ..backends.base import FunctionSpec, TemplateSpec
from ..config import LimitsConfig
from ..core.model import MIB, Function, FunctionKey, Profile, template_key
from ..environments.builder import Environment, Progress
from ..environments.caches import Caches
from ..environments.folders import FunctionFolders, Materialised
from ..environments.manifest import Manifest
from ..environments.requirements import Requirements
from ..errors import BadFunction, BadInput, shown
from .driver import Registration
from .records import Action, ActionLimits, AskedLimits

LIBRARIES_GUESS_BYTES = 256 * MIB
"""First estimate of the memory of a resident's libraries. To this the size of the weights is added twice, for the data
as it is read and for the model."""
MAX_LOGS_MB = 10
DEFAULT_KIND = "python:3"
_PYTHON = "python:3."
_KINDS = (DEFAULT_KIND, *(f"{_PYTHON}{minor}" for minor in range(9, 15)))


T = TypeVar("T")


class EnvironmentMaker(Protocol):
    """The part of `instainfer.environments.builder.Environments` that the controller uses."""

    def ensure(
        self, requirements: Requirements, progress: Callable[[Progress], None] | None = None
    ) -> Awaitable[Environment]: ...


class Prepared(NamedTuple):
    """A function that is ready to be registered."""

    registration: Registration
    limits: ActionLimits


class Deployer:
    """Prepares functions. It unpacks code in threads of its own, so that other work never waits for a free thread."""

    def __init__(
        self, folders: FunctionFolders, environments: EnvironmentMaker, caches: Caches, limits: LimitsConfig
    ) -> None:
        self._folders = folders
        self._caches = caches
        self._environments = environments
        self._limits = limits
        self._threads = ThreadPoolExecutor(2, "unpack")

    async def prepare(self, action: Action, source: bytes, profile: Profile | None) -> Prepared:
        """Unpack the code and build its environment. This is quick when both exist already.

        Raises `BadInput`, `BadFunction` or `EnvironmentBuildError` when the author has to change the function, and
        `HostError` when the host has failed.
        """
        loop = asyncio.get_running_loop()
        materialised = await loop.run_in_executor(self._threads, self._materialise, source, action.binary)
        limits = effective_limits(action.asked, materialised.manifest, self._limits)
        requirements = _on_python(materialised.manifest.requirements, action.kind)
        environment = await self._environments.ensure(requirements)
        cache = None
        if self._limits.cache_mb and not materialised.manifest.fresh:
            cache = await loop.run_in_executor(self._threads, self._caches.make, action.namespace, action.key)
        return Prepared(
            Registration(
                _function(action, limits, materialised, environment),
                _spec(action, limits, materialised, environment, cache),
                profile,
            ),
            limits,
        )

    async def in_thread(self, work: Callable[[bytes | bytearray], T], code: bytes | bytearray) -> T:
        """Run `work` on large code in one of the unpacking threads, whose number limits how much memory is used."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, code)

    def close(self) -> None:
        self._threads.shutdown()

    def _materialise(self, source: bytes, binary: bool) -> Materialised:
        return self._folders.materialise(source, binary=binary)


def concrete_kind(kind: str) -> str:
    """The kind itself, with ``python:default`` resolved to ``python:3``. Raises `BadInput` for an unknown kind."""
    if kind == "python:default":
        return DEFAULT_KIND
    if kind not in _KINDS:
        valid = ", ".join(f"'{known}'" for known in _KINDS)
        raise BadInput(
            "The request content was malformed:\n"
            f"The specified runtime {shown(kind)} is not supported by this platform. Valid values are: {valid}."
        )
    return kind


def kinds() -> tuple[str, ...]:
    return _KINDS


def effective_limits(asked: AskedLimits, manifest: Manifest, allowed: LimitsConfig) -> ActionLimits:
    """Each limit as asked for in the PUT, else as in the manifest, else the default.

    Raises `BadInput` when a limit is not within the allowed range.
    """
    limits = ActionLimits(
        timeout=_first(asked.timeout, manifest.timeout_ms, allowed.default_timeout_ms),
        memory=_first(asked.memory, manifest.memory_mb, allowed.default_memory_mb),
        logs=_first(asked.logs, manifest.logs_mb, MAX_LOGS_MB),
    )
    _bound("memory", limits.memory, allowed.min_memory_mb, allowed.max_memory_mb, "MB")
    _bound("duration", limits.timeout, allowed.min_timeout_ms, allowed.max_timeout_ms, "milliseconds")
    _bound("logs", limits.logs, 0, MAX_LOGS_MB, "MB")
    return limits


def _first(asked: int | None, declared: int | None, default: int) -> int:
    return next(value for value in (asked, declared, default) if value is not None)


def _bound(what: str, value: int, lowest: int, highest: int, unit: str) -> None:
    if value < lowest:
        raise BadInput(_malformed(f"{what} {shown(value)} {unit} below allowed threshold of {lowest} {unit}"))
    if value > highest:
        raise BadInput(_malformed(f"{what} {shown(value)} {unit} exceeds allowed threshold of {highest} {unit}"))


def _malformed(requirement: str) -> str:
    return f"The request content was malformed:\nrequirement failed: {requirement}"


def _on_python(requirements: Requirements, kind: str) -> Requirements:
    """The requirements with the version of Python in the kind, if the kind names one.

    Raises `BadFunction` when the requirements name another version.
    """
    if not kind.startswith(_PYTHON):
        return requirements
    version = kind.removeprefix("python:")
    if requirements.python not in (None, version):
        raise BadFunction(
            f"function.toml says python = {requirements.python!r}, the action's kind is {kind!r}; "
            f"use the kind {DEFAULT_KIND!r} or the same version in both"
        )
    return replace(requirements, python=version)


def _function(action: Action, limits: ActionLimits, code: Materialised, environment: Environment) -> Function:
    memory_bytes = limits.memory * MIB
    key: FunctionKey = action.key
    return Function(
        key=key,
        namespace=action.namespace,
        environment=environment.digest,
        memory_bytes=memory_bytes,
        timeout_s=limits.timeout / 1000,
        estimate_bytes=min(memory_bytes, 2 * code.weights_bytes + LIBRARIES_GUESS_BYTES),
        templated=_is_templated(code),
        forkable=code.manifest.fork,
        fresh=code.manifest.fresh,
    )


def _spec(
    action: Action, limits: ActionLimits, code: Materialised, environment: Environment, cache: Path | None
) -> FunctionSpec:
    manifest = code.manifest
    template = None
    if _is_templated(code):
        key = template_key(action.namespace, environment.digest)
        template = TemplateSpec(key, environment.python, manifest.template)
    return FunctionSpec(
        key=action.key,
        folder=code.folder,
        python=environment.python,
        handler=manifest.handler,
        main=action.main or manifest.main,
        style=manifest.style,
        memory_bytes=limits.memory * MIB,
        timeout_s=limits.timeout / 1000,
        logs_bytes=limits.logs * MIB,
        env=_env(code),
        fast_init=manifest.fast_init,
        template=template,
        cache=cache,
    )


def _is_templated(code: Materialised) -> bool:
    """False for a function with its own environment variables, since a template imports libraries without them."""
    return not _env(code)


def _env(code: Materialised) -> dict[str, str]:
    """The function's own variables, and those with which Hugging Face's libraries find models among its weights.

    With models there they ask no network, where they would otherwise ask for newer files at each load.
    """
    hubs = [
        code.folder.joinpath(*parts[:index])
        for parts in (PurePosixPath(weight).parts for weight in code.manifest.weights)
        for index, part in enumerate(parts)
        if part.startswith("models--")
    ]
    hub = {"HF_HUB_CACHE": str(hubs[0]), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if hubs else {}
    return {**hub, **code.manifest.env}
