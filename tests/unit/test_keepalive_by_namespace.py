"""Policies of several namespaces side by side: who hears what, whose containers go first, what may be configured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from instainfer.config import KeepAliveConfig, KeepAlivePolicyConfig, NamespacesConfig, load_config
from instainfer.core.model import MIB, ContainerId, FunctionKey
from instainfer.core.ports import KeptContainer, Use
from instainfer.errors import BadInput
from instainfer.policy import catalog
from instainfer.policy.keepalive.by_namespace import ByNamespace
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.keepalive.greedy_dual import GreedyDual
from instainfer.policy.keepalive.histogram import HybridHistogram
from instainfer.policy.keepalive.objective import Objective
from instainfer.policy.keepalive.pagurus import Pagurus
from instainfer.sim.settings import Settings


def container(name: ContainerId, owner: FunctionKey) -> KeptContainer:
    return KeptContainer(name, owner.split("/")[0], owner, 1024 * MIB)


def fell_idle(of: KeptContainer, cost_s: float = 1.0) -> Use:
    return Use(100.0, of.id, of.owner, True, of.limit_bytes, cost_s)


def test_the_worked_example() -> None:
    class LastFirst(Fixed):
        def eviction_order(self, idle: Any) -> Any:
            return list(reversed(idle))

    policy = ByNamespace(Fixed(), {"b": LastFirst()})
    a1, b1, a2, b2 = (container(name, f"{name[0]}/f@1") for name in ("a1", "b1", "a2", "b2"))
    assert policy.eviction_order([a1, b1, a2, b2]) == [a1, b2, a2, b1]


def test_each_policy_hears_of_its_own_and_decides_on_its_own() -> None:
    policy = ByNamespace(Fixed(60.0), {"b": GreedyDual(), "c": Fixed(5.0)})
    of = {name: container(name, f"{name}/f@1") for name in "abcd"}
    assert [policy.idle(fell_idle(of[name])).expires_at for name in "abcd"] == [160.0, math.inf, 105.0, 160.0]
    greedy = policy.policies["b"]
    assert isinstance(greedy, GreedyDual)
    policy.evicted(of["a"])
    assert greedy.clock == 0.0
    policy.evicted(of["b"])
    assert greedy.clock == 1.0, "one call x 1 s / 1 GiB"


def test_calls_and_ends_reach_the_policy_of_the_namespace_and_no_other() -> None:
    lender = Pagurus()
    policy = ByNamespace(Fixed(60.0), {"b": lender})
    own, second = container("b1", "b/f@1"), container("b2", "b/f@1")
    policy.called("b/f@1", 100.0)
    assert policy.idle(fell_idle(own)).shared_at == 160.0
    policy.ended(container("b1", "a/f@1"))
    assert policy.idle(fell_idle(second)).shared_at == math.inf, "b/f has a zygote"
    policy.ended(own)
    assert policy.idle(fell_idle(second)).shared_at == 160.0, "it has none now"


def test_namespaces_without_a_policy_of_their_own_are_ordered_together() -> None:
    policy = ByNamespace(GreedyDual(), {"c": Fixed()})
    dear, cheap, other = container("a1", "a/f@1"), container("b1", "b/f@1"), container("c1", "c/f@1")
    policy.idle(fell_idle(dear, cost_s=9.0))
    policy.idle(fell_idle(cheap, cost_s=1.0))
    assert policy.eviction_order([dear, other, cheap]) == [cheap, other, dear]


def test_what_a_namespace_does_not_say_is_as_for_all_others() -> None:
    config = load_config(keepalive={"ttl_s": 90, "namespaces": {"team": {"policy": "histogram", "bin_s": 30}, "x": {}}})
    assert dict(config.keepalive.namespaces.items()) == {
        "team": KeepAlivePolicyConfig(policy="histogram", bin_s=30.0, ttl_s=90.0),
        "x": KeepAlivePolicyConfig(ttl_s=90.0),
    }
    again = KeepAliveConfig.model_validate(config.keepalive.model_dump())
    assert again == config.keepalive


def test_a_file_and_the_environment_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[keepalive]\nttl_s = 30\n[keepalive.namespaces.team]\npolicy = "histogram"\nbin_s = 20\n'
    (tmp_path / "instainfer.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSTAINFER_KEEPALIVE__NAMESPACES__TEAM__BIN_S", "40")
    monkeypatch.setenv("INSTAINFER_KEEPALIVE__NAMESPACES__BATCH__POLICY", "pagurus")
    config = load_config().keepalive
    assert str(config.namespaces) == "batch:pagurus+team:histogram"
    assert [(part.bin_s, part.ttl_s) for _, part in config.namespaces.items()] == [(60.0, 30.0), (40.0, 30.0)]
    monkeypatch.setenv("INSTAINFER_KEEPALIVE__NAMESPACES", '{"Team-2": {"policy": "greedy_dual"}}')
    assert dict(load_config().keepalive.namespaces.items())["Team-2"].policy == "greedy_dual"


@pytest.mark.parametrize(
    ("part", "told"),
    [({"ttl_s": 0}, "keepalive.namespaces.team.ttl_s"), ({"tll_s": 1}, "team.tll_s"), (3, "keepalive.namespaces.team")],
)
def test_mistakes_are_named_by_their_key(part: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load_config(keepalive={"namespaces": {"team": part}})


def settings(**namespaces: KeepAlivePolicyConfig) -> Settings:
    return Settings(keepalive=KeepAliveConfig(namespaces=NamespacesConfig(**namespaces)))


def test_an_unknown_policy_is_refused_and_says_for_whom() -> None:
    known = "fixed, greedy_dual, histogram, objective, pagurus"
    with pytest.raises(BadInput, match=rf"namespace team: no policy 'eternal' .* {known}"):
        settings(batch=KeepAlivePolicyConfig(), team=KeepAlivePolicyConfig(policy="eternal")).policies()


def test_policies_are_built_as_configured() -> None:
    team = KeepAlivePolicyConfig(policy="histogram", bin_s=15.0)
    built = settings(team=team, batch=KeepAlivePolicyConfig(policy="greedy_dual")).policies().keepalive
    assert isinstance(built, ByNamespace)
    assert isinstance(built.default, Objective)
    assert isinstance(built.of("batch"), GreedyDual)
    assert built.of("guest") is built.default
    own = built.of("team")
    assert isinstance(own, HybridHistogram)
    assert own.bin_s == 15.0
    assert isinstance(catalog.keepalive(KeepAliveConfig()), Objective), "nobody in between where nobody differs"


def test_memory_is_spent_on_the_namespaces_whose_policy_spends_it() -> None:
    team = KeepAlivePolicyConfig(policy="fixed")
    dear = KeepAlivePolicyConfig(memory_price_s=0.001)
    spends = settings(team=team, dear=dear).policies().keepalive.spends
    assert [spends(namespace) for namespace in ("guest", "team", "dear")] == [True, False, False]
    given = Settings(
        keepalive=KeepAliveConfig(policy="fixed", namespaces=NamespacesConfig(batch=KeepAlivePolicyConfig()))
    )
    assert [given.policies().keepalive.spends(namespace) for namespace in ("guest", "batch")] == [False, True]


def test_a_namespace_has_a_price_of_memory_of_its_own() -> None:
    policy = ByNamespace(Objective(0.001), {"b": Objective()})
    for function in ("a/f@1", "b/f@1"):
        policy.called(function, 90.0)
    of = {name: container(name, f"{name}/f@1") for name in "ab"}
    assert policy.idle(fell_idle(of["a"])).expires_at == pytest.approx(90.0 + 1.0 / 0.001), "1 call x 1 s / 1 GiB"
    assert policy.idle(fell_idle(of["b"])).expires_at == math.inf
