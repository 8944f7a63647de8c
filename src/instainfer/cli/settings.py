"""The configuration as the command line sees it: what a person typed wrong, and where each value comes from."""

from __future__ import annotations

import tomllib
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
    """One leaf of the configuration."""

    key: str
    """Dotted, as the TOML file nests it."""
    value: Any
    default: Any
    description: str
    origin: str
    """``default``, or the file or environment variable that it comes from."""


def configuration(**overrides: Any) -> Config:
    """`instainfer.config.load_config`, with mistakes as `BadInput` that names the key and what it allows."""
    from pydantic import ValidationError

    from ..config import load_config

    try:
        return load_config(**overrides)
    except ValidationError as error:
        raise BadInput(_explain(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"instainfer.toml is not valid TOML ({error}); correct it") from None


def _explain(error: ValidationError) -> str:
    problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return f"the configuration is wrong at {', '.join(problems)}; see `instainfer config` for what there is"


def settings() -> list[Setting]:
    """Every leaf of the configuration in force, with its origin."""
    from ..config import Config

    configuration()  # for its errors
    sources: list[tuple[dict[str, Any], PydanticBaseSettingsSource]] = []

    class Traced(Config):
        # Asks the very sources that Config uses, in its order, so that the two cannot disagree.
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
