"""Which platform a command talks to, and with which key.

Each of the two is looked for in this order: ``--api-host``/``--auth``; ``INSTAINFER_API_HOST``/``INSTAINFER_AUTH``;
what `instainfer.client.credentials` finds: the file that ``instainfer up`` leaves in its home, else ``~/.wskprops``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import NotAllowed, Unreachable


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL or ``host:port``, and the key ``uuid:secret``; either may be empty when it is not known."""

    api_host: str
    auth: str


def resolve(given: Address, environ: Mapping[str, str], stored: Callable[[], tuple[str, str]]) -> Address:
    """Fill what `given` leaves empty from the weaker sources.

    `stored` is called only when needed: finding the home may need the whole configuration. Raises `Unreachable`
    without an address, `NotAllowed` without a key for it.
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
