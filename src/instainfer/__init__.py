"""InstaInfer: serverless inference that starts instantly.

A function in a container imports this package. It calls ``instainfer.load(path)`` instead of ``torch.load(path)``. A
script calls ``instainfer.receive()`` to wait for its next input and ``instainfer.reply(value)`` to answer. A function
given to ``instainfer.after_fork`` renews what must not be copied into a forked process. This file, ``wire`` and
``runtime`` therefore run on Python 3.9 and import only the standard library, and this file imports no other part of
the package.
"""

from typing import Any

__all__ = ["__version__", "after_fork", "load", "receive", "reply"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("after_fork", "load", "receive", "reply"):
        from .runtime import shim

        return getattr(shim, name)
    raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
