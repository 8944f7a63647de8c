"""Provokes each kind of start, one function at a time, through the platform's public interface.

Every platform here has memory for one container only, so a call always goes to the same container:

=========  ======================  ==========================================================================
kind       platform                how
=========  ======================  ==========================================================================
cold       short keep-alive        the call comes after the container has gone
prewarmed  no pre-loading          a call of another function has just ended this function's process
warm       same as prewarmed       the call follows a call of the same function
templated  with templates          as prewarmed, but the template has outlived the other function's call
forked     with both kinds of      as prewarmed, but a template of the function has outlived the other function's
           templates               call
preloaded  default                 as prewarmed, and then pre-loading has loaded the function
=========  ======================  ==========================================================================

The platform says which kind a call was. A call of another kind than wanted is not used, and a kind that did not occur
often enough within a few extra tries is missing from the result.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..client import Client
from ..core.model import Phases, StartKind, is_function_template, is_template
from ..deployment import deploy
from ..errors import BadFunction, HostError
from ..report.records import PHASES
from ..report.starts import Start
from ..report.timeline import short_name
from .live import Steps
from .platform import Setting, running
from .setup import Prepared

CONTAINER_MB = 2048
OTHER = "other"
"""Name of a function that does nothing; a call of it ends every other resident of the container."""

_OTHER_CODE = "def main(args):\n    return {}\n"
_MORE_TRIES = 4
_WAIT_S = 60.0
_POLL_EVERY_S = 0.05
"""The API cannot report changes of ``status``, so it is requested at this interval."""
PAUSE_S = 0.7
"""Pause before each call. Most real calls come after an idle time, and take longer then: an idle processor wakes
slowly, above all a virtual one, and the threads of a call wake each other hundreds of times."""
_SETTLED_S = 8.0
"""Pre-loading is finished when nothing has changed for so long; the first forecasts take less time."""
_SETTLING_S = 120.0

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """A platform, and the kinds of starts that are measured on it."""

    setting: Setting
    kinds: tuple[StartKind, ...]


PROBES = (
    Probe(Setting("cold", retain=True, preload="none", templates=False, ttl_s=0.5), (StartKind.COLD,)),
    Probe(Setting("kept", retain=True, preload="none", templates=False), (StartKind.PREWARMED, StartKind.WARM)),
    Probe(Setting("templates", retain=True, preload="none", templates=True), (StartKind.TEMPLATED,)),
    Probe(
        Setting("function-templates", retain=True, preload="templates", templates=True, function_templates=True),
        (StartKind.FORKED,),
    ),
    Probe(Setting("default", retain=True, preload="opportunistic", templates=True), (StartKind.PRELOADED,)),
)

_RESIDENTS = {
    "without_templates": Setting("residents", retain=True, preload="opportunistic", templates=False),
    "with_templates": Setting("residents-templates", retain=True, preload="opportunistic", templates=True),
}


def measure(
    functions: Sequence[Prepared],
    folder: Path,
    cache: Path,
    repeat: int,
    steps: Steps,
    *,
    probes: Sequence[Probe] = PROBES,
    container_mb: int = CONTAINER_MB,
) -> list[Start]:
    """Measure `repeat` starts of every kind of every function, as far as they occur.

    Each platform's files are in a folder in `folder` with the label of its setting. Raises `HostError` when a platform
    fails, and `BadFunction` when a call fails.
    """
    starts: list[Start] = []
    for probe in probes:
        with (
            running(probe.setting, folder / probe.setting.label, cache, container_mb) as platform,
            platform.client() as client,
        ):
            deploy_other(client, container_mb)
            for each in functions:
                steps.step(f"{', '.join(probe.kinds)}: {each.name}")
                deploy_into(client, each, container_mb)
                starts += provoke(client, each.name, each.request, probe, repeat)
                client.delete_action(each.name)
    return starts


def residents(
    functions: Sequence[Prepared], folder: Path, cache: Path, container_mb: int, steps: Steps
) -> dict[str, int]:
    """Return how many functions are resident at once in one idle container of this size, without and with templates.

    Each function is called once before, so that the platform knows its measured size. A function that does not fit
    into the container even alone does not count.
    """
    counts = {}
    for name, setting in _RESIDENTS.items():
        what = f"residents in {container_mb} MB {name.replace('_', ' ')}"
        with (
            running(setting, folder / f"{setting.label}-{container_mb}", cache, container_mb) as platform,
            platform.client() as client,
        ):
            for each in functions:
                steps.step(f"{what}: {each.name}")
                deploy_into(client, each, container_mb)
            for each in functions:
                client.invoke(each.name, json.loads(each.request))
            steps.step(f"{what}: waiting for pre-loading")
            counts[name] = most_residents(_statuses(client, _SETTLING_S), _SETTLED_S)
    return counts


def provoke(client: Client, function: str, request: bytes, probe: Probe, repeat: int) -> list[Start]:
    """Return starts of one deployed function, up to `repeat` of each of the probe's kinds."""
    args = json.loads(request)
    found: dict[StartKind, list[Start]] = {kind: [] for kind in probe.kinds}
    for _ in range(repeat + _MORE_TRIES):
        if all(len(starts) >= repeat for starts in found.values()):
            break
        if not _set_up(client, function, args, probe):
            continue
        for _ in range(2 if StartKind.WARM in probe.kinds else 1):
            time.sleep(PAUSE_S)
            start = _start(client, function, args)
            if start.kind in found and len(found[start.kind]) < repeat:
                found[start.kind].append(start)
    return [start for starts in found.values() for start in starts]


def _set_up(client: Client, function: str, args: Mapping[str, Any], probe: Probe) -> bool:
    """Bring the platform into the state in which a call is of the wanted kind; return False when that fails."""
    if StartKind.FORKED in probe.kinds:
        call(client, function, args)
        _wait_until(client, lambda status: has_template(status, function) or is_unfit(status, function))
        if not has_template(client.status(), function):
            return False
        time.sleep(PAUSE_S)  # the platform measures sizes again when a process shares memory with another
    if StartKind.COLD in probe.kinds:
        return _wait_until(client, lambda status: not any(_containers(status)))
    call(client, OTHER, {})
    if StartKind.PRELOADED in probe.kinds:
        return _wait_until(client, lambda status: is_preloaded(status, function))
    return True


def is_preloaded(status: Status, function: str) -> bool:
    """Return whether the function is pre-loaded in an idle container, and nothing else is loading."""
    if any(resident["state"] == "loading" for c in _containers(status) for resident in c["residents"]):
        return False
    return any(
        _is(resident, function) and resident["state"] == "loaded" and resident["origin"] == "preload"
        for container in _containers(status)
        if container["state"] == "idle"
        for resident in container["residents"]
    )


def has_template(status: Status, function: str) -> bool:
    """Return whether a template of the function stands in an idle container."""
    return any(
        is_function_template(resident["function"])
        and short_name(resident["function"]) == function
        and resident["state"] == "loaded"
        for container in _containers(status)
        if container["state"] == "idle"
        for resident in container["residents"]
    )


def is_unfit(status: Status, function: str) -> bool:
    """Return whether the platform says that the function cannot have a template of its own."""
    return any(
        short_name(each["function"]) == function and each.get("unfit")
        for node in status["nodes"]
        for each in node["functions"]
    )


def _is(resident: Mapping[str, Any], function: str) -> bool:
    """Return whether this is a resident of the function, and not the function's template."""
    return not is_template(resident["function"]) and short_name(resident["function"]) == function


def most_residents(looks: Iterator[tuple[float, Status]], settled_s: float) -> int:
    """Return the largest number of functions seen loaded in an idle container, until nothing changes for `settled_s`.

    `looks` are pairs of a time in seconds and the status at that time.
    """
    most = 0
    before: object = None
    since_s = 0.0
    for at_s, status in looks:
        there = [
            (container["id"], container["state"], resident["function"], resident["state"])
            for container in _containers(status)
            for resident in container["residents"]
        ]
        for container in _containers(status):
            if container["state"] == "idle":
                loaded = [r for r in container["residents"] if r["state"] == "loaded"]
                most = max(most, sum(not is_template(resident["function"]) for resident in loaded))
        if there != before:
            before, since_s = there, at_s
        elif at_s - since_s >= settled_s:
            break
    return most


def _start(client: Client, function: str, args: Mapping[str, Any]) -> Start:
    activation = call(client, function, args)
    kind, phases = told(activation)
    sizes = [
        resident["bytes"]
        for container in _containers(client.status())
        for resident in container["residents"]
        if _is(resident, function) and resident["state"] == "loaded"
    ]
    return Start(function, kind, phases, max(sizes, default=None))


def told(activation: Mapping[str, Any]) -> tuple[StartKind, Phases]:
    """Return start kind and phases from an activation's record."""
    annotations = {pair["key"]: pair["value"] for pair in activation["annotations"]}
    phases = Phases(**{name: float(annotations["phases"].get(name, 0.0)) for name in PHASES})
    return StartKind(annotations["startKind"]), phases


def call(client: Client, function: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call a function; return its record. Raises `BadFunction` when it fails, `HostError` when it takes too long."""
    activation = client.invoke(function, args)
    if "response" not in activation:
        raise HostError(f"a call of {function} did not end in time; see the platform's activation {activation}")
    if not activation["response"]["success"]:
        raise BadFunction(f"a call of {function} failed: {activation['response']['result']}")
    return activation


def deploy_into(client: Client, each: Prepared, container_mb: int) -> None:
    """Deploy a function whose memory limit is the size of the containers, so that each container can take it."""
    deploy(client, each.folder, each.weights_dir, name=each.name, memory_mb=container_mb)


def deploy_other(client: Client, container_mb: int) -> None:
    limits = {"memory": container_mb}
    client.put_action(OTHER, {"exec": {"kind": "python:3", "code": _OTHER_CODE}, "limits": limits})


def _containers(status: Status) -> Iterator[Mapping[str, Any]]:
    for node in status["nodes"]:
        yield from node["containers"]


def _wait_until(client: Client, wanted: Callable[[Status], bool]) -> bool:
    return any(wanted(status) for _, status in _statuses(client, _WAIT_S))


def _statuses(client: Client, longest_s: float) -> Iterator[tuple[float, Status]]:
    began = time.monotonic()
    while (at_s := time.monotonic() - began) < longest_s:
        yield at_s, client.status()
        time.sleep(_POLL_EVERY_S)
