"""The predictor that makes no forecasts (the ablation NP of SoCC 2024, Fig. 15).

Without forecasts every function has the same small rate. Idle memory is still filled when containers come and go or
calls arrive, but no function displaces another one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.ports import Forecast


class NoPredictor:
    """Never makes a forecast."""

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        return None
