"""What a node knows of the functions that may be called: profiles, arrivals, forecasts, failures to load."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .lifecycle import ResidentState
from .model import Failure, Function, FunctionKey, Profile
from .pool import Pool
from .ports import ContainerView, Forecast, FunctionView, NodeView, Predictor, ResidentView


@dataclass(slots=True)
class Known:
    function: Function
    profile: Profile
    arrivals: deque[float]
    forecast: Forecast | None = None
    load_failure: Failure | None = None
    """Why it could not be loaded; pre-loading leaves it alone until a call has shown otherwise."""
    removed: bool = False

    @property
    def estimate_bytes(self) -> int:
        return self.profile.resident_bytes or self.function.estimate_bytes


class Registry:
    """`guess_load_s`: seconds of loading assumed of a function never loaded; `history`: arrivals remembered."""

    def __init__(self, predictor: Predictor, guess_load_s: float, history: int) -> None:
        self.functions: dict[FunctionKey, Known] = {}
        self._predictor = predictor
        self._guess_load_s = guess_load_s
        self._history = history

    def __getitem__(self, key: FunctionKey) -> Known:
        return self.functions[key]

    def get(self, key: FunctionKey) -> Known | None:
        return self.functions.get(key)

    def register(self, function: Function, profile: Profile | None) -> None:
        known = self.functions.get(function.key)
        if known is None:
            arrivals: deque[float] = deque(maxlen=self._history)
            self.functions[function.key] = Known(function, profile or Profile(), arrivals)
        else:
            known.function, known.removed, known.load_failure = function, False, None

    def called(self, key: FunctionKey, at: float) -> None:
        known = self.functions[key]
        known.arrivals.append(at)
        known.forecast = self._predictor.forecast(known.arrivals)

    def load_s(self, key: FunctionKey) -> float:
        profile = self.functions[key].profile
        return profile.load_s if profile.loads else self._guess_load_s

    def view(self, key: FunctionKey, pool: Pool) -> FunctionView:
        known = self.functions[key]
        copies = sum(r.state is not ResidentState.UNLOADING for r in pool.by_function.get(key, {}).values())
        return FunctionView(
            key, known.function.namespace, self.load_s(key), known.estimate_bytes, known.forecast, copies
        )


def node_view(registry: Registry, pool: Pool, at: float, load_slots: int) -> NodeView:
    """What a pre-loading policy may see: idle containers, and functions that can be loaded."""
    return NodeView(
        at=at,
        containers=tuple(
            ContainerView(
                container.id,
                container.namespace,
                pool.ledger.free_in(container.id),
                pool.freeing_in(container),
                tuple(
                    ResidentView(r.function, r.state, r.origin, pool.ledger.charged(container.id, r.function))
                    for r in container.residents.values()
                ),
            )
            for container in pool.idle.values()
        ),
        functions={
            key: registry.view(key, pool)
            for key, known in registry.functions.items()
            if not known.removed and known.load_failure is None
        },
        load_slots=load_slots,
    )
