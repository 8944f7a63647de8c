"""Prepares an action for the nodes: unpacks its code, builds its environment, and determines its limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

from ..backends.base import FunctionSpec, TemplateSpec
from ..config import LimitsConfig
from ..core.model import MIB, Function, FunctionKey, Profile, housing, template_key
from ..environments.builder import Environment, Progress
from ..environments.caches import Caches
from ..environments.folders import FunctionFolders, Materialised
from ..environments.hiding import hiding_modules
from ..environments.manifest import AUTO, Manifest, Memory
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

_NONE: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")

log = logging.getLogger(__name__)


class EnvironmentMaker(Protocol):
    """The part of `instainfer.environments.builder.Environments` that the controller uses."""

    def ensure(
        self, requirements: Requirements, progress: Callable[[Progress], None] | None = None
    ) -> Awaitable[Environment]: ...


class Prepared(NamedTuple):
    """A function that is ready to be registered."""

    registration: Registration
    limits: ActionLimits
    """The memory is a first guess if it is learned."""

    @property
    def is_auto(self) -> bool:
        """Whether the memory is learned."""
        return self.registration.function.is_auto


class Deployer:
    """Prepares functions. It unpacks code in threads of its own, so that other work never waits for a free thread."""

    def __init__(
        self,
        folders: FunctionFolders,
        environments: EnvironmentMaker,
        caches: Caches,
        limits: LimitsConfig,
        api_host: str,
    ) -> None:
        """`api_host` is the URL of this API, which functions receive as an environment variable."""
        self._folders = folders
        self._caches = caches
        self._environments = environments
        self._limits = limits
        self.api_host = api_host
        self._threads = ThreadPoolExecutor(2, "unpack")

    async def prepare(
        self,
        action: Action,
        source: bytes,
        profile: Profile | None,
        secrets: Mapping[str, str] = _NONE,
        weights: Container[str] | None = None,
        *,
        given: Mapping[str, str] = _NONE,
    ) -> Prepared:
        """Unpack the code and build its environment. This is quick when both exist already.

        `secrets` are environment variables by their names, and so are those `given` by parameters. `weights` are the
        digests of those that the code may use (None: all that it names).
        Raises `BadInput`, `BadFunction` or `EnvironmentBuildError` when the author has to change the function, and
        `HostError` when the host has failed.
        """
        loop = asyncio.get_running_loop()
        materialised = await loop.run_in_executor(self._threads, self._materialise, source, action.binary, weights)
        asked, manifest = action.asked, materialised.manifest
        limits = effective_limits(asked, manifest, self._limits, materialised.weights_bytes)
        is_auto = _memory(asked, manifest, self._limits) == AUTO
        most_bytes = self._limits.max_memory_mb * MIB if is_auto else 0
        requirements = _on_python(materialised.manifest.requirements, action.kind)
        environment = await self._environments.ensure(requirements)
        # A template would import libraries without the secrets, as without the variables of `[env]`.
        templated = (
            not secrets
            and not given
            and await loop.run_in_executor(self._threads, _is_templated, action, materialised, environment)
        )
        cache = None
        if self._limits.cache_mb and not manifest.fresh:
            cache = await loop.run_in_executor(self._threads, self._caches.make, action.namespace, action.key)
        function = _function(action, limits, materialised, environment, templated=templated)
        registration = Registration(
            replace(function, most_bytes=most_bytes, least_bytes=self._limits.min_memory_mb * MIB if is_auto else 0),
            # What it may take is the container's business if its memory is learned.
            self._spec(
                action,
                limits,
                materialised,
                environment,
                secrets,
                given=given,
                templated=templated,
                is_auto=is_auto,
                cache=cache,
            ),
            profile,
        )
        registration.min_resident = manifest.min_resident
        registration.warm = manifest.warm
        return Prepared(registration, limits)

    def limits_of(self, asked: AskedLimits) -> ActionLimits:
        """The limits of an action without code. Raises `BadInput` when one is not within the allowed range."""
        return effective_limits(asked, Manifest(), self._limits)

    def _spec(
        self,
        action: Action,
        limits: ActionLimits,
        code: Materialised,
        environment: Environment,
        secrets: Mapping[str, str],
        *,
        given: Mapping[str, str],
        templated: bool,
        is_auto: bool,
        cache: Path | None,
    ) -> FunctionSpec:
        manifest = code.manifest
        template = None
        if templated:
            key = template_key(housing(action.namespace, environment.image), environment.digest)
            template = TemplateSpec(key, environment.python, manifest.template)
        return FunctionSpec(
            key=action.key,
            folder=code.folder,
            python=environment.python,
            handler=manifest.handler,
            main=action.main or manifest.main,
            style=manifest.style,
            memory_bytes=0 if is_auto else limits.memory * MIB,
            timeout_s=limits.timeout / 1000,
            logs_bytes=limits.logs * MIB,
            env={**_env(code), **given, **action.variables(self.api_host)},
            secrets=secrets,
            fast_init=manifest.fast_init,
            template=template,
            cache=cache,
        )

    async def in_thread(self, work: Callable[[bytes | bytearray], T], code: bytes | bytearray) -> T:
        """Run `work` on large code in one of the unpacking threads, whose number limits how much memory is used."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, code)

    def close(self) -> None:
        self._threads.shutdown()

    def _materialise(self, source: bytes, binary: bool, weights: Container[str] | None) -> Materialised:
        return self._folders.materialise(source, binary=binary, allowed=weights)


def concrete_kind(kind: str) -> str:
    """The kind itself, with ``python:default`` resolved to ``python:3``. Raises `BadInput` for an unknown kind."""
    if kind == "python:default":
        return DEFAULT_KIND
    if kind not in _KINDS:
        valid = ", ".join(f"'{known}'" for known in _KINDS)
        # OpenWhisk's client for Node.js names this kind when its user has named none.
        told = f" Only Python runs here: say the kind, such as '{DEFAULT_KIND}'."
        advice = told if kind == "nodejs:default" else ""
        raise BadInput(
            "The request content was malformed:\n"
            f"The specified runtime {shown(kind)} is not supported by this platform. Valid values are: {valid}.{advice}"
        )
    return kind


def kinds() -> tuple[str, ...]:
    return _KINDS


def effective_limits(
    asked: AskedLimits, manifest: Manifest, allowed: LimitsConfig, weights_bytes: int = 0
) -> ActionLimits:
    """Each limit as asked for in the PUT, else as in the manifest, else the default.

    Memory that is learned begins with a guess, which is made from the size of the weights. Raises `BadInput` when a
    limit is not within the allowed range.
    """
    wanted = _memory(asked, manifest, allowed)
    if wanted == AUTO:
        guess_mb = -(-_guess_bytes(weights_bytes) // MIB)
        memory = max(allowed.min_memory_mb, min(allowed.max_memory_mb, guess_mb))
    else:
        memory = wanted
    limits = ActionLimits(
        timeout=_first(asked.timeout, manifest.timeout_ms, allowed.default_timeout_ms),
        memory=memory,
        logs=_first(asked.logs, manifest.logs_mb, MAX_LOGS_MB),
    )
    _bound("memory size", limits.memory, allowed.min_memory_mb, allowed.max_memory_mb, "MB")
    _bound("duration", limits.timeout, allowed.min_timeout_ms, allowed.max_timeout_ms, "milliseconds")
    _bound("log size", limits.logs, 0, MAX_LOGS_MB, "MB")
    return limits


def _memory(asked: AskedLimits, manifest: Manifest, allowed: LimitsConfig) -> Memory:
    return _first(asked.memory, manifest.memory_mb, allowed.default_memory_mb)


def _guess_bytes(weights_bytes: int) -> int:
    return 2 * weights_bytes + LIBRARIES_GUESS_BYTES


def _first(asked: T | None, declared: T | None, default: T) -> T:
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


def _function(
    action: Action, limits: ActionLimits, code: Materialised, environment: Environment, *, templated: bool
) -> Function:
    memory_bytes = limits.memory * MIB
    key: FunctionKey = action.key
    return Function(
        key=key,
        namespace=action.namespace,
        environment=environment.digest,
        memory_bytes=memory_bytes,
        timeout_s=limits.timeout / 1000,
        estimate_bytes=min(memory_bytes, _guess_bytes(code.weights_bytes)),
        templated=templated,
        forkable=code.manifest.fork,
        image=environment.image,
        fresh=code.manifest.fresh,
        keep_alive_s=code.manifest.keep_alive_s,
        idempotent=code.manifest.idempotent or action.annotation("idempotent") is True,
    )


def _is_templated(action: Action, code: Materialised, environment: Environment) -> bool:
    """Whether a function may be forked from a library template.

    A template imports libraries without the environment variables of a function, and without modules of the function
    that have the name of a library.
    """
    hiding = hiding_modules(code.folder, environment.python)
    if hiding:
        names = ", ".join(hiding[:3])
        log.info("%s is not forked from a library template: its own %s would be missed", action.key, names)
    return not _env(code) and not hiding


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
