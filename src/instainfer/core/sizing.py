"""The sizes of containers: they follow what was learned of the functions whose memory is not declared (ADR 23).

`Sizing` is the third layer of a node's `Books`. A container is sized for its owner, so nothing here concerns one whose
owner has a declared limit.
"""

from __future__ import annotations

from typing import Final

from .decisions import Remember, ResizeContainer
from .model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    MIB,
    Failure,
    Function,
    is_function_template,
    is_template,
    templated_function,
)
from .pool import Container, Resident
from .records import FunctionRecord
from .sizes import NOTABLE, peak_for, within
from .worth import Worth

#: Of the memory that is free, the share that the first runs of a function get while they last.
FIRST_SHARE: Final = 0.5
#: So many runs are first runs. After them, hardly any request will need much more than the largest so far.
FIRST_RUNS: Final = 20


class Sizing(Worth):
    def size_of_new(self, function: Function, *, is_for_call: bool) -> int:
        """The size of a new container for a function. Ahead of calls, it is no larger than is expected to be needed."""
        may_have_more = is_for_call or self.functions.is_short
        return self.size_for_run(function) if may_have_more else function.memory_bytes

    def size_for_run(self, function: Function, has_bytes: int = 0) -> int:
        """The size of a container in which a function is to run, and that has `has_bytes` now.

        A function that has not run often may need anything. So it gets half of the free memory, at least what it is
        expected to need, until it is idle again. The same holds where memory is short: a large container holds the
        templates of several functions beside the libraries that they share, several small ones would each hold those
        libraries. While calls wait for memory, it gets only what it needs.
        """
        is_known = self._has_run_often(function) and not self.functions.is_short
        if not function.is_auto or is_known or self.queue:
            return function.memory_bytes
        share_bytes = int(FIRST_SHARE * (self.pool.ledger.free_bytes + has_bytes))
        return max(function.memory_bytes, within(function, share_bytes))

    def grow_for_run(self, container: Container, function: Function) -> None:
        """Let a container grow before a function runs in it, if it is too small for that and there is memory."""
        is_large_enough = container.limit_bytes >= function.memory_bytes and self._has_run_often(function)
        if not function.is_auto or is_large_enough:
            return
        size_bytes = self.size_for_run(function, container.limit_bytes)
        if 0 < size_bytes - container.limit_bytes <= self.pool.ledger.free_bytes:
            self._resize(container, size_bytes, f"{function.key} runs")

    def _has_run_often(self, function: Function) -> bool:
        return self.functions[function.key].profile.runs >= FIRST_RUNS

    def right_size(self, container: Container) -> bool:
        """Give an idle container the size that its owner needs there, if the owner's size is learned.

        It is not worth the while for a small change, there may be no memory for it to grow, and where memory is short
        it keeps its room for others. Returns whether the container holds all that stands there.
        """
        record = self.functions.get(container.owner) if container.owner is not None else None
        used_bytes = self.pool.ledger.used_in(container.id)
        if record is not None and record.function.is_auto:
            key, has_bytes = record.function.key, container.limit_bytes
            most_bytes = has_bytes + self.pool.ledger.free_bytes
            least_bytes = max(used_bytes, record.function.memory_bytes)
            wanted_bytes = max(used_bytes, self._wanted_in(container, record))
            if wanted_bytes <= (1.0 - NOTABLE) * has_bytes and not self.functions.is_short:
                self._resize(container, wanted_bytes, f"{key} needs no more")
            elif has_bytes < least_bytes <= most_bytes:
                self._resize(container, min(wanted_bytes, most_bytes), f"{key} needs more")
        return used_bytes <= container.limit_bytes

    def _wanted_in(self, container: Container, record: FunctionRecord) -> int:
        """What the owner of a container needs there, beside everything that its peak does not include.

        These are templates that it was not forked from, and what belongs to other functions, whose calls need a
        container of their size. Its function template is included ahead if it may be made there.
        """
        mine = container.residents.get(record.function.key)
        source = (None if mine is None else mine.source) or self.source_in(container, record.function.key)
        included = {record.function.key}
        if source is FROM_LIBRARIES or source is FROM_FUNCTION:
            included.add(record.template or "")
        if source is FROM_FUNCTION:
            included.add(record.own_template or "")
        wanted_bytes, least_bytes = record.function.memory_bytes, 0
        for key in container.residents:
            if key not in included:
                wanted_bytes += self.pool.ledger.charged(container.id, key)
            if not is_template(key) or is_function_template(key):
                theirs = self.functions.get(templated_function(key))
                least_bytes = max(least_bytes, 0 if theirs is None else theirs.function.memory_bytes)
        own = record.own_template
        may_have_own = self.guard.preloading_active and self.functions.may_have_template(record, self.pool)
        if may_have_own and own is not None and own not in container.residents:
            wanted_bytes += self.estimate_in(container, own)
        return max(least_bytes, wanted_bytes)

    def _resize(self, container: Container, limit_bytes: int, reason: str) -> None:
        self.pool.resize(container, limit_bytes, self.at)
        self.out.append(ResizeContainer(container.id, limit_bytes, reason))

    # -- what runs show ------------------------------------------------------------------------------------------------

    def has_run(self, record: FunctionRecord, resident: Resident, compute_s: float, peak_bytes: int) -> None:
        """Note what a run has shown: how long it took, and the most memory that its resident had."""
        charged = self.pool.ledger.charges_in(resident.container)
        if resident.source is FROM_LIBRARIES or resident.source is FROM_FUNCTION:
            peak_bytes += charged.get(record.template or "", 0)
        if resident.source is FROM_FUNCTION:
            peak_bytes += charged.get(record.own_template or "", 0)
        profile = record.profile.with_run(compute_s, peak_bytes)
        record.out_of_memory = None
        if self.functions.learn(record, profile):
            self._has_another_size(record)
        elif profile.runs % 100 == 1:
            self.out.append(Remember(record.function.key, profile))

    def ran_out_of_memory(self, record: FunctionRecord, container: Container, failure: Failure) -> bool:
        """Note that a function has died of memory in a container. Returns whether it gets a larger one from now on.

        Otherwise it is not pre-loaded, since it would die again.
        """
        record.out_of_memory = failure
        gets_more = self.needs_more_than(record, container)
        if not gets_more:
            record.load_failure = failure
        return gets_more

    def needs_more_than(self, record: FunctionRecord, container: Container) -> bool:
        """Note that a container was too small for a function: it needs one of twice the size. Returns whether it gets a
        larger one from now on."""
        function = record.function
        size_bytes = within(function, 2 * container.limit_bytes) if function.is_auto else 0
        if size_bytes > function.memory_bytes:
            peak_bytes = max(record.profile.peak_bytes, peak_for(size_bytes))
            if self.functions.learn(record, record.profile.with_peak(peak_bytes)):
                self._has_another_size(record)
        return function.is_auto and record.function.memory_bytes > container.limit_bytes

    def _has_another_size(self, record: FunctionRecord) -> None:
        key = record.function.key
        self.out.append(Remember(key, record.profile))
        for container in list(self.pool.owned.get(key, {}).values()):
            self.right_size(container)


def with_remedy(failure: Failure, record: FunctionRecord, *, grows: bool) -> Failure:
    """What the author of a function whose memory is learned is told when a call of it has died of memory."""
    if not record.function.is_auto:
        return failure
    mib = record.function.memory_bytes // MIB
    if grows:
        text = (
            f'the next call gets {mib} MiB; write memory = "{mib}MB" in function.toml to have that from the start, or '
        )
        text += "idempotent = true to have such a call repeated"
    else:
        text = "no function gets more here; let it take less, or raise limits.max_memory_mb or node.memory_mb"
    return Failure(failure.kind, f"{failure.message}; {text}")
