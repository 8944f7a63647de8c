"""The collection of actions: put, get, list, delete, and their return after a restart."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import re
import time
from functools import partial
from typing import Any

import msgspec
from starlette.exceptions import HTTPException

from ..core.model import FunctionKey, Profile
from ..errors import BadInput, Conflict, InternalError
from . import queries
from .catalog import Catalog, Deployed
from .deployment import Deployer, concrete_kind
from .driver import ClusterDriver, Registration
from .keys import Keys
from .records import Action, ActionLimits, AskedLimits
from .responses import encode
from .store import Store

FIRST_VERSION = "0.0.1"
RESTORES_AT_A_TIME = 4
_BASE64 = re.compile(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")

log = logging.getLogger(__name__)


class _Exec(msgspec.Struct):
    kind: str
    code: str | None = None
    binary: bool | None = None
    main: str | None = None


class _Pair(msgspec.Struct, omit_defaults=True):
    key: str
    value: Any = None
    init: bool = False


class _Limits(msgspec.Struct):
    timeout: int | None = None
    memory: int | None = None
    logs: int | None = None
    concurrency: int | None = None


class ActionPut(msgspec.Struct, rename={"deleted_annotations": "delAnnotations"}):
    """The body of a PUT. Unknown keys are passed over, as clients send some."""

    exec: _Exec | None = None
    parameters: list[_Pair] | None = None
    annotations: list[_Pair] | None = None
    limits: _Limits | None = None
    version: str | None = None
    publish: bool | None = None
    deleted_annotations: list[str] = []


class Actions:
    """Changes the catalog, the nodes' knowledge and the tables together."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        deployer: Deployer,
        driver: ClusterDriver,
        *,
        max_code_bytes: int,
        max_parameters_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._deployer = deployer
        self._driver = driver
        self._max_code_bytes = max_code_bytes
        self._max_parameters_bytes = max_parameters_bytes
        self._profiles: dict[FunctionKey, Profile] = {}
        self._registrations: dict[FunctionKey, Registration] = {}
        self._keys = Keys()
        self._changing: dict[tuple[str, str], object] = {}
        self._restoring: asyncio.Task[None] | None = None

    async def code(self, action: Action) -> str:
        """The action's code as the API carries it: text, or base64 of an archive."""
        source = await self._source(action)
        return base64.b64encode(source).decode("ascii") if action.binary else source.decode("utf-8")

    async def put(self, namespace: str, name: str, wanted: ActionPut, *, overwrite: bool) -> Action:
        """Create an action, or replace it when `overwrite`.

        Returns when every node knows it. The version before goes on answering until then, and stays when this fails.
        """
        old = self._catalog.find(namespace, name)
        if old is not None and not overwrite:
            raise Conflict("resource already exists")
        if wanted.exec is None and old is None:
            raise BadInput("exec undefined")
        if (namespace, name) in self._changing:
            raise Conflict("Concurrent modification to resource detected.")
        self._changing[namespace, name] = object()
        try:
            return await self._put(namespace, name, wanted, old.action if old is not None else None)
        finally:
            del self._changing[namespace, name]
            self._forget_unless_there(namespace, name)

    async def delete(self, action: Action) -> None:
        place = (action.namespace, action.name)
        if place in self._changing:
            raise Conflict("Concurrent modification to resource detected.")
        self._changing[place] = object()
        try:
            await self._store.write(lambda connection: queries.delete_action(connection, action))
            deployed = self._catalog.get(*place)
            self._catalog.remove(action)
            self._withdraw(deployed)
        finally:
            del self._changing[place]
            self._forget_unless_there(*place)

    async def restore(self) -> None:
        """Take up the stored actions: callable by name at once, made ready in the background."""
        self._profiles = await self._store.read(queries.all_profiles)
        waiting = []
        for action in await self._store.read(queries.all_actions):
            deployed = Deployed(action, ready=False)
            self._keys.restored(action)
            self._catalog.put(deployed)
            waiting.append(deployed)
        self._restoring = asyncio.create_task(self._restore_all(waiting))

    async def restored(self) -> None:
        """Return when every stored action is ready or known to be impossible."""
        if self._restoring is not None:
            await self._restoring

    async def close(self) -> None:
        if self._restoring is not None:
            self._restoring.cancel()
            await asyncio.wait((self._restoring,))
        self._deployer.close()

    @property
    def changes(self) -> frozenset[object]:
        """The puts and deletes that are under way, one object each."""
        return frozenset(self._changing.values())

    def remember(self, function: FunctionKey, profile: Profile) -> None:
        """Keep what a node measured, as long as there is that function."""
        if function in self._registrations and self._store.remember(function, profile):
            self._profiles[function] = profile

    def profile(self, function: FunctionKey) -> Profile | None:
        return self._profiles.get(function)

    def registration(self, function: FunctionKey) -> Registration | None:
        """What the nodes were told of a function; None while it is not ready."""
        return self._registrations.get(function)

    async def _put(self, namespace: str, name: str, wanted: ActionPut, old: Action | None) -> Action:
        source, code_digest, kind, binary, main = await self._code_of(wanted, old)
        version = _next_version(wanted.version, old)
        asked = _asked_limits(wanted.limits, old)
        draft = Action(
            namespace=namespace,
            name=name,
            version=version,
            key=self._keys.new(namespace, name, version),
            updated_ms=time.time_ns() // 1_000_000,
            publish=wanted.publish if wanted.publish is not None else (old.publish if old else False),
            kind=kind,
            main=main,
            binary=binary,
            code_digest=code_digest,
            parameters=self._parameters_of(wanted, old),
            annotations=_annotations(wanted, kind, old),
            asked=asked,
            limits=ActionLimits(timeout=0, memory=0, logs=0),
        )
        same_code = old is not None and old.code_digest == code_digest and old.kind == kind
        profile = self._profiles.get(old.key) if old and same_code else None
        prepared = await self._deployer.prepare(draft, source, profile)
        action = msgspec.structs.replace(draft, limits=prepared.limits)
        await self._store.write(lambda connection: queries.save_action(connection, action, source, old))
        before = self._catalog.find(namespace, name)
        self._register(prepared.registration)
        self._catalog.put(Deployed(action, ready=True))
        if profile is not None:
            self.remember(action.key, profile)
        if before is not None:
            self._withdraw(before)
        return action

    async def _code_of(self, wanted: ActionPut, old: Action | None) -> tuple[bytes, str, str, bool, str | None]:
        """Source, its digest, kind, whether it is an archive, and the name of its ``main``."""
        if wanted.exec is None:
            if old is None:
                raise BadInput("exec undefined")
            return await self._source(old), old.code_digest, old.kind, old.binary, old.main
        kind = concrete_kind(wanted.exec.kind)
        text = wanted.exec.code
        if not text:
            raise BadInput("The request content was malformed:\n'code' must be a non-empty string of code or base64")
        binary = wanted.exec.binary
        if binary is None:
            binary = _BASE64.fullmatch(text) is not None
        source = _decode_archive(text) if binary else text.encode("utf-8", "surrogatepass")
        if len(source) > self._max_code_bytes:
            raise HTTPException(413, f"Request larger than allowed: {len(source)} > {self._max_code_bytes} bytes.")
        return source, hashlib.sha256(source).hexdigest(), kind, binary, wanted.exec.main

    def _parameters_of(self, wanted: ActionPut, old: Action | None) -> list[dict[str, Any]]:
        if wanted.parameters is None:
            return old.parameters if old else []
        parameters = _pairs(wanted.parameters)
        size = len(encode(parameters))
        if size > self._max_parameters_bytes:
            raise HTTPException(413, f"Request larger than allowed: {size} > {self._max_parameters_bytes} bytes.")
        return parameters

    async def _source(self, action: Action) -> bytes:
        source = await self._store.read(lambda connection: queries.find_code(connection, action.code_digest))
        if source is None:
            raise InternalError(f"the code of {action.path} is not in the records; put the action again")
        return source

    def _forget_unless_there(self, namespace: str, name: str) -> None:
        if self._catalog.find(namespace, name) is None:
            self._keys.deleted(namespace, name)

    def _register(self, registration: Registration) -> None:
        self._driver.register(registration)
        self._registrations[registration.function.key] = registration

    def _withdraw(self, deployed: Deployed) -> None:
        """A version is no more: nodes forget it, and calls that still wait for it are told."""
        key = deployed.action.key
        self._profiles.pop(key, None)
        if self._registrations.pop(key, None) is not None:
            # Not before its last call has ended: one may be on its way to a node.
            deployed.retire(partial(self._driver.unregister, key))
        elif not deployed.problem:
            deployed.settle(f"{deployed.action.path}@{deployed.action.version} was deleted or replaced meanwhile.")

    async def _restore_all(self, waiting: list[Deployed]) -> None:
        slots = asyncio.Semaphore(RESTORES_AT_A_TIME)

        async def restore(deployed: Deployed) -> None:
            async with slots:
                await self._restore_one(deployed)

        async with asyncio.TaskGroup() as group:
            for deployed in waiting:
                group.create_task(restore(deployed))

    async def _restore_one(self, deployed: Deployed) -> None:
        action = deployed.action
        try:
            prepared = await self._deployer.prepare(action, await self._source(action), self._profiles.get(action.key))
        except Exception as error:  # whatever is wrong with one function must not keep the others away
            log.error("%s cannot be made ready again: %s", action.path, error)
            if not deployed.problem:
                deployed.settle(f"{action.path} could not be made ready after the platform's start: {error}")
            return
        # It may have been deleted or replaced while it was prepared; then nobody waits for it any more.
        if self._catalog.find(action.namespace, action.name) is deployed:
            self._register(prepared.registration)
            deployed.settle()


def _decode_archive(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"The request content was malformed:\n'code' is not base64 of an archive: {error}") from error


def _next_version(wanted: str | None, old: Action | None) -> str:
    if wanted is not None:
        if _VERSION.fullmatch(wanted) is None:
            raise BadInput(f"The request content was malformed:\n'{wanted}' is not a version like {FIRST_VERSION}")
        return wanted
    if old is None:
        return FIRST_VERSION
    major, minor, patch = old.version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def _asked_limits(wanted: _Limits | None, old: Action | None) -> AskedLimits:
    before = old.asked if old else AskedLimits()
    if wanted is None:
        return before
    if wanted.concurrency not in (None, 1):
        raise BadInput(
            "The request content was malformed:\n"
            f"requirement failed: concurrency {wanted.concurrency} exceeds allowed threshold of 1"
        )
    return AskedLimits(
        timeout=before.timeout if wanted.timeout is None else wanted.timeout,
        memory=before.memory if wanted.memory is None else wanted.memory,
        logs=before.logs if wanted.logs is None else wanted.logs,
    )


def _pairs(pairs: list[_Pair]) -> list[dict[str, Any]]:
    """As JSON values; of two pairs with one key the later one counts."""
    by_key: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        value = {"key": pair.key, "value": pair.value}
        by_key[pair.key] = {**value, "init": True} if pair.init else value
    return list(by_key.values())


def _annotations(wanted: ActionPut, kind: str, old: Action | None) -> list[dict[str, Any]]:
    """Those of before, those that are wanted over them, and the two that every action has."""
    merged = {"provide-api-key": {"key": "provide-api-key", "value": False}}
    for pair in (*(old.annotations if old else ()), *_pairs(wanted.annotations or [])):
        merged[pair["key"]] = pair
    for key in wanted.deleted_annotations:
        merged.pop(key, None)
    merged["exec"] = {"key": "exec", "value": kind}
    return list(merged.values())
