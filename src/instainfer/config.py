"""The configuration, which never changes. Each field's description gives its meaning and unit.

Its sources are, strongest first: command line, environment (``INSTAINFER_NODE__MEMORY_MB=4096``),
``./instainfer.toml``, ``instainfer.toml`` in the user's configuration folder, default. Unknown keys are errors.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from .environments.content import is_digest
from .errors import BadInput
from .texts import read_text
from .wire.bounds import MAX_ANSWER_BYTES, MAX_ARGS_BYTES

APP = "instainfer"


def _half_of_memory_mb() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024 // 2
    return 4096


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerConfig(_Part):
    host: str = Field("127.0.0.1", description="address to listen on; anything but loopback exposes the API")
    port: int = Field(3233, ge=0, le=65535, description="TCP port; 0 takes a free one")
    max_body_bytes: int = Field(
        32 * 1024 * 1024,
        gt=0,
        le=MAX_ARGS_BYTES // 2,  # the parameters of the function are added to it
        description="largest request of an activation, in bytes; larger ones get 413",
    )
    max_result_bytes: int = Field(
        32 * 1024 * 1024, gt=0, le=MAX_ANSWER_BYTES, description="largest answer of a function, in bytes"
    )
    max_code_bytes: int = Field(48 * 1024 * 1024, gt=0, description="largest code of a function, in bytes")
    max_pending_bytes: int = Field(
        512 * 1024 * 1024,
        gt=0,
        description="bodies, arguments, code and answers of all requests together that may be in memory, in bytes; "
        "requests that come above get 503",
    )
    max_header_bytes: int = Field(
        16 * 1024, gt=0, description="largest head of a request, path and headers, in bytes; larger ones get 431"
    )
    header_timeout_s: float = Field(
        10.0, gt=0, description="longest time that the head of a request may take, in seconds; later ones get 408"
    )
    body_timeout_s: float = Field(
        30.0,
        gt=0,
        description="seconds for the body of a request, or for taking an answer; a long one has another second for "
        "each 4,096 bytes that have moved",
    )
    max_connections: int = Field(
        1000,
        gt=0,
        description="connections at a time, at most half of what the process may have open; when there are as many, "
        "the one that has been idle longest makes way",
    )
    blocking_timeout_s: float = Field(
        60.0, gt=0, description="longest wait of a blocking call, in seconds; after it the answer is 202"
    )
    metrics: Literal["key", "open"] = Field(
        "key", description="who may read /metrics, which names functions of all namespaces: all who have a key, or all"
    )
    metrics_functions: int = Field(
        100,
        ge=0,
        description="functions that /metrics names: those called first since the start; all others are `other` there",
    )


class LimitsConfig(_Part):
    """What a function may ask for."""

    min_memory_mb: int = Field(64, description="smallest memory limit of a function, in MB")
    max_memory_mb: int = Field(
        16384, description="largest memory limit of a function, in MB; never above node.memory_mb"
    )
    default_memory_mb: int = Field(
        256, description="memory limit of an action without function.toml that names none, in MB"
    )
    min_timeout_ms: int = Field(100, description="shortest time limit of a function, in ms")
    max_timeout_ms: int = Field(300_000, description="longest time limit of a function, in ms")
    default_timeout_ms: int = Field(60_000, description="time limit of a function that names none, in ms")
    cache_mb: int = Field(
        1024,
        ge=0,
        description="size at which the cache that a function's libraries keep between its processes is emptied, in MB; "
        "0: nothing is kept between them",
    )
    shared_weights: tuple[str, ...] = Field(
        (),
        description="digests (sha256:...) of weights that every namespace may use, not only those that have sent them. "
        "In the environment: as JSON",
    )
    concurrent_invocations: int = Field(1000, gt=0, description="activations in flight per namespace")
    invocations_per_minute: int = Field(600_000, gt=0, description="activations per minute and namespace")

    @field_validator("shared_weights", mode="after")
    @classmethod
    def _digests(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for digest in given:
            if not is_digest(digest):
                raise ValueError(f"{digest!r} is not a digest; it is written sha256: and 64 hexadecimal digits")
        return given


class NodeConfig(_Part):
    memory_mb: int = Field(
        default_factory=_half_of_memory_mb,
        gt=0,
        description="sum of the memory limits of all containers, in MB; default: half of the machine's memory",
    )
    max_queue: int = Field(10_000, ge=0, description="activations that may wait for a container")
    retain: bool = Field(
        True, description="keep a function resident after its call; false ends its process with the call"
    )
    templates: bool = Field(
        True, description="fork functions from templates: processes with an environment's libraries imported"
    )
    function_templates: bool = Field(
        True,
        description="keep function templates, processes with a function's model loaded and warmed up, from which calls "
        "that were not foreseen are forked in milliseconds; they take memory that is free anyway",
    )
    fast_init: bool = Field(
        True, description="honour fast_init of functions; false: build every model as it is written"
    )
    replace: bool = Field(
        False,
        description="when a call has taken another function's container, create one for that function again in the "
        "background: more memory, less latency",
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description='variables of every function\'s process and of every template, OMP_WAIT_POLICY = "ACTIVE" say; a '
        "function's own win. In the environment: as JSON",
    )
    answer_grace_s: float = Field(
        15.0,
        gt=0,
        description="seconds after a call's own time limit at which its container is given up if it has not said what "
        "became of the call",
    )
    container_start_timeout_s: float = Field(30.0, gt=0, description="bound on creating a container, in seconds")
    allow_shared_uid: bool = Field(
        False,
        description="started as root: run functions that can have no user id of their own as root; false refuses them",
    )
    backend: str = Field("process", description="how containers are made: process, docker, or memory for tests")

    @field_validator("env")
    @classmethod
    def _variables(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"{name!r} cannot be a variable: a name has no '=', and neither has a NUL character")
        return given


FIRST_PARAMETERS: Final[Mapping[str, str]] = {
    "fixed": "ttl_s",
    "objective": "memory_price_s",
    "histogram": "range_s",
    "pagurus": "zygote_s",
}
"""The parameter of each keep-alive policy that may go without its name, as in ``fixed:600``."""


class KeepAlivePolicyConfig(_Part):
    """A policy and the parameters of all of them."""

    policy: str = Field(
        "objective",
        description="when containers come and go: objective (they are created ahead of calls and kept as far as the "
        "waiting that this saves is worth their memory), fixed, histogram, greedy_dual or pagurus. A namespace may "
        "differ in any of these: keepalive.namespaces.NAME.policy",
    )
    memory_price_s: float = Field(
        0.0,
        ge=0,
        description="objective: seconds of waiting that a GiB second must save; 0: memory that is given and that "
        "nobody needs is free",
    )
    ttl_s: float = Field(600.0, gt=0, description="fixed: seconds that an idle container is kept")
    bin_s: float = Field(60.0, gt=0, description="histogram: width of a bin of idle times, in seconds")
    range_s: float = Field(
        14_400.0,
        gt=0,
        description="histogram: idle times are counted up to so many seconds, for which a container is kept as long "
        "as they tell little",
    )
    head: float = Field(0.05, gt=0, lt=1, description="histogram: share of idle times before a container is back")
    tail: float = Field(0.99, gt=0, lt=1, description="histogram: share of idle times after which it goes again")
    forecast: Literal["median", "arima"] = Field(
        "median", description="histogram: forecast of idle times mostly out of range; arima needs the extra forecast"
    )
    zygote_s: float = Field(
        60.0, gt=0, description="pagurus: idle seconds after which a container is for others, until calls tell better"
    )
    lifetime_s: float = Field(
        900.0, gt=0, description="pagurus: seconds that idle containers, zygotes and helpers are kept"
    )


class NamespacesConfig(BaseModel):
    """One part for each namespace that has its own policy; the keys are the names of namespaces."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, KeepAlivePolicyConfig]

    def items(self) -> list[tuple[str, KeepAlivePolicyConfig]]:
        return sorted(self.__pydantic_extra__.items())

    def __str__(self) -> str:
        return "+".join(f"{name}:{part.policy}" for name, part in self.items())


class KeepAliveConfig(KeepAlivePolicyConfig):
    namespaces: NamespacesConfig = Field(NamespacesConfig())

    def in_short(self) -> str:
        """The policy, its first parameter and others that differ from their defaults, such as ``fixed:600``."""
        fields, first = type(self).model_fields, FIRST_PARAMETERS.get(self.policy)
        others = {name: getattr(self, name) for name in fields if name not in ("policy", first)}
        changed = [f"{name}={value}" for name, value in others.items() if value != fields[name].default]
        shown = changed if first is None else [f"{getattr(self, first):g}", *changed]
        return f"{self.policy}:{','.join(shown)}" if shown else self.policy

    @model_validator(mode="before")
    @classmethod
    def _inherited(cls, given: Any) -> Any:
        """Fill in the fields that a namespace's part leaves out with the common values."""
        if not isinstance(given, Mapping) or not isinstance(parts := given.get("namespaces"), Mapping):
            return given
        common = {key: value for key, value in given.items() if key != "namespaces"}
        own = {name: common | dict(part) if isinstance(part, Mapping) else part for name, part in parts.items()}
        return {**given, "namespaces": own}


class PreloadConfig(_Part):
    policy: str = Field(
        "opportunistic",
        description="opportunistic; templates: function templates only; published: the paper's scheduler as it "
        "describes it, for comparison; own: a container reloads only its own function; or none",
    )
    predictor: str = Field(
        "auto",
        description="when a function is expected to be called next: auto, histogram, poisson, none (nothing is "
        "forecast), or, with the extra forecast, arima or forest",
    )
    window: int = Field(5, ge=2, description="poisson: arrivals looked back at (W)")
    members: str = Field(
        "poisson,histogram",
        description="auto: predictors that it chooses among, with commas between; of equals the first is believed",
    )
    p_load: float = Field(0.06, gt=0, lt=1, description="pre-load when a call is this likely to have come")
    p_offload: float = Field(
        0.94, gt=0, lt=1, description="published: off-load when a call was this likely to have come and has not"
    )
    horizon_s: float = Field(
        10.0,
        gt=0,
        description="histogram, arima, forest, auto: forecasts are compared over so many seconds",
    )
    max_loads: int = Field(1, ge=1, description="pre-loads at a time")
    calls_beside: int | None = Field(
        None,
        ge=0,
        description="pre-loads are put off, for two seconds at most, while more calls than this are running, since "
        "they take processors from them; default: half as many as there are processors, less one",
    )
    max_residents: int = Field(0, ge=0, description="functions in one container; 0: any number that fits")
    processor_price_s: float = Field(
        0.2,
        ge=0,
        description="seconds of waiting that a processor second of loading must save, as expected, to be spent",
    )

    def calls_beside_loads(self, processors: float) -> int:
        """`calls_beside`, or its default on a machine with so many processors."""
        return self.calls_beside if self.calls_beside is not None else max(0, int(processors / 2) - 1)


_NAME_OF_HOST = frozenset(string.ascii_letters + string.digits + "._-")


class EnvironmentsConfig(_Part):
    installer: Literal["auto", "uv", "pip"] = Field("auto", description="auto: uv if present, else pip")
    build_timeout_s: float = Field(1800.0, gt=0, description="bound on building one environment, in seconds")
    max_builds: int = Field(2, gt=0, description="environments that are built at a time; others wait")
    constraints: Path | None = Field(
        None,
        description="file with versions of packages that no environment may leave, in the form of pip's constraints",
    )
    index_url: str | None = Field(None, description="index of packages to use in place of pip's or uv's own")
    extra_index_urls: tuple[str, ...] = Field((), description="indexes to use besides. In the environment: as JSON")
    hosts: tuple[str, ...] = Field(
        (),
        description="hosts that builds may reach besides those of the indexes, as NAME (HTTP and HTTPS) or NAME:PORT. "
        "In the environment: as JSON",
    )
    allow_source: bool = Field(
        True,
        description='whether functions may set `build = "source"`, which runs code of packages in the jail of builds',
    )
    build_memory_mb: int = Field(
        4096, gt=0, description="memory that the processes of one build may use together, measured every second, in MB"
    )
    build_disk_mb: int = Field(
        32_768, gt=0, description="disk that one build may use for all its files, those in between too, in MB"
    )

    @field_validator("constraints", mode="after")
    @classmethod
    def _absolute(cls, file: Path | None) -> Path | None:
        return None if file is None else file.absolute()

    @field_validator("hosts", mode="after")
    @classmethod
    def _hosts(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for host in given:
            name, _, port = host.partition(":")
            is_port = not port or (port.isascii() and port.isdigit() and 0 < int(port) < 65_536)
            if not name or not is_port or not set(name) <= _NAME_OF_HOST:
                raise ValueError(f"{host!r} is not a host; write NAME or NAME:PORT, without https://")
        return given

    @field_validator("index_url", "extra_index_urls", mode="after")
    @classmethod
    def _addresses(cls, given: Any) -> Any:
        for url in [given] if isinstance(given, str) else given or ():
            if any(c.isspace() or not c.isprintable() for c in url):
                raise ValueError(f"{url!r} is not an address: it has spaces or unprintable characters")
        return given


class ContainersConfig(_Part):
    network: Literal["open", "closed"] = Field(
        "open",
        description="what functions reach: open, the world; closed, nothing. The backend docker alone can close it yet",
    )


class DockerConfig(_Part):
    image: str = Field(
        "instainfer-runtime:latest", description="image of containers, which `instainfer image build` makes"
    )
    images: tuple[str, ...] = Field(
        (),
        description="images that functions may name in function.toml; each is built FROM ours. In the environment: as "
        "JSON",
    )
    address_pool: IPv4Network = Field(
        IPv4Network("10.213.0.0/16"),
        description="addresses of the networks of containers, of which each namespace gets 256; nothing else may have "
        "them, and containers do not reach what has",
    )


class RetentionConfig(_Part):
    """How long what is not needed any more is kept."""

    records_max_age_s: float = Field(
        30 * 86_400.0,
        ge=0,
        description="records of activations that began longer ago are removed, in seconds; 0: never",
    )
    records_max_count: int = Field(
        100_000, ge=0, description="newest records that are kept of each namespace; 0: any number"
    )
    records_max_mb: int = Field(
        1024,
        ge=0,
        description="size of the newest records, logs included, that are kept of each namespace; 0: any size",
    )
    records_max_result_bytes: int = Field(
        1024 * 1024,
        ge=0,
        description="largest answer of a blocking call that its record keeps, in bytes; a larger one goes to its "
        "caller only, and the record says so",
    )
    unused_max_age_s: float = Field(
        7 * 86_400.0,
        ge=0,
        description="environments and weights that no function of any home refers to are removed when nobody has used "
        "them for so many seconds; 0: never, but for `instainfer clean`",
    )


class _TomlFile(TomlConfigSettingsSource):
    def _read_file(self, file_path: Any) -> dict[str, Any]:
        try:
            return tomllib.loads(read_text(file_path))
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"{file_path} is not valid TOML ({error}); correct it") from None
        except OSError as error:
            raise BadInput(f"cannot read {file_path}: {error.strerror}; correct it") from None
        except ValueError as error:
            raise BadInput(f"{file_path}: {error}") from None


class Config(BaseSettings):
    """The whole configuration of one InstaInfer process."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="INSTAINFER_", env_nested_delimiter="__")

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir(APP)),
        description="folder of all state: records, functions, weights, environments, the first key",
    )
    cache: Path | None = Field(
        None, description="folder of environments and weights, shareable by several homes; default: HOME/cache"
    )
    server: ServerConfig = Field(default_factory=ServerConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    node: NodeConfig = Field(default_factory=NodeConfig)
    keepalive: KeepAliveConfig = Field(default_factory=KeepAliveConfig)
    preload: PreloadConfig = Field(default_factory=PreloadConfig)
    environments: EnvironmentsConfig = Field(default_factory=EnvironmentsConfig)
    containers: ContainersConfig = Field(default_factory=ContainersConfig)
    docker: DockerConfig = Field(default_factory=DockerConfig)
    retention: RetentionConfig = Field(default_factory=RetentionConfig)

    @field_validator("home", "cache", mode="after")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        """Make a path absolute, because a container works in its own folder, where a relative path would differ."""
        return None if folder is None else folder.absolute()

    @property
    def limits_in_force(self) -> LimitsConfig:
        """`limits`, but at most the node's memory: a function that asks for more could never run."""
        most_mb = min(self.limits.max_memory_mb, self.node.memory_mb)
        return self.limits.model_copy(update={"max_memory_mb": most_mb})

    @property
    def cache_dir(self) -> Path:
        return self.cache if self.cache is not None else self.home / "cache"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        user_file = Path(platformdirs.user_config_dir(APP)) / "instainfer.toml"
        return (
            init_settings,
            env_settings,
            _TomlFile(settings_cls, Path("instainfer.toml")),
            _TomlFile(settings_cls, user_file),
        )


def load_config(**overrides: Any) -> Config:
    """Read the configuration; `overrides` are nested mappings as in the TOML file and win over every other source."""
    return Config(**overrides)
