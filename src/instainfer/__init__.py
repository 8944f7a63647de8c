"""InstaInfer: serverless inference that starts instantly.

A program calls functions with ``instainfer.Client()`` or ``instainfer.AsyncClient()``.

A function in a container imports this package. It calls ``instainfer.load(path)`` instead of ``torch.load(path)``. A
script calls ``instainfer.receive()`` to wait for its next input and ``instainfer.reply(value)`` to answer. A function
given to ``instainfer.after_fork`` renews what must not be copied into a forked process. The decorator
``instainfer.arrays`` lets ``main`` take and answer arrays, bytes and images. This file, ``wire`` and ``runtime``
therefore run on Python 3.9 and import only the standard library, and this file imports other parts of the package only
when they are asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import AsyncClient, Client
    from .runtime.arrays import arrays, decode, encode
    from .runtime.shim import after_fork, load, receive, reply

__all__ = [
    "AsyncClient",
    "Client",
    "__version__",
    "after_fork",
    "arrays",
    "decode",
    "encode",
    "load",
    "receive",
    "reply",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("after_fork", "load", "receive", "reply"):
        from .runtime import shim

        return getattr(shim, name)
    if name in ("arrays", "decode", "encode"):
        from .runtime import arrays

        return getattr(arrays, name)
    if name in ("AsyncClient", "Client"):
        from . import client

        return getattr(client, name)
    raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
