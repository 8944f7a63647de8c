"""Packages group actions, which inherit their parameters. A binding stands for a package, with parameters of its own.

A package that is published may be bound, called and read by every namespace; without that, only its own has it. What a
call gets are the parameters of the package, of the binding, of the action and of the call, and a later one wins.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec

from ..errors import BadInput, Conflict, NotAllowed, NotFound
from . import queries
from .catalog import UNKNOWN, Catalog, Deployed
from .changes import CONCURRENT, Changes
from .layers import Pairs, merged_pairs, variables_of
from .package_puts import PackagePut
from .paths import EntityPath
from .puts import next_version
from .records import Action, Package
from .store import Store

NOT_AUTHORIZED = "The supplied authentication is not authorized to access this resource."
PACKAGES, ACTIONS = "packages", "actions"
"""The names of the two collections."""
EXISTS = "resource already exists"
RESERVED = frozenset({"default"})
"""In OpenWhisk this word means in some paths that an action is in no package."""
BINDING = "binding"
"""The annotation of a binding that tells what is bound, for clients that see only lists."""
NOT_ON_BINDING = "Operation not permitted on package binding."


class Resolved(NamedTuple):
    """An action that a caller has named."""

    deployed: Deployed
    package: str
    """The package by the name that the caller gave. Empty: it is in none."""
    binding: EntityPath | None
    """The binding by which it was found, if it was one."""
    inherited: Pairs
    """The parameters of its package and of the binding."""


class Packages:
    """All packages and bindings, in memory as in the records, and the only way to an action by name for a caller."""

    def __init__(self, store: Store, catalog: Catalog, changes: Changes) -> None:
        self._store = store
        self._catalog = catalog
        self._changes = changes
        self._packages: dict[EntityPath, Package] = {}
        changes.has(PACKAGES, lambda path: path in self._packages)
        changes.has(ACTIONS, lambda path: catalog.find(path) is not None)

    async def restore(self) -> None:
        """Read the stored packages."""
        self._packages = {package.path: package for package in await self._store.read(queries.all_packages)}

    def find(self, path: EntityPath) -> Package | None:
        return self._packages.get(path)

    def get(self, caller: str, path: EntityPath) -> Package:
        """A package that the namespace `caller` may read.

        Raises `NotFound`, `Conflict` when this is the name of an action, and `NotAllowed` when it is another
        namespace's and not published, or not there.
        """
        package = self._packages.get(path)
        if path.namespace != caller and (package is None or not package.publish):
            raise NotAllowed(NOT_AUTHORIZED)
        if package is None:
            self._changes.check_name(path, PACKAGES)
            raise NotFound(f"{UNKNOWN} There is no package {path.name} in the namespace {path.namespace}.")
        return package

    def provider(self, caller: str, package: Package) -> Package:
        """The package that a binding stands for, and every other package itself. Raises as `get` does."""
        return package if package.binding is None else self.get(caller, package.binding)

    def listed(self, caller: str, namespace: str) -> list[Package]:
        """The packages of a namespace that `caller` may read, the one changed last first."""
        own = namespace == caller
        found = [each for each in self._packages.values() if each.path.namespace == namespace and (own or each.publish)]
        return sorted(found, key=lambda package: package.updated_ms, reverse=True)

    def resolve(self, caller: str, path: EntityPath) -> Resolved:
        """The action that a caller names, in its own namespace or in a published package of another one.

        Raises `NotFound`, `NotAllowed`, and `Conflict` when this is the name of a package.
        """
        if path.package is None:
            if path.namespace != caller:
                raise NotAllowed(NOT_AUTHORIZED)
            deployed = self._catalog.find(path)
            if deployed is None:
                self._changes.check_name(path, ACTIONS)
            return Resolved(deployed or self._catalog.get(path), "", None, ())
        package = self.get(caller, EntityPath(path.namespace, None, path.package))
        provider = self.provider(caller, package)
        deployed = self._catalog.get(EntityPath(provider.path.namespace, provider.path.name, path.name))
        if provider is package:
            return Resolved(deployed, path.package, None, package.parameters)
        return Resolved(deployed, path.package, package.path, merged_pairs(provider.parameters, package.parameters))

    def actions_of(self, package: Package) -> list[Deployed]:
        """The actions in a package that is no binding, the one changed last first."""
        return self._catalog.of_package(package.path.namespace, package.path.name)

    def check_home(self, path: EntityPath) -> None:
        """Check that an action may be put or deleted at a path.

        Raises `Conflict` when this is the name of a package, `NotFound` when its package does not exist, and `BadInput`
        when that is a binding.
        """
        if path.package is None:
            self._changes.check_name(path, ACTIONS)
        elif self.get(path.namespace, EntityPath(path.namespace, None, path.package)).binding is not None:
            raise BadInput(NOT_ON_BINDING)

    def inherited(self, path: EntityPath) -> Pairs:
        """The parameters that an action inherits from its package."""
        package = path.package and self._packages.get(EntityPath(path.namespace, None, path.package))
        return package.parameters if package else ()

    async def put(self, path: EntityPath, wanted: PackagePut, *, overwrite: bool) -> Package:
        """Create a package, or replace an existing one if `overwrite` is true. What is not in `wanted` stays as it is.

        Raises `Conflict` when it exists and may not be replaced, when an action has this name, or when a package would
        become a binding, and `BadInput` for a name or a binding that cannot be.
        """
        if path.name in RESERVED:
            raise BadInput(f"Package name '{path.name}' is reserved.")
        with self._changes.one(path):
            self._changes.check_name(path, PACKAGES)
            old = self._packages.get(path)
            if old is not None and not overwrite:
                raise Conflict(EXISTS)
            package = self._renewed(path, wanted, old)
            await self._store.write(lambda connection: queries.save_package(connection, package))
            self._packages[path] = package
            return package

    async def delete(self, package: Package) -> None:
        """Delete a binding, or a package that is empty. Raises `Conflict` when it is not, or is just being changed."""
        with self._changes.one(package.path):
            if self._packages.get(package.path) is not package or self._changes.within(package.path):
                raise Conflict(CONCURRENT)
            if count := len(self.actions_of(package)):
                entities = "entity" if count == 1 else "entities"
                raise Conflict(
                    f"Package not empty (contains {count} {entities}). Set force param or delete package contents."
                )
            await self._store.write(lambda connection: queries.delete_package(connection, package.path))
            del self._packages[package.path]

    def _renewed(self, path: EntityPath, wanted: PackagePut, old: Package | None) -> Package:
        binding = old.binding if old is not None else None
        if wanted.binding is not None:
            if old is not None and old.binding is None:
                raise Conflict("Resource is a package and cannot be converted into a binding.")
            binding = self._bound(path.namespace, wanted.binding)
        parameters = wanted.parameters if wanted.parameters is not None else (old.parameters if old else [])
        if binding is not None and any(pair.get("init") for pair in parameters):
            raise BadInput(
                "Parameters of a binding cannot be for initialization alone: its callers share loaded functions with "
                "others. Leave 'init' out, or give such parameters to the package or the action."
            )
        variables_of(parameters)  # refuses those that its functions could not have
        annotations = wanted.annotations if wanted.annotations is not None else (old.annotations if old else [])
        annotations = [pair for pair in annotations if pair["key"] != BINDING]
        if binding is not None:
            annotations.append({"key": BINDING, "value": {"namespace": binding.namespace, "name": binding.name}})
        return Package(
            path=path,
            version=next_version(wanted.version, old),
            updated_ms=time.time_ns() // 1_000_000,
            publish=wanted.publish if wanted.publish is not None else (old.publish if old else False),
            parameters=parameters,
            annotations=annotations,
            binding=binding,
        )

    def _bound(self, caller: str, binding: EntityPath) -> EntityPath:
        """The binding, if the caller may make it."""
        provider = self._packages.get(binding)
        if binding.namespace != caller and (provider is None or not provider.publish):
            raise NotAllowed(f"The supplied authentication is not authorized to access '{binding}'.")
        if provider is None:
            if self._catalog.find(binding) is not None:
                raise Conflict("Cannot bind to a resource that is not a package.")
            raise BadInput("Binding references a package that does not exist.")
        if provider.binding is not None:
            raise BadInput("Cannot bind to another package binding.")
        return binding


def package_summary(package: Package) -> dict[str, Any]:
    """The JSON of one package in a list. Only a binding has `binding`.

    OpenWhisk has the value false there for others, which clients in Go cannot decode; an empty object is a binding for
    clients in JavaScript.
    """
    binding = package.binding
    told = {
        "namespace": package.path.namespace,
        "name": package.path.name,
        "version": package.version,
        "publish": package.publish,
        "updated": package.updated_ms,
        "annotations": package.annotations,
    }
    return told if binding is None else {**told, "binding": {"namespace": binding.namespace, "name": binding.name}}


def package_json(package: Package, parameters: Pairs) -> dict[str, Any]:
    """The JSON of one package, with these parameters."""
    return {"binding": {}, **package_summary(package), "parameters": parameters}


def contents_json(actions: Iterable[Deployed]) -> dict[Literal["actions", "feeds"], list[dict[str, Any]]]:
    """The actions of a package as its JSON lists them. Those with the annotation ``feed`` are listed apart."""
    found: dict[Literal["actions", "feeds"], list[dict[str, Any]]] = {"actions": [], "feeds": []}
    for deployed in actions:
        action = deployed.action
        is_feed = any(pair["key"] == "feed" for pair in action.annotations)
        told = {"name": action.name, "version": action.version, "annotations": action.annotations}
        found["feeds" if is_feed else "actions"].append(told)
    return found


def with_inherited(resolved: Resolved) -> Action:
    """The action with the parameters that it inherits."""
    action = resolved.deployed.action
    if not resolved.inherited:
        return action
    return msgspec.structs.replace(action, parameters=merged_pairs(resolved.inherited, action.parameters))
