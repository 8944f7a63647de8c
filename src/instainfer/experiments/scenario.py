"""A scenario says which workloads run on which systems, what is varied, and what is reported; it is one TOML file.

Keys below ``keepalive`` and ``preload`` are those of the configuration (`instainfer.config`). A missing key has the
default of the code and never the user's own configuration, so that a scenario means the same everywhere. Unknown keys
are errors. docs/howto/experiments.md explains the form by example.
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
from ..texts import read_text

BUILT_IN = Path(__file__).parent / "scenarios"
"""Folder of the built-in scenarios."""

Point: TypeAlias = dict[str, Any]
"""The value of each parameter that is varied."""

Class: TypeAlias = Literal["predictable", "normal", "bursty"]
"""Class of arrivals; see `traces.classes`."""


_LABELS = ("label", "title", "parameter")
_KINDS_OF_WORKLOADS = ("generated", "trace", "population")
"""When Pydantic names the place of a mistake, it inserts the workload's kind, which is not a key of the file."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Group(_Part):
    """Generated functions with the same class of arrivals."""

    class_: Class = Field(alias="class")
    functions: int = Field(gt=0)
    rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    """Calls per minute of a function; several rates are dealt to the functions in turn, in a random order."""

    @field_validator("rates", mode="before")
    @classmethod
    def _one_rate(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | float) else value


class _Workload(_Part):
    label: str
    names: tuple[str, ...] = ()
    """Functions of the cost set that the rows take in turn and share; empty: each row is a function of its own."""


class Generated(_Workload):
    """A workload made by `traces.generate`."""

    kind: Literal["generated"] = "generated"
    minutes: int = Field(gt=0)
    group: tuple[Group, ...] = Field(min_length=1)
    calls_per_minute: float | None = Field(None, gt=0)
    """Rate of all functions together, to which their rates are scaled; None: they are not scaled."""


class _Selected(_Workload):
    """Some functions out of many; `traces.select` explains the keys."""

    class_: Class | None = Field(None, alias="class")
    functions: int | None = Field(None, gt=0)
    """Number of functions to draw with the seed; None: all that match the other keys."""
    min_calls: int = Field(1, ge=1)
    max_calls: int | None = Field(None, ge=1)


class TraceFile(_Selected):
    """A workload that is a part of a real trace."""

    kind: Literal["trace"]
    file: str
    """Path relative to the scenario's folder."""
    first_minute: int = Field(0, ge=0)
    minutes: int | None = Field(None, gt=0)


class Drawn(_Selected):
    """A workload made by `traces.population`, which follows the statistics of Azure 2019."""

    kind: Literal["population"]
    minutes: int = Field(gt=0)
    of: int = Field(gt=0)
    """Size of the synthetic population from which the functions are selected."""
    min_per_day: float = Field(0.0, ge=0)
    max_per_day: float | None = Field(None, gt=0)
    max_per_minute: float = Field(60.0, gt=0)
    start_hour: int = Field(0, ge=0, le=23)
    calls_per_minute: float | None = Field(None, gt=0)
    """Rate of the selected functions together, to which their rates are scaled; None: they are not scaled."""


Workload: TypeAlias = Generated | TraceFile | Drawn


class System(_Part):
    """A platform to compare: its policies and switches."""

    label: str
    family: str = ""
    """Systems of one family share a colour; empty: the label."""
    line: Literal["solid", "dashed", "dotted"] = "solid"
    """Line style, which tells the members of a family apart."""
    baseline: Literal["stateless", "fair"] = "fair"
    """What remains of a function after its call: nothing (``stateless``), or its process (``fair``)."""
    keepalive: KeepAliveConfig = Field(default_factory=lambda: KeepAliveConfig(policy="fixed"))
    """Without a name, it is ``fixed``, unlike in the configuration: the systems of the paper do not spend memory."""
    preload: PreloadConfig = Field(default_factory=PreloadConfig)
    templates: bool = True
    function_templates: bool = False
    """Whether functions are forked from function templates, where the costs say what theirs cost. Off unless asked for,
    unlike in the configuration: most systems here have the paper's mechanisms only."""
    fast_init: bool | None = None
    """None: same as `templates`."""
    replace: bool = False
    """Same meaning as ``node.replace``."""

    @field_validator("keepalive", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"policy": value}
        return {"policy": "fixed", **value} if isinstance(value, dict) else value

    @field_validator("preload", mode="before")
    @classmethod
    def _switched(cls, value: Any) -> Any:
        return {"on": {}, "off": {"policy": "none"}}.get(value, value) if isinstance(value, str) else value


class Sweep(_Part):
    """A parameter and its values; several sweeps together make every combination."""

    parameter: str
    values: tuple[Any, ...] = Field(min_length=1)
    systems: tuple[str, ...] = ()
    """Labels of the systems for which the parameter is varied; empty: all. Other systems keep their own value."""


KINDS = Literal["latency", "functions", "cdf", "phases", "memory", "ablation", "sweep", "predictors", "groups", "front"]


class Report(_Part):
    """A table, a figure, or both."""

    kind: KINDS
    title: str
    caption: str = ""
    systems: tuple[str, ...] = ()
    """Labels of the systems to show; empty: all."""
    metric: Literal["e2e", "startup"] = "e2e"
    x: str = ""
    """sweep: the parameter on the x axis; front: the parameter that makes a system's curve, empty: all its points."""
    log: bool = False
    """sweep: whether the x axis is logarithmic."""
    reference: str = ""
    """The system with which the others are compared; empty: the scenario's reference."""
    at: Point = Field(default_factory=dict)
    """The values of the parameters at which systems are shown; front: those of the reference."""
    bands: dict[str, float] = Field(default_factory=dict)
    """groups: the smallest calls per minute of a function in each group, beginning with the busiest group."""
    published: dict[str, Any] = Field(default_factory=dict)
    """The paper's own figures, which are shown beside ours; see docs/howto/experiments.md."""


class Scenario(_Part):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    about: str = ""
    costs: str = "paper"
    """Name of a cost set, or path of a JSON file relative to the scenario's folder."""
    durations: Literal["costs", "trace"] = "costs"
    """Whether compute times come from the costs or from the trace."""
    memory_gb: float = Field(10.0, gt=0)
    """Memory for containers, on each node."""
    nodes: int = Field(1, gt=0)
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    reference: str = ""
    """The system against which speed-ups are computed; empty: the first."""
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
            if report.kind == "sweep" and not report.x:
                raise ValueError(f"{where} needs x: one of {', '.join(swept) or 'the sweeps, of which there are none'}")
            if report.kind == "groups" and not report.bands:
                raise ValueError(f"{where} needs bands, say {{ hot = 2.5, rare = 0 }}")
        _known("system", [self.reference] if self.reference else [], labels, "reference")
        return self

    def _published(self, report: Report, where: str) -> None:
        """Check that published figures belong to a workload, or to a system (at a point, perhaps), of this scenario."""
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
        """Return every combination of the values that are varied for a system."""
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
    "function_templates",
    "fast_init",
    "replace",
    "memory_gb",
    "nodes",
    *(f"workload.{name}" for name in ("calls_per_minute", "functions", "minutes", "scale")),
)
"""Parameters that a sweep may vary."""


class Setup(_Part):
    """One workload and one system at one point: a scenario in which nothing is varied any more."""

    workload: Annotated[Workload, Field(discriminator="kind")]
    system: System
    memory_gb: float = Field(gt=0)
    nodes: int = Field(gt=0)


def setup(scenario: Scenario, workload: Workload, system: System, point: Point) -> Setup:
    """Return the set-up at a point. Raises `BadInput` for a value that its parameter cannot have."""
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
    """Return the file of a built-in scenario, or the file at this path. Raises `NotFound`, naming the built-in ones."""
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
    """Read a scenario. Raises `NotFound`, or `BadInput` with file, key and reason when it is malformed."""
    return parse(text_of(path), str(path))


def text_of(path: Path) -> str:
    """Return a scenario's text. Raises `NotFound` when there is no file, and `BadInput` when it cannot be read."""
    try:
        return read_text(path)
    except FileNotFoundError:
        raise NotFound(f"no scenario at {path}") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {error}; give a TOML file") from None


def parse(text: str, where: str) -> Scenario:
    """Parse a scenario's text; error messages name `where`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{where} is not valid TOML: {error}; correct it") from None
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        raise BadInput(f"{where} is not a scenario: {_problems(error, values)}") from None


def _problems(error: ValidationError, values: Any) -> str:
    """Format the key and the reason of each mistake."""
    told = []
    for problem in error.errors():
        key = _key(problem["loc"], values)
        unknown = problem["type"] == "extra_forbidden"
        reason = "there is no such key" if unknown else problem["msg"].removeprefix("Value error, ")
        told.append(f"{key}: {reason}" if key else reason)
    return "; ".join(told)


def _key(steps: Iterable[int | str], values: Any) -> str:
    """Format a key as people write it: ``system[Pagurus].preload.p_load``, with labels instead of list indices."""
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
