"""What `instainfer.core.ports` asks of every policy in the catalog. A new entry there is tested here by itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instainfer.config import KeepAliveConfig, PreloadConfig
from instainfer.core.lifecycle import ResidentState
from instainfer.core.model import MIB, Origin, function_template_key, is_function_template, is_template, template_key
from instainfer.core.model import templated_function as function_of
from instainfer.core.ports import (
    ContainerView,
    Contents,
    Forecast,
    FunctionView,
    KeepAlive,
    KeptContainer,
    Known,
    NodeView,
    Predictor,
    Preloader,
    PreloadPlan,
    ResidentView,
    SuggestCreate,
    SuggestLoad,
    SuggestOffload,
    TemplateView,
    Use,
)
from instainfer.policy import catalog

preload_settings = st.sampled_from(
    [PreloadConfig(), PreloadConfig(processor_price_s=0.0), PreloadConfig(max_residents=1, p_load=0.9, p_offload=0.95)]
)

FORECASTING = {name: build for name, build in catalog.PREDICTORS.items() if name != "none"}
"""Of the one that never says anything there is nothing to be asked; see `test_who_predicts_nothing`."""
predictors = pytest.mark.parametrize("build", FORECASTING.values(), ids=FORECASTING)
preloaders = pytest.mark.parametrize("build", catalog.PRELOADERS.values(), ids=catalog.PRELOADERS)


def _mixed(config: KeepAliveConfig) -> KeepAlive:
    """Two namespaces with policies of their own."""
    own = {"t": {"policy": "greedy_dual"}, "u": {"policy": "pagurus"}}
    return catalog.keepalive(KeepAliveConfig.model_validate({**config.model_dump(), "namespaces": own}))


_KEEPALIVES = {**catalog.KEEPALIVES, "by namespace": _mixed}
keepalives = pytest.mark.parametrize("build", _KEEPALIVES.values(), ids=_KEEPALIVES)

# -- predictors ----------------------------------------------------------------------------------------------------

gaps_s = st.one_of(st.just(0.0), st.floats(0.001, 1.0), st.floats(1.0, 7200.0))
histories = st.builds(
    lambda first, gaps: [first + sum(gaps[:n]) for n in range(len(gaps) + 1)],
    st.floats(0.0, 1e6),
    st.lists(gaps_s, max_size=12),
)
silences_s = st.floats(0.0, 1e5)
probabilities = st.floats(0.01, 0.99)

BuildPredictor = Callable[[Any], Predictor]


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    """Libraries behind predictors are imported when one is first built; not on the time of a test's first example."""
    for build in catalog.PREDICTORS.values():
        build(PreloadConfig())


@predictors
def test_no_history_no_forecast(build: BuildPredictor) -> None:
    assert build(PreloadConfig()).forecast([]) is None


@predictors
@given(arrivals=histories, silence_s=silences_s)
def test_a_rate_is_positive_and_finite(build: BuildPredictor, arrivals: list[float], silence_s: float) -> None:
    forecast = build(PreloadConfig()).forecast(arrivals)
    assert forecast is not None
    assert 0 < forecast.rate(arrivals[-1] + silence_s) < math.inf


@predictors
@given(arrivals=histories, silence_s=silences_s, spans_s=st.tuples(silences_s, silences_s).map(sorted))
def test_the_probability_of_a_call_grows_with_the_time_given(
    build: BuildPredictor, arrivals: list[float], silence_s: float, spans_s: list[float]
) -> None:
    forecast = build(PreloadConfig()).forecast(arrivals)
    assert forecast is not None
    at = arrivals[-1] + silence_s
    shorter, longer = (forecast.probability(at, span_s) for span_s in spans_s)
    assert 0.0 <= shorter <= longer <= 1.0
    assert forecast.probability(at, 0.0) == 0.0


@predictors
@given(arrivals=histories, ps=st.tuples(probabilities, probabilities).map(sorted))
def test_when_a_call_is_due_is_the_inverse_of_its_probability(
    build: BuildPredictor, arrivals: list[float], ps: list[float]
) -> None:
    forecast = build(PreloadConfig()).forecast(arrivals)
    assert forecast is not None
    last = arrivals[-1]
    earlier, later = (forecast.due_at(p) for p in ps)
    assert last <= earlier <= later
    for p, due in zip(ps, (earlier, later), strict=True):
        if due < math.inf:
            # A clock of float seconds has this grain.
            grain_s = 4 * math.ulp(due)
            assert forecast.probability(last, due - last + grain_s) >= p * (1 - 1e-9)
            assert forecast.probability(last, max(0.0, due - last - grain_s)) <= p * (1 + 1e-9)


@predictors
@given(arrivals=histories, silence_s=silences_s)
def test_a_forecast_depends_on_the_arrivals_alone(
    build: BuildPredictor, arrivals: list[float], silence_s: float
) -> None:
    predictor = build(PreloadConfig())
    given_arrivals = list(arrivals)
    first = predictor.forecast(given_arrivals)
    predictor.forecast([5.0, 6.0])
    again = predictor.forecast(arrivals)
    assert given_arrivals == arrivals
    assert first is not None
    assert again is not None
    at = arrivals[-1] + silence_s
    assert (first.rate(at), first.due_at(0.5)) == (again.rate(at), again.due_at(0.5))


@predictors
@given(arrivals=histories.filter(len), silence_s=silences_s)
def test_a_forecast_may_build_on_the_one_before(build: BuildPredictor, arrivals: list[float], silence_s: float) -> None:
    predictor = build(PreloadConfig())
    before: Forecast | None = None
    for n in range(1, len(arrivals)):
        before = predictor.forecast(arrivals[:n], before)
    forecast, again = predictor.forecast(arrivals, before), predictor.forecast(arrivals, before)
    assert forecast == again, "what was said before is not changed by being built on"
    assert forecast is not None
    assert 0 < forecast.rate(arrivals[-1] + silence_s) < math.inf


# -- preloaders ----------------------------------------------------------------------------------------------------

NAMES = (*(f"t/{name}@1" for name in "abcdef"), "u/a@1", "u/b@1")
TEMPLATES = tuple(template_key(namespace, "env") for namespace in "tu")
AT = 10_000.0
BuildPreloader = Callable[[Any], Preloader]


@st.composite
def node_views(draw: st.DrawFn) -> NodeView:
    """A node that keeps its books: residents of their container's namespace, hardly ever above its limit. What stands
    there is worth what the policy under test says; see `shown_to`."""
    places = [draw(container_views(f"c{n}")) for n in range(draw(st.integers(1, 2)))]
    changed = draw(st.integers(0, len(places)))
    present = [r.function for c in places for r in c.residents if r.state is not ResidentState.UNLOADING]
    templates = {
        key: TemplateView(
            key,
            key.split(":")[1][0],
            draw(st.sampled_from([0.0, 1.5])),
            draw(st.integers(0, 300)) * MIB,
            draw(st.sampled_from([0.0, 0.01, 1.0])),
            present.count(key),
        )
        for key in TEMPLATES
        if draw(st.booleans())
    }
    names = [key for key in NAMES if draw(st.integers(0, 7))]
    functions = {
        key: draw(function_views(key, present.count(key), present.count(function_template_key(key)))) for key in names
    }
    sizes = {key: each.resident_bytes for key, each in templates.items()}
    functions = {key: replace(each, library_bytes=sizes.get(each.library or "", 0)) for key, each in functions.items()}
    candidates = [f for f in functions.values() if f.copies == 0 or f.own_template is not None or draw(st.booleans())]
    waiting = draw(st.integers(0, len(candidates)))
    spends = draw(st.sampled_from(["", "t", "tu"]))
    return NodeView(
        AT,
        tuple(places[:changed]),
        tuple(candidates[waiting:]),
        Known(functions, templates),
        draw(st.sampled_from([1, 2, 3, 0])),
        lambda container: Contents(),
        draw(st.sampled_from([0.0, 0.01])),
        draw(st.booleans()),
        tuple(places[changed:]),
        draw(st.sampled_from([0, 256, 2048])) * MIB,
        lambda namespace: namespace in spends,
        tuple(candidates[:waiting]),
    )


def shown_to(preloader: Preloader, view: NodeView) -> NodeView:
    """The view as the node shows it to a policy: what is worth how much is what that policy says."""
    return replace(view, contents=lambda container: preloader.contents(container, view.known, view.at))


def planned(preloader: Preloader, view: NodeView) -> PreloadPlan:
    return preloader.plan(shown_to(preloader, view))


@st.composite
def container_views(draw: st.DrawFn, name: str) -> ContainerView:
    namespace = draw(st.sampled_from("ttu"))
    own = [key for key in NAMES if key[0] == namespace] + [template_key(namespace, "env")]
    own += [function_template_key(key) for key in own[:2]]
    keys = draw(st.lists(st.sampled_from(own), unique=True, max_size=4))
    residents = tuple(draw(resident_views(key)) for key in keys)
    taken_bytes = sum(r.charged_bytes for r in residents)
    limit_bytes = max(draw(st.sampled_from([256, 512, 1024])) * MIB, taken_bytes - 50 * MIB)
    return ContainerView(
        name,
        namespace,
        limit_bytes,
        limit_bytes - taken_bytes,
        sum(r.charged_bytes for r in residents if r.state is ResidentState.UNLOADING),
        residents,
        draw(st.sampled_from([None, *(key for key in NAMES if key[0] == namespace)])),
    )


def resident_views(key: str) -> st.SearchStrategy[ResidentView]:
    loaded = ResidentState.LOADED
    states = st.sampled_from([loaded, loaded, loaded, ResidentState.LOADING, ResidentState.UNLOADING])
    return st.builds(
        ResidentView,
        st.just(key),
        states,
        st.sampled_from(Origin),
        st.integers(0, 300).map(lambda mib: mib * MIB),
        st.just(is_template(key)),
    )


@st.composite
def function_views(draw: st.DrawFn, key: str, present: int, own_present: int) -> FunctionView:
    predictor = draw(st.sampled_from(list(catalog.PREDICTORS.values())))(PreloadConfig())
    gap_s = draw(st.floats(1.0, 600.0))
    last = AT - draw(st.floats(0.0, 2.0)) * gap_s
    arrivals = [last - gap_s * n for n in reversed(range(draw(st.integers(0, 5))))]
    busy = draw(st.sampled_from([0, 0, 0, 1]))
    size_mib = draw(st.integers(0, 700))
    library = draw(st.sampled_from([None, template_key(key[0], "env")]))
    own = function_template_key(key)
    misses = draw(st.integers(0, 5)) if arrivals else 0
    return FunctionView(
        key,
        key[0],
        load_s=draw(st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0])),
        resident_bytes=size_mib * MIB,
        forked_bytes=size_mib * MIB // draw(st.sampled_from([1, 4])),
        forecast=predictor.forecast(arrivals),
        copies=present + busy,
        template=own if own_present else library,
        busy_s=draw(st.sampled_from([0.0, 0.3])),
        needs=draw(st.sampled_from([0.0, 0.2, 1.0])) if present + busy > 1 else 1.0,
        lacks=draw(st.sampled_from([0.0, 0.2, 1.0])) if present + busy else 1.0,
        library=library,
        memory_bytes=draw(st.sampled_from([128, 256, 512, 700])) * MIB,
        own_template=draw(st.sampled_from([None, own])) if arrivals else None,
        own_copies=own_present,
        own_bytes=draw(st.integers(0, 400)) * MIB,
        own_saves_s=draw(st.sampled_from([0.0, 0.1, 2.0])),
        misses=misses,
        missed_since=arrivals[0] if misses else 0.0,
    )


def loads(plan: PreloadPlan) -> list[SuggestLoad]:
    return [s for s in plan.suggestions if isinstance(s, SuggestLoad)]


def offloads(plan: PreloadPlan) -> list[SuggestOffload]:
    return [s for s in plan.suggestions if isinstance(s, SuggestOffload)]


@preloaders
@given(config=preload_settings, view=node_views())
def test_loads_go_where_they_may(build: BuildPreloader, config: PreloadConfig, view: NodeView) -> None:
    plan = planned(build(config), view)
    containers = {c.id: c for c in (*view.containers, *view.others)}
    tried = {f.key for f in (*view.candidates, *view.waiting)}
    for load in loads(plan):
        container = containers[load.container]
        assert load.function not in {r.function for r in container.residents}
        states = {r.function: r.state for r in container.residents}
        if is_template(load.function) and not is_function_template(load.function):
            assert view.known.templates[load.function].namespace == container.namespace
            assert load.resident_bytes == view.known.templates[load.function].resident_bytes
            continue
        key = function_of(load.function)
        function = view.known.functions[key]
        assert function.namespace == container.namespace
        assert {function.template, function.library}.isdisjoint(load.victims)
        if is_function_template(load.function):
            assert key in tried
            assert load.function == function.own_template
            library = view.known.templates.get(function.library or "")
            brings = library is not None and states.get(library.key) is not ResidentState.LOADED
            assert load.resident_bytes == function.own_bytes + (library.resident_bytes if library and brings else 0)
        else:
            forked = function.template is not None and states.get(function.template) is ResidentState.LOADED
            assert load.resident_bytes == (function.forked_bytes if forked else function.resident_bytes)
    for offload in offloads(plan):
        residents = {r.function: r for r in containers[offload.container].residents}
        assert residents[offload.function].state is not ResidentState.UNLOADING


@preloaders
@given(config=preload_settings, view=node_views())
def test_containers_are_created_only_where_memory_may_be_spent(
    build: BuildPreloader, config: PreloadConfig, view: NodeView
) -> None:
    plan = planned(build(config), view)
    created = [s for s in plan.suggestions if isinstance(s, SuggestCreate)]
    assert len(created) <= 1, "the next plan sees what the first one is used for"
    assert len(loads(plan)) + len(created) <= view.load_slots or not created
    for each in created:
        function = view.known.functions[each.function]
        assert view.spends(function.namespace)
        assert function.memory_bytes <= view.spare_bytes


@preloaders
@given(view=node_views())
def test_what_is_said_of_a_container_is_what_stands_there(build: BuildPreloader, view: NodeView) -> None:
    preloader = build(PreloadConfig())
    for container in (*view.containers, *view.others):
        contents = preloader.contents(container, view.known, view.at)
        assert contents == preloader.contents(container, view.known, view.at)
        residents = {r.function: r for r in container.residents}
        for stand in contents.stands:
            resident = residents.pop(stand.key)
            assert resident.state is ResidentState.LOADED, "what is not loaded yet, or ends already, may not be ended"
            assert (stand.size_bytes, stand.is_template) == (resident.charged_bytes, resident.is_template)
            assert all(0 <= each < math.inf for each in (stand.gain, stand.loss_s, stand.rate, stand.saves_s))
        assert all(r.is_template or r.state is not ResidentState.LOADED for r in residents.values())
        assert [stand.density for stand in contents.stands] == sorted(stand.density for stand in contents.stands)
        assert all(0 <= each < math.inf for each in (contents.rate, contents.weight, contents.loss_s))


@preloaders
@given(config=preload_settings, view=node_views())
def test_no_more_loads_than_slots_and_nothing_twice(
    build: BuildPreloader, config: PreloadConfig, view: NodeView
) -> None:
    plan = planned(build(config), view)
    assert len(loads(plan)) <= view.load_slots
    assert len({load.function for load in loads(plan)}) == len(loads(plan))
    ended = [(s.container, s.function) for s in offloads(plan)]
    ended += [(load.container, victim) for load in loads(plan) for victim in load.victims]
    assert len(set(ended)) == len(ended)


@preloaders
@given(config=preload_settings, view=node_views())
def test_loads_have_room_once_all_of_their_victims_are_gone(
    build: BuildPreloader, config: PreloadConfig, view: NodeView
) -> None:
    plan = planned(build(config), view)
    for container in (*view.containers, *view.others):
        residents = {r.function: r for r in container.residents}
        leaving = [s.function for s in offloads(plan) if s.container == container.id]
        room_bytes = container.free_bytes + container.freeing_bytes + sum(residents[f].charged_bytes for f in leaving)
        for load in loads(plan):
            if load.container == container.id:
                victims = [residents[victim] for victim in load.victims]
                assert all(victim.state is ResidentState.LOADED for victim in victims)
                room_bytes += sum(victim.charged_bytes for victim in victims) - load.resident_bytes
                assert room_bytes >= 0


@preloaders
@given(config=preload_settings, view=node_views())
def test_a_plan_says_why_what_for_and_when_to_ask_again(
    build: BuildPreloader, config: PreloadConfig, view: NodeView
) -> None:
    preloader = build(config)
    plan = planned(preloader, view)
    assert all(s.reason.strip() for s in plan.suggestions)
    assert all(0 <= load.value_s < math.inf for load in loads(plan))
    assert plan.wake_at is None or view.at < plan.wake_at < math.inf
    assert all(when > view.at and key in view.known.functions for when, key in plan.later)
    candidates = {f.key for f in (*view.candidates, *view.waiting)}
    assert len(set(plan.waiting)) == len(plan.waiting)
    assert set(plan.waiting) <= candidates
    assert all(0 <= preloader.worth(f, view.at) < math.inf for f in view.known.functions.values())


@preloaders
@given(config=preload_settings, view=node_views(), other=node_views())
def test_a_plan_depends_on_the_view_alone(
    build: BuildPreloader, config: PreloadConfig, view: NodeView, other: NodeView
) -> None:
    preloader = build(config)
    before = copy.deepcopy(view)
    plan = planned(preloader, view)
    planned(preloader, other)
    assert view == before
    assert planned(preloader, view) == plan == planned(build(config), before)
    functions = dict(reversed(list(view.known.functions.items())))
    templates = dict(reversed(list(view.known.templates.items())))
    assert planned(preloader, replace(view, known=Known(functions, templates))) == plan


# -- keep-alive ----------------------------------------------------------------------------------------------------

BuildKeepAlive = Callable[[Any], KeepAlive]
owners = st.one_of(st.none(), st.sampled_from(NAMES))


@keepalives
@given(owner=owners, moments=st.lists(st.floats(0.0, 1e7), min_size=1, max_size=8), after_call=st.booleans())
def test_a_container_never_expires_before_it_fell_idle(
    build: BuildKeepAlive, owner: str | None, moments: list[float], after_call: bool
) -> None:
    keepalive = build(KeepAliveConfig())
    for at in sorted(moments):
        if owner is not None:
            keepalive.called(owner, at)
        idle = keepalive.idle(Use(at, "c1", owner, after_call or owner is None, 256 * MIB, 1.0))
        assert idle.expires_at >= at
        assert idle.shared_at >= at
        assert idle.prewarm_at is None or idle.prewarm_at >= at


@st.composite
def idle_containers(draw: st.DrawFn) -> list[KeptContainer]:
    return [
        KeptContainer(f"c{n}", draw(st.sampled_from("tu")), draw(owners), draw(st.sampled_from([256, 1024])) * MIB)
        for n in range(draw(st.integers(0, 6)))
    ]


@keepalives
def test_it_says_of_every_namespace_whether_memory_is_spent_there_and_does_not_change_its_mind(
    build: BuildKeepAlive,
) -> None:
    keepalive = build(KeepAliveConfig())
    before = [keepalive.spends(namespace) for namespace in "tuv"]
    assert all(type(each) is bool for each in before)
    keepalive.called("t/a@1", 1.0)
    keepalive.idle(Use(2.0, "c1", "t/a@1", True, 256 * MIB, 1.0))
    assert [keepalive.spends(namespace) for namespace in "tuv"] == before


@keepalives
@pytest.mark.parametrize("price_s", [0.0, 0.01])
@given(owners_=st.lists(st.sampled_from(NAMES), max_size=6))
def test_what_is_gone_is_forgotten(build: BuildKeepAlive, price_s: float, owners_: list[str]) -> None:
    keepalive = build(KeepAliveConfig(memory_price_s=price_s))
    for n, owner in enumerate(owners_):
        keepalive.called(owner, float(n))
        keepalive.idle(Use(float(n), f"c{n}", owner, True, 256 * MIB, 1.0))
    for n, owner in enumerate(owners_):
        keepalive.ended(KeptContainer(f"c{n}", owner[0], owner, 256 * MIB))
    assert not set(keepalive.remembered().containers)
    for owner in NAMES:
        keepalive.forget(owner)
    assert not set(keepalive.remembered().functions)


@keepalives
@given(idle=idle_containers())
def test_the_order_of_eviction_has_every_container_once(build: BuildKeepAlive, idle: list[KeptContainer]) -> None:
    keepalive = build(KeepAliveConfig())
    given_order = list(idle)
    order = list(keepalive.eviction_order(idle))
    assert sorted(c.id for c in order) == sorted(c.id for c in given_order)
    assert idle == given_order
    assert list(keepalive.eviction_order(idle)) == order


def test_there_is_a_policy_of_each_kind() -> None:
    assert catalog.PREDICTORS
    assert catalog.PRELOADERS
    assert catalog.KEEPALIVES


def test_who_predicts_nothing() -> None:
    assert catalog.PREDICTORS["none"](PreloadConfig()).forecast([1.0, 2.0, 3.0]) is None
