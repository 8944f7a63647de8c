"""``fast_init = true``: while a function is loaded its models are built without the work that loading makes useless.

From the moment at which PyTorch is there, random initialisation waits until it is needed (see `deferred`), files that
``torch.load`` reads are mapped instead of read, and weights are taken over from mapped files instead of copied. In the
end every parameter must have been loaded or set: what would otherwise have been left at random numbers is an error.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from .shim import can_map

_MOST_NAMED = 3


class FastInitError(Exception):
    """The function cannot be loaded with ``fast_init = true``; the message says why and what to do."""


class FastInit:
    """Around the load of a function; does nothing unless `wanted`.

    Everything is as before after `finish` or at the end of the ``with`` statement, whichever comes first.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._thread = threading.get_ident()
        self._undo = ExitStack()
        self._deferral: Any = None
        self._problem = ""

    def __enter__(self) -> FastInit:
        if self._wanted:
            if "torch" in sys.modules:
                self._begin()
            else:
                finder = _TorchFinder(self._begin)
                sys.meta_path.insert(0, finder)
                self._undo.callback(_remove, finder)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self.finish()
        else:
            self._undo.close()

    def finish(self) -> None:
        """The function is loaded. Raises `FastInitError` when part of a model was neither loaded nor set."""
        self._undo.close()
        if self._problem:
            raise FastInitError(self._problem)
        deferral, self._deferral = self._deferral, None
        if deferral is None:
            return
        unfilled = deferral.unfilled()
        if unfilled:
            named = ", ".join(unfilled[:_MOST_NAMED])
            if len(unfilled) > _MOST_NAMED:
                named += " and {} more".format(len(unfilled) - _MOST_NAMED)
            raise FastInitError(
                "fast_init: {} {} neither loaded nor initialised; load the weights, or set fast_init = false in "
                "function.toml".format(named, "was" if len(unfilled) == 1 else "were")
            )
        deferral.catch_up()

    def _begin(self) -> None:
        if threading.get_ident() != self._thread:
            return  # what follows concerns one thread only, and it is not this one
        try:
            import_module("torch.multiprocessing.reductions")
            deferred = import_module("instainfer.runtime.deferred")
        except (ImportError, AttributeError) as error:
            # Said at the end: here it would look like an error of the import that called us.
            self._problem = (
                "fast_init does not work with this version of PyTorch ({}: {}); use 2.1 or newer, or set "
                "fast_init = false in function.toml".format(type(error).__name__, error)
            )
            return
        # What libraries consist of is no garbage; looking through all of it may take longer than building a model.
        gc.freeze()
        torch = sys.modules["torch"]
        deferral = self._deferral = deferred.Deferral()
        self._replace(torch, "load", functools.partial(_mapping_load, deferral))
        self._replace(torch.UntypedStorage, "from_file", functools.partial(_noting_from_file, deferral))
        self._replace(torch.Tensor, "numpy", functools.partial(_filling_numpy, deferral))
        self._undo.enter_context(deferral)

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        original = vars(owner).get(name)  # None: it is inherited
        replacement = make(getattr(owner, name))
        setattr(owner, name, replacement)

        def restore() -> None:
            if vars(owner).get(name) is not replacement:
                return  # the function has put something else there
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

        self._undo.callback(restore)


def _mapping_load(deferral: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(f: Any, map_location: Any = None, *args: Any, **options: Any) -> Any:
        if "mmap" not in options and str(map_location) in ("None", "cpu") and can_map(f, original):
            options["mmap"] = True
        return original(f, map_location, *args, **options)

    return load


def _noting_from_file(deferral: Any, original: Callable[..., Any]) -> Any:
    def from_file(filename: Any, shared: Any = False, *args: Any, **options: Any) -> Any:
        storage = original(filename, shared, *args, **options)
        if not shared:  # into a shared mapping the function would write the file
            deferral.note_mapped(storage)
        return storage

    return staticmethod(from_file)


def _filling_numpy(deferral: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    def numpy(self: Any, *args: Any, **options: Any) -> Any:
        deferral.fill(self)  # an array is a second name for the tensor's memory, and what it does there is not seen
        return original(self, *args, **options)

    return numpy


class _TorchFinder:
    """Calls back once when PyTorch has been imported."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        _remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _TorchLoader(spec.loader, self._then)
        return spec


class _TorchLoader(Loader):
    """In the place of PyTorch's own loader, until that has done its work."""

    def __init__(self, loader: Any, then: Callable[[], None]) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then()


def _remove(finder: _TorchFinder) -> None:
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)
