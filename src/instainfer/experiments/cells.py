"""Looks up the results of a campaign by workload, system and point; runs that differ only in the seed are pooled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import BadInput
from ..report.pooled import Document, Pooled, pool
from .campaign import Campaign
from .scenario import Point, Report


class Cells:
    def __init__(self, campaign: Campaign) -> None:
        self.scenario = campaign.scenario
        self._documents: dict[tuple[str, str], list[tuple[Point, list[Document]]]] = {}
        for entry in campaign.entries:
            places = self._documents.setdefault((entry.workload, entry.system), [])
            documents = next((found for point, found in places if point == entry.point), None)
            if documents is None:
                documents = []
                places.append((entry.point, documents))
            if entry.id in campaign.documents:
                documents.append(campaign.documents[entry.id])
        self._pooled: dict[int, Pooled] = {}

    @property
    def workloads(self) -> list[str]:
        return [each.label for each in self.scenario.workload]

    def systems(self, report: Report) -> list[str]:
        """Return the systems that a report shows, in the scenario's order."""
        return [each.label for each in self.scenario.system if not report.systems or each.label in report.systems]

    def reference(self, report: Report) -> str:
        return report.reference or self.scenario.reference_label

    def find(self, report: Report, workload: str, system: str, at: Mapping[str, Any] | None = None) -> Pooled | None:
        """Return a system's figures at the point that agrees with `at`, which defaults to the report's ``at``.

        Return None when no such run was made yet. Raises `BadInput` when several points agree: the report must say
        which one it means.
        """
        wanted = report.at if at is None else at
        places = [(point, found) for point, found in self._documents.get((workload, system), []) if _at(point, wanted)]
        if len(places) > 1:
            parameters = sorted({parameter for point, _ in places for parameter in point} - set(wanted))
            raise BadInput(
                f"{self.scenario.name}: the report {report.title!r} must say under `at` which value of "
                f"{', '.join(parameters)} it means for {system}"
            )
        return self._pool(places[0][1]) if places else None

    def along(
        self, report: Report, workload: str, system: str, parameter: str
    ) -> list[tuple[Point, list[tuple[Point, Pooled | None]]]]:
        """Return a system's curves along a parameter, as (other parameters, [(the parameter's value, figures), ...]).

        There is a curve for each combination of the other parameters that the report's ``at`` allows. Figures are None
        when the run was not made yet.
        """
        curves: list[tuple[Point, list[tuple[Point, Pooled | None]]]] = []
        for point, documents in self._documents.get((workload, system), []):
            rest = {name: value for name, value in point.items() if name != parameter}
            if parameter not in point or not _at(rest, report.at):
                continue
            found = next((each for other, each in curves if other == rest), None)
            if found is None:
                found = []
                curves.append((rest, found))
            found.append(({parameter: point[parameter]}, self._pool(documents)))
        return curves

    def points(self, workload: str, system: str) -> list[tuple[Point, Pooled | None]]:
        """Return a system's figures at every point. They are None when the run was not made yet."""
        return [(point, self._pool(documents)) for point, documents in self._documents.get((workload, system), [])]

    def facts(self, workload: str) -> Iterable[Mapping[str, Any]]:
        """Return the different descriptions that the runs on a workload give of it; they depend on seed and point."""
        seen: list[Mapping[str, Any]] = []
        for (label, _), places in self._documents.items():
            for _, documents in places if label == workload else ():
                seen += [each["workload"] for each in documents if each["workload"] not in seen]
        return seen

    def _pool(self, documents: list[Document]) -> Pooled | None:
        if not documents:
            return None
        key = id(documents)
        if key not in self._pooled:
            self._pooled[key] = pool(documents)
        return self._pooled[key]


def _at(point: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(point[name] == value for name, value in wanted.items() if name in point)
