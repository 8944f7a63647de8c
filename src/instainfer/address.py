"""Finds the address of the platform that a command or a program talks to, and the key for it.

Address and key are looked up separately, each in these places in this order:

1. what is given: the option ``--api-host`` or ``--auth`` of a command, the argument of `Client`
2. the environment variable ``INSTAINFER_API_HOST`` or ``INSTAINFER_AUTH``
3. a file that `credentials` finds: the one that ``instainfer up`` wrote into its home, else that of OpenWhisk
   (``$WSK_CONFIG_FILE`` or ``~/.wskprops``)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import BadInput, NotAllowed, Unreachable, one_line
from .texts import read_text

CREDENTIALS = "credentials"
"""A file in the platform's home, in the form of wsk's ``.wskprops``: the address and the first namespace's key."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a platform listens, and the key for it. A field is empty if its value is not known."""

    api_host: str
    """A base URL or ``host:port``."""
    auth: str
    """The key, written ``uuid:secret``."""


def resolve(given: Address, environ: Mapping[str, str], stored: Callable[[], tuple[str, str]]) -> Address:
    """Fill the empty fields of `given` from the environment, then from the file that `stored` reads.

    `stored` is called only when a field is still empty. It may have to read the whole configuration to find the home,
    which takes time. Raises `Unreachable` if there is no address, and `NotAllowed` if there is an address but no key.
    """
    api_host = given.api_host or environ.get("INSTAINFER_API_HOST", "")
    auth = given.auth or environ.get("INSTAINFER_AUTH", "")
    if api_host and auth:
        return Address(api_host, auth)
    try:
        stored_host, stored_auth = stored()
    except Unreachable:
        if not api_host:
            raise
        raise NotAllowed(f"there is no key for {api_host}; give it (--auth, auth=) or set INSTAINFER_AUTH") from None
    return Address(api_host or stored_host, auth or stored_auth)


def found(api_host: str, auth: str, home: Path | None) -> Address:
    """The address and the key for a program: what is given, else as for a command. Raises what `resolve` raises."""
    return resolve(Address(api_host, auth), os.environ, lambda: credentials(home or _configured_home()))


def _configured_home() -> Path:
    from .config import load_config  # it takes time, which a program that gives address and key does not pay

    try:
        return load_config().home
    except ValueError as error:
        raise BadInput(f"the configuration is wrong: {one_line(str(error))}; see `instainfer config`") from None


def credentials(home: Path) -> tuple[str, str]:
    """The address and the key from `home`, else from ``$WSK_CONFIG_FILE`` or, if that is not set, ``~/.wskprops``.

    Raises `Unreachable` when no file names both.
    """
    places = (home / CREDENTIALS, Path(os.environ.get("WSK_CONFIG_FILE") or Path.home() / ".wskprops"))
    for place in places:
        properties = _properties(place)
        if "APIHOST" in properties and "AUTH" in properties:
            return properties["APIHOST"], properties["AUTH"]
    looked = " and ".join(map(str, places))
    raise Unreachable(
        f"no address and key of an InstaInfer in {looked}; start it with `instainfer up`, or name its home "
        "(--home, INSTAINFER_HOME)"
    )


def _properties(path: Path) -> dict[str, str]:
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {error}; correct or remove it") from None
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def base_url(api_host: str) -> str:
    """The URL, without a slash at its end, for a URL or for ``host:port`` as in wsk's files."""
    return (api_host if "://" in api_host else f"http://{api_host}").rstrip("/")


def basic_auth(auth: str) -> tuple[str, str]:
    """Split ``uuid:secret`` into user and password. Raises `NotAllowed` for a text without a colon."""
    user, colon, secret = auth.partition(":")
    if not colon:
        raise NotAllowed("the key has no colon; it is written uuid:secret, see the credentials file of the platform")
    return user, secret
