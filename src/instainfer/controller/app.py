"""Builds the controller from the configuration, the links to the nodes, and the stores of code and environments."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from starlette.types import ASGIApp

from .. import __version__
from ..config import Config, ServerConfig
from ..core.cluster import ClusterState, Limits, Routing
from ..core.model import MIB, FunctionKey, Profile, Verdict
from ..environments.caches import Caches
from ..environments.content import ContentStore
from ..environments.folders import FunctionFolders
from ..environments.homes import HomeNote
from ..environments.unused import Places
from ..links.base import Link, Measures
from ..policy.routing.home import HomeRouting
from . import queries
from .actions import Actions
from .activations import Activations
from .auth import CREDENTIALS, Keyring, open_keyring, read_credentials, write_credentials
from .bodies import Budget
from .catalog import Catalog
from .changes import Changes
from .checks import CheckedPuts
from .collections import Collections
from .connections import Bounds
from .counts import CallCounts
from .database import RECORDS
from .deployment import Deployer, EnvironmentMaker
from .driver import ClusterDriver
from .firing import Firing
from .function_secrets import Secrets
from .gateway import Gateway
from .housekeeping import Housekeeping, NotedEnvironments, sweep_home
from .invocations import Invocations
from .metrics import Metrics
from .native import Native
from .package_calls import PackageCalls
from .packages import Packages
from .responses import STOPPED, encode
from .secret_calls import SecretCalls
from .sequences import Sequences
from .store import Store, open_store
from .trigger_calls import TriggerCalls
from .triggers import Triggers
from .uploads import Uploads
from .verdicts import this_host
from .wishes import Wishes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rooms:
    """The parts of `instainfer.environments` that the controller needs."""

    content: ContentStore
    folders: FunctionFolders
    environments: EnvironmentMaker


class Controller:
    """The controller of one platform. Use `open_controller` to make one, and `create_app` to get its HTTP application.

    To end it, call `drain`, wait for `idle` with a time limit, call `cut_short` if the limit has passed, and `close`.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        keyring: Keyring,
        rooms: Rooms,
        *,
        isolation: Sequence[str],
        routing: Routing,
        now: Callable[[], float],
    ) -> None:
        self.config = config
        self._store = store
        self._keyring = keyring
        self._rooms = rooms
        self._isolation = tuple(isolation)
        self._started = datetime.now(UTC)
        self.now = now
        self._started_s = self.now()
        limits = Limits(config.limits.concurrent_invocations, config.limits.invocations_per_minute)
        self._driver = ClusterDriver(ClusterState(limits, routing), self.now)
        self._wishes = Wishes(self._driver)
        self._counts = CallCounts(config.server.metrics_functions)
        self._catalog = Catalog()
        changes = Changes()
        self._packages = Packages(store, self._catalog, changes)
        self._triggers = Triggers(store, self._packages, changes)
        self._budget = Budget(config.server.max_pending_bytes)
        note = HomeNote(config.cache_dir, config.home)
        environments = NotedEnvironments(rooms.environments, note)
        places = Places(config.home, rooms.folders.root, config.cache_dir, rooms.content.root)
        self._caches = Caches(places.caches)
        self._housekeeping = Housekeeping(
            config.retention,
            places,
            store,
            caches=self._caches,
            most_cache_bytes=config.limits.cache_mb * MIB,
            driver=self._driver,
            catalog=self._catalog,
            environments=environments,
            note=note,
        )
        host = api_host(config.server.host, config.server.port)
        self._deployer = Deployer(rooms.folders, environments, self._caches, config.limits_in_force, host)
        self._secrets = Secrets(store, config.home)
        self._uploads = Uploads(store, config.limits.shared_weights)
        self._actions = Actions(
            self._catalog,
            store,
            self._deployer,
            self._driver,
            self._budget,
            packages=self._packages,
            changes=changes,
            wishes=self._wishes,
            secrets=self._secrets,
            uploads=self._uploads,
            max_code_bytes=config.server.max_code_bytes,
            host=this_host(),
        )
        self._invocations = Invocations(
            self._driver,
            store,
            self._budget,
            self._counts,
            self.now,
            max_result_bytes=config.server.max_result_bytes,
            max_recorded_bytes=config.retention.records_max_result_bytes,
            api_host=host,
        )
        self._sequences = Sequences(
            self._packages,
            self._invocations,
            store,
            self.now,
            max_recorded_bytes=config.retention.records_max_result_bytes,
        )

    def join(self, link: Link) -> None:
        """Add a node. It gets calls from now on."""
        self._driver.join(link)

    def leave(self, node: str) -> None:
        """Send no more calls to a node. The calls that it already has go on."""
        self._driver.leave(node)

    def lose(self, node: str) -> None:
        """Report that a node is gone. The calls that were in flight there end now, as failures."""
        self._driver.lose(node)

    def remember(self, function: FunctionKey, profile: Profile) -> None:
        """Store the profile that a node measured of a function, for the next start of the platform."""
        self._actions.remember(function, profile)

    def judged(self, function: FunctionKey, verdict: Verdict) -> None:
        """Store whether a function can be forked, as a node has found it, for the next start of the platform."""
        self._actions.judged(function, verdict)

    def listening(self, url: str) -> None:
        """Set the address of the platform, which is written to the credentials file and given to functions."""
        self._invocations.api_host = self._deployer.api_host = url
        path = self.config.home / CREDENTIALS
        write_credentials(path, url, read_credentials(path)["AUTH"])

    @property
    def in_flight(self) -> int:
        """Calls that have been admitted and have not ended."""
        return self._driver.in_flight

    def drain(self) -> None:
        """Refuse new calls with 503. The calls in flight go on."""
        if not self._driver.draining:
            self._driver.drain()

    async def restored(self) -> None:
        """Return when every stored function is ready or has failed to become ready."""
        await self._actions.restored()

    async def idle(self) -> None:
        """Return when no call is in flight."""
        await self._sequences.idle()  # first, since they begin calls
        await self._invocations.idle()

    async def cut_short(self) -> None:
        """Refuse new calls, and end those in flight. Each ends with a record that says so, and its caller gets 503."""
        self.drain()
        if running := await self._sequences.stop() + await self._invocations.stop():
            log.warning("%d activations were still running; their records say so", running)

    async def close(self) -> None:
        """End the calls in flight as `cut_short` does, write all records, and release the home's lock.

        Raises `HostError` when records could not be written.
        """
        await self._wishes.close()
        await self._housekeeping.close()
        await self._actions.close()
        await self.cut_short()
        await self._store.close()

    def status(self) -> dict[str, Any]:
        """The answer to ``GET /instainfer/v1/status``."""
        return {
            "version": __version__,
            "started_at": self._started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "uptime_s": self.now() - self._started_s,
            "home": str(self.config.home),
            "isolation": self._isolation,
            "namespaces": self._keyring.namespaces,
            "draining": self._driver.draining,
            "in_flight": self._driver.in_flight,
            "nodes": self._driver.snapshots(),
            "places": self._wishes.all(),
            "routing_failures": self._driver.routing_failures,
            "records": self._store.status(),
            "housekeeping": self._housekeeping.status(),
        }

    def _measures(self) -> Measures:
        """The figures of the controller for ``/metrics``, besides those of calls."""
        return {
            "in_flight": {(): self._driver.in_flight},
            "routing_failures": {(): failures["count"] if (failures := self._driver.routing_failures) else 0},
            **self._store.measures(),
        }

    async def start(self) -> None:
        """Give the unfinished activations of an earlier run their final records, and restore its functions."""
        lost = await self._store.write(
            lambda connection: queries.conclude_unfinished(connection, encode({"error": STOPPED}))
        )
        if lost:
            log.warning("%d activations had not ended when the platform stopped; their records say so now", lost)
        self._wishes.start()
        await self._packages.restore()
        await self._triggers.restore()
        await self._actions.restore()
        self._housekeeping.start(self._actions)

    def app(self) -> ASGIApp:
        activations = Activations(self._store)
        server = self.config.server
        collections = Collections(
            self.config,
            self._keyring,
            self._catalog,
            self._packages,
            self._actions,
            activations=activations,
            budget=self._budget,
        )
        firing = Firing(self._packages, self._invocations, self._sequences, self._store)
        triggers = TriggerCalls(
            self._keyring,
            self._triggers,
            firing,
            self._budget,
            now=self.now,
            max_body_bytes=server.max_body_bytes,
        )
        packages = PackageCalls(self._keyring, self._packages, self._catalog, self._actions, self._budget)
        native = Native(
            self._keyring,
            self._catalog,
            self._actions,
            self._budget,
            content=self._rooms.content,
            uploads=self._uploads,
            environments=self._rooms.environments,
            status=self.status,
            explain=self._driver.explain,
            wishes=self._wishes,
            caches=self._caches,
            forks=self.config.node.function_templates and self.config.node.retain,
            max_body_bytes=server.max_body_bytes,
        )
        metrics = Metrics(self._counts, self._driver.measures, self._measures)
        checked = CheckedPuts(
            self._keyring, self._packages, self._actions, self._invocations, self._budget, server=server, now=self.now
        )
        secrets = SecretCalls(self._keyring, self._catalog, self._actions, self._secrets, self._budget)
        return Gateway(
            self._keyring,
            self._packages,
            self._invocations,
            self._budget,
            [
                *collections.routes(),
                *packages.routes(),
                *triggers.routes(),
                *native.routes(),
                *checked.routes(),
                *secrets.routes(),
                *self._housekeeping.routes(self._keyring),
                *metrics.routes(self._keyring, need_key=server.metrics == "key"),
            ],
            sequences=self._sequences,
            max_body_bytes=server.max_body_bytes,
            blocking_timeout_s=server.blocking_timeout_s,
            now=self.now,
        )


async def open_controller(
    config: Config,
    links: Sequence[Link],
    rooms: Rooms,
    *,
    isolation: Sequence[str] = (),
    routing: Routing | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Controller:
    """Open the records of ``config.home`` and restore its functions. Functions become ready in the background.

    `isolation` are the lines in which the backends describe how this host isolates containers; ``status`` shows them.
    `now` is a monotonic clock in seconds. The event loop's clock is unsuitable, because uvloop updates its clock only
    once a millisecond. Raises `HostError` when the home cannot be used.
    """
    warn_if_exposed(config.server.host)
    store = open_store(config.home / RECORDS)
    try:
        # Sweeping needs the home's lock, and must end before anything starts that uses files in the home.
        places = Places(config.home, rooms.folders.root, config.cache_dir, rooms.content.root)
        await asyncio.to_thread(sweep_home, places)
        keyring = await open_keyring(store, config.home, api_host(config.server.host, config.server.port))
        controller = Controller(
            config, store, keyring, rooms, isolation=isolation, routing=routing or HomeRouting(), now=now
        )
        for link in links:
            controller.join(link)
        await controller.start()
    except BaseException:
        await store.close()
        raise
    return controller


def create_app(controller: Controller) -> ASGIApp:
    """The HTTP side of a controller, as an ASGI application."""
    return controller.app()


def bounds(server: ServerConfig) -> Bounds:
    """The limits on a connection, from the configuration of the server."""
    return Bounds(
        head_bytes=server.max_header_bytes,
        head_s=server.header_timeout_s,
        body_s=server.body_timeout_s,
        connections=server.max_connections,
    )


def api_host(host: str, port: int) -> str:
    """The URL at which this machine reaches a server that listens on `host` and `port`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def warn_if_exposed(host: str) -> None:
    if not is_loopback(host):
        log.warning(
            "listening on %s: the API, and with it the running of code, is open to every machine that reaches this "
            "address and has a key, and keys travel unencrypted; put a TLS proxy in front or listen on 127.0.0.1",
            host or "all addresses",
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
