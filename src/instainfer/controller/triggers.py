"""Triggers, and the rules that lead from a trigger to an action. Both are in no package.

Firing a trigger calls the action of each of its active rules (see `instainfer.controller.firing`).
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import sqlalchemy as sa

from ..errors import BadInput, Conflict, NotAllowed, NotFound
from . import trigger_queries as queries
from .catalog import UNKNOWN
from .changes import Changes
from .packages import EXISTS, NOT_AUTHORIZED, Packages
from .paths import EntityPath
from .puts import next_version
from .records import Rule, Trigger
from .store import Store
from .trigger_puts import RulePut, TriggerPut

TRIGGERS, RULES = "triggers", "rules"
"""The names of the two collections."""


class Triggers:
    """All triggers and rules, in memory as in the records."""

    def __init__(self, store: Store, packages: Packages, changes: Changes) -> None:
        self._store = store
        self._packages = packages
        self._changes = changes
        self._triggers: dict[EntityPath, Trigger] = {}
        self._rules: dict[EntityPath, Rule] = {}
        changes.has(TRIGGERS, lambda path: path in self._triggers)
        changes.has(RULES, lambda path: path in self._rules)

    async def restore(self) -> None:
        """Read the stored triggers and rules."""
        self._triggers = {trigger.path: trigger for trigger in await self._store.read(queries.all_triggers)}
        self._rules = {rule.path: rule for rule in await self._store.read(queries.all_rules)}

    def trigger(self, path: EntityPath) -> Trigger:
        """A trigger. Raises `NotFound`, and `Conflict` when this is the name of something else."""
        found = self._triggers.get(path)
        if found is None:
            self._changes.check_name(path, TRIGGERS)
            raise NotFound(f"{UNKNOWN} There is no trigger {path.name} in the namespace {path.namespace}.")
        return found

    def rule(self, path: EntityPath) -> Rule:
        """A rule. Raises `NotFound`, and `Conflict` when this is the name of something else."""
        found = self._rules.get(path)
        if found is None:
            self._changes.check_name(path, RULES)
            raise NotFound(f"{UNKNOWN} There is no rule {path.name} in the namespace {path.namespace}.")
        return found

    def triggers_of(self, namespace: str) -> list[Trigger]:
        """The triggers of a namespace, the one changed last first."""
        found = [each for each in self._triggers.values() if each.path.namespace == namespace]
        return sorted(found, key=lambda trigger: trigger.updated_ms, reverse=True)

    def rules_of(self, namespace: str) -> list[Rule]:
        """The rules of a namespace, the one changed last first."""
        found = [each for each in self._rules.values() if each.path.namespace == namespace]
        return sorted(found, key=lambda rule: rule.updated_ms, reverse=True)

    def rules_from(self, trigger: Trigger) -> list[Rule]:
        """The rules of a trigger, by their names."""
        return sorted(
            (rule for rule in self._rules.values() if rule.trigger == trigger.path), key=lambda rule: rule.path
        )

    async def put_trigger(self, path: EntityPath, wanted: TriggerPut, *, overwrite: bool) -> Trigger:
        """Create a trigger, or replace an existing one if `overwrite` is true. Its rules stay.

        Raises `Conflict` when it exists and may not be replaced, or something else has this name.
        """
        with self._changes.one(path):
            self._changes.check_name(path, TRIGGERS)
            old = self._triggers.get(path)
            if old is not None and not overwrite:
                raise Conflict(EXISTS)
            trigger = Trigger(
                path=path,
                version=next_version(wanted.version, old),
                updated_ms=_wall_ms(),
                publish=wanted.publish if wanted.publish is not None else (old.publish if old else False),
                parameters=wanted.parameters if wanted.parameters is not None else (old.parameters if old else []),
                annotations=wanted.annotations if wanted.annotations is not None else (old.annotations if old else []),
            )
            await self._store.write(lambda connection: queries.save_trigger(connection, trigger))
            self._triggers[path] = trigger
            return trigger

    async def delete_trigger(self, trigger: Trigger) -> None:
        """Delete a trigger. Its rules become inactive, also for a later trigger of this name."""
        with self._changes.one(trigger.path):
            left = [msgspec.structs.replace(rule, is_active=False) for rule in self.rules_from(trigger)]

            def delete(connection: sa.Connection) -> None:
                queries.delete_trigger(connection, trigger.path)
                for rule in left:
                    queries.save_rule(connection, rule)

            await self._store.write(delete)
            self._triggers.pop(trigger.path, None)
            self._rules |= {rule.path: rule for rule in left if rule.path in self._rules}

    async def put_rule(self, path: EntityPath, wanted: RulePut, *, overwrite: bool) -> Rule:
        """Create a rule, which is active, or replace an existing one if `overwrite` is true.

        Raises `Conflict` when it exists and may not be replaced, or something else has this name, `BadInput` when its
        trigger or its action does not exist, and `NotAllowed` when the namespace may not use them.
        """
        with self._changes.one(path):
            self._changes.check_name(path, RULES)
            old = self._rules.get(path)
            if old is not None and not overwrite:
                raise Conflict(EXISTS)
            trigger, action = wanted.trigger, wanted.action
            if old is not None:
                trigger, action = trigger or old.trigger, action or old.action
            if trigger is None or action is None:
                raise BadInput("rule requires a valid trigger and a valid action")
            self._check(path.namespace, trigger, action)
            rule = Rule(
                path=path,
                version=next_version(wanted.version, old),
                updated_ms=_wall_ms(),
                publish=wanted.publish if wanted.publish is not None else (old.publish if old else False),
                annotations=wanted.annotations if wanted.annotations is not None else (old.annotations if old else []),
                trigger=trigger,
                action=action,
                is_active=True if old is None else old.is_active,
            )
            await self._save(rule)
            return rule

    async def switch(self, rule: Rule, *, is_active: bool) -> Rule:
        """Make a rule active or inactive. Raises `NotFound` when its trigger does not exist."""
        with self._changes.one(rule.path):
            if rule.trigger not in self._triggers:
                raise NotFound("Only rules with existing triggers can be activated")
            switched = msgspec.structs.replace(rule, is_active=is_active)
            if is_active != rule.is_active:
                await self._save(switched)
            return switched

    async def delete_rule(self, rule: Rule) -> None:
        with self._changes.one(rule.path):
            await self._store.write(lambda connection: queries.delete_rule(connection, rule.path))
            self._rules.pop(rule.path, None)

    async def _save(self, rule: Rule) -> None:
        await self._store.write(lambda connection: queries.save_rule(connection, rule))
        self._rules[rule.path] = rule

    def _check(self, namespace: str, trigger: EntityPath, action: EntityPath) -> None:
        if trigger.namespace != namespace:
            raise NotAllowed(NOT_AUTHORIZED)
        if trigger not in self._triggers:
            raise BadInput(f"trigger /{trigger} does not exist")
        try:
            self._packages.resolve(namespace, action)
        except (NotFound, Conflict):
            raise BadInput(f"action /{action} does not exist") from None


def trigger_summary(trigger: Trigger) -> dict[str, Any]:
    """The JSON of one trigger in a list."""
    return {
        "namespace": trigger.path.namespace,
        "name": trigger.path.name,
        "version": trigger.version,
        "publish": trigger.publish,
        "updated": trigger.updated_ms,
        "annotations": trigger.annotations,
    }


def trigger_json(trigger: Trigger, rules: list[Rule]) -> dict[str, Any]:
    """The JSON of one trigger, with its rules."""
    told = {str(rule.path): {"action": _place(rule.action), "status": status_of(rule)} for rule in rules}
    return {**trigger_summary(trigger), "parameters": trigger.parameters, "limits": {}, "rules": told}


def rule_json(rule: Rule) -> dict[str, Any]:
    """The JSON of one rule."""
    return {
        "namespace": rule.path.namespace,
        "name": rule.path.name,
        "version": rule.version,
        "publish": rule.publish,
        "updated": rule.updated_ms,
        "annotations": rule.annotations,
        "trigger": _place(rule.trigger),
        "action": _place(rule.action),
        "status": status_of(rule),
    }


def status_of(rule: Rule) -> str:
    return "active" if rule.is_active else "inactive"


def _place(path: EntityPath) -> dict[str, str]:
    return {"path": path.folder, "name": path.name}


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
