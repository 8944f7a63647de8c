"""The SQL queries of triggers and rules, as functions of a connection. They run in the threads of `store.Store`."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from .paths import EntityPath
from .records import Rule, Trigger
from .schema import rules, triggers

_encode = msgspec.json.encode


def all_triggers(connection: sa.Connection) -> list[Trigger]:
    return [
        Trigger(
            path=EntityPath(row.namespace, None, row.name),
            version=row.version,
            updated_ms=row.updated_ms,
            publish=row.publish,
            parameters=msgspec.json.decode(row.parameters),
            annotations=msgspec.json.decode(row.annotations),
        )
        for row in connection.execute(sa.select(triggers))
    ]


def save_trigger(connection: sa.Connection, trigger: Trigger) -> None:
    """Store a trigger in place of one at the same path."""
    delete_trigger(connection, trigger.path)
    row = {**_common(trigger), "parameters": _encode(trigger.parameters)}
    connection.execute(sa.insert(triggers), row)


def delete_trigger(connection: sa.Connection, path: EntityPath) -> None:
    connection.execute(sa.delete(triggers).where(triggers.c.namespace == path.namespace, triggers.c.name == path.name))


def all_rules(connection: sa.Connection) -> list[Rule]:
    return [
        Rule(
            path=EntityPath(row.namespace, None, row.name),
            version=row.version,
            updated_ms=row.updated_ms,
            publish=row.publish,
            annotations=msgspec.json.decode(row.annotations),
            trigger=EntityPath.parsed(row.trigger, row.namespace),
            action=EntityPath.parsed(row.action, row.namespace),
            is_active=row.is_active,
        )
        for row in connection.execute(sa.select(rules))
    ]


def save_rule(connection: sa.Connection, rule: Rule) -> None:
    """Store a rule in place of one at the same path."""
    delete_rule(connection, rule.path)
    places = {"trigger": str(rule.trigger), "action": str(rule.action)}
    connection.execute(sa.insert(rules), {**_common(rule), **places, "is_active": rule.is_active})


def delete_rule(connection: sa.Connection, path: EntityPath) -> None:
    connection.execute(sa.delete(rules).where(rules.c.namespace == path.namespace, rules.c.name == path.name))


def _common(entity: Trigger | Rule) -> dict[str, Any]:
    return {
        "namespace": entity.path.namespace,
        "name": entity.path.name,
        "version": entity.version,
        "updated_ms": entity.updated_ms,
        "publish": entity.publish,
        "annotations": _encode(entity.annotations),
    }
