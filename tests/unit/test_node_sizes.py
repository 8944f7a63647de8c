"""Containers of functions whose memory is learned: their first size, how it follows peaks, who dies of memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import A, B, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.errors import InternalError
from instainfer.core.ledger import Ledger
from instainfer.core.model import (
    BY_PRELOAD,
    FROM_FUNCTION,
    FROM_LIBRARIES,
    MIB,
    EndCause,
    Failure,
    FailureKind,
    Function,
    Profile,
    function_template_key,
    template_key,
)
from instainfer.core.sizes import learned, peak_for, size_for

DIED = Failure(FailureKind.OUT_OF_MEMORY, "the function took 812 MiB of memory, its container has 512 MiB")
LIBRARY = template_key("t", "env")


def auto(key: str, estimate_mib: int = 300, most_mib: int = 16384, *, idempotent: bool = False) -> Function:
    """A function whose memory is learned."""
    plain = function(key, estimate_mib, estimate_mib)
    return replace(plain, most_bytes=most_mib * MIB, least_bytes=64 * MIB, idempotent=idempotent)


def node_with(*functions: Function, budget_mib: int = 4096, profile: Profile | None = None) -> CheckedNode:
    node = CheckedNode(budget_mib, keys=())
    for each in functions:
        node.tell(e.FunctionRegistered(0.0, each, profile))
    return node


def ran(node: CheckedNode, at: float, container: str, activation: str, mib: int, *, peak_mib: int) -> list[d.Decision]:
    return node.tell(e.RunFinished(at, container, activation, 0.1, mib * MIB, peak_bytes=peak_mib * MIB))


def died(
    node: CheckedNode, at: float, container: str, activation: str, *, has_yielded: bool = False
) -> list[d.Decision]:
    return node.tell(e.RunFinished(at, container, activation, 0.1, 0, DIED, alive=False, has_yielded=has_yielded))


def limit_mib(node: CheckedNode, container: str) -> int:
    return node.node.books.pool.containers[container].limit_bytes // MIB


def first_call(node: CheckedNode, key: str = A, mib: int = 100, peak_mib: int = 250) -> list[d.Decision]:
    """The first call on the node, from beginning to end."""
    only(node.call(1.0, "a1", key), d.StartContainer)
    node.started(1.4, "node-c1")
    node.loaded(2.0, "node-c1", key, mib)
    return ran(node, 3.0, "node-c1", "a1", mib, peak_mib=peak_mib)


# -- arithmetic --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("peak_mib", "size_mib"), [(300, 352), (10, 48), (213, 256), (1000, 1152)])
def test_a_size_is_the_peak_and_a_margin_in_whole_steps(peak_mib: int, size_mib: int) -> None:
    assert size_for(peak_mib * MIB) == size_mib * MIB


@pytest.mark.parametrize("size_mib", [64, 128, 512, 1024, 16384])
def test_the_peak_for_a_size_leads_to_that_size(size_mib: int) -> None:
    assert size_for(peak_for(size_mib * MIB)) == size_mib * MIB


def test_a_peak_grows_at_once_and_falls_by_a_hundredth_of_the_difference() -> None:
    profile = Profile().with_run(0.1, 1000)
    assert profile.with_run(0.1, 2000).peak_bytes == 2000
    assert profile.with_run(0.1, 500).peak_bytes == 995
    assert profile.with_run(0.1).peak_bytes == 1000, "a run that was not measured says nothing"
    assert profile.with_load(1.0, 1.0, 5).with_bytes(7, forked=True).with_fork(0.1, 3).peak_bytes == 1000


def test_a_learned_size_stays_within_its_bounds_and_changes_only_notably() -> None:
    small, large = Profile(peak_bytes=MIB), Profile(peak_bytes=10**12)
    assert learned(auto(A), small).memory_bytes == 64 * MIB
    assert learned(auto(A, most_mib=1024), large).memory_bytes == 1024 * MIB
    assert learned(auto(A), Profile()) == auto(A), "nothing has been learned"
    assert learned(function(A), large) == function(A), "a declared limit stays"
    known = learned(auto(A), Profile(peak_bytes=500 * MIB))
    assert known.memory_bytes == 576 * MIB
    assert learned(known, Profile(peak_bytes=520 * MIB)) is known
    assert learned(known, Profile(peak_bytes=560 * MIB)).memory_bytes == 656 * MIB


def test_a_ledger_lets_a_container_grow_only_into_free_memory() -> None:
    ledger = Ledger(1000)
    ledger.open("c1", 400, 0.0)
    ledger.open("c2", 500, 0.0)
    ledger.resize("c1", 500, 1.0)
    assert (ledger.free_bytes, ledger.free_in("c1")) == (0, 500)
    with pytest.raises(InternalError, match="cannot grow to 501"):
        ledger.resize("c1", 501, 1.0)
    ledger.resize("c2", 100, 2.0)
    assert ledger.free_bytes == 400
    assert ledger.committed_byte_s(3.0) == 900 + 1000 + 600
    ledger.check()


# -- the first run -----------------------------------------------------------------------------------------------------


def test_six_first_calls_at_once_each_find_room() -> None:
    keys = [f"t/{name}@1" for name in "abcdef"]
    node = node_with(*(auto(key, 150) for key in keys), budget_mib=12_288)
    sizes = [only(node.call(1.0, key, key), d.StartContainer).limit_bytes // MIB for key in keys]
    assert sizes == [6144, 3072, 1536, 768, 384, 192]


def test_a_first_run_gets_at_least_its_estimate_and_no_more_than_may_be_learned() -> None:
    node = node_with(auto(A, 3000), auto(B, 300, most_mib=500))
    assert only(node.call(1.0, "a1", A), d.StartContainer).limit_bytes == 3000 * MIB
    assert only(node.call(1.0, "b1", B), d.StartContainer).limit_bytes == 500 * MIB


def test_nobody_needs_more_than_the_node_has() -> None:
    node = node_with(auto(A, 5000), budget_mib=1000)
    assert only(node.call(1.0, "a1", A), d.StartContainer).limit_bytes == 1000 * MIB


def test_a_declared_limit_stays_as_it_is() -> None:
    node = node_with(function(A, 512))
    none(first_call(node, peak_mib=500), d.ResizeContainer)
    assert limit_mib(node, "node-c1") == 512
    assert node.node.books.functions[A].profile.peak_bytes == 500 * MIB, "it is told to whoever asks what it needs"


def test_a_first_run_in_a_container_that_is_there_lets_it_grow() -> None:
    node = node_with(auto(A, 200))
    node.node.books.create(node.node.books.functions[A].function, None, "ahead")
    assert limit_mib(node, "node-c1") == 200, "what is created ahead of a call takes no more than is expected"
    node.started(1.0, "node-c1")
    decisions = node.call(2.0, "a1", A)
    assert only(decisions, d.ResizeContainer).limit_bytes == 2048 * MIB
    only(decisions, d.Run)


# -- sizes follow peaks ------------------------------------------------------------------------------------------------


def test_a_container_shrinks_to_what_its_owner_needs_and_others_get_the_rest() -> None:
    node = node_with(auto(A))
    decisions = first_call(node, peak_mib=300)
    resized = only(decisions, d.ResizeContainer)
    assert (resized.container, resized.limit_bytes) == ("node-c1", 352 * MIB)
    assert only(decisions, d.Remember).profile.peak_bytes == 300 * MIB
    assert node.node.books.functions[A].function.memory_bytes == 352 * MIB
    assert node.node.books.pool.ledger.free_bytes == (4096 - 352) * MIB


def test_a_container_grows_with_its_owners_peak_where_there_is_memory() -> None:
    node = node_with(auto(A))
    first_call(node, peak_mib=300)
    only(node.call(10.0, "a2", A), d.Run)
    decisions = ran(node, 11.0, "node-c1", "a2", 100, peak_mib=600)
    assert only(decisions, d.ResizeContainer).limit_bytes == 704 * MIB


def test_without_free_memory_a_container_stays_as_it_is() -> None:
    node = node_with(auto(A), function(B, 3700))
    first_call(node, peak_mib=300)
    only(node.call(5.0, "b1", B), d.StartContainer)
    only(node.call(10.0, "a2", A), d.Run)
    none(ran(node, 11.0, "node-c1", "a2", 100, peak_mib=700), d.ResizeContainer)
    assert limit_mib(node, "node-c1") == 352


def test_a_peak_includes_the_templates_that_the_function_was_forked_from() -> None:
    node = node_with(auto(A))
    books = node.node.books
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    node.tell(e.LoadFinished(1.8, "node-c1", LIBRARY, 1.0, 0.0, 200 * MIB))
    node.tell(e.LoadFinished(2.0, "node-c1", A, 0.1, 0.5, 50 * MIB, FROM_LIBRARIES))
    ran(node, 3.0, "node-c1", "a1", 50, peak_mib=150)
    assert books.functions[A].profile.peak_bytes == 350 * MIB
    assert limit_mib(node, "node-c1") == 416


def test_what_else_stands_in_a_container_keeps_its_room() -> None:
    node = CheckedNode(4096, keys=(), function_templates=True)
    node.tell(e.FunctionRegistered(0.0, auto(A)))
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    node.loaded(2.0, "node-c1", A, 300)
    node.tell(e.LoadFinished(2.1, "node-c1", LIBRARY, 1.0, 0.0, 200 * MIB))
    decisions = ran(node, 3.0, "node-c1", "a1", 300, peak_mib=320)
    assert only(decisions, d.ResizeContainer).limit_bytes == (368 + 200) * MIB, "it was loaded before the template came"


def test_a_run_that_was_forked_from_a_function_template_counts_both_templates() -> None:
    node = CheckedNode(4096, keys=(), function_templates=True)
    node.tell(e.FunctionRegistered(0.0, auto(A)))
    own = function_template_key(A)
    books = node.node.books
    first_call(node, peak_mib=150)
    node.tell(e.LoadFinished(3.1, "node-c1", LIBRARY, 1.0, 0.0, 200 * MIB))
    container = books.pool.containers["node-c1"]
    books.add_resident(container, own, BY_PRELOAD, "a test")
    node.tell(e.LoadFinished(3.2, "node-c1", own, 1.0, 0.5, 90 * MIB, FROM_LIBRARIES))
    books.offload(container.residents[A], "a test", EndCause.POLICY)
    node.gone(3.3, "node-c1", A)
    only(node.call(4.0, "a2", A), d.Run)
    node.tell(e.LoadFinished(4.1, "node-c1", A, 0.01, 0.0, 10 * MIB, FROM_FUNCTION))
    ran(node, 4.5, "node-c1", "a2", 10, peak_mib=30)
    assert books.functions[A].profile.peak_bytes == 320 * MIB


def test_a_container_that_holds_more_than_its_limit_grows_before_anything_is_ended() -> None:
    node = node_with(auto(A))
    first_call(node, peak_mib=300)
    node.tell(e.LoadFinished(3.5, "node-c1", LIBRARY, 1.0, 0.0, 200 * MIB))
    decisions = node.tell(e.MemoryMeasured(4.0, "node-c1", ((A, 340 * MIB),)))
    none(decisions, d.Offload)
    assert only(decisions, d.ResizeContainer).limit_bytes == (352 + 200) * MIB


def test_a_stored_peak_sizes_the_first_container_after_a_start() -> None:
    node = node_with(auto(A), profile=Profile(loads=1, runs=20, resident_bytes=100 * MIB, peak_bytes=300 * MIB))
    assert only(node.call(1.0, "a1", A), d.StartContainer).limit_bytes == 352 * MIB


def test_where_functions_need_more_than_the_node_has_their_containers_are_large_and_shared() -> None:
    node = node_with(auto(A), auto(B))
    first_call(node, peak_mib=300)
    assert limit_mib(node, "node-c1") == 352
    node.tell(e.FunctionRegistered(4.0, function("t/d@1", 3500)))
    assert node.node.books.functions.is_short
    assert only(node.call(5.0, "b1", B), d.StartContainer).limit_bytes // MIB == (4096 - 352) // 2
    node.started(5.4, "node-c2")
    node.loaded(5.5, "node-c2", B)
    none(ran(node, 6.0, "node-c2", "b1", 100, peak_mib=300), d.ResizeContainer)
    only(node.call(7.0, "a2", A), d.Run)
    none(ran(node, 8.0, "node-c1", "a2", 100, peak_mib=300), d.ResizeContainer)
    node.tell(e.FunctionRemoved(9.0, "t/d@1"))
    assert not node.node.books.functions.is_short
    only(node.call(10.0, "b2", B), d.Run)
    assert only(ran(node, 11.0, "node-c2", "b2", 100, peak_mib=300), d.ResizeContainer).limit_bytes == 352 * MIB


# -- who dies of memory ------------------------------------------------------------------------------------------------


def test_a_call_that_died_while_loading_is_repeated_once_in_twice_the_size() -> None:
    node = node_with(auto(A, 512), budget_mib=1024)
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    none(node.tell(e.LoadFailed(2.0, "node-c1", A, DIED)), d.Reply)
    decisions = node.tell(e.RunFinished(2.0, "node-c1", "a1", 0.0, 0, DIED, alive=False))
    none(decisions, d.Reply, d.StartContainer)
    assert only(decisions, d.ResizeContainer).limit_bytes == 1024 * MIB
    assert only(decisions, d.Run).activation == "a1"
    node.loaded(3.0, "node-c1", A, 600)
    reply = only(ran(node, 4.0, "node-c1", "a1", 600, peak_mib=812), d.Reply)
    assert reply.failure is None
    assert reply.phases.total == pytest.approx(3.0), "its caller has waited for both"


def test_where_its_container_cannot_grow_a_repeated_call_gets_another() -> None:
    node = node_with(auto(A, 512), function("u/b@1", 1200), budget_mib=2048)
    first_call(node, "u/b@1")
    assert only(node.call(5.0, "a1", A), d.StartContainer).limit_bytes == 512 * MIB
    node.started(5.4, "node-c2")
    node.tell(e.LoadFailed(6.0, "node-c2", A, DIED))
    decisions = node.tell(e.RunFinished(6.0, "node-c2", "a1", 0.0, 0, DIED, alive=False))
    assert {stop.container for stop in decisions if isinstance(stop, d.StopContainer)} == {"node-c1"}
    decisions = node.tell(e.ContainerGone(6.1, "node-c1"))
    assert only(decisions, d.StartContainer).limit_bytes == 1024 * MIB


def test_an_idempotent_call_is_repeated_when_its_process_is_gone() -> None:
    node = node_with(auto(A, 512, most_mib=4096, idempotent=True), budget_mib=2048)
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    node.loaded(2.0, "node-c1", A)
    none(died(node, 2.5, "node-c1", "a1"), d.Reply, d.Run, d.StartContainer)
    decisions = node.gone(2.6, "node-c1", A)
    assert only(decisions, d.ResizeContainer).limit_bytes == 2048 * MIB
    only(decisions, d.Run)
    node.loaded(3.0, "node-c1", A)
    reply = only(died(node, 3.5, "node-c1", "a1"), d.Reply)
    assert reply.failure is not None
    assert "no function gets more here" in reply.failure.message, "it is repeated once"
    assert node.node.books.functions[A].load_failure is not None, "it is not pre-loaded either"


def test_a_call_whose_caller_has_a_part_of_the_answer_is_not_repeated() -> None:
    node = node_with(auto(A, 512, most_mib=4096, idempotent=True), budget_mib=2048)
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    node.loaded(2.0, "node-c1", A)
    only(died(node, 2.5, "node-c1", "a1", has_yielded=True), d.Reply)


def test_a_call_that_had_begun_is_not_repeated_and_its_record_says_what_to_do() -> None:
    node = node_with(auto(A, 512), budget_mib=2048)
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    node.loaded(2.0, "node-c1", A)
    decisions = died(node, 2.5, "node-c1", "a1")
    reply = only(decisions, d.Reply)
    assert reply.failure is not None
    assert "took 812 MiB" in reply.failure.message
    assert "the next call gets 2048 MiB" in reply.failure.message
    assert 'memory = "2048MB"' in reply.failure.message
    assert "idempotent = true" in reply.failure.message
    assert only(decisions, d.Remember).profile.peak_bytes == peak_for(2048 * MIB)
    node.gone(2.6, "node-c1", A)
    assert limit_mib(node, "node-c1") == 2048
    only(node.call(3.0, "a2", A), d.Run)
    node.loaded(3.5, "node-c1", A)
    ran(node, 4.0, "node-c1", "a2", 600, peak_mib=812)
    assert node.node.books.functions[A].out_of_memory is None


def test_a_declared_function_that_died_of_memory_is_told_so_and_not_pre_loaded() -> None:
    node = node_with(replace(function(A, 512), idempotent=True))
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    node.loaded(2.0, "node-c1", A)
    assert only(died(node, 2.5, "node-c1", "a1"), d.Reply).failure == DIED
    record = node.node.books.functions[A]
    assert (record.load_failure, record.out_of_memory) == (DIED, DIED)


def test_a_pre_load_that_died_of_memory_makes_the_next_container_larger() -> None:
    node = node_with(auto(A, 512))
    books = node.node.books
    books.create(books.functions[A].function, None, "ahead")
    node.started(1.0, "node-c1")
    books.add_resident(books.pool.containers["node-c1"], A, BY_PRELOAD, "a test")
    node.tell(e.LoadFailed(2.0, "node-c1", A, DIED))
    assert books.functions[A].function.memory_bytes == 1024 * MIB
    assert limit_mib(node, "node-c1") == 1024


def test_a_call_is_not_repeated_on_a_node_that_ends() -> None:
    node = node_with(auto(A, 512, idempotent=True))
    node.call(1.0, "a1", A)
    node.started(1.4, "node-c1")
    node.loaded(2.0, "node-c1", A)
    node.tell(e.DrainAsked(2.1))
    only(died(node, 2.5, "node-c1", "a1"), d.Reply)


def test_each_of_the_first_runs_gets_half_of_what_is_free_and_gives_it_back() -> None:
    """A small first request, such as a sample, says little of the next one."""
    node = node_with(auto(A))
    first_call(node, peak_mib=100)
    small_mib = limit_mib(node, "node-c1")
    decisions = node.call(5.0, "a2", A)
    assert only(decisions, d.Run).container == "node-c1"
    assert only(decisions, d.ResizeContainer).limit_bytes > 1500 * MIB
    assert only(node.ran(5.2, "node-c1", "a2"), d.ResizeContainer).limit_bytes == small_mib * MIB
