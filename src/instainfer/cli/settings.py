"""Loads the configuration for the commands, explains mistakes in it, and finds the source of each value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadInput

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_settings import PydanticBaseSettingsSource

    from ..config import Config


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the configuration with its value."""

    key: str
    """The key with dots between the nested tables of the TOML file, such as ``node.memory_mb``."""
    value: Any
    default: Any
    description: str
    origin: str
    """The file or the environment variable that the value comes from, or ``default``."""


def configuration(**overrides: Any) -> Config:
    """Call `instainfer.config.load_config`. If a value is wrong, raises `BadInput` with the key and the cause."""
    from pydantic import ValidationError

    from ..config import load_config

    try:
        return load_config(**overrides)
    except ValidationError as error:
        raise BadInput(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return f"the configuration is wrong at {', '.join(problems)}; see `instainfer config` for what there is"


def settings() -> list[Setting]:
    """All keys of the configuration, with their current values and origins."""
    from ..config import Config

    # Mistakes in the configuration raise the right error here. `Traced()` below would raise pydantic's.
    configuration()
    sources: list[tuple[dict[str, Any], PydanticBaseSettingsSource]] = []

    class Traced(Config):
        # This class records the sources that `Config` itself reads, in the same order. So the origins that are shown
        # cannot differ from the true ones.
        @classmethod
        def settings_customise_sources(cls, *args: Any, **kwargs: Any) -> tuple[PydanticBaseSettingsSource, ...]:
            found = super().settings_customise_sources(*args, **kwargs)
            sources.extend((dict(source()), source) for source in found)
            return found

    config = Traced()
    return [
        Setting(key, _value(config, key), default, description, _origin(key, sources))
        for key, default, description in _leaves(type(config), "")
    ]


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any, str]]:
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=True, validated_data={})
            yield f"{prefix}{name}", default, field.description or ""


def _value(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _origin(key: str, sources: list[tuple[dict[str, Any], PydanticBaseSettingsSource]]) -> str:
    return next((_name(source, key) for given, source in sources if _has(given, key)), "default")


def _has(given: Mapping[str, Any], key: str) -> bool:
    value: Any = given
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return True


def _name(source: PydanticBaseSettingsSource, key: str) -> str:
    from pydantic_settings import TomlConfigSettingsSource

    if isinstance(source, TomlConfigSettingsSource):
        return str(source.toml_file_path)
    return environment_variable(key)


def environment_variable(key: str) -> str:
    """The environment variable that sets a key."""
    return "INSTAINFER_" + key.upper().replace(".", "__")
