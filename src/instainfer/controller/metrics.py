"""``GET /metrics``: the figures of the platform in the text formats of Prometheus.

`FAMILIES` names every metric, and ``docs/reference/metrics.md`` is written from it. The values are read when somebody
asks. Asking wakes nothing and loads nothing: no event comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from platform import python_version
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import __version__
from ..links.base import Labels, Measures
from .auth import Keyring
from .collections import header, one_route_per_path, private
from .counts import BUCKETS_S, CallCounts

_BOUNDS: Final = (*(f"{bound:g}" for bound in BUCKETS_S), "+Inf")


_OPENMETRICS: Final = "application/openmetrics-text"


class Family(NamedTuple):
    """One metric. A unit is part of its name; `full_name` adds what all of ours and all counters have."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str

    @property
    def full_name(self) -> str:
        return f"instainfer_{self.name}{'_total' if self.kind == 'counter' else ''}"

    def metric(self, values: Mapping[Labels, Any]) -> Metric:
        """The metric with a value, or a `Distribution`, for each combination of labels."""
        name = f"instainfer_{self.name}"
        if self.kind == "histogram":
            histogram = HistogramMetricFamily(name, self.meaning, labels=self.labels)
            for labels, seen in values.items():
                buckets = list(zip(_BOUNDS, accumulate(seen.counts), strict=True))
                histogram.add_metric(labels, buckets, seen.total_s)
            return histogram
        metric = (CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily)(
            name, self.meaning, labels=self.labels
        )
        for labels, value in values.items():
            metric.add_metric(labels, value)
        return metric


_OF_CALLS: Final = (
    Family(
        "activations",
        "counter",
        ("function", "start_kind", "status"),
        "activations that have ended, each of which has a record; `function` is namespace/name, or `other` for "
        "functions beyond `server.metrics_functions`; `start_kind` is `none` for a call that never started",
    ),
    Family(
        "refused",
        "counter",
        ("reason",),
        "calls that were refused, because of a limit, a full queue or a shut-down; they have no record",
    ),
    Family("startup_seconds", "histogram", ("start_kind",), "start-up latency: all phases but compute"),
    Family("phase_seconds", "histogram", ("phase",), "how long each phase of an activation took; many are 0"),
    Family("in_flight", "gauge", (), "activations that were admitted and have not ended"),
    Family("routing_failures", "counter", (), "how often the routing policy failed, so that a default answered"),
)
_OF_RECORDS: Final = (
    Family("records_waiting", "gauge", (), "finished records that are not on disk yet"),
    Family("records_bytes", "gauge", (), "size of the file of the records, with its log"),
    Family("records_commit_seconds", "histogram", (), "how long commits of records took, those that failed included"),
    Family("records_commits_refused", "counter", (), "commits that the disk refused; they are tried again"),
    Family("records_put_aside", "counter", (), "records that no table takes; this is a bug"),
    Family("records_dropped", "counter", (), "records of blocking calls that were given up, since the disk refused"),
)
_OF_A_NODE: Final = (
    Family("memory_budget_bytes", "gauge", (), "what all containers together may take"),
    Family("memory_committed_bytes", "gauge", (), "sum of the limits of all containers"),
    Family("memory_used_bytes", "gauge", (), "what containers were measured to use, half a second ago at most"),
    Family("memory_committed_byte_seconds", "counter", (), "the limits of all containers over time"),
    Family("memory_used_byte_seconds", "counter", (), "the measured memory over time"),
    Family("queue_length", "gauge", (), "calls that wait for a container"),
    Family("containers", "gauge", ("state",), "containers"),
    Family("containers_created", "counter", (), "containers that were begun"),
    Family("containers_ended", "counter", ("cause",), "containers whose end was decided, or that died (`died`)"),
    Family("residents", "gauge", ("kind", "state"), "functions and templates in containers"),
    Family("resident_bytes", "gauge", ("kind",), "what residents are charged in the ledger"),
    Family(
        "residents_ended",
        "counter",
        ("kind", "cause"),
        "residents whose end was decided, or that died (`died`); those that end with their container are not counted",
    ),
    Family(
        "loads",
        "counter",
        ("kind", "outcome"),
        "loads that have ended, for calls and ahead of them; `outcome` is `finished` or `failed`",
    ),
    Family(
        "preloads",
        "counter",
        ("event",),
        "pre-loads of functions and library templates that were `started`, `finished` or `failed`; that met a call "
        "(`hits`), or ended without one (`wasted`); and function templates that were begun (`templates`)",
    ),
    Family("functions", "gauge", (), "versions of functions that the node knows"),
    Family("forecasts", "gauge", (), "functions whose next call is forecast"),
    Family("forecast_calls_per_second", "gauge", (), "calls that the forecasts expect now, of all functions"),
    Family(
        "policy_failures", "counter", ("role",), "how often a policy failed, so that a default answered in its place"
    ),
)
FAMILIES: Final = (*_OF_CALLS, *_OF_RECORDS, *(f._replace(labels=("node", *f.labels)) for f in _OF_A_NODE))


class Metrics:
    """Answers ``GET /metrics``, with a registry of its own.

    `nodes` returns the measures of each node by its name, `platform` those of the controller besides its calls.
    """

    def __init__(
        self,
        calls: CallCounts,
        nodes: Callable[[], Mapping[str, Measures]],
        platform: Callable[[], Measures],
    ) -> None:
        self._calls = calls
        self._nodes = nodes
        self._platform = platform
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def routes(self, keyring: Keyring, *, need_key: bool) -> list[Route]:
        """The route, for all who have a key, or for everybody."""

        async def endpoint(request: Request, caller: object = None) -> Response:
            body, content_type = self.answer(header(request, b"accept") or b"")
            return Response(body, headers={"content-type": content_type})

        return one_route_per_path([("GET", "/metrics", private(keyring, endpoint) if need_key else endpoint)])

    def answer(self, accept: bytes) -> tuple[bytes, str]:
        """The text and its type: OpenMetrics for those who ask for it, else the format that everything reads."""
        # The library reads versions from this header without checking them, so it is not given the caller's own.
        encode, content_type = choose_encoder(_OPENMETRICS if _OPENMETRICS.encode() in accept else "")
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Part of the contract of a registry's collector: the metrics as they are now."""
        calls = self._calls
        values: dict[str, Mapping[Labels, Any]] = {
            **self._platform(),
            "activations": calls.ended_calls,
            "refused": calls.refused_calls,
            "startup_seconds": calls.startup_s,
            "phase_seconds": calls.phases_s,
        }
        nodes = self._nodes()
        for family in _OF_A_NODE:
            values[family.name] = {
                (node, *labels): value
                for node, measures in nodes.items()
                for labels, value in measures.get(family.name, {}).items()
            }
        yield InfoMetricFamily(
            "instainfer_build",
            "the version of InstaInfer and of its Python",
            value={"version": __version__, "python": python_version()},
        )
        for family in FAMILIES:
            yield family.metric(values[family.name])
