"""Where this host gets packages from: what its own configuration of pip and uv says, as variables for a jailed tool.

A jailed tool sees neither the platform's variables nor its user's files. So the settings that name sources are read
here: pip's files and both tools' variables become variables of the tool, and from all of them follows which hosts and
which folders it has to reach. Passwords that are in them, or in ``.netrc``, are for a tool that runs no code of
packages. `Origins.without_secrets` is what a tool gets that does.
"""

from __future__ import annotations

import configparser
import netrc
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import HostError

ARGUMENTS = "INSTAINFER_ARGUMENTS"
"""Holds, among the variables, the arguments that name sources. It is for the platform alone."""
PIP_SOURCES = ("index-url", "extra-index-url", "find-links", "no-index", "constraint", "proxy", "cert", "client-cert")
_PIP_SETTINGS = (
    *PIP_SOURCES,
    *("trusted-host", "timeout", "default-timeout", "retries", "pre", "prefer-binary", "use-feature", "use-deprecated"),
)
_PIP_SECTIONS = ("global", "install")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PLAIN = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "SOURCE_DATE_EPOCH", "TZ")
_CERTIFICATES = ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE")
UV_SOURCES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")
_UV_SETTINGS = (
    *UV_SOURCES,
    *("UV_CONSTRAINT", "UV_EXCLUDE_NEWER", "UV_HTTP_TIMEOUT", "UV_INDEX_STRATEGY", "UV_INSECURE_HOST", "UV_NATIVE_TLS"),
    *("UV_NO_INDEX", "UV_OVERRIDE", "UV_PRERELEASE", "UV_SYSTEM_CERTS"),
)
_UV_CREDENTIALS = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_SECRET = ("PIP_CLIENT_CERT", "SSL_CLIENT_CERT")
_ADDRESS = re.compile(r"(?:https?|file)://[^\s\"']+")
_USER = re.compile(r"(://)[^/@\s\"']+@")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PUBLIC = "https://pypi.org/simple"
_FILE_HOSTS = {
    "pypi.org": "files.pythonhosted.org",
    "test.pypi.org": "test-files.pythonhosted.org",
    "download.pytorch.org": "download-r2.pytorch.org",
}
"""Where well-known indexes keep their files."""
_OWN_INDEX = ("PIP_INDEX_URL", "PIP_NO_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_NO_INDEX")
"""Whoever sets one of these does not want packages of the public index."""
_UV_OWN_INDEX = ("index-url", "no-index", "default")
_UV_KEYS = (*_UV_OWN_INDEX, "index", "extra-index-url", "find-links", "url")


@dataclass(frozen=True, slots=True)
class Host:
    """A place on the network that builds may reach."""

    name: str
    port: int | None = None
    """None: those of HTTP and HTTPS."""
    is_named: bool = True
    """Whether the operator has named it, and not this program."""

    def covers(self, name: str, port: int) -> bool:
        return name.lower() == self.name and (port == self.port or (self.port is None and port in {80, 443}))


@dataclass(frozen=True, slots=True)
class Origins:
    """Settings for the tools, and what follows from them."""

    variables: Mapping[str, str]
    uv_file: str = ""
    """Content of uv's own configuration file."""
    logins: str = ""
    """The lines of ``.netrc`` that are for hosts of packages."""

    def texts(self) -> Iterator[str]:
        others = (*_PLAIN, *_PROXIES, "PIP_PROXY")
        yield from (value for name, value in self.variables.items() if name.upper() not in others)
        yield from (value for _, value in _uv_sources(self.uv_file))

    def addresses(self) -> list[str]:
        """Addresses of indexes, links and archives, the public index's among them unless another is in its place."""
        found = [address for text in self.texts() for address in _ADDRESS.findall(text)]
        keys = {key for key, _ in _uv_sources(self.uv_file)}
        is_public = keys.isdisjoint(_UV_OWN_INDEX) and not any(self.variables.get(name) for name in _OWN_INDEX)
        return [*found, _PUBLIC] if is_public else found

    def hosts(self, more: Iterable[str] = ()) -> frozenset[Host]:
        """The hosts of all addresses, and `more` of the operator's, each ``NAME`` or ``NAME:PORT``."""
        hosts = set()
        for address in self.addresses():
            parts = urlsplit(address)
            if parts.scheme == "file" or not parts.hostname:
                continue
            is_named = address != _PUBLIC
            hosts.add(Host(parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme], is_named))
            if files := _FILE_HOSTS.get(parts.hostname):
                hosts.add(Host(files, 443, is_named=False))
        for name in more:
            parts = urlsplit(f"//{name}")
            hosts.add(Host(parts.hostname or name, parts.port))
        return frozenset(hosts)

    def paths(self) -> list[Path]:
        """Local files and folders that the settings name. The files of an index often lie beside its ``simple/``."""
        named = [Path(unquote(urlsplit(a).path)) for a in self.addresses() if a.startswith("file://")]
        words = (word for text in self.texts() for word in re.split(r"[\s\"':]+", text))
        named += [Path(word) for word in words if word.startswith("/") and not word.startswith("//")]
        named += [Path(folder) for folder in self.variables.get("LD_LIBRARY_PATH", "").split(":") if folder]
        named += [path.parent for path in named if path.name == "simple"]
        return sorted({path for path in named if path.is_absolute() and len(path.parts) > 1 and path.exists()})

    def without_secrets(self) -> Origins:
        """The same without what must not come to the knowledge of packages' code."""
        kept = {
            name: _USER.sub(r"\1", value)
            for name, value in self.variables.items()
            if name not in _SECRET and _UV_CREDENTIALS.fullmatch(name) is None
        }
        return Origins(kept, _USER.sub(r"\1", self.uv_file))

    def with_arguments(self, arguments: Iterable[str]) -> Origins:
        """The same with sources that are given to the tools as arguments."""
        given = " ".join(arguments)
        added = {ARGUMENTS: given} | ({"PIP_NO_INDEX": "1"} if "--no-index" in given else {})
        return replace(self, variables={**self.variables, **added}) if given else self


def host_origins(given: Mapping[str, str]) -> Origins:
    """Read the configuration of this host. Variables that are `given` win. Raises `HostError`."""
    env = os.environ
    variables = {name: env[name] for name in (*_PLAIN, *_CERTIFICATES, "SSL_CLIENT_CERT") if name in env}
    variables |= {f"PIP_{key.upper().replace('-', '_')}": value for key, value in _pip_settings().items()}
    variables |= {name: env[name] for name in env if name.upper() in _PROXIES}
    variables |= {name: env[name] for name in env if name in _UV_SETTINGS or _UV_CREDENTIALS.fullmatch(name)}
    variables |= given
    uv_file = _uv_file(variables.pop("UV_CONFIG_FILE", ""))
    origins = Origins(variables, uv_file)
    return replace(origins, logins=_logins({host.name for host in origins.hosts()}))


def pip_has_sources() -> bool:
    """Whether somebody has told pip where packages come from."""
    return any(key in PIP_SOURCES for key in _pip_settings())


def _pip_settings() -> dict[str, str]:
    """The settings of pip's files and variables that matter here, by their names in a file."""
    config = configparser.RawConfigParser(strict=False)
    try:
        config.read(pip_configuration_files(), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise HostError(f"the configuration of pip cannot be read: {error}; correct it") from error
    found: dict[str, str] = {}
    for section in _PIP_SECTIONS:
        if config.has_section(section):
            found |= {key.replace("_", "-").removeprefix("--"): value for key, value in config.items(section)}
    found |= {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
    return {key: _expanded(value) for key, value in found.items() if key in _PIP_SETTINGS and value}


def _expanded(value: str) -> str:
    return " ".join(os.path.expanduser(word) for word in value.split())


def pip_configuration_files() -> list[Path]:
    """pip's files on this host, those that win last."""
    home, env = Path.home(), os.environ
    shared = env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    own = Path(env.get("XDG_CONFIG_HOME", home / ".config"))
    if env.get("PIP_CONFIG_FILE") == os.devnull:
        return []
    files = [*(Path(folder, "pip/pip.conf") for folder in shared), Path("/etc/pip.conf")]
    files += [home / ".pip/pip.conf", own / "pip/pip.conf"]
    return [*files, Path(env["PIP_CONFIG_FILE"])] if "PIP_CONFIG_FILE" in env else files


def _uv_file(named: str) -> str:
    """The content of the first configuration file of uv that there is: the named one, the user's, the host's."""
    own = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"), "uv/uv.toml")
    for path in [Path(named)] if named else [own, Path("/etc/uv/uv.toml")]:
        with suppress(FileNotFoundError, PermissionError):
            return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _uv_sources(text: str) -> Iterator[tuple[str, str]]:
    """The settings in a file of uv's that say where packages come from, as (key, value). Raises `HostError`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HostError(f"the configuration of uv cannot be read: {error}; correct it") from error
    waiting: list[tuple[str, Any]] = list(table.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, item) for item in value]
        elif key in _UV_KEYS and value:
            yield key, str(value)


def _logins(names: Iterable[str]) -> str:
    """The entries of the user's ``.netrc`` for these hosts."""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        found = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return ""
    lines = []
    for name in sorted(names):
        if (entry := found.hosts.get(name)) is not None:
            login, _, password = entry
            lines.append(f"machine {name} login {login} password {password}\n")
    return "".join(lines)
