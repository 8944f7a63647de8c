"""Creates, replaces, reads and deletes actions, and makes the stored actions callable again after a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection
from starlette.responses import Response

from ..core.model import MIB, FunctionKey, Profile, Verdict
from ..core.sizes import learned
from ..environments.manifest import AUTO
from ..errors import BadInput, Conflict, InternalError
from . import queries
from .bodies import LARGE_BYTES, Budget, Lease
from .catalog import Catalog, Deployed
from .changes import CONCURRENT, Changes
from .code_answers import out_of, with_code
from .deployment import Deployer
from .driver import ClusterDriver, Registration
from .function_secrets import SecretChange, Secrets, UnreadableSecrets
from .keys import Keys
from .layers import Pairs, variables_of
from .packages import Packages
from .paths import EntityPath
from .puts import ActionPut, Code, asked_limits, decode_put, merged_annotations, next_version
from .records import MEMORY, Action, ActionLimits
from .responses import action_json, encode
from .sequence_puts import checked_components, new_sequence
from .store import Store
from .uploads import Uploads
from .verdicts import KnownVerdict, known
from .wishes import Wishes

RESTORES_AT_A_TIME = 4

Check: TypeAlias = Callable[[Deployed, Path], Awaitable[None]]
"""Tries a version that no caller gets yet. It is given the version and the folder of its code."""

HISTORY = 64
"""How many of a function's latest calls the nodes are told of; as many as a node remembers."""

log = logging.getLogger(__name__)


class Actions:
    """Every change of an action goes through this class, which keeps the catalog, the nodes and the tables in step."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        deployer: Deployer,
        driver: ClusterDriver,
        budget: Budget,
        *,
        packages: Packages,
        changes: Changes,
        wishes: Wishes,
        secrets: Secrets,
        uploads: Uploads,
        max_code_bytes: int,
        host: str,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._deployer = deployer
        self._driver = driver
        self._packages = packages
        self._changes = changes
        self._wishes = wishes
        self._secrets = secrets
        self._uploads = uploads
        self._budget = budget
        self._max_code_bytes = max_code_bytes
        self._host = host
        self._profiles: dict[FunctionKey, Profile] = {}
        self._verdicts: dict[FunctionKey, KnownVerdict] = {}
        self._registrations: dict[FunctionKey, Registration] = {}
        self._keys = Keys()
        self._restoring: asyncio.Task[None] | None = None

    def shown(self, action: Action) -> Action:
        """The action as it is shown. If its memory is learned, its limit is the present size."""
        registration = self._registrations.get(action.key)
        if registration is None or not action.is_auto:
            return action
        function = learned(registration.function, self._profiles.get(action.key) or Profile())
        limits = msgspec.structs.replace(action.limits, memory=function.memory_bytes // MIB)
        return msgspec.structs.replace(action, limits=limits)

    async def with_code(self, action: Action) -> Response:
        """The action as the API's JSON, with its code: plain text, or base64 if the code is an archive.

        Raises `InternalError` when the code is missing in the records.
        """
        if action.components is not None:
            return Response(encode(action_json(action, None)), media_type="application/json")
        action = self.shown(action)
        digest = action.code_digest
        size = await self._store.read(lambda connection: queries.code_size(connection, digest))
        if size is None:
            raise _no_code(action)

        async def read(start: int, count: int) -> bytes:
            return await self._store.read(lambda connection: queries.code_piece(connection, digest, start, count))

        return await with_code(action, size, read)

    async def decoded(self, body: bytes | bytearray) -> ActionPut:
        """Decode the body of a PUT.

        Raises `BadInput` for a malformed body, and `HTTPException` 413 when a part of the body is too large.
        """
        decode = partial(decode_put, max_code_bytes=self._max_code_bytes)
        if len(body) < LARGE_BYTES:
            return decode(body)
        return await self._deployer.in_thread(decode, body)

    async def put(self, path: EntityPath, wanted: ActionPut, *, overwrite: bool, check: Check | None = None) -> Action:
        """Create an action, or replace an existing one if `overwrite` is true.

        Returns when every node knows the new version. Until then, and also when the put fails, calls go to the previous
        version. `check` tries the new version before that; what it raises fails the put.

        Raises `Conflict` when the action exists and may not be replaced, or is being changed by another request,
        `BadInput` when a new action has no code, and the errors of `Packages.check_home` and `Deployer.prepare`.
        """
        self._packages.check_home(path)
        old = self._catalog.find(path)
        if old is not None and not overwrite:
            raise Conflict("resource already exists")
        if wanted.code is None and wanted.components is None and old is None:
            raise BadInput("exec undefined: say the kind and the code of the action")
        if wanted.components is not None and check is not None:
            raise BadInput("a sequence has nothing to try: put it with PUT actions/NAME of OpenWhisk's API")
        with self._changing_one(path), self._budget.lease() as lease:
            return await self._put(path, wanted, old.action if old is not None else None, lease, check=check)

    async def change_secret(self, change: SecretChange) -> None:
        """Set or remove a secret of a function. There need not be a function of this name yet.

        If there is one, it is registered anew, as a new version is but for its number. So what is loaded with the old
        value ends, and the next call has the new one. If its other secrets cannot be read, the change is only stored.

        Raises `Conflict` when another request is changing the function, and the errors of `Secrets.saving` and
        `Deployer.prepare`.
        """
        path = change.path
        with self._changing_one(path), self._budget.lease() as lease:
            save = await self._secrets.saving(change)
            deployed = self._catalog.find(path)
            if deployed is None:
                await self._store.write(save)
                return
            old = deployed.action
            if old.components is not None:
                raise BadInput(f"{path} is a sequence, which has no processes: set the secrets of its parts")
            try:
                await self._put(path, ActionPut(version=old.version), old, lease, secret=(change, save))
            except UnreadableSecrets as others:
                await self._store.write(save)
                deployed.settle(str(others))

    @contextmanager
    def _changing_one(self, path: EntityPath) -> Iterator[None]:
        """Keep all others from changing an action. Raises `Conflict` when another request is changing it."""
        with self._changes.one(path):
            try:
                yield
            finally:
                if self._catalog.find(path) is None:
                    self._keys.deleted(path)

    async def renew(self, action: Action) -> None:
        """Register an action anew, because something that its processes have from their start has changed."""
        if action.components is not None:
            return
        with self._changing_one(action.path), self._budget.lease() as lease:
            await self._put(action.path, ActionPut(version=action.version), action, lease)

    async def delete(self, action: Action) -> Response:
        """Delete an action. The response describes the deleted action and contains its code.

        Raises `Conflict` when another request is changing the action.
        """
        if action.components is not None:
            await self.remove(action)
            return await self.with_code(action)
        with self._budget.lease() as lease:
            source = await self._source(action, lease)
            await self.remove(action)
            return await with_code(action, len(source), out_of(source))

    async def remove(self, action: Action) -> None:
        """Delete an action. Raises `Conflict` when another request is changing the action."""
        with self._changing_one(action.path):
            deployed = self._catalog.get(action.path)
            if deployed.action is not action:
                # Another request has replaced or deleted it since this one looked it up.
                raise Conflict(CONCURRENT)
            await self._store.write(lambda connection: queries.delete_action(connection, action))
            self._catalog.remove(action)
            self._wishes.removed(action.path)
            self._withdraw(deployed)

    async def restore(self) -> None:
        """Read the stored actions. They can be called by name at once, and are made ready in the background."""
        self._profiles = await self._store.read(queries.all_profiles)
        self._verdicts = await self._store.read(queries.all_verdicts)
        waiting = []
        for action in await self._store.read(queries.all_actions):
            is_sequence = action.components is not None
            deployed = Deployed(action, ready=is_sequence)
            self._keys.restored(action)
            self._catalog.put(deployed)
            if not is_sequence:
                waiting.append(deployed)
        self._restoring = asyncio.create_task(self._restore_all(waiting))

    async def restored(self) -> None:
        """Return when every stored action is ready or has failed to become ready."""
        if self._restoring is not None:
            await self._restoring

    async def close(self) -> None:
        if self._restoring is not None:
            self._restoring.cancel()
            await asyncio.wait((self._restoring,))
        self._deployer.close()

    @property
    def changes(self) -> frozenset[object]:
        """The puts and deletes that are under way, as one opaque object for each."""
        return self._changes.under_way

    def remember(self, function: FunctionKey, profile: Profile) -> None:
        """Store the profile that a node measured, unless the function no longer exists."""
        if function in self._registrations and self._store.remember(function, profile):
            self._profiles[function] = profile

    def profile(self, function: FunctionKey) -> Profile | None:
        return self._profiles.get(function)

    def judged(self, function: FunctionKey, verdict: Verdict) -> None:
        """Store whether a function can be forked, as a node has found it, unless the function no longer exists."""
        registration = self._registrations.get(function)
        if registration is not None:
            found = self._verdicts[function] = known(verdict, registration.function, self._host)
            self._store.judged(function, found)

    def verdict(self, function: FunctionKey) -> Verdict | None:
        """Whether a function can be forked on this host. None while that is not known."""
        registration = self._registrations.get(function)
        return None if registration is None else self._known(function, registration)

    def registration(self, function: FunctionKey) -> Registration | None:
        """The description of a function that the nodes have received. None while the function is not ready."""
        return self._registrations.get(function)

    async def _put(
        self,
        path: EntityPath,
        wanted: ActionPut,
        old: Action | None,
        lease: Lease,
        *,
        check: Check | None = None,
        secret: tuple[SecretChange, Callable[[Connection], None]] | None = None,
    ) -> Action:
        if wanted.components is not None or (wanted.code is None and old is not None and old.components is not None):
            return await self._put_sequence(path, wanted, old)
        change, save_secret = secret or (None, None)
        secrets = await self._secrets.opened(path, change)
        code = await self._code_of(wanted, old, lease)
        version = next_version(wanted.version, old)
        asked = asked_limits(wanted.limits, old)
        draft = Action(
            path=path,
            version=version,
            key=self._keys.new(path, version),
            updated_ms=time.time_ns() // 1_000_000,
            publish=wanted.publish if wanted.publish is not None else (old.publish if old else False),
            kind=code.kind,
            main=code.main,
            binary=code.binary,
            code_digest=code.digest,
            parameters=wanted.parameters if wanted.parameters is not None else _parameters(old),
            annotations=merged_annotations(wanted, code.kind, old),
            asked=asked,
            limits=ActionLimits(timeout=0, memory=0, logs=0),
        )
        same_code = old is not None and old.code_digest == code.digest and old.kind == code.kind
        profile = self._profiles.get(old.key) if old and same_code else None
        weights = await self._uploads.of(path.namespace)
        prepared = await self._deployer.prepare(
            draft, code.source, profile, secrets, weights, given=self._variables(path, draft.parameters)
        )
        action = msgspec.structs.replace(
            draft, limits=prepared.limits, annotations=_with_memory(draft.annotations, is_auto=prepared.is_auto)
        )
        if old is not None and same_code:
            verdict = self._known(old.key, prepared.registration)
            # A function may have failed because of its limits, so other limits are another chance.
            if verdict is not None and (verdict.fit or old.limits == action.limits):
                prepared.registration.verdict = verdict
        if old is not None:
            prepared.registration.called_ago_s = await self._called_ago_s(path)
        deployed = Deployed(action, ready=True)

        def save(connection: Connection) -> None:
            queries.save_action(connection, action, code.source, old)
            if save_secret is not None:
                save_secret(connection)

        self._register(action, prepared.registration)
        try:
            if check is not None:
                await check(deployed, prepared.registration.spec.folder)
            await self._store.write(save)
        except BaseException:
            self._withdraw(deployed)
            raise
        before = self._catalog.find(path)
        self._catalog.put(deployed)
        # What the nodes have found during the check could not be stored, because the version was not.
        if (profile := self._profiles.get(action.key, profile)) is not None:
            self.remember(action.key, profile)
        if (verdict := self.verdict(action.key) or prepared.registration.verdict) is not None:
            self.judged(action.key, verdict)
        if before is not None:
            self._withdraw(before)
        return action

    async def _put_sequence(self, path: EntityPath, wanted: ActionPut, old: Action | None) -> Action:
        """Create a sequence, or replace an action by one."""
        components = old.components if old is not None and wanted.components is None else wanted.components
        checked = checked_components(self._packages, path, components or ())
        limits = self._deployer.limits_of(asked_limits(wanted.limits, old))
        key = self._keys.new(path, next_version(wanted.version, old))
        action = new_sequence(path, wanted, old, checked, key=key, limits=limits)
        action = msgspec.structs.replace(action, annotations=_with_memory(action.annotations, is_auto=False))
        await self._store.write(lambda connection: queries.save_action(connection, action, None, old))
        before = self._catalog.find(path)
        self._catalog.put(Deployed(action, ready=True))
        if before is not None:
            self._wishes.removed(path)
            self._withdraw(before)
        return action

    def _variables(self, path: EntityPath, parameters: Pairs) -> Mapping[str, str]:
        """The environment variables that the parameters of an action and of its package make."""
        return variables_of(self._packages.inherited(path), parameters)

    async def _called_ago_s(self, path: EntityPath) -> list[float]:
        """How many seconds ago the latest calls of an action began, any version of it, oldest first."""
        starts = await self._store.read(lambda connection: queries.latest_starts(connection, path, HISTORY))
        now_ms = time.time_ns() // 1_000_000
        return [max(0.0, (now_ms - start) / 1e3) for start in starts]

    def _known(self, function: FunctionKey, registration: Registration) -> Verdict | None:
        """The verdict on this or an earlier version of a function, if it holds for what will be registered."""
        found = self._verdicts.get(function)
        return found.verdict if found is not None and found.holds_for(registration.function, self._host) else None

    async def _code_of(self, wanted: ActionPut, old: Action | None, lease: Lease) -> Code:
        if wanted.code is not None:
            lease.grow(len(wanted.code.source))
            return wanted.code
        if old is None:
            raise BadInput("exec undefined: say the kind and the code of the action")
        return Code(await self._source(old, lease), old.code_digest, old.kind, old.binary, old.main)

    async def _source(self, action: Action, lease: Lease | None = None) -> bytes:
        digest = action.code_digest
        if lease is not None:
            size = await self._store.read(lambda connection: queries.code_size(connection, digest))
            lease.grow(size or 0)
        source = await self._store.read(lambda connection: queries.find_code(connection, digest))
        if source is None:
            raise _no_code(action)
        return source

    def _register(self, action: Action, registration: Registration) -> None:
        self._driver.register(registration)
        self._registrations[registration.function.key] = registration
        self._wishes.registered(action.path, registration)

    def _withdraw(self, deployed: Deployed) -> None:
        """Make the nodes forget a version that was deleted or replaced, and fail the calls that wait for it."""
        key = deployed.action.key
        self._profiles.pop(key, None)
        self._verdicts.pop(key, None)
        if self._registrations.pop(key, None) is not None:
            # The nodes must know the version until its last call has ended, because a call may be on its way to a node.
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
            source, profile = await self._source(action), self._profiles.get(action.key)
            secrets = await self._secrets.opened(action.path)
            given = self._variables(action.path, action.parameters)
            prepared = await self._deployer.prepare(action, source, profile, secrets, given=given)
        except Exception as error:  # one broken function must not prevent the return of the others
            log.error("%s cannot be made ready again: %s", action.path, error)
            if not deployed.problem:
                deployed.settle(f"{action.path} could not be made ready after the platform's start: {error}")
            return
        called_ago_s = await self._called_ago_s(action.path)
        # If the action was deleted or replaced while it was prepared, `_withdraw` has already told the waiting calls.
        if self._catalog.find(action.path) is deployed:
            prepared.registration.verdict = self._known(action.key, prepared.registration)
            prepared.registration.called_ago_s = called_ago_s
            self._register(action, prepared.registration)
            deployed.settle()


def _parameters(old: Action | None) -> list[dict[str, Any]]:
    """The parameters that a new version has if its PUT gives none. Those of a sequence are for sequences alone."""
    return old.parameters if old is not None and old.components is None else []


def _with_memory(annotations: list[dict[str, Any]], *, is_auto: bool) -> list[dict[str, Any]]:
    """The annotations with the one that says that the memory is learned, or without it."""
    ours = {"key": MEMORY, "value": AUTO}
    others = [pair for pair in annotations if pair != ours and not (is_auto and pair["key"] == MEMORY)]
    return [*others, ours] if is_auto else others


def _no_code(action: Action) -> InternalError:
    return InternalError(f"the code of {action.path} is not in the records; put the action again")
