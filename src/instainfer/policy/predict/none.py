"""No predictor: nothing is ever forecast (the ablation NP of SoCC 2024, Fig. 15).

Every function then has the same small prior rate. Memory that is idle anyway is filled when containers come and go or
calls arrive, and nobody displaces anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.ports import Forecast


class NoPredictor:
    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        return None
