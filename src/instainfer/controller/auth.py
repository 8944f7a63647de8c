"""Who is asking: OpenWhisk's Basic auth by ``uuid:key``.

The database holds only a hash of each key. The key is 64 random characters, so a plain SHA-256 cannot be searched; a
slow password hash would only slow down every call. The key of the first namespace is written to ``HOME/credentials``,
readable by its owner alone, in the format of ``~/.wskprops``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import string
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from . import queries
from .store import Store

CREDENTIALS = "credentials"
FIRST_NAMESPACE = "guest"
KEY_LENGTH = 64
_ALPHABET = string.ascii_letters + string.digits
_NOBODY = b"\0" * 32

log = logging.getLogger(__name__)


class Identity(NamedTuple):
    """An authenticated caller."""

    namespace: str
    auth: str
    """``uuid:key``, for functions that are given their caller's key."""


class Keyring:
    """The keys of all namespaces, in memory."""

    def __init__(self, namespaces: Iterable[tuple[str, str, bytes]]) -> None:
        """`namespaces` are (name, uuid, hash of the key)."""
        self._by_uuid = {uuid_: (name, key_hash) for name, uuid_, key_hash in namespaces}

    @property
    def namespaces(self) -> list[str]:
        return sorted(name for name, _ in self._by_uuid.values())

    def identify(self, authorization: bytes | None) -> Identity | None:
        """The caller of an ``Authorization`` header; None when the header is missing, malformed or wrong.

        Takes the same time for an unknown uuid and for a wrong key.
        """
        if authorization is None or authorization[:6].lower() != b"basic ":
            return None
        try:
            auth = base64.b64decode(authorization[6:], validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return None
        uuid_, _, key = auth.partition(":")
        name, key_hash = self._by_uuid.get(uuid_, ("", _NOBODY))
        if not hmac.compare_digest(hash_key(key), key_hash):
            return None
        return Identity(name, auth)


def hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def open_keyring(store: Store, home: Path, api_host: str) -> Keyring:
    """The keys in `store`; the first start makes the first namespace, and its credentials in `home`.

    When the credentials are lost, nobody knows the key any more: a new one takes its place, with a warning.
    """
    path = home / CREDENTIALS
    known = {name: (uuid_, key_hash) for name, uuid_, key_hash in await store.read(queries.all_namespaces)}
    auth = read_credentials(path).get("AUTH", "")
    uuid_, _, key = auth.partition(":")
    if FIRST_NAMESPACE in known:
        valid = known[FIRST_NAMESPACE] == (uuid_, hash_key(key))
        if not valid:
            log.warning("%s does not hold the key of %s: a new key is made, the old one ends", path, FIRST_NAMESPACE)
    else:
        # A file without a row is what a crash in the middle of a first start leaves; its key is as good as a new one.
        valid = len(key) == KEY_LENGTH
    if not valid:
        auth = f"{uuid.uuid4()}:{''.join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH))}"
    write_credentials(path, api_host, auth)
    uuid_, _, key = auth.partition(":")
    if known.get(FIRST_NAMESPACE) != (uuid_, hash_key(key)):
        known[FIRST_NAMESPACE] = (uuid_, hash_key(key))
        await store.write(lambda connection: queries.save_namespace(connection, FIRST_NAMESPACE, uuid_, hash_key(key)))
    return Keyring((name, *identity) for name, identity in known.items())


def read_credentials(path: Path) -> dict[str, str]:
    """The properties in a file like ``~/.wskprops``; empty when there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name.strip(): value.strip() for name, found, value in (line.partition("=") for line in lines) if found}


def write_credentials(path: Path, api_host: str, auth: str) -> None:
    """Replace the file at `path`; at no moment may anyone but its owner read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(f"APIHOST={api_host}\nAUTH={auth}\nNAMESPACE={FIRST_NAMESPACE}\nAPIVERSION=v1\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
