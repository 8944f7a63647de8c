"""What everything in a node's memory is worth: expected seconds of waiting that it saves.

A *resident* saves the next call of its function a load, if that call comes before a call of another function in the
same container, which ends the resident. A *template* saves each call that finds no resident, for as long as it stands.
Both are compared by their gain, in seconds of waiting that are saved per second:

    gain = calls per second that use it x seconds saved for each.

*Rates.* A resident serves the next call, so its rate is that of the forecast, which follows the latest calls. A
template stands for long, so its rate is the mean over all misses that are remembered.

*Neighbours.* Let Lambda be the rate of all functions resident in a container, and H a horizon. Of H seconds, a resident
is expected to stand for g(Lambda) = (1 - exp(-Lambda H)) / Lambda, because a call of any of them ends the others.

*Price.* A load takes processor time. It is made only if the waiting that it saves within `TERM_S` is worth more than
that time at its price (`processor_price_s`): the seconds of waiting that a second of loading may cost. So nothing is
loaded either that would displace what is worth nearly as much.

*Several residents of one function* serve calls that overlap. The last of them is useful only for calls that find all
others in use; `core.concurrency` counts their share. Without it, these calls would wait for one of the other residents,
or for a load if that takes less time.

Worked example. ResNet-50 loads in 2 s and is called once a minute; H = 10 s. Alone in a container, it is expected to
stand for 9.2 of 10 s and gains 2 / 60 x 0.92 = 0.031 s per second. Beside a function that is called every five seconds,
it stands for 4.1 of 10 s and gains 0.014.

Sources. The value of a resident is that of SoCC 2024, section 4.2, P(called within a horizon) x load seconds, with the
neighbours added. The gain per byte as the order of what to keep is that of the greedy algorithm for knapsacks (Dantzig,
"Discrete-Variable Extremum Problems", 1957).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ..core.lifecycle import LOADED, UNLOADING
from ..core.model import ResidentKey, function_template_key, is_function_template, templated_function
from ..core.ports import ContainerView, Contents, FunctionView, Known, ResidentView, Stand, TemplateView, Weighed
from ..core.rates import mean_rate

HORIZON_S: Final = 10.0
"""H for what is planned: the next plan can put back what a call has ended. (Measured, ADR 22.)"""
LOSS_HORIZON_S: Final = 60.0
"""H for residents that a call ends when it takes their container: nobody has planned yet to put them back."""
TERM_S: Final = 6000.0
"""Seconds within which what is loaded has to pay for its processor time."""
HELD: Final = 1e6
"""Gain, in seconds of waiting saved per second, of what makes a place that somebody has asked for, while no more such
places are there than are wanted. It is far above that of anything else, so that it is made first and given up last; and
it is finite, so that a call which would otherwise have no container gets that one."""
WAIT_RUNS: Final = 2.0
"""Mean number of running calls that a call waits for when it finds all residents in use. It is more than 1 because the
calls of a burst wait behind each other."""


def until_first_call_s(rate_per_s: float, horizon_s: float) -> float:
    """g(Lambda): the mean number of seconds until the first call, at most the horizon."""
    if rate_per_s * horizon_s < 1e-12:
        return horizon_s  # the quotient of such small numbers would be 0, or anything
    return -math.expm1(-rate_per_s * horizon_s) / rate_per_s


def resident_rate(function: FunctionView, at: float, first_rate: float = 0.0) -> float:
    """Expected calls per second of a function. `first_rate` if it was never called."""
    return first_rate if function.forecast is None else function.forecast.rate(at)


def resident_saves_s(function: FunctionView, others: int) -> float:
    """Seconds that one more resident saves a call that finds the `others` residents of its function in use."""
    return function.load_s if others <= 0 else min(function.load_s, WAIT_RUNS * function.busy_s)


def resident_worth_s(function: FunctionView, at: float) -> float:
    """Expected seconds that the last resident of a function saves within `LOSS_HORIZON_S`, without neighbours."""
    rate = resident_rate(function, at) * function.needs
    return rate * resident_saves_s(function, function.copies - 1) * until_first_call_s(rate, LOSS_HORIZON_S)


def miss_rate(function: FunctionView, at: float) -> float:
    """Mean rate of the calls that find no resident of a function."""
    return mean_rate(function.misses, function.missed_since, at)


def template_rate(function: FunctionView, at: float) -> float:
    """Expected calls per second that find no resident of a function, now."""
    rate = miss_rate(function, at)
    if function.copies == 0 and function.forecast is not None:
        return max(rate, function.forecast.rate(at))  # the next call will find none
    return rate


def template_gain(function: FunctionView, rate: float, copies: int) -> float:
    """Gain of one of `copies` function templates that serve calls at this rate."""
    return rate * function.own_saves_s / copies


def template_most_s(function: FunctionView, at: float) -> float:
    """The most that the only function template of a function is expected to save within `TERM_S`.

    The next call and the misses: in a burst, the first call leaves a resident for those after it.
    """
    return function.own_saves_s * (1.0 + miss_rate(function, at) * TERM_S)


def library_gain(template: TemplateView, copies: int) -> float:
    """Gain of one of `copies` library templates."""
    return template.misses_per_s * template.library_s / copies


class Valued:
    """Says what everything in a container is worth. The base class of the pre-loading policies."""

    processor_price_s: float = 0.2
    """Seconds of waiting that a second of loading may cost."""
    p_load: float = 0.06
    """P_load: a resident is due when a call has come with this probability."""

    def worth(self, function: FunctionView, at: float) -> float:
        if function.wanted and function.is_held and function.own_copies < function.places:
            return HELD * LOSS_HORIZON_S
        return resident_worth_s(function, at)

    def weigh(self, function: FunctionView, at: float) -> Sequence[Weighed]:
        price_s = self.processor_price_s * function.load_s
        found = []
        if function.own_template is not None:
            rate, saves_s = template_rate(function, at), function.own_saves_s
            in_all_s = min(template_gain(function, rate, 1) * TERM_S, template_most_s(function, at))
            found.append(Weighed(function.own_template, rate, saves_s, in_all_s, price_s))
        if function.own_copies > 0:
            return found  # beside its template, a resident would gain nothing
        rate, saves_s = resident_rate(function, at) * function.lacks, resident_saves_s(function, function.copies)
        due_at = -math.inf if function.forecast is None else function.forecast.due_at(self.p_load)
        in_all_s = min(rate * TERM_S, 1.0) * saves_s
        return (*found, Weighed(function.key, rate, saves_s, in_all_s, price_s, due_at))

    def contents(self, container: ContainerView, known: Known, at: float) -> Contents:
        functions = known.functions
        stands: list[Stand] = []
        residents: list[tuple[ResidentKey, int, float, float, bool]] = []
        rate = weight = loss_s = 0.0
        libraries: list[ResidentView] = []
        needed: set[ResidentKey | None] = set()
        """Library templates that function templates there share their memory with, or that a load needs. They stay."""
        for resident in container.residents:
            key, size_bytes = resident.function, resident.charged_bytes
            if resident.state is UNLOADING:
                continue
            if not resident.is_template:
                each = saves_s = 0.0
                held = False
                function = functions.get(key)
                if function is not None:
                    held = function.wanted > 0 and function.is_held and _is_its_place(key, container)
                    loss_s += HELD * LOSS_HORIZON_S if held else self._worth_beside(function, at)
                    each = resident_rate(function, at) * function.needs
                    saves_s = resident_saves_s(function, function.copies - 1)
                    rate += each
                    weight += each * saves_s
                if resident.state is LOADED:
                    residents.append((key, size_bytes, each, saves_s, held))
                elif function is not None:
                    needed.add(function.library)
            elif is_function_template(key):
                function = functions.get(templated_function(key))
                if function is not None:
                    needed.add(function.library)
                    if resident.state is LOADED:
                        calls_per_s = template_rate(function, at)
                        shared = template_gain(function, calls_per_s, max(1, function.own_copies))
                        gain = HELD if function.is_held else shared
                        stands.append(self._template(key, size_bytes, gain, function.own_saves_s))
            elif resident.state is LOADED:
                libraries.append(resident)
        g = until_first_call_s(rate, HORIZON_S) / HORIZON_S
        stands += [
            Stand(key, size, HELD if held else each * saves_s * g, False, 0.0, each, saves_s)
            for key, size, each, saves_s, held in residents
        ]
        stands += [self._library(each, known.templates) for each in libraries if each.function not in needed]
        stands.sort(key=_by_density)
        return Contents(tuple(stands), rate, weight, loss_s)

    def _worth_beside(self, function: FunctionView, at: float) -> float:
        """What a resident is worth whose container is a place without it, too, or is none that is wanted."""
        return resident_worth_s(function, at) if function.is_held else self.worth(function, at)

    def _template(self, key: ResidentKey, size_bytes: int, gain: float, saves_s: float) -> Stand:
        return Stand(
            key, size_bytes, gain, True, gain * LOSS_HORIZON_S + self.processor_price_s * saves_s, 0.0, saves_s
        )

    def _library(self, resident: ResidentView, templates: Mapping[ResidentKey, TemplateView]) -> Stand:
        """A library template in a container where no function template needs it."""
        template = templates.get(resident.function)
        gain = 0.0 if template is None else library_gain(template, max(1, template.copies))
        saves_s = 0.0 if template is None else template.library_s
        return self._template(resident.function, resident.charged_bytes, gain, saves_s)


def _is_its_place(key: ResidentKey, container: ContainerView) -> bool:
    """Whether a resident makes its container a place of its function: it is alone, and its template is not there."""
    own = function_template_key(key)
    there = [each for each in container.residents if each.state is not UNLOADING]
    return not any(each.function == own if each.is_template else each.function != key for each in there)


def _by_density(stand: Stand) -> tuple[float, ResidentKey]:
    return stand.density, stand.key
