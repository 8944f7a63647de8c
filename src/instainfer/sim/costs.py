"""What everything costs in a simulation (time, memory, processors), and the file format for it.

A cost file is one JSON object. Times are in seconds, sizes in bytes. An unknown member is refused, and so is a file
that lacks a required one. The example shows every member. `instainfer profile` measures such a set::

    {
      "name": "measured here",
      "source": "instainfer profile, 2 cores",
      "container_s": 0.03,             create a container
      "stop_s": 0.01,                  stop an empty container
      "end_s": 0.002,                  end a resident, without the time for its memory:
      "end_s_per_gib": 0.08,           free one GiB when a resident or a container ends
      "handoff_s": 0.001,              messages of a run
      "load_handoff_s": 0.004,         start of the process for a load, and the load's messages
      "noise_sigma": 0.0,              see below
      "cores": 2,                      see below; 0 or absent: processors are never short
      "environments": {
        "torch": {"library_s": 1.3, "template_bytes": 150000000}
      },
      "functions": {
        "resnet50": {
          "environment": "torch",
          "memory_bytes": 2147483648,  memory limit of the function's containers
          "library_s": 1.3,            import the libraries, without a template
          "fork_s": 0.02,              get the libraries by a fork from a template
          "model_s": 0.47,             build and load the model, with random initialisation
          "compute_s": 0.06,           one call
          "resident_bytes": 280000000, size of a resident that was loaded without a template
          "forked_bytes": 48000000,    what a resident that was forked from a template adds to the template
                                       all members below are optional:
          "fast_model_s": 0.07,        build and load the model, without random initialisation
          "forked_compute_s": 0.07,    one call in a process that was forked from a template
          "first_compute_s": 0.08,     the first call after a load without template and without warm-up
          "forked_first_compute_s": 0.09,  the first call after a load from a template and without warm-up
          "warmup_s": 0.09,            the warm-up at the end of a pre-load; absent: the function has none
          "estimate_bytes": 560000000, the size that the platform assumes before the first load
          "templated": true,           whether the function may be forked from a template
          "load_cores": 1.0,           how many processors a load keeps busy
          "compute_cores": 2.0,        how many processors a call keeps busy
          "beside_call": 2.3,          how many times as long a call takes beside another call of the same function
                                       when processors are short; absent: equal shares decide
          "beside_load": 1.4,          how many times as long a call takes beside a background load; absent: 1.0
          "function_template": {       absent or null: the function is unfit for a function template
            "bytes": 46000000,         what it adds to the library template that it is forked from
            "fork_s": 0.005,           fork a resident from it
            "forked_bytes": 8000000,   what that resident adds
            "make_s": 0.3,             optional: make it fit and prove that, after the load; absent: 0.0
            "first_compute_s": 0.09    optional: the first call in a process that was forked from it; absent: as any
          }                            other call
        }
      }
    }

Durations are exact unless `noise_sigma` is above 0. Then each duration is multiplied by a lognormal factor of mean 1
whose logarithm has that standard deviation; the random numbers follow from the run's seed.

With `cores`, loads, runs and ends of residents slow each other down as described in `instainfer.sim.cpu`. Without
`cores` they never do.
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


class FunctionTemplateCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a function template of one function costs, beyond a load of the function."""

    bytes: Bytes
    """If there is no library template, the libraries come on top of this."""
    fork_s: Seconds
    """Forking a resident from it. That resident is warmed up."""
    forked_bytes: Bytes
    """What such a resident adds to it."""
    make_s: Seconds = 0.0
    """Making it fit for forking and proving that, with its warm-up, after libraries and model are loaded."""
    first_compute_s: Seconds | None = None
    """The first call in a process that was forked from it. None: the same as any other call."""


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
    """None: the function does not ask for ``fast_init``."""
    forked_compute_s: Seconds | None = None
    """One call in a forked process. It can differ because mapped weights may lie in smaller memory pages. None: the
    same as `compute_s`."""
    first_compute_s: Seconds | None = None
    """The first call in a process that was not warmed up. None: the same as any other call."""
    forked_first_compute_s: Seconds | None = None
    """The first call in a forked process that was not warmed up. None: the same as `first_compute_s`."""
    warmup_s: Seconds | None = None
    """None: the function has no warm-up, so a pre-load does not make its first call faster."""
    estimate_bytes: Bytes | None = None
    """None: the platform knows the size before the first load."""
    templated: bool = True
    load_cores: Cores = 1.0
    compute_cores: Cores = 1.0
    beside_call: Times | None = None
    """None: two calls get equal shares of the processors and lose nothing beyond that."""
    beside_load: Times = 1.0
    function_template: FunctionTemplateCosts | None = None
    """None: the function is unfit for a function template."""

    def model(self, *, fast: bool) -> float:
        """Return the seconds for the model; `fast` tells whether the platform honours ``fast_init``."""
        return self.fast_model_s if fast and self.fast_model_s is not None else self.model_s

    def crowded(self, cores: float) -> float:
        """Return the factor on a call's speed when the call gets less than it wants of `cores` processors."""
        if self.beside_call is None or 2.0 * self.compute_cores <= cores:
            return 1.0
        return min(1.0, 2.0 * self.compute_cores / cores / self.beside_call)

    def compute(self, *, forked: bool) -> float:
        """Return the seconds of one call."""
        return self.forked_compute_s if forked and self.forked_compute_s is not None else self.compute_s

    def first_compute(self, *, forked: bool) -> float:
        """Return the seconds of the first call in a process that was not warmed up."""
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
    """The order matters: rows of a trace are given these costs in turn."""
    environments: Mapping[str, EnvironmentCosts]
    source: str = ""
    stop_s: Seconds = 0.0
    end_s: Seconds = 0.0
    end_s_per_gib: Seconds = 0.0
    """The kernel frees the pages of a process one by one: ending 700 MB takes 30 times as long as ending 8 MB."""
    handoff_s: Seconds = 0.0
    load_handoff_s: Seconds = 0.0
    noise_sigma: Seconds = 0.0
    cores: Cores = 0.0

    def check(self) -> str | None:
        """Return a message about the first contradiction between members; None if there is none."""
        if not self.functions:
            return "there is no function in it; give at least one under `functions`"
        for name, function in self.functions.items():
            if function.environment not in self.environments:
                return f"{name} names the environment {function.environment!r}; describe it under `environments`"
            if max(function.resident_bytes, function.forked_bytes) > function.memory_bytes:
                return f"{name} is larger than its memory limit; raise its `memory_bytes`"
            own = function.function_template
            if own is not None and max(own.bytes, own.forked_bytes) > function.memory_bytes:
                return f"the function template of {name} is larger than its memory limit; raise its `memory_bytes`"
        return None


def load(name: str) -> CostSet:
    """Return the built-in cost set with this name, or else the cost set in the file at this path.

    Raises `NotFound` when there is neither, and `BadInput` for a malformed file; the message names file, place and
    reason.
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
    """Decode a cost file; an error message names `where`."""
    try:
        costs = msgspec.json.decode(raw, type=CostSet)
    except msgspec.DecodeError as error:
        raise BadInput(f"{where} is not a cost set: {error}; see `instainfer simulate --help`") from None
    if (problem := costs.check()) is not None:
        raise BadInput(f"{where} is not a cost set: {problem}")
    return costs


def dump(costs: CostSet) -> bytes:
    """Encode a cost set as a file."""
    return msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n"


# These figures are from the paper: Fig. 3 and 14 (container, libraries, inference) and the table in its code (model,
# footprint). Columns: environment, model ms, inference ms, footprint MB. No figure gives the inference time of three of
# the models; they get the paper's mean of 245 ms (Table 1: end-to-end less warming and loading, in every row).
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
# The paper has no templates, so these figures are ours: the smallest footprint without its 47 MB of weights is taken as
# the size of the libraries; transformers adds 113 MB to them, and a fork takes 20 ms.
_TEMPLATE_MB = {"torch": 600, "transformers": 713}
_FORK_S = 0.02
# The paper does not map weights either. These are the shares of the model's time that remain without random
# initialisation and with mapped weights, as we measured them (2 cores, files in the page cache; `instainfer profile`).
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
# Neither has it function templates. They add the footprint less what is shared: the libraries, which are those of the
# library template, and the weights, which are mapped files (in MB, four bytes for each parameter). Time and size of a
# fork are as measured on our machine (docs/adr/0021-function-templates.md).
_WEIGHTS_MB = {
    "alexnet": 244,
    "vgg19": 575,
    "inception_v3": 109,
    "resnet18": 47,
    "resnet50": 102,
    "resnet152": 241,
    "googlenet": 26,
    "bert_base": 438,
}
_FUNCTION_FORK_S = 0.005
_FUNCTION_FORKED_BYTES = 8 * MIB


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
            function_template=FunctionTemplateCosts(
                bytes=(footprint_mb - _TEMPLATE_MB[environment] - _WEIGHTS_MB[name]) * MIB,
                fork_s=_FUNCTION_FORK_S,
                forked_bytes=_FUNCTION_FORKED_BYTES,
            ),
        )
        for name, (environment, model_ms, compute_ms, footprint_mb) in _PAPER_FUNCTIONS.items()
    }
    environments = {
        name: EnvironmentCosts(library_s=library_s, template_bytes=_TEMPLATE_MB[name] * MIB)
        for name, library_s in _PAPER_LIBRARY_S.items()
    }
    # The paper's manager takes 2 to 11 ms to end the other residents, and its scheduler up to 3 ms to pass a call on.
    return CostSet(
        name="paper",
        source="InstaInfer, SoCC 2024: Fig. 3, Fig. 14, the model table of its code; templates of libraries and of "
        "functions, and fast_init: ours",
        container_s=0.53,
        end_s=0.0065,
        handoff_s=0.003,
        functions=functions,
        environments=environments,
    )


#: The built-in cost sets.
NAMED: Mapping[str, CostSet] = {"paper": _paper()}
