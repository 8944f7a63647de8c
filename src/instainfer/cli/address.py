"""Finds the address of the platform that a command talks to, and the key for it.

Address and key are looked up separately, each in these places in this order:

1. the option ``--api-host`` or ``--auth``
2. the environment variable ``INSTAINFER_API_HOST`` or ``INSTAINFER_AUTH``
3. a file that `instainfer.client.credentials` finds: the one that ``instainfer up`` wrote into its home, else that of
   OpenWhisk (``$WSK_CONFIG_FILE`` or ``~/.wskprops``)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import NotAllowed, Unreachable


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
        raise NotAllowed(f"there is no key for {api_host}; give it with --auth or INSTAINFER_AUTH") from None
    return Address(api_host or stored_host, auth or stored_auth)
