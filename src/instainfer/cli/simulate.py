"""The command ``instainfer simulate`` computes what a platform would do with a trace, without running functions."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from ..errors import BadInput
from .output import compact, console, note, show, table, writing
from .settings import configuration
from .values import seconds

if TYPE_CHECKING:
    from ..config import KeepAliveConfig
    from ..report.records import CallRecord
    from ..sim.run import Outcome, Progress


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


class Memory(StrEnum):
    COSTS = "costs"
    AUTO = "auto"


class Baseline(StrEnum):
    STATELESS = "stateless"
    FAIR = "fair"


def simulate(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="TRACE", help="Azure 2019 (a file or a dataset's folder), Azure 2021, or function,seconds."
        ),
    ],
    *,
    keepalive: Annotated[
        str,
        typer.Option(
            metavar="P[:PARAMETERS]",
            help="When containers come and go: a policy, fixed:600, objective:0.001 or fixed:ttl_s=600.",
        ),
    ] = "objective",
    baseline: Annotated[
        Baseline,
        typer.Option(
            metavar="stateless|fair", help="After a call its function's process ends (stateless) or stays (fair)."
        ),
    ] = Baseline.FAIR,
    preload: Annotated[Switch, typer.Option(metavar="on|off", help="Load functions into idle containers.")] = Switch.ON,
    templates: Annotated[Switch, typer.Option(metavar="on|off", help="Fork functions from templates.")] = Switch.ON,
    function_templates: Annotated[
        Switch | None,
        typer.Option(
            metavar="on|off",
            help="Fork functions from processes that have loaded them too, where the costs say what that takes; "
            "default: as --templates.",
        ),
    ] = None,
    fast_init: Annotated[
        Switch | None,
        typer.Option(
            metavar="on|off",
            help="Build models without random initialisation and map their weights, where the costs say how long that "
            "takes; default: as --templates.",
        ),
    ] = None,
    replace: Annotated[
        Switch,
        typer.Option(
            metavar="on|off",
            help="A function whose container another's call has taken gets a new one: see node.replace.",
        ),
    ] = Switch.OFF,
    predictor: Annotated[str, typer.Option(metavar="P", help="When a function is expected to be called.")] = "auto",
    memory_gb: Annotated[float, typer.Option(metavar="N", help="Memory for containers, on each node.", min=0.1)] = 10.0,
    memory: Annotated[
        Memory,
        typer.Option(
            metavar="costs|auto",
            help="The memory limits of the functions: as the costs say, or learned.",
        ),
    ] = Memory.COSTS,
    nodes: Annotated[int, typer.Option(metavar="N", min=1, help="Machines; each function has its home.")] = 1,
    costs: Annotated[
        str, typer.Option(metavar="paper|FILE", help="What things take: the paper's figures, or a JSON file.")
    ] = "paper",
    function: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--function",
            metavar="NAME",
            help="The trace's rows take these in turn and share them, as in `replay`; default: each row its own.",
        ),
    ] = None,
    durations: Annotated[
        str, typer.Option(metavar="costs|trace", help="Whose compute times: the cost set's, or the trace's own.")
    ] = "costs",
    owners_apart: Annotated[
        bool, typer.Option("--owners-apart", help="Every owner in the trace is a tenant of its own.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the calls' places in their minutes, and of noise.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write results.json there; - is standard output.")
    ] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JSON line for every activation.")] = None,
    chrome_trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what stood in which container, for chrome://tracing.")
    ] = None,
) -> None:
    """Simulate the platform on a trace: the deciding code is the live one, only containers and time are not.

    What is not given, such as preload.p_load, comes from the configuration: see `instainfer config`.
    """
    from ..core.model import GIB
    from ..report.chrome import ChromeTrace
    from ..report.results import write
    from ..sim.costs import load
    from ..sim.results import to_json
    from ..sim.run import Watchers, run_simulation
    from ..sim.settings import Settings
    from ..traces.read import read

    if durations not in ("costs", "trace"):
        raise typer.BadParameter("it is costs or trace", param_hint="--durations")
    config = configuration()
    without = "templates" if (function_templates or templates) is Switch.ON else "none"
    chosen = {"predictor": predictor} | ({"policy": without} if preload is Switch.OFF else {})
    settings = Settings(
        keepalive=keepalive_config(keepalive, config.keepalive),
        preload=config.preload.model_copy(update=chosen),
        retain=baseline is Baseline.FAIR,
        templates=templates is Switch.ON,
        function_templates=(function_templates or templates) is Switch.ON,
        fast_init=(fast_init or templates) is Switch.ON,
        replace=replace is Switch.ON,
        memory_bytes=int(memory_gb * GIB),
        auto_memory=memory is Memory.AUTO,
        nodes=nodes,
        seed=seed,
        owners_apart=owners_apart,
    )
    # Reading a trace may take long, so an unknown policy has to be reported before it.
    settings.policies()
    cost_set = load(costs)
    workload = read(trace)
    with contextlib.ExitStack() as stack:
        chrome = ChromeTrace(stack.enter_context(writing(chrome_trace))) if chrome_trace is not None else None
        if chrome is not None:
            stack.callback(chrome.close)
        watchers = Watchers(
            record=_recorder(stack.enter_context(writing(log))) if log is not None else None,
            entry=chrome.add if chrome is not None else None,
            progress=stack.enter_context(_progress()),
        )
        if json_file is not None and str(json_file) != "-":
            # A file that cannot be written has to be reported before the simulation, not after it.
            stack.enter_context(writing(json_file))
        outcome = run_simulation(
            workload, cost_set, settings, watchers, names=function or (), own_durations=durations == "trace"
        )
    document = to_json(outcome)
    if json_file is None:
        _show(outcome)
    elif str(json_file) == "-":
        print(compact(document))
    else:
        write(document, json_file)


def keepalive_config(text: str, configured: KeepAliveConfig) -> KeepAliveConfig:
    """Read ``NAME``, ``NAME:NUMBER`` or ``NAME:key=value,key=value``.

    The keys are those of `keepalive` in the configuration. Keys that are not given keep the value of `configured`.
    """
    from pydantic import ValidationError

    from ..config import FIRST_PARAMETERS

    name, _, rest = text.partition(":")
    values: dict[str, Any] = configured.model_dump() | {"policy": name}
    for number, item in enumerate(part for part in rest.split(",") if part):
        key, equals, value = item.partition("=")
        if not equals:
            key, value = FIRST_PARAMETERS.get(name, ""), item
            if number > 0 or not key:
                which = "only the first parameter" if key else f"no parameter of {name}"
                raise BadInput(f"--keepalive {text}: {which} may go without its name, {item!r} may not")
        if key not in type(configured).model_fields or key == "policy":
            known = ", ".join(each for each in type(configured).model_fields if each != "policy")
            raise BadInput(f"--keepalive {text}: there is no parameter {key!r}; there are: {known}")
        values[key] = value
    try:
        return type(configured).model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadInput(f"--keepalive {text}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def _recorder(file: TextIO) -> Callable[[CallRecord], None]:
    def record(record: CallRecord) -> None:
        file.write(compact(record.to_json()) + "\n")

    return record


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Progress], None] | None]:
    """Show a progress bar if standard error is a terminal. The function that is yielded moves the bar."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("  {task.description}"), BarColumn(40), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console(sys.stderr), transient=True) as bars:
        task = bars.add_task("simulating", total=1.0)

        def tell(progress: Progress) -> None:
            speed = progress.calls / progress.wall_s if progress.wall_s else 0.0
            text = f"{progress.calls:,} calls, {speed:,.0f}/s"
            bars.update(task, completed=progress.share, description=text)

        yield tell


def _show(outcome: Outcome) -> None:
    from ..report.tables import ms

    overall, settings, loads = outcome.overall, outcome.settings, outcome.preloads
    ahead_s = outcome.ahead_processor_s / overall.calls if overall.calls else 0.0
    rows = [
        (name, *(ms(value) for value in (latency.mean, latency.p50, latency.p95, latency.p99)))
        for name, latency in (("start-up", overall.startup), ("end-to-end", overall.e2e))
        if latency is not None
    ]
    figures = ("mean", "p50", "p95", "p99")
    kinds = [(str(kind), f"{count:,}", f"{count / overall.calls:.1%}") for kind, count in overall.start_kinds.items()]
    what = [settings.keepalive.in_short(), "retains" if settings.retain else "stateless"]
    what += [f"preload {settings.preload.policy}", f"costs: {outcome.costs}", f"{settings.memory_bytes / 1024**3:g} GB"]
    what += ["memory auto"] if settings.auto_memory else []
    what += [f"{settings.nodes} nodes"] if settings.nodes > 1 else []
    show(
        f"{overall.calls:,} calls of {len(outcome.functions)} functions in {seconds(outcome.duration_s)}",
        ", ".join(what),
        "",
        table(["ms", *figures], rows, right=figures),
        "",
        table(["start kind", "calls", "share"], kinds, right=("calls", "share")),
        "",
        f"memory: {outcome.memory_gb_s:,.0f} GB·s of containers, {outcome.used_gb_s:,.0f} GB·s used; "
        f"failed: {overall.failed:,}",
        f"ahead of calls: {loads['started']:,} loads and {loads['templates']:,} function templates, "
        f"{outcome.ahead_processor_s:,.0f} processor seconds, {ms(1000 * ahead_s)} ms a call",
    )
    note(f"{outcome.events:,} events in {seconds(outcome.wall_s)}: {overall.calls / outcome.wall_s:,.0f} calls/s")
