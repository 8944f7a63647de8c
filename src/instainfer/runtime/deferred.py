"""Random initialisation that waits to be needed, and weights that are taken over from mapped files instead of copied.

While a `Deferral` is active, every operation of PyTorch in this thread passes through it:

* A random fill in place (``normal_``, ``uniform_``, ...; all of ``torch.nn.init`` and its likes come down to these) is
  not done but remembered, and so is what is then done in place to a tensor that waits. When anything reads the tensor
  what was remembered is done first, so no value is ever seen that would not have been seen without.
* A tensor that is overwritten as a whole, as ``load_state_dict`` does, waits no more. When the values lie in a file
  that is mapped privately, aligned as PyTorch aligns its own, and the tensor's memory is nobody else's, it is given the
  file's memory instead of a copy. A write to it later stays in this process, as the mapping is private.

The tensors themselves are ordinary ones on the CPU: memory that is allocated and never touched costs nothing, and
whatever a constructor computes is right. What cannot be seen is what other threads do meanwhile.

This module is imported where PyTorch has been imported already, and only there.
"""

from __future__ import annotations

import enum
import gc
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_RANDOM = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_", "geometric_", "log_normal_"}
_ALIGNMENT_BYTES = 64
"""Of everything that PyTorch allocates. Kernels pick their ways by it: from an address that is aligned less, the same
numbers may give results that differ in their last bits."""
_OVERWRITING = {"fill_", "zero_"}
_READS_SHAPE_ONLY = {
    *("empty_like", "new_empty", "new_empty_strided", "zeros_like", "new_zeros", "ones_like", "new_ones"),
    *("full_like", "new_full", "rand_like", "randn_like", "randint_like", "is_same_size"),
}


class _Kind(enum.Enum):
    """What an operation does to the values of its arguments."""

    RANDOM = enum.auto()
    """Fills the first with random numbers."""
    OVERWRITES = enum.auto()
    """Writes the first and does not look at what was there."""
    COPIES = enum.auto()
    """Likewise, with values of the second."""
    CHANGES = enum.auto()
    """Changes the first in place."""
    NOTHING = enum.auto()
    """Looks at none: views, shapes."""
    READS = enum.auto()
    """May look at all of them."""


class _Step(NamedTuple):
    """One operation in place that was not done."""

    operation: Any
    dtype: Any
    place: tuple[int, Any, Any]
    """Offset, size and stride in the storage."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Waiting:
    """Memory whose contents wait to be needed."""

    def __init__(self, storage: Any) -> None:
        self._storage = StorageWeakRef(storage)
        self._steps: list[_Step] = []

    @property
    def is_gone(self) -> bool:
        expired: bool = self._storage.expired()
        return expired

    def add(self, operation: Any, tensor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        place = (tensor.storage_offset(), tensor.size(), tensor.stride())
        self._steps.append(_Step(operation, tensor.dtype, place, args, kwargs))

    def forget(self) -> None:
        self._steps.clear()

    def catch_up(self) -> None:
        """Do what was remembered."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self._storage.cdata)
        if storage is None:
            return
        with torch.no_grad():
            for step in self._steps:
                tensor = torch.empty(0, dtype=step.dtype).set_(storage, *step.place)
                step.operation(tensor, *step.args, **step.kwargs)


class Deferral(TorchDispatchMode):  # type: ignore[misc]  # PyTorch's classes have no types here
    """Active from ``__enter__`` to ``__exit__``; `unfilled` and `catch_up` are for afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[Any, _Kind] = {}
        self._waiting: dict[int, _Waiting] = {}
        """By the address of the storage's C++ object, which cannot be another's while it is referred to weakly."""
        self._mapped: list[Any] = []
        """Storages that are private mappings of files; kept, so that no other memory comes to lie there."""
        self._taken: set[int] = set()
        """Addresses in mapped files that have become some tensor's own memory."""
        self._has_met_meta = False
        self._is_resting = False

    def note_mapped(self, storage: Any) -> None:
        """`storage` is a private mapping of a file."""
        self._mapped.append(storage)

    def fill(self, tensor: Any) -> None:
        """Do what this tensor's memory waits for, before something reads it unseen."""
        self._is_resting = True
        try:
            self._fill_storage(tensor)
        finally:
            self._is_resting = False

    def catch_up(self) -> None:
        """Do everything that is still waited for."""
        for waiting in self._waiting.values():
            waiting.catch_up()
        self._waiting.clear()

    def unfilled(self) -> list[str]:
        """The parameters and buffers of living modules that wait to be filled or have no memory, in words."""
        waiting = self._still_waiting()
        if waiting:
            gc.collect()  # modules that were thrown away, and live on only as they refer to themselves
            waiting = self._still_waiting()
        if not waiting and not self._has_met_meta:
            return []
        return [
            "{} {!r} of {}".format(sort, name, _class_name(root))
            for root in _root_modules()
            for sort, name, tensor in _tensors_of(root)
            if tensor.is_meta or (_has_storage(tensor) and tensor.untyped_storage()._cdata in waiting)
        ]

    def _still_waiting(self) -> set[int]:
        return {address for address, waiting in self._waiting.items() if not waiting.is_gone}

    # -- operations ---------------------------------------------------------------------------------------------------

    def _dispatch(self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._is_resting:
            return operation(*args, **kwargs)
        kind = self._kinds.get(operation)
        if kind is None:
            kind = self._kinds[operation] = _kind_of(operation)
        if kind is _Kind.READS:
            if not self._has_met_meta:
                self._has_met_meta = _is_meta(kwargs.get("device"))
            if self._waiting:
                self._fill_all(args)
                self._fill_all(kwargs.values())
        elif kind is not _Kind.NOTHING and type(args[0]) in _PLAIN:
            if kind is _Kind.COPIES:
                if self._take_over(args[0], args[1]):
                    return args[0]
            elif kind is _Kind.RANDOM and args[0].is_meta:
                return args[0]  # PyTorch would import a second's worth of libraries to do nothing
            elif self._postpone(kind, operation, args, kwargs):
                return args[0]
        return operation(*args, **kwargs)

    def _postpone(self, kind: _Kind, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this is an operation in place that need not be done now."""
        tensor, *rest = args
        if not _has_storage(tensor):
            return False
        if any(isinstance(other, torch.Tensor) for other in (*rest, *kwargs.values())):
            self._fill_all(args)
            self._fill_all(kwargs.values())
            return False
        storage = tensor.untyped_storage()
        waiting = self._waiting.get(storage._cdata)
        is_whole = kind is not _Kind.CHANGES and _covers(tensor, storage)
        if kind is _Kind.OVERWRITES and is_whole:
            self._waiting.pop(storage._cdata, None)
            return False
        if waiting is None:
            if kind is not _Kind.RANDOM or not is_whole:
                return False
            waiting = self._waiting[storage._cdata] = _Waiting(storage)
        elif is_whole:
            waiting.forget()
        waiting.add(operation, tensor, tuple(rest), kwargs)
        return True

    def _take_over(self, target: Any, source: Any) -> bool:
        """Give `target` the memory of `source` if that is as good as a copy; else make it ready to be copied to."""
        if not _has_storage(target):
            return False
        self._fill_all((source,))
        storage = target.untyped_storage()
        if not _covers(target, storage):
            self._fill_storage(target)
            return False
        if self._mapped and _are_alike(target, source):
            if target.data_ptr() == source.data_ptr():
                return True
            # Two references: the tensor's and ours. With any more somebody else sees this memory.
            is_own = torch._C._storage_Use_Count(storage._cdata) == 2
            if is_own and source.data_ptr() not in self._taken and self._lies_in_file(source):
                self._waiting.pop(storage._cdata, None)
                target.data = source
                self._taken.add(source.data_ptr())
                return True
        self._waiting.pop(storage._cdata, None)
        return False

    def _lies_in_file(self, tensor: Any) -> bool:
        address = tensor.data_ptr()
        return any(0 <= address - storage.data_ptr() < storage.nbytes() for storage in self._mapped)

    def _fill_all(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, torch.Tensor):
                self._fill_storage(value)
                self._has_met_meta = self._has_met_meta or value.is_meta
            elif isinstance(value, (list, tuple)):
                self._fill_all(value)

    def _fill_storage(self, tensor: Any) -> None:
        if self._waiting and _has_storage(tensor):
            waiting = self._waiting.pop(tensor.untyped_storage()._cdata, None)
            if waiting is not None:
                waiting.catch_up()


# Not in the class's body: what PyTorch finds there it decorates, for which it would import all of its compiler.
Deferral.__torch_dispatch__ = Deferral._dispatch


def _kind_of(operation: Any) -> _Kind:
    schema = getattr(operation, "_schema", None)
    if schema is None:
        return _Kind.READS
    name = schema.name.split("::")[-1]
    if not schema.is_mutable:
        is_view = bool(schema.returns) and all(value.alias_info is not None for value in schema.returns)
        return _Kind.NOTHING if is_view or name in _READS_SHAPE_ONLY else _Kind.READS
    if torch.Tag.inplace_view in operation.tags:
        return _Kind.NOTHING
    written = [argument.alias_info is not None and argument.alias_info.is_write for argument in schema.arguments]
    if written.index(True) != 0 or sum(written) != 1 or not name.endswith("_"):
        return _Kind.READS
    if schema.name.startswith("aten::"):
        if name in _RANDOM:
            return _Kind.RANDOM
        if name in _OVERWRITING:
            return _Kind.OVERWRITES
        if name == "copy_":
            return _Kind.COPIES
    return _Kind.CHANGES


def _has_storage(tensor: Any) -> bool:
    """Whether it is an ordinary tensor in this process's memory."""
    return bool(tensor.device.type == "cpu" and tensor.layout is torch.strided and type(tensor) in _PLAIN)


def _covers(tensor: Any, storage: Any) -> bool:
    """Whether all of the memory is this tensor's, each element once."""
    return bool(tensor.is_contiguous() and tensor.numel() * tensor.element_size() == storage.nbytes())


def _are_alike(target: Any, source: Any) -> bool:
    return bool(
        type(source) in _PLAIN
        and source.device == target.device
        and source.dtype == target.dtype
        and source.size() == target.size()
        and source.stride() == target.stride()
        and source.data_ptr() % _ALIGNMENT_BYTES == 0
        and not source.is_neg()
        and not source.is_conj()
    )


def _is_meta(device: Any) -> bool:
    return device is not None and torch.device(device).type == "meta"


def _root_modules() -> list[Any]:
    """The living modules that are not part of another."""
    # By their true types: isinstance() would ask every object's own code.
    modules = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.nn.Module)]
    parts = {id(part) for module in modules for part in module.__dict__.get("_modules", {}).values()}
    return [module for module in modules if id(module) not in parts and "_modules" in module.__dict__]


def _tensors_of(root: Any) -> Iterator[tuple[str, str, Any]]:
    for name, parameter in root.named_parameters():
        yield "parameter", name, parameter
    for name, buffer in root.named_buffers():
        yield "buffer", name, buffer


def _class_name(module: Any) -> str:
    return "{}.{}".format(type(module).__module__, type(module).__qualname__)
