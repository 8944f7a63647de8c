"""A scenario: which workloads on which systems, what is varied, and what is to be shown of it; one TOML file.

Keys below ``keepalive`` and ``preload`` are those of the configuration (`instainfer.config`). What a scenario does not
say is what the code's defaults say, never what the user's own configuration says, so that a scenario means the same
everywhere. Unknown keys are errors. docs/howto/experiments.md explains the form by example.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..config import KeepAliveConfig, PreloadConfig
from ..errors import BadInput, NotFound

BUILT_IN = Path(__file__).parent / "scenarios"
"""Folder of the scenarios that come with us."""

Point: TypeAlias = dict[str, Any]
"""A value for each parameter that is varied."""

Class: TypeAlias = Literal["predictable", "normal", "bursty"]
"""Of arrivals; see `traces.classes`."""


_LABELS = ("label", "title", "parameter")
_KINDS_OF_WORKLOADS = ("generated", "trace", "population")
"""Pydantic names the kind, which is no key, in the place of a mistake."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Group(_Part):
    """Generated functions that are alike."""

    class_: Class = Field(alias="class")
    functions: int = Field(gt=0)
    rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    """Calls per minute of a function; several are dealt to the functions in turn, in an order that the seed draws."""

    @field_validator("rates", mode="before")
    @classmethod
    def _one_rate(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | float) else value


class _Workload(_Part):
    label: str
    names: tuple[str, ...] = ()
    """Functions of the cost set that the rows take in turn and share; none: each row is a function of its own."""


class Generated(_Workload):
    """Made by `traces.generate`."""

    kind: Literal["generated"] = "generated"
    minutes: int = Field(gt=0)
    group: tuple[Group, ...] = Field(min_length=1)
    calls_per_minute: float | None = Field(None, gt=0)
    """Of all functions together: their rates are scaled to it. None: they are taken as they are."""


class _Selected(_Workload):
    """Some functions of many; see `traces.select` for what the keys mean."""

    class_: Class | None = Field(None, alias="class")
    functions: int | None = Field(None, gt=0)
    """So many are drawn, by the seed; None: all that are like that."""
    min_calls: int = Field(1, ge=1)
    max_calls: int | None = Field(None, ge=1)


class TraceFile(_Selected):
    """A part of a real trace."""

    kind: Literal["trace"]
    file: str
    """Relative to the scenario's folder."""
    first_minute: int = Field(0, ge=0)
    minutes: int | None = Field(None, gt=0)


class Drawn(_Selected):
    """Made by `traces.population`, after the statistics of Azure 2019."""

    kind: Literal["population"]
    minutes: int = Field(gt=0)
    of: int = Field(gt=0)
    """So many functions are made up, from which the wanted ones are taken."""
    min_per_day: float = Field(0.0, ge=0)
    max_per_day: float | None = Field(None, gt=0)
    max_per_minute: float = Field(60.0, gt=0)
    start_hour: int = Field(0, ge=0, le=23)
    calls_per_minute: float | None = Field(None, gt=0)
    """Of the functions taken, together: their rates are scaled to it. None: they are as drawn."""


Workload: TypeAlias = Generated | TraceFile | Drawn


class System(_Part):
    """A platform to compare: its policies and switches."""

    label: str
    family: str = ""
    """Systems of one family share a colour; empty: the label."""
    line: Literal["solid", "dashed", "dotted"] = "solid"
    """Tells the members of a family apart."""
    baseline: Literal["stateless", "fair"] = "fair"
    """What is left of a function after its call: nothing (its process ends), or its process."""
    keepalive: KeepAliveConfig = Field(default_factory=KeepAliveConfig)
    preload: PreloadConfig = Field(default_factory=PreloadConfig)
    templates: bool = True
    fast_init: bool | None = None
    """None: as `templates`."""
    replace: bool = False
    """As ``node.replace``."""

    @field_validator("keepalive", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value

    @field_validator("preload", mode="before")
    @classmethod
    def _switched(cls, value: Any) -> Any:
        return {"on": {}, "off": {"policy": "none"}}.get(value, value) if isinstance(value, str) else value


class Sweep(_Part):
    """A parameter, and the values it takes; several sweeps make every combination."""

    parameter: str
    values: tuple[Any, ...] = Field(min_length=1)
    systems: tuple[str, ...] = ()
    """Labels; none: all. The others are run as they are."""


KINDS = Literal["latency", "functions", "cdf", "phases", "memory", "ablation", "sweep", "predictors", "groups", "front"]


class Report(_Part):
    """A table, a picture or both."""

    kind: KINDS
    title: str
    caption: str = ""
    systems: tuple[str, ...] = ()
    """Labels; none: all."""
    metric: Literal["e2e", "startup"] = "e2e"
    x: str = ""
    """sweep: the parameter along the axis; front: the parameter that makes a system's curve."""
    log: bool = False
    """sweep: a logarithmic x axis."""
    reference: str = ""
    """What the others are compared with: a system; empty: the scenario's."""
    at: Point = Field(default_factory=dict)
    """front: the reference's values of the parameters."""
    bands: dict[str, float] = Field(default_factory=dict)
    """groups: the least calls per minute of a function in each group, from the busiest on."""
    published: dict[str, Any] = Field(default_factory=dict)
    """The paper's own figures, to be set beside ours; see docs/howto/experiments.md."""


class Scenario(_Part):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    about: str = ""
    costs: str = "paper"
    """Name of a cost set, or a JSON file, relative to the scenario's folder."""
    durations: Literal["costs", "trace"] = "costs"
    """Whose compute times."""
    memory_gb: float = Field(10.0, gt=0)
    """For containers, on each node."""
    nodes: int = Field(1, gt=0)
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    reference: str = ""
    """The system over which speed-ups are; empty: the first."""
    workload: tuple[Annotated[Workload, Field(discriminator="kind")], ...] = Field(min_length=1)
    system: tuple[System, ...] = Field(min_length=1)
    sweep: tuple[Sweep, ...] = ()
    report: tuple[Report, ...] = ()

    @field_validator("workload", mode="before")
    @classmethod
    def _generated_by_default(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"kind": "generated", **each} if isinstance(each, dict) else each for each in value]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = [each.label for each in self.system]
        _unique("system", labels)
        _unique("workload", [each.label for each in self.workload])
        _unique("sweep", [each.parameter for each in self.sweep])
        _unique("seed", self.seeds)
        swept = [each.parameter for each in self.sweep]
        for sweep in self.sweep:
            _known("system", sweep.systems, labels, f"the sweep of {sweep.parameter}")
            if sweep.parameter not in PARAMETERS:
                raise ValueError(f"{sweep.parameter!r} cannot be varied; what can: {', '.join(PARAMETERS)}")
        for report in self.report:
            where = f"the report {report.title!r}"
            named = [report.reference] if report.reference else []
            _known("system", [*report.systems, *named], labels, where)
            _known("sweep", [*([report.x] if report.x else []), *report.at], swept, where)
            self._published(report, where)
            if report.kind in ("sweep", "front") and not report.x:
                raise ValueError(f"{where} needs x: one of {', '.join(swept) or 'the sweeps, of which there are none'}")
            if report.kind == "groups" and not report.bands:
                raise ValueError(f"{where} needs bands, say {{ hot = 2.5, rare = 0 }}")
        _known("system", [self.reference] if self.reference else [], labels, "reference")
        return self

    def _published(self, report: Report, where: str) -> None:
        """What is printed is printed of something here: a workload, or a system, at a point perhaps."""
        systems, workloads = [each.label for each in self.system], [each.label for each in self.workload]
        if report.kind in ("functions", "predictors"):
            _known("workload", report.published, workloads, f"{where}, published,")
        else:
            named = [key for key in report.published if not any(key.startswith(f"{label}, ") for label in systems)]
            _known("system", named, systems, f"{where}, published,")

    @property
    def reference_label(self) -> str:
        return self.reference or self.system[0].label

    def points(self, system: System) -> list[Point]:
        """Every combination of the values that a system takes."""
        sweeps = [each for each in self.sweep if not each.systems or system.label in each.systems]
        return [
            dict(zip((each.parameter for each in sweeps), values, strict=True))
            for values in product(*(each.values for each in sweeps))
        ]


PARAMETERS: tuple[str, ...] = (
    *(f"keepalive.{name}" for name in KeepAliveConfig.model_fields),
    *(f"preload.{name}" for name in PreloadConfig.model_fields),
    "baseline",
    "templates",
    "fast_init",
    "replace",
    "memory_gb",
    "nodes",
    *(f"workload.{name}" for name in ("calls_per_minute", "functions", "minutes", "scale")),
)
"""Parameters that a sweep may vary."""


class Setup(_Part):
    """One workload and one system at one point: a scenario without anything left to vary."""

    workload: Annotated[Workload, Field(discriminator="kind")]
    system: System
    memory_gb: float = Field(gt=0)
    nodes: int = Field(gt=0)


def setup(scenario: Scenario, workload: Workload, system: System, point: Point) -> Setup:
    """The set-up at a point. Raises `BadInput` for a value that its parameter cannot take."""
    values: dict[str, Any] = {
        "workload": workload.model_dump(by_alias=True),
        "system": system.model_dump(),
        "memory_gb": scenario.memory_gb,
        "nodes": scenario.nodes,
    }
    for parameter, value in point.items():
        room, _, name = parameter.partition(".")
        if room == "workload":
            _vary(values["workload"], name, value, parameter)
        elif name:
            values["system"][room][name] = value
        elif parameter in values:
            values[parameter] = value
        else:
            values["system"][parameter] = value
    try:
        return Setup.model_validate(values)
    except ValidationError as error:
        told = ", ".join(f"{name} = {value}" for name, value in point.items())
        raise BadInput(f"{scenario.name}: {system.label} cannot have {told}: {_problems(error, values)}") from None


def _vary(workload: dict[str, Any], name: str, value: Any, parameter: str) -> None:
    generated = workload["kind"] == "generated"
    if name == "scale":
        if not generated:
            raise BadInput(f"{workload['label']}: {parameter} can be varied for generated workloads only")
        workload["group"] = [
            {**group, "rates": [rate * value for rate in group["rates"]]} for group in workload["group"]
        ]
        if workload["calls_per_minute"] is not None:
            workload["calls_per_minute"] *= value
    elif name == "functions" and generated:
        if len(workload["group"]) > 1:
            raise BadInput(f"{workload['label']}: {parameter} can be varied for workloads of one group; it has several")
        workload["group"] = [{**workload["group"][0], "functions": value}]
    elif name == "calls_per_minute" and workload["kind"] == "trace":
        raise BadInput(f"{workload['label']}: {parameter} cannot be varied for a trace; its calls are what they are")
    else:
        workload[name] = value


def find(name: str) -> Path:
    """The file of a built-in scenario, or of any other. Raises `NotFound`, with what there is."""
    path = Path(name)
    built_in = BUILT_IN / f"{name}.toml"
    if path.suffix != ".toml" and built_in.is_file():
        return built_in
    if path.is_file():
        return path
    known = ", ".join(path.stem for path in built_in_files())
    raise NotFound(f"no scenario {name!r}: give the path of a TOML file, or one of: {known}")


def built_in_files() -> list[Path]:
    return sorted(BUILT_IN.glob("*.toml"))


def load(path: Path) -> Scenario:
    """Read a scenario. Raises `BadInput`, naming file, key and reason, and `NotFound` when there is none."""
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """A scenario as it is written. Raises `BadInput` when it cannot be read, `NotFound` when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"no scenario at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}; give a TOML file") from None


def parse(text: str, where: str) -> Scenario:
    """Read a scenario's text; `where` is named when it is malformed."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{where} is not valid TOML: {error}; correct it") from None
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        raise BadInput(f"{where} is not a scenario: {_problems(error, values)}") from None


def _problems(error: ValidationError, values: Any) -> str:
    """Key and reason of each mistake."""
    told = []
    for problem in error.errors():
        key = _key(problem["loc"], values)
        unknown = problem["type"] == "extra_forbidden"
        reason = "there is no such key" if unknown else problem["msg"].removeprefix("Value error, ")
        told.append(f"{key}: {reason}" if key else reason)
    return "; ".join(told)


def _key(steps: Iterable[int | str], values: Any) -> str:
    """A place as one reads it, ``system[Pagurus].preload.p_load``: what stands in a list has its label for a number."""
    key: list[str] = []
    for step in steps:
        if isinstance(step, int):
            values = values[step] if isinstance(values, list | tuple) and step < len(values) else None
            label = next((values[name] for name in _LABELS if name in values), step) if _is_table(values) else step
            key[-1:] = [f"{key[-1]}[{label}]"]
        elif step not in _KINDS_OF_WORKLOADS or (_is_table(values) and step in values):
            values = values.get(step) if _is_table(values) else None
            key.append(step)
    return ".".join(key)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _unique(what: str, labels: Iterable[Any]) -> None:
    seen = set()
    for label in labels:
        if label in seen:
            raise ValueError(f"there are two of the {what} {label!r}; give each its own")
        seen.add(label)


def _known(what: str, named: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in named:
        if name not in known:
            raise ValueError(f"{where} names the {what} {name!r}; there are: {', '.join(known) or 'none'}")
