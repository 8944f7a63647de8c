"""The images that containers are made from: how ours is built, and what is known of one.

Our image is a base with a Python, and on top of it two layers: compiled modules, and the parts of this package that run
inside containers. An image that is built from ours has these layers too.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO

from ...errors import BadInput, HostError
from .engine import Engine

DEFAULT = "instainfer-runtime:latest"
DEFAULT_BASE = "python:3.11-slim"
_RUNTIME = "instainfer.runtime"
"""The label with the digest of the code that runs inside containers."""
_BELOW = "instainfer.below"
"""The label with the number of layers below ours."""
_OURS = 2
"""The number of layers that our Dockerfile makes."""
_PACKAGE = Path(__file__).parents[2]
_PARTS = ("__init__.py", "wire", "runtime")
_ROOT = "rootfs.tar"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that containers can be made from."""

    name: str
    id: str
    """The content of the image, whatever has its name later."""
    contents: str
    """A digest of what environments are built on: all of its layers but ours, which change with each version."""


async def find(engine: Engine, name: str) -> Image:
    """The image of this name. Raises `HostError` if there is none, or if it is not of this version of InstaInfer."""
    told = await engine.image(name)
    remedy = "make it with: instainfer image build" + ("" if name == DEFAULT else f" --tag {name}")
    if told is None:
        raise HostError(f"there is no image {name}; {remedy}")
    labels = (told.get("Config") or {}).get("Labels") or {}
    if _RUNTIME not in labels:
        raise HostError(f"the image {name} is not one of ours; build it FROM one of ours, or {remedy}")
    if labels[_RUNTIME] != await asyncio.to_thread(runtime_digest):
        raise HostError(f"the image {name} was made by another version of InstaInfer; {remedy}")
    layers = list(told["RootFS"]["Layers"])
    below = int(labels[_BELOW])
    del layers[below : below + _OURS]
    return Image(name, told["Id"], hashlib.sha256("\n".join(layers).encode()).hexdigest())


async def build(
    engine: Engine, name: str, *, base: str = DEFAULT_BASE, root: Path | None = None, tell: Callable[[str], None]
) -> Image:
    """Build our image and give it `name`, from the image `base`, or from the root file system in the folder `root`.

    `tell` gets what the Engine says of it. Raises `BadInput` and `HostError`.
    """
    if root is not None:
        base = f"{name.partition(':')[0]}-base:latest"
        tell(f"packing {root}")
        with tempfile.TemporaryFile() as context:
            await asyncio.to_thread(_pack_root, root, context)
            async for text in engine.build(context, base, {}, {}):
                tell(text)
    elif await engine.image(base) is None:
        tell(f"fetching {base}")
        await engine.pull(base)
    told = await engine.image(base)
    if told is None:
        raise HostError(f"the image {base} has gone while ours was built on it")
    code = await asyncio.to_thread(_packed_code)
    labels = {_RUNTIME: await asyncio.to_thread(runtime_digest), _BELOW: str(len(told["RootFS"]["Layers"]))}
    async for text in engine.build(io.BytesIO(code), name, {"BASE": base}, labels):
        tell(text)
    return await find(engine, name)


def runtime_digest() -> str:
    """A digest of the code that runs inside containers."""
    digest = hashlib.sha256()
    for path in _code():
        digest.update(f"{path.relative_to(_PACKAGE)}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _code() -> Iterator[Path]:
    for part in _PARTS:
        place = _PACKAGE / part
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _packed_code() -> bytes:
    """A context with our Dockerfile and our code. It is the same for the same code, so that the Engine knows it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        _add(archive, "Dockerfile", files(__package__).joinpath("Dockerfile").read_bytes())
        for path in _code():
            _add(archive, f"instainfer/{path.relative_to(_PACKAGE)}", path.read_bytes())
    return packed.getvalue()


def _pack_root(root: Path, context: IO[bytes]) -> None:
    """Write a context that makes an image of a root file system. Raises `BadInput` if the folder holds none."""
    if not any(os.path.lexists(root / "usr" / "bin" / name) for name in ("python3", "env")):
        raise BadInput(f"{root} is not a root file system: it has no usr/bin/python3")
    with tempfile.TemporaryFile() as tree:
        with tarfile.open(fileobj=tree, mode="w") as archive:
            archive.add(root, arcname=".", filter=_without_devices)
        size = tree.tell()
        tree.seek(0)
        with tarfile.open(fileobj=context, mode="w") as archive:
            _add(archive, "Dockerfile", f"FROM scratch\nADD {_ROOT} /\n".encode())
            about = tarfile.TarInfo(_ROOT)
            about.size = size
            archive.addfile(about, tree)
    context.seek(0)


def _without_devices(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.isdev() else entry  # every container gets devices of its own


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    about.mode = 0o644
    archive.addfile(about, io.BytesIO(content))
