"""What a manager can truly report: every honest history, and the order in which things may cross each other."""

from __future__ import annotations

import pytest

from instainfer.backends.expected import Expected
from instainfer.core.model import function_template_key
from instainfer.wire.framing import ProtocolError
from instainfer.wire.messages import Failure, Gone, Loaded, LoadFailed, Measured, Ran

F, G, T = "n/f@1", "n/g@1", "template:n/e"
CRASHED = Failure("crashed", "")


def loaded(key: str, *, source: str = "nothing") -> Loaded:
    return Loaded(key, 0.1, 0.1, 1, [], 1, source)


def ran(activation: str, key: str, *, alive: bool = True) -> Ran:
    return Ran(activation, key, 0.1, 1, 1, alive, None, 2, 1, b"{}")


def test_a_load_that_is_cut_short_and_asked_for_again() -> None:
    expected = Expected()
    expected.load(F, None, 1.0)
    expected.offload(F)
    expected.load(F, None, 2.0)
    expected.gone(Gone(F, None, 1))
    assert expected.loaded(loaded(F), 5.0) == 4.0
    expected.measured(Measured({F: 3}, 3))


def test_loads_that_a_run_cuts_short() -> None:
    expected = Expected()
    expected.load(F, None, 1.0)
    expected.load(G, None, 1.0)
    expected.run("a", F, None, 2.0)
    expected.gone(Gone(G, None, 1))
    expected.loaded(loaded(F), 3.0)
    assert expected.ran(ran("a", F), 4.0) == 2.0


def test_a_template_is_made_on_the_way_and_made_anew_after_it_has_died() -> None:
    expected = Expected()
    expected.run("a", F, T, 1.0)
    assert expected.loaded(loaded(T), 3.0) == 2.0
    expected.gone(Gone(T, CRASHED, 1))
    expected.loaded(loaded(T), 4.0)
    expected.loaded(loaded(F, source="libraries"), 5.0)
    expected.ran(ran("a", F), 6.0)
    expected.gone(Gone(T, Failure("out_of_memory", ""), 1))
    with pytest.raises(ProtocolError, match="nobody has asked for"):
        expected.loaded(loaded(T), 7.0)


def test_a_template_that_cannot_be_made_is_done_without() -> None:
    expected = Expected()
    expected.load(F, T, 1.0)
    expected.load_failed(LoadFailed(T, Failure("load_failed", ""), 1))
    expected.loaded(loaded(F), 2.0)


def test_a_function_that_dies_before_its_call_is_loaded_once_more_for_it() -> None:
    expected = Expected()
    expected.load(F, None, 1.0)
    expected.loaded(loaded(F), 2.0)
    expected.run("a", F, None, 3.0)
    expected.gone(Gone(F, CRASHED, 1))
    expected.loaded(loaded(F), 4.0)
    expected.ran(ran("a", F, alive=False), 5.0)
    expected.gone(Gone(F, None, 1))


def test_a_load_that_fails_fails_its_call() -> None:
    expected = Expected()
    expected.run("a", F, None, 1.0)
    expected.load_failed(LoadFailed(F, Failure("load_failed", ""), 1))
    expected.ran(ran("a", F, alive=False), 2.0)
    with pytest.raises(ProtocolError, match="nobody has asked for"):
        expected.load_failed(LoadFailed(F, Failure("load_failed", ""), 1))


def test_a_template_does_not_end_for_a_run() -> None:
    expected = Expected()
    expected.load(T, None, 1.0)
    expected.loaded(loaded(T), 2.0)
    expected.run("a", F, T, 3.0)
    with pytest.raises(ProtocolError, match="has ended template:n/e, which nobody"):
        expected.gone(Gone(T, None, 1))


def test_a_function_is_forked_from_its_own_template_only_if_that_has_stood() -> None:
    expected = Expected()
    expected.run("a", F, T, 1.0)
    with pytest.raises(ProtocolError, match="which has not stood"):
        expected.loaded(loaded(F, source="function"), 2.0)
    expected = Expected()
    own = function_template_key(F)
    expected.load(own, T, 1.0)
    expected.loaded(loaded(T), 2.0)
    assert expected.loaded(loaded(own, source="libraries"), 3.0) == 2.0
    expected.load(F, T, 4.0)
    expected.gone(Gone(own, CRASHED, 1))
    expected.loaded(loaded(F, source="function"), 5.0)  # it was forked before that
