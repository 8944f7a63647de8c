"""The requests of the platform's two APIs beside calls, as steps that a client carries out, blocking or not.

`Client` and `AsyncClient` have a method for each of them, which says what it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from ..errors import Unreachable, several_lines
from .answers import (
    MAX_TEXT_LENGTH,
    NATIVE,
    OPENWHISK,
    READ_TIMEOUT_S,
    Json,
    checked,
    error_of,
    flag,
    kind_of,
    not_ours,
    quoted,
)
from .steps import Answer, Request, Steps

_MAX_ITEMS = 100_000
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Api:
    """The requests to one platform. None of them is repeated."""

    api_host: str

    # Actions

    def functions(self) -> Steps[list[Json]]:
        everything: list[Json] = []
        while True:
            params = {"limit": _PAGE, "skip": len(everything)}
            found = yield from self._array(f"{OPENWHISK}/actions", params=params)
            everything += found
            if len(found) < _PAGE:
                return everything
            if len(everything) > _MAX_ITEMS:
                raise not_ours(self.api_host)

    def action(self, name: str, *, code: bool) -> Steps[Json]:
        return self._object("GET", _action(name), params={"code": flag(code)})

    def put_action(self, name: str, action: Mapping[str, Any], *, overwrite: bool) -> Steps[Json]:
        return self._object("PUT", _action(name), params={"overwrite": flag(overwrite)}, json=dict(action))

    def delete_action(self, name: str) -> Steps[Json]:
        return self._object("DELETE", _action(name))

    # Activations

    def activations(
        self, *, limit: int, name: str | None, skip: int, since: int | None, ended_since: int | None, docs: bool
    ) -> Steps[list[Json]]:
        params: dict[str, str | int] = {"limit": limit, "skip": skip}
        given = {"name": name, "since": since, "endedSince": ended_since, "docs": flag(docs) if docs else None}
        params |= {key: value for key, value in given.items() if value is not None}
        return self._array(f"{OPENWHISK}/activations", params=params)

    # InstaInfer's own

    def status(self) -> Steps[Json]:
        return self._object("GET", f"{NATIVE}/status", needs="nodes")

    def details(self) -> Steps[list[Json]]:
        return self._array(f"{NATIVE}/functions")

    def detail(self, name: str) -> Steps[Json]:
        return self._object("GET", _own(name), needs="key")

    def why(self, name: str) -> Steps[Json]:
        return self._object("GET", f"{_own(name)}/why", needs="nodes")

    def preload(self, name: str, *, places: int, for_s: float) -> Steps[Json]:
        wanted = {"places": places, "for_s": for_s}
        return self._object("POST", f"{_own(name)}/preload", needs="wanted", json=wanted)

    def offload(self, name: str) -> Steps[Json]:
        return self._object("POST", f"{_own(name)}/offload", needs="wanted")

    def secrets(self, name: str) -> Steps[list[Json]]:
        return self._array(f"{_own(name)}/secrets")

    def set_secret(self, name: str, key: str, value: str) -> Steps[Json]:
        return self._object("PUT", f"{_own(name)}/secrets/{quoted(key)}", needs="key", json={"value": value})

    def unset_secret(self, name: str, key: str) -> Steps[Json]:
        return self._object("DELETE", f"{_own(name)}/secrets/{quoted(key)}", needs="key")

    def rotate_key(self) -> Steps[Json]:
        return self._object("POST", f"{NATIVE}/secrets/rotate-key", needs="resealed")

    def has_blob(self, digest: str) -> Steps[bool]:
        response, body = yield from _send(Request("HEAD", f"{NATIVE}/blobs/{quoted(digest)}", {}))
        if response.status_code == httpx2.codes.NOT_FOUND:
            return False
        checked(response, body)
        return True

    def put_blob(self, digest: str, size_bytes: int, content: Any) -> Steps[None]:
        """`content` gives the pieces of the file, in the way of the client that sends them."""
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
        url = f"{NATIVE}/blobs/{quoted(digest)}"
        checked(*(yield from _send(Request("PUT", url, {"content": content, "headers": headers}, None))))

    # What answers with events, one JSON object a line. These steps come to the answer, which is open.

    def put_checked(self, name: str, action: Mapping[str, Any]) -> Steps[httpx2.Response]:
        return self._events("PUT", _own(name), dict(action))

    def build_environment(
        self, requirements: str, no_deps: tuple[str, ...], python: str | None, image: str, *, from_source: bool
    ) -> Steps[httpx2.Response]:
        wanted: Json = {"requirements": requirements, "no_deps": list(no_deps), "python": python}
        wanted |= {"image": image, "from_source": from_source}
        return self._events("POST", f"{NATIVE}/environments", wanted)

    def clean(self, *, dry_run: bool, unused_for_s: float | None) -> Steps[httpx2.Response]:
        wanted: Json = {"dry_run": dry_run}
        if unused_for_s is not None:
            wanted["unused_for_s"] = unused_for_s
        return self._events("POST", f"{NATIVE}/clean", wanted)

    def _events(self, method: str, url: str, wanted: Json) -> Steps[httpx2.Response]:
        response, body = yield from _send(Request(method, url, {"json": wanted}, None, streams=True))
        if not response.is_success:
            raise error_of(response, body)
        return response

    def _object(self, method: str, url: str, needs: str | None = None, **options: Any) -> Steps[Json]:
        read_s = READ_TIMEOUT_S if method in ("GET", "DELETE") else None
        body = checked(*(yield from _send(Request(method, url, options, read_s))))
        if not isinstance(body, dict) or (needs is not None and needs not in body):
            raise not_ours(self.api_host)
        return body

    def _array(self, url: str, **options: Any) -> Steps[list[Json]]:
        body = checked(*(yield from _send(Request("GET", url, options))))
        if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
            raise not_ours(self.api_host)
        return body


def checked_event(event: Json) -> Json:
    """An event of a deployment. Raises the error that ``refused`` means."""
    if event["event"] == "refused":
        status = event.get("status")
        kind = kind_of(status if isinstance(status, int) else 500)
        raise kind(several_lines(str(event.get("error"))[:MAX_TEXT_LENGTH]))
    return event


def _action(name: str) -> str:
    return f"{OPENWHISK}/actions/{quoted(name)}"


def _own(name: str) -> str:
    return f"{NATIVE}/functions/{quoted(name, slash='%2F')}"


def _send(request: Request) -> Steps[Answer]:
    reply = yield request
    if isinstance(reply, Unreachable):
        raise reply
    assert reply is not None
    return reply
