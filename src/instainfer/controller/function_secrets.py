"""Keeps the secrets of functions: values for environment variables of their processes, encrypted in the records.

Each value is sealed with AES-256-GCM under the key in ``HOME/secrets.key``, which only its owner can read. The seal
also covers the place of the value: the path of the function and the name of the variable. So a value
that somebody copies to another place of the records cannot be opened there.

The file may hold several keys, one a line: values are sealed with the first, and opened with whichever fits. So a new
key can be put first before anything is sealed with it, and the old one goes when nothing is left that needs it: a
platform that ends at any moment in between can read all values, and the next rotation goes on.

The key is read each time that it is needed, so that its loss is told at the next change and not only at the next start.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import BadInput, HostError, NotFound, one_line, shown
from . import queries
from .auth import write_private
from .paths import EntityPath
from .queries import SealedSecret
from .store import Store

KEY_FILE = "secrets.key"
"""The file with the keys in its home: lines of 64 hexadecimal digits."""
MOST_SECRETS = 64
"""Most secrets of one function."""
MOST_VALUE_BYTES = 64 * 1024
_KEY_BITS = 256
_KEY = re.compile(r"[0-9a-f]{64}")
_NONCE_BYTES = 12
_NAME = re.compile(r"(?!__OW_|INSTAINFER_)[A-Za-z_][A-Za-z0-9_]{0,127}")


class UnreadableSecrets(HostError):
    """Secrets of a function cannot be opened, because the key is lost or is another one."""


@dataclass(frozen=True, slots=True)
class SecretChange:
    """A secret that is set, or removed if its value is None."""

    path: EntityPath
    """The function that has it."""
    key: str
    value: str | None = field(repr=False)

    def check(self) -> None:
        """Raise `BadInput` for a name or a value that a secret may not have."""
        if _NAME.fullmatch(self.key) is None:
            raise BadInput(
                f"{shown(self.key)} is not the name of a secret: at most 128 letters, digits and _, no digit first, "
                "and neither __OW_ nor INSTAINFER_ at its beginning"
            )
        if self.value is None:
            return
        if not 1 <= len(self.value.encode()) <= MOST_VALUE_BYTES:
            raise BadInput(f"the value of a secret must have 1 to {MOST_VALUE_BYTES} bytes")
        if "\0" in self.value:
            raise BadInput("the value of a secret must not contain a zero byte: no environment variable can")


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation of the key has done."""

    resealed: int
    """How many values are sealed with the new key."""
    unreadable: int
    """How many values no key could open. They are as they were."""


class Secrets:
    """The secrets of all functions of one home."""

    def __init__(self, store: Store, home: Path) -> None:
        self._store = store
        self._path = home / KEY_FILE
        self._rotating = asyncio.Lock()

    async def listed(self, path: EntityPath) -> list[SealedSecret]:
        """The secrets of a function, in the order of their keys."""
        return await self._store.read(lambda connection: queries.secrets_of(connection, path))

    async def opened(self, path: EntityPath, change: SecretChange | None = None) -> dict[str, str]:
        """The values of a function's secrets by their keys, as they are after a change.

        Raises `UnreadableSecrets` when one that the change leaves as it is cannot be opened.
        """
        changed = None if change is None else change.key
        async with self._rotating:  # otherwise the keys could be later ones than the values
            kept = [secret for secret in await self.listed(path) if secret.key != changed]
            values = self._values(path, kept) if kept else {}
        if change is not None and change.value is not None:
            values[change.key] = change.value
        return values

    async def saving(self, change: SecretChange) -> Callable[[sa.Connection], None]:
        """The function that stores a change. The first secret of a home makes its key.

        Raises `NotFound` when there is no such secret to remove, `BadInput` when there are too many, and `HostError`
        when the key cannot be read or made.
        """
        path, key = change.path, change.key
        known = {secret.key for secret in await self.listed(path)}
        if change.value is None:
            if key not in known:
                raise NotFound(f"{path} has no secret {key}; `instainfer secret list {path.relative}` lists them")
            return lambda connection: queries.delete_secret(connection, path, key)
        if len(known | {key}) > MOST_SECRETS:
            raise BadInput(f"{path} has {len(known)} secrets, and may have {MOST_SECRETS}; remove some first")
        self._ciphers(make=True)  # tells now that the key cannot be used
        value, place, now_ms = change.value.encode(), _place(path, key), time.time_ns() // 1_000_000

        def save(connection: sa.Connection) -> None:
            # Sealed here, in the thread that also seals all values anew, so that this one is before or after that.
            sealed = _seal(self._ciphers()[0], value, place)
            queries.save_secret(connection, path, SealedSecret(key, sealed, now_ms))

        return save

    async def rotate_key(self) -> Rotation:
        """Make a new key, seal all values with it, and forget the old one. The values stay as they are.

        Raises `HostError` when the key or the records cannot be used. Then all values can be read as before.
        """
        async with self._rotating:
            new = AESGCM.generate_key(_KEY_BITS).hex()
            write_private(self._path, "".join(f"{key}\n" for key in [new, *self._keys(make=True)]))
            rotation = await self._store.write(self._seal_anew)
            write_private(self._path, f"{new}\n")
            return rotation

    def _seal_anew(self, connection: sa.Connection) -> Rotation:
        resealed = unreadable = 0
        ciphers = self._ciphers()
        for path, secret in queries.all_secrets(connection):
            place = _place(path, secret.key)
            try:
                sealed = _seal(ciphers[0], _open(ciphers, secret.sealed, place), place)
            except InvalidTag:
                unreadable += 1
            else:
                queries.save_secret(connection, path, secret._replace(sealed=sealed))
                resealed += 1
        return Rotation(resealed, unreadable)

    def _values(self, path: EntityPath, secrets: Sequence[SealedSecret]) -> dict[str, str]:
        values, why = {}, f"{self._path} is not the key that they were encrypted with; put that one back from a backup"
        try:
            ciphers = self._ciphers()
            for key, sealed, _ in secrets:
                with suppress(InvalidTag):
                    values[key] = _open(ciphers, sealed, _place(path, key)).decode()
        except HostError as error:
            why = str(error)
        if lost := [secret.key for secret in secrets if secret.key not in values]:
            raise UnreadableSecrets(
                f"the secrets {one_line(', '.join(lost), 300)} of {path} cannot be read: {why} and start "
                f"the platform again, or set each of them anew with `instainfer secret set {path.relative} KEY`"
            )
        return values

    def _ciphers(self, *, make: bool = False) -> list[AESGCM]:
        """What opens values, the first of which also seals them."""
        return [AESGCM(bytes.fromhex(key)) for key in self._keys(make=make)]

    def _keys(self, *, make: bool = False) -> list[str]:
        """The keys of the home. The first one is made if `make` is set and there is none.

        Raises `HostError` when the key cannot be used.
        """
        try:
            if make and not self._path.exists():  # nothing is awaited here, so two first secrets make one key
                write_private(self._path, AESGCM.generate_key(_KEY_BITS).hex() + "\n")
            text = self._path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            raise HostError(f"{self._path} is missing; put it back from a backup") from None
        except OSError as error:
            raise HostError(f"{self._path} cannot be used: {error.strerror}; make it a file that can be") from error
        keys = text.split()
        if not keys or any(_KEY.fullmatch(key) is None for key in keys):
            raise HostError(
                f"{self._path} is not a key of 64 hexadecimal digits; put it back from a backup, or remove it"
            )
        return keys


def _seal(cipher: AESGCM, value: bytes, place: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, value, place)


def _open(ciphers: Sequence[AESGCM], sealed: bytes, place: bytes) -> bytes:
    """The value. Raises `InvalidTag` when no cipher fits."""
    for cipher in ciphers:
        with suppress(InvalidTag):
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
    raise InvalidTag


def _place(path: EntityPath, key: str) -> bytes:
    """What the seal of a value covers beside the value."""
    return "\0".join((path.namespace, path.relative, key)).encode()
