"""Authenticates callers by OpenWhisk's scheme: HTTP Basic authentication with ``uuid:key``.

The database holds only a hash of each key. A key has 64 random characters, so it cannot be found from its SHA-256 by
trying; a slow password hash would only slow down every call. The key of the first namespace is written to
``HOME/credentials`` in the format of ``~/.wskprops``. Only the owner can read that file.
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
    """``uuid:key``. Functions that ask for their caller's key receive this text."""


class Keyring:
    """The keys of all namespaces, in memory."""

    def __init__(self, namespaces: Iterable[tuple[str, str, bytes]]) -> None:
        """`namespaces` are (name, uuid, hash of the key)."""
        self._by_uuid = {uuid_: (name, key_hash) for name, uuid_, key_hash in namespaces}

    @property
    def namespaces(self) -> list[str]:
        return sorted(name for name, _ in self._by_uuid.values())

    def identify(self, authorization: bytes | None) -> Identity | None:
        """The caller that an ``Authorization`` header names. None when the header is missing, malformed or wrong.

        An unknown uuid and a wrong key take the same time, so that the time does not reveal which uuids exist.
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
    """The keys in `store`. The first start creates the first namespace and writes its credentials to `home`.

    If the credentials file is lost, nobody knows the key, because the database holds only its hash. Then a new key
    replaces the old one, and a warning is logged.
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
        # A first start that crashed may have written the file and not the row. The key in the file is still usable.
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
    """The properties in a file of the format of ``~/.wskprops``. Empty when the file does not exist."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name.strip(): value.strip() for name, found, value in (line.partition("=") for line in lines) if found}


def write_credentials(path: Path, api_host: str, auth: str) -> None:
    """Replace the file at `path`."""
    write_private(path, f"APIHOST={api_host}\nAUTH={auth}\nNAMESPACE={FIRST_NAMESPACE}\nAPIVERSION=v1\n")


def write_private(path: Path, text: str) -> None:
    """Write a file and have it on disk. At no moment can anyone but its owner read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
