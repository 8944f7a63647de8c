"""InstaInfer: serverless inference that starts instantly.

Inside a container this package is what a function imports: ``instainfer.load(path)`` in the place of
``torch.load(path)``, ``instainfer.receive()`` where a script waits for its next input, and ``instainfer.reply(value)``
with its answer. This file, ``wire`` and ``runtime`` therefore run on Python 3.9 and import the standard library only;
nothing else is imported from here.
"""

from typing import Any

__all__ = ["__version__", "load", "receive", "reply"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("load", "receive", "reply"):
        from .runtime import shim

        return getattr(shim, name)
    raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
