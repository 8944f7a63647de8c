"""Pre-loading comes to rest: when nobody is called, it does not go on loading and off-loading.

Loads cost CPU time. A plan that undoes what the last one did, because it looks at things in another order, would do so
for ever and some twenty-five times a second: it happened, see `core/preloading.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from instainfer.config import PreloadConfig
from instainfer.core import decisions as d
from instainfer.core.model import MIB
from instainfer.core.story import Entry
from instainfer.sim.costs import CostSet, EnvironmentCosts, FunctionCosts, FunctionTemplateCosts
from instainfer.sim.run import Watchers, run_simulation
from instainfer.sim.settings import Settings
from instainfer.traces.workload import Arrival, Row

NAMES = ("a", "b", "c", "d", "e", "f")
BUSY_S, SILENT_S = 120.0, 480.0


@dataclass
class Calls:
    """For two minutes, and then no more."""

    listed: Sequence[tuple[float, int]]
    duration_s: float = BUSY_S + SILENT_S
    source: str = "a list"
    functions: Sequence[Row] = tuple(Row("o", "p", name) for name in NAMES)

    @property
    def calls(self) -> int:
        return len(self.listed)

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        return (Arrival(at, row, None) for at, row in sorted(self.listed))


def function(size_mib: int, model_s: float, environment: str) -> FunctionCosts:
    return FunctionCosts(
        environment,
        512 * MIB,
        1.0,
        0.02,
        model_s,
        0.2,
        (size_mib + 120) * MIB,
        size_mib * MIB,
        function_template=FunctionTemplateCosts(size_mib * MIB // 2, 0.005, 4 * MIB, make_s=0.1),
    )


functions = st.builds(function, st.integers(5, 300), st.sampled_from([0.01, 0.05, 0.3, 2.0]), st.sampled_from("xy"))
calls = st.lists(st.tuples(st.floats(0.0, BUSY_S), st.integers(0, len(NAMES) - 1)), min_size=10, max_size=80)


listed_costs = st.lists(functions, min_size=len(NAMES), max_size=len(NAMES))
scrutinise = hypothesis_settings(max_examples=600, deadline=None, derandomize=True, phases=[Phase.generate])


@scrutinise
@given(calls, listed_costs, st.booleans(), st.booleans(), st.integers(1, 4))
def test_it_does_not_go_on_loading_when_nobody_is_called(
    listed: list[tuple[float, int]], costs: list[FunctionCosts], templates: bool, own: bool, containers: int
) -> None:
    # Rates fall, at a pace of their own each, so some change places; none goes to and fro.
    assert late_loads(listed, costs, containers, templates=templates, own=own) <= len(NAMES)


def test_what_a_load_makes_on_its_way_is_no_reason_to_undo_it() -> None:
    """A library template that a load makes on its way lowers what that load was worth. So two functions displaced each
    other for ever, where function templates leave little room."""
    listed = [
        *((0.0, 4), (0.3333333333333333, 5), (0.5044662982930427, 5), (1.9, 1), (5.362948077783863, 0)),
        *((10.758907238991375, 5), (20.48282760036325, 4), (34.042689037502946, 0), (49.786193058471135, 4)),
        *(
            (50.58245867620765, 3),
            (51.44426829030951, 5),
            (54.02892959178323, 2),
            (57.912246701123216, 0),
            (61.74807091159599, 5),
        ),
        *((75.24350156061888, 5), (82.30638609607102, 3), (83.7078251981387, 3), (85.39201095869781, 3)),
        *((86.18088722332863, 5), (88.50544686453631, 0), (94.43835568333175, 0), (96.70596855496915, 5)),
        *((107.24956125274963, 1), (107.50823478775648, 5), (109.57636255212859, 0), (110.98560195435957, 4)),
    ]
    sizes = ((100, 0.01, "y"), (178, 2.0, "y"), (167, 2.0, "x"), (261, 0.01, "x"), (98, 0.01, "x"), (163, 0.05, "x"))
    costs = [function(*each) for each in sizes]
    assert late_loads(listed, costs, 1, templates=True, own=True) <= len(NAMES)


def late_loads(
    listed: list[tuple[float, int]], costs: list[FunctionCosts], containers: int, *, templates: bool, own: bool
) -> int:
    """The loads, and new containers, that begin when nobody has been called for a minute.

    `own`: with function templates.
    """
    loads = 0

    def count(entry: Entry) -> None:
        nonlocal loads
        if entry.event.at > BUSY_S + 60.0:
            loads += sum(isinstance(decision, d.Load | d.StartContainer) for decision in entry.decisions)

    environments = {name: EnvironmentCosts(1.0, 120 * MIB) for name in "xy"}
    cost_set = CostSet("drawn", 0.2, dict(zip(NAMES, costs, strict=True)), environments, end_s=0.01)
    memory_bytes = containers * 512 * MIB
    settings = Settings(preload=PreloadConfig(), templates=templates, function_templates=own, memory_bytes=memory_bytes)
    run_simulation(Calls(listed), cost_set, settings, Watchers(entry=count))
    return loads
