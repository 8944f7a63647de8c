"""Write the tables of docs/reference/configuration.md from the configuration and the command line themselves.

    python scripts/write_configuration.py

A test compares the document with what this script would write, so that no key, command or option can be missing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from blocks import DOCS, rewrite, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from instainfer.cli.exit_codes import ExitCode
from instainfer.cli.main import app
from instainfer.cli.settings import environment_variable
from instainfer.config import Config

DOCUMENT = DOCS / "reference" / "configuration.md"
COMPUTED = {"home": "the user's data folder", "node.memory_mb": "half of the machine's memory"}
"""Defaults that differ from machine to machine."""
_KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    IPv4Network: "network",
}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def configuration_keys() -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf of the configuration with its dotted key."""
    yield from _leaves(Config, "")


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def configuration_table() -> str:
    rows = [
        (f"`{key}`", _allowed(field), _default(key, field), field.description or "")
        for key, field in configuration_keys()
    ]
    return table(("key", "value", "default", "meaning"), rows)


def variables_example() -> str:
    name = environment_variable("node.memory_mb")
    return f"    {name}=4096 instainfer up"


def _allowed(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is dict:
        return "table of texts"
    if get_origin(kind) is tuple:
        return "list of texts"
    options = [one for one in (get_args(kind) or (kind,)) if one is not type(None)]
    words = " or ".join(_KINDS[option] for option in options)
    bounds = [
        f"{word} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, word in _BOUNDS.items()
        if hasattr(rule, name)
    ]
    return ", ".join([words, *bounds])


def _default(key: str, field: FieldInfo) -> str:
    if key in COMPUTED:
        return COMPUTED[key]
    value = field.get_default()
    if get_origin(field.annotation) in (dict, tuple):
        return "empty"
    if value is None:
        return "none"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups included when they do something themselves."""
    yield from _commands(typer.main.get_command(app), "instainfer")


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None or command.invoke_without_command:
        yield name, command
    for word, sub in (below or {}).items():
        yield from _commands(sub, f"{name} {word}")


def command_sections() -> str:
    return "\n\n".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    rows = [(_written(param), (param.help or "").strip()) for param in command.params if param.name != "help"]
    lines = [f"### `{name}`", "", textwrap.fill(" ".join((command.help or "").split()), 120)]
    return "\n".join([*lines, "", table(("argument or option", "meaning"), rows)])


def _written(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{(param.metavar or param.name).upper()}`"
    names = ", ".join(f"`{name}`" for name in sorted(param.opts, key=len))
    return names if param.is_flag else f"{names} `{param.metavar or param.name.upper()}`"


def exit_codes() -> str:
    return table(("code", "meaning"), [(str(code.value), code.meaning) for code in ExitCode])


def parts() -> dict[str, str]:
    """What the script writes, by the name of its place in the document."""
    return {
        "keys": configuration_table(),
        "variable": variables_example(),
        "commands": command_sections(),
        "exit codes": exit_codes(),
    }


if __name__ == "__main__":
    rewrite(DOCUMENT, parts())
