"""InstaInfer's own API under ``/instainfer/v1``, for requests that OpenWhisk's API does not have.

``HEAD, PUT blobs/{digest}``   look for or upload a file of weights, named by its digest; its size is not limited
``POST environments``          build an environment ahead of its function; progress comes as one JSON object a line
``GET status``                 the state of the platform, its nodes and containers
``GET functions``              the caller's functions, with the description the nodes have and the measured profile
``GET functions/{name}``       one of them, with its packages and weights
``GET functions/{name}/why``   why a function is loaded or not: what each node expects, holds and decided lately
``POST functions/{name}/preload``  keep places of a function ready for some time
``POST functions/{name}/offload``  end what is idle of a function

The name of a function in a package is ``package/name``, with its slash percent-encoded (``%2F``): the path has no other
room for it, because a function may be named ``why``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ..core.model import FunctionKey
from ..environments.builder import Progress
from ..environments.caches import Caches
from ..environments.content import ContentStore
from ..environments.contents import contents_of
from ..environments.manifest import MOST_PLACES
from ..environments.requirements import MAX_REQUIREMENTS, Requirements, first_refused, refusal
from ..errors import BadInput, Conflict, EnvironmentBuildError, InstaInferError, NotFound, shown
from .actions import Actions
from .auth import Identity, Keyring
from .bodies import Budget, check_content_type, decoded, read_body
from .catalog import Catalog, Deployed
from .collections import Handler, header, json_response, one_route_per_path, private
from .deployment import EnvironmentMaker
from .driver import Registration
from .paths import EntityPath
from .told import Lines, line, told
from .uploads import Uploads
from .wishes import Wishes

NATIVE = "/instainfer/v1"
_WRITE_BYTES = 1024 * 1024
"""The pieces of an upload are gathered to this size before a thread writes them to the disk."""


class _Wanted(msgspec.Struct):
    requirements: str = ""
    no_deps: tuple[str, ...] = ()
    python: str | None = None
    image: str = ""
    from_source: bool = False


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    places: Annotated[int, msgspec.Meta(ge=0, le=MOST_PLACES)] = 1
    for_s: Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)] = 600.0


_MOST_ASKED_BYTES = 10_000
_MAX_UNREAD_LINES = 1000
_PYTHON = re.compile(r"3\.[0-9]{1,2}")

_decode_wanted = msgspec.json.Decoder(_Wanted).decode
_decode_asked = msgspec.json.Decoder(_Asked).decode


class Native:
    """The handlers of the routes that `routes` lists. `status` returns the answer to ``GET status``, and
    `explain` what each node says of a function.

    `forks` tells whether functions are forked at all.
    """

    def __init__(
        self,
        keyring: Keyring,
        catalog: Catalog,
        actions: Actions,
        budget: Budget,
        *,
        content: ContentStore,
        uploads: Uploads,
        environments: EnvironmentMaker,
        status: Callable[[], dict[str, Any]],
        explain: Callable[[FunctionKey], list[Mapping[str, Any]]],
        wishes: Wishes,
        caches: Caches,
        forks: bool,
        max_body_bytes: int,
    ) -> None:
        self._keyring = keyring
        self._catalog = catalog
        self._actions = actions
        self._budget = budget
        self._content = content
        self._uploads = uploads
        self._environments = environments
        self._status = status
        self._explain = explain
        self._wishes = wishes
        self._caches = caches
        self._forks = forks
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        def own(method: str, path: str, handler: Handler) -> tuple[str, str, Any]:
            return method, f"{NATIVE}/{path}", private(self._keyring, handler)

        return one_route_per_path(
            [
                own("HEAD", "blobs/{digest}", self.has_blob),
                own("PUT", "blobs/{digest}", self.put_blob),
                own("POST", "environments", self.make_environment),
                own("GET", "status", self.get_status),
                own("GET", "functions", self.list_functions),
                own("GET", "functions/{name}", self.show_function),
                own("GET", "functions/{name}/why", self.explain_function),
                own("POST", "functions/{name}/preload", self.preload),
                own("POST", "functions/{name}/offload", self.offload),
            ]
        )

    async def has_blob(self, request: Request, caller: Identity) -> Response:
        if not await self._is_there(caller, unquote(request.path_params["digest"])):
            raise NotFound("The requested resource does not exist.")
        return Response()

    async def put_blob(self, request: Request, caller: Identity) -> Response:
        digest = unquote(request.path_params["digest"])
        if not await self._is_there(caller, digest):
            try:
                await self._write_blob(digest, request)
            except ClientDisconnect as error:
                raise BadInput("The connection was closed before the upload was complete.") from error
            await self._uploads.note(caller.namespace, digest)
        return json_response({"digest": digest})

    async def make_environment(self, request: Request, caller: Identity) -> Response:
        check_content_type(header(request, b"content-type"))
        with self._budget.lease() as lease:
            length = header(request, b"content-length")
            body = await read_body(request.receive, length, self._max_body_bytes, lease, "server.max_body_bytes")
            requirements = await asyncio.to_thread(_requirements, body)
        return StreamingResponse(told(partial(self._tell_build, requirements)), media_type="application/x-ndjson")

    async def get_status(self, request: Request, caller: Identity) -> Response:
        return json_response(self._status())

    async def list_functions(self, request: Request, caller: Identity) -> Response:
        own = self._catalog.of_namespace(caller.namespace)
        return json_response([self._described(each) for each in own if each.action.components is None])

    async def show_function(self, request: Request, caller: Identity) -> Response:
        deployed = self._named(request, caller)
        registration = self._actions.registration(deployed.action.key)
        contents = None
        if registration is not None:
            spec = registration.spec
            contents = await asyncio.to_thread(contents_of, spec.folder, spec.python.parents[1])
        return json_response({**self._described(deployed), "contents": contents})

    def _described(self, deployed: Deployed) -> dict[str, Any]:
        action = self._actions.shown(deployed.action)
        registration = self._actions.registration(action.key)
        return {
            "name": action.path.relative,
            "version": action.version,
            "key": action.key,
            "environment": registration.function.environment if registration else None,
            "memory_bytes": action.limits.memory * 1024 * 1024,
            "auto": action.is_auto,
            "timeout_s": action.limits.timeout / 1000,
            "profile": self._actions.profile(action.key),
            "cache_bytes": self._cache_bytes(registration),
            "forked": self._forked(action.key, registration),
            "places": self._wishes.of(action.path),
            "problem": deployed.problem or None,
        }

    async def explain_function(self, request: Request, caller: Identity) -> Response:
        action = self._named(request, caller).action
        return json_response(
            {"name": action.path.relative, "version": action.version, "nodes": self._explain(action.key)}
        )

    async def preload(self, request: Request, caller: Identity) -> Response:
        """Ask for places of a function. The answer tells what is wanted and what is ready, and does not wait for it."""
        check_content_type(header(request, b"content-type"))
        with self._budget.lease() as lease:
            body = await read_body(request.receive, header(request, b"content-length"), _MOST_ASKED_BYTES, lease)
            asked = decoded(_decode_asked, body or b"{}")
        deployed = self._named(request, caller)
        if deployed.problem:
            raise Conflict(deployed.problem)
        path = deployed.action.path
        self._wishes.ask(path, asked.places, asked.for_s)
        return json_response(self._wishes.of(path))

    async def offload(self, request: Request, caller: Identity) -> Response:
        path = self._named(request, caller).action.path
        self._wishes.put_away(path)
        return json_response(self._wishes.of(path))

    def _named(self, request: Request, caller: Identity) -> Deployed:
        """The function that the path names. Raises `NotFound` if the caller has none of this name."""
        package, _, name = unquote(request.path_params["name"]).rpartition("/")
        deployed = self._catalog.get(EntityPath(caller.namespace, package or None, name))
        if deployed.action.components is not None:
            raise NotFound(f"{deployed.action.path} is a sequence, which has no processes; ask for its parts.")
        return deployed

    def _cache_bytes(self, registration: Registration | None) -> int | None:
        """The size of its libraries' cache when that was last measured. None if it has none."""
        cache = registration.spec.cache if registration is not None else None
        return None if cache is None else self._caches.sizes_bytes.get(cache, 0)

    def _forked(self, key: FunctionKey, registration: Registration | None) -> dict[str, Any]:
        """Whether a function can be forked from a process that has loaded it, and if not, why."""
        if registration is not None and not registration.function.forkable:
            return {"fit": False, "reason": "fork = false in function.toml"}
        if not self._forks:
            return {"fit": None, "reason": "node.function_templates or node.retain is false in the configuration"}
        verdict = self._actions.verdict(key)
        if verdict is None:
            return {"fit": None, "reason": None}
        return {"fit": verdict.fit, "reason": verdict.reason or None}

    async def _is_there(self, caller: Identity, digest: str) -> bool:
        """Whether the content is stored and this caller may use it."""
        stored = await asyncio.to_thread(self._content.has, digest)
        return stored and await self._uploads.may_use(caller.namespace, digest)

    async def _write_blob(self, digest: str, request: Request) -> None:
        writer = self._content.writer(digest)
        await _to_its_end(writer.__enter__)
        try:
            gathered = bytearray()
            async for piece in request.stream():
                gathered += piece
                if len(gathered) >= _WRITE_BYTES:
                    await _to_its_end(writer.write, bytes(gathered))
                    gathered.clear()
            await _to_its_end(writer.write, bytes(gathered))
            await _to_its_end(writer.commit)
        finally:
            await _to_its_end(writer.__exit__, None, None, None)

    async def _tell_build(self, requirements: Requirements, lines: Lines) -> None:
        def tell(**event: Any) -> None:
            lines.put_nowait(line(**event))

        def progress(step: Progress) -> None:
            if lines.qsize() >= _MAX_UNREAD_LINES:
                return  # progress may be lost when the caller reads slowly, so that it does not fill the memory
            tell(event="progress", step=step.step, text=step.text, elapsed_s=step.elapsed_s)

        try:
            made = await self._environments.ensure(requirements, progress)
            tell(
                event="ready",
                digest=made.digest,
                packages=made.packages,
                cached=made.cached,
                sizes=made.sizes._asdict(),
            )
        except EnvironmentBuildError as error:
            text = str(error).removesuffix(f"\n{error.log_tail}") if error.log_tail else str(error)
            tell(event="failed", error=text, log_tail=error.log_tail)
        except InstaInferError as error:
            tell(event="failed", error=str(error), log_tail="")
        except OSError as error:
            tell(event="failed", error=f"the host failed: {error}; check the cache folder and its disk", log_tail="")
        finally:
            lines.put_nowait(None)


def _requirements(body: bytes | bytearray) -> Requirements:
    """The requirements in the body of ``POST environments``. Raises `BadInput` when one of them is not allowed."""
    wanted = decoded(_decode_wanted, body)
    if refused := first_refused(wanted.requirements):
        number, line, reason = refused
        raise BadInput(f"requirements, line {number}: {shown(line)} is refused: {reason}")
    if len(wanted.no_deps) > MAX_REQUIREMENTS:
        raise BadInput(f"no_deps has more than {MAX_REQUIREMENTS} requirements; ask for fewer packages")
    for line in wanted.no_deps:
        if why := refusal(line):
            raise BadInput(f"no_deps: {shown(line)} is refused: {why}")
    if wanted.python is not None and _PYTHON.fullmatch(wanted.python) is None:
        raise BadInput(f'python: {shown(wanted.python)} is not a version; write one such as "3.11", or leave it out')
    return Requirements(wanted.requirements, wanted.no_deps, wanted.python, wanted.image, wanted.from_source)


async def _to_its_end(work: Callable[..., Any], *given: Any) -> None:
    """Run `work` in a thread and wait for its end even when cancelled, because the file it uses is closed next."""
    doing = asyncio.ensure_future(asyncio.to_thread(work, *given))
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait((doing,))
        raise
