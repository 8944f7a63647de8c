"""What things take in a simulated world, and its form on disk.

A cost file is one JSON object. Times are seconds, sizes bytes, and a member that is neither known nor required is
refused; what follows shows all of them. `instainfer profile` measures such a set::

    {
      "name": "measured here",
      "source": "instainfer profile, 2 cores",
      "container_s": 0.03,             create a container
      "stop_s": 0.01,                  stop one that is empty
      "end_s": 0.002,                  end a resident; its memory comes on top:
      "end_s_per_gib": 0.08,           free a GiB, when a resident or a container ends
      "handoff_s": 0.001,              messages of a run on their way
      "load_handoff_s": 0.004,         of a load: the birth of its process, and messages
      "noise_sigma": 0.0,              see below
      "cores": 2,                      see below; 0 or absent: as many as are wanted
      "environments": {
        "torch": {"library_s": 1.3, "template_bytes": 150000000}
      },
      "functions": {
        "resnet50": {
          "environment": "torch",
          "memory_bytes": 2147483648,  limit of its containers
          "library_s": 1.3,            imports, from nothing
          "fork_s": 0.02,              the same, from a template
          "model_s": 0.47,             build and load the model as it is written
          "compute_s": 0.06,           one call
          "resident_bytes": 280000000, loaded from nothing
          "forked_bytes": 48000000,    what one forked from a template adds to it
                                       all that follow are optional:
          "fast_model_s": 0.07,        its model without random initialisation
          "forked_compute_s": 0.07,    one call, of a process that was forked from a template
          "first_compute_s": 0.08,     the first call after a load from nothing, if nothing has warmed it up
          "forked_first_compute_s": 0.09,  the same after a load from a template
          "warmup_s": 0.09,            what a load ahead of a call does beyond loading; absent: it has no warm-up
          "estimate_bytes": 560000000, what the platform takes its size for, before it has been loaded
          "templated": true,           whether it may be forked from a template
          "load_cores": 1.0,           how many processors a load keeps busy
          "compute_cores": 2.0,        and a call
          "beside_call": 2.3,          how many times as long a call takes beside another of the same function, where
                                       processors are short; absent: as equal parts of them make it
          "beside_load": 1.4           and beside a load in the background; absent: as long as alone
        }
      }
    }

Durations are exact unless `noise_sigma` is above 0: then each is multiplied by a lognormal factor of mean 1 whose
logarithm has that standard deviation, drawn from the run's seed.

Loads, runs and the ends of residents slow each other down as `instainfer.sim.cpu` says when `cores` is given, else not
at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from ..core.model import GIB, MIB
from ..errors import BadInput, NotFound

Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Cores: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Times: TypeAlias = Annotated[float, msgspec.Meta(ge=1)]


class FunctionCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one function costs."""

    environment: str
    memory_bytes: Bytes
    library_s: Seconds
    fork_s: Seconds
    model_s: Seconds
    compute_s: Seconds
    resident_bytes: Bytes
    forked_bytes: Bytes
    fast_model_s: Seconds | None = None
    """None: the function does not ask for fast initialisation."""
    forked_compute_s: Seconds | None = None
    """One call of a process that was forked from a template, and may have its weights mapped, in smaller pages than
    others have; None: as of any other."""
    first_compute_s: Seconds | None = None
    """The first call of a process that nothing has warmed up; None: as any other."""
    forked_first_compute_s: Seconds | None = None
    """The same of a process that was forked from a template; None: as of any other."""
    warmup_s: Seconds | None = None
    """None: it has no warm-up, so that a load ahead of its first call does not make that faster."""
    estimate_bytes: Bytes | None = None
    """None: its size is known from the beginning."""
    templated: bool = True
    load_cores: Cores = 1.0
    compute_cores: Cores = 1.0
    beside_call: Times | None = None
    """None: equal parts of the processors say it all."""
    beside_load: Times = 1.0

    def model(self, *, fast: bool) -> float:
        """Seconds of its model on a platform that honours fast initialisation or does not."""
        return self.fast_model_s if fast and self.fast_model_s is not None else self.model_s

    def crowded(self, cores: float) -> float:
        """By what a call's speed is multiplied where it gets less than it wants of so many processors."""
        if self.beside_call is None or 2.0 * self.compute_cores <= cores:
            return 1.0
        return min(1.0, 2.0 * self.compute_cores / cores / self.beside_call)

    def compute(self, *, forked: bool) -> float:
        """Seconds of a call."""
        return self.forked_compute_s if forked and self.forked_compute_s is not None else self.compute_s

    def first_compute(self, *, forked: bool) -> float:
        """Seconds of the first call of a process that nothing has warmed up."""
        if forked and self.forked_first_compute_s is not None:
            return self.forked_first_compute_s
        return self.compute(forked=forked) if self.first_compute_s is None else self.first_compute_s


class EnvironmentCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a template of one environment costs."""

    library_s: Seconds
    template_bytes: Bytes


class CostSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    container_s: Seconds
    functions: Mapping[str, FunctionCosts]
    """In the order in which the rows of a trace take them."""
    environments: Mapping[str, EnvironmentCosts]
    source: str = ""
    stop_s: Seconds = 0.0
    end_s: Seconds = 0.0
    end_s_per_gib: Seconds = 0.0
    """The kernel takes the pages of a process back one by one: ending 700 MB takes 30 times as long as ending 8."""
    handoff_s: Seconds = 0.0
    load_handoff_s: Seconds = 0.0
    noise_sigma: Seconds = 0.0
    cores: Cores = 0.0

    def check(self) -> str | None:
        """What is wrong with it as a whole; None if nothing is."""
        if not self.functions:
            return "there is no function in it; give at least one under `functions`"
        for name, function in self.functions.items():
            if function.environment not in self.environments:
                return f"{name} names the environment {function.environment!r}; describe it under `environments`"
            if max(function.resident_bytes, function.forked_bytes) > function.memory_bytes:
                return f"{name} is larger than its memory limit; raise its `memory_bytes`"
        return None


def load(name: str) -> CostSet:
    """The cost set of that name, or the one in the file of that name.

    Raises `NotFound` when there is neither, and `BadInput`, naming file, place and reason, for a malformed file.
    """
    if name in NAMED:
        return NAMED[name]
    path = Path(name)
    try:
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        known = ", ".join(NAMED)
        raise NotFound(f"no cost set {name!r}: give the path of a JSON file, or one of: {known}") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; give the path of a JSON file of costs") from None


def parse(raw: bytes, where: str) -> CostSet:
    """Read the form on disk; `where` is named when it is malformed."""
    try:
        costs = msgspec.json.decode(raw, type=CostSet)
    except msgspec.DecodeError as error:
        raise BadInput(f"{where} is not a cost set: {error}; see `instainfer simulate --help`") from None
    if (problem := costs.check()) is not None:
        raise BadInput(f"{where} is not a cost set: {problem}")
    return costs


def dump(costs: CostSet) -> bytes:
    """The form on disk."""
    return msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n"


# The paper's own figures: Fig. 3 and 14 (container, library, inference) and the table in its code (model, footprint).
# name: environment, model ms, inference ms, footprint MB. Three models are timed by no figure; they take the paper's
# mean inference, 245 ms (Table 1: end-to-end less warming and loading, in every row).
_PAPER_FUNCTIONS = {
    "alexnet": ("torch", 671, 245, 923),
    "vgg19": ("torch", 2410, 245, 1648),
    "inception_v3": ("torch", 2281, 341, 957),
    "resnet18": ("torch", 210, 312, 649),
    "resnet50": ("torch", 486, 245, 907),
    "resnet152": ("torch", 1180, 693, 1348),
    "googlenet": ("torch", 1351, 351, 1027),
    "bert_base": ("transformers", 2078, 598, 1333),
}
_PAPER_LIBRARY_S = {"torch": 0.74, "transformers": 1.76}
# The paper has no templates, so these are ours: everything of the smallest footprint but its 47 MB of weights is
# libraries, transformers add 113 MB to them, and forking takes 20 ms.
_TEMPLATE_MB = {"torch": 600, "transformers": 713}
_FORK_S = 0.02
# Nor has it mapped weights. What is left of a model's time without random initialisation and with its weights mapped:
# the shares that these models had here (2 cores, files in the page cache; `instainfer profile` measures both).
_FAST_SHARE = {
    "alexnet": 0.015,
    "vgg19": 0.0045,
    "inception_v3": 0.37,
    "resnet18": 0.17,
    "resnet50": 0.15,
    "resnet152": 0.26,
    "googlenet": 0.56,
    "bert_base": 0.023,
}


def _paper() -> CostSet:
    functions = {
        name: FunctionCosts(
            environment=environment,
            memory_bytes=2 * GIB,
            library_s=_PAPER_LIBRARY_S[environment],
            fork_s=_FORK_S,
            model_s=model_ms / 1000,
            fast_model_s=model_ms / 1000 * _FAST_SHARE[name],
            compute_s=compute_ms / 1000,
            resident_bytes=footprint_mb * MIB,
            forked_bytes=(footprint_mb - _TEMPLATE_MB[environment]) * MIB,
        )
        for name, (environment, model_ms, compute_ms, footprint_mb) in _PAPER_FUNCTIONS.items()
    }
    environments = {
        name: EnvironmentCosts(library_s=library_s, template_bytes=_TEMPLATE_MB[name] * MIB)
        for name, library_s in _PAPER_LIBRARY_S.items()
    }
    # Ending others takes the paper's manager 2 to 11 ms, the way of a call through its scheduler up to 3.
    return CostSet(
        name="paper",
        source="InstaInfer, SoCC 2024: Fig. 3, Fig. 14, the model table of its code; templates and fast_init: ours",
        container_s=0.53,
        end_s=0.0065,
        handoff_s=0.003,
        functions=functions,
        environments=environments,
    )


#: Cost sets that come with us.
NAMED: Mapping[str, CostSet] = {"paper": _paper()}
