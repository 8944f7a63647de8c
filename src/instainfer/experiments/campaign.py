"""Makes the runs of a scenario, several at a time, and stores the results so that no run is made twice::

    OUT/campaign.json     which runs belong to the campaign, and the command that makes them
    OUT/scenario.toml     the scenario as it was run
    OUT/runs/ID.json      one run in the form of results.json; ID is a digest of everything that the run depends on

A result file is written completely or not at all. A run is not made again if its result is there and was made by this
version.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from .. import __version__
from ..errors import BadInput, HostError, InstaInferError, NotFound
from . import scenario as scenarios
from .interruption import sigterm_as_exit
from .runs import Run, simulate, valid
from .scenario import Point, Scenario

Document: TypeAlias = dict[str, Any]
Make: TypeAlias = Callable[[Run], Document]

_MANIFEST = "campaign.json"
_SCENARIO = "scenario.toml"
_RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Entry:
    """A run as it is listed in the manifest, ``campaign.json``."""

    id: str
    workload: str
    system: str
    point: Point
    seed: int


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of a campaign, and what is written into it besides the results."""

    path: Path
    text: str
    """Text of the scenario file."""
    command: str
    """The command that repeats the campaign."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """The content of a campaign's folder."""

    scenario: Scenario
    command: str
    entries: Sequence[Entry]
    documents: Mapping[str, Document]
    """Results by run id; runs that were not made yet are missing."""

    @property
    def missing(self) -> list[Entry]:
        return [each for each in self.entries if each.id not in self.documents]


class Watcher:
    """Gets the progress of a campaign; subclasses override what they need."""

    def begins(self, runs: int, there: int) -> None: ...

    def spoilt(self, path: Path, reason: str) -> None: ...

    def made(self, run: Run, document: Document) -> None: ...

    def failed(self, run: Run, reason: str) -> None: ...


@dataclass(slots=True)
class Tally:
    """How many runs of a campaign were made, were there before, and failed."""

    made: int = 0
    there: int = 0
    failed: list[str] = field(default_factory=list)
    """The failed runs' names, each with the reason."""

    @property
    def runs(self) -> int:
        """Number of all runs of the campaign."""
        return self.made + self.there + len(self.failed)


def run_campaign(
    runs: Sequence[Run],
    folder: Folder,
    watcher: Watcher,
    *,
    jobs: int = 1,
    again: bool = False,
    make: Make = simulate,
) -> Tally:
    """Make the missing runs of a scenario, or all of its runs if `again`.

    With `jobs` above 1 the runs are made in separate processes, so `make` must be a function that these can import. A
    run that fails is reported and counted, and the others continue. An interruption keeps the finished results. Raises
    `BadInput` when the folder holds other things, and `HostError` when it cannot be written or a process dies.
    """
    out = folder.path
    _prepare_folder(folder, runs)
    distinct = {run.id: run for run in runs}
    there = {} if again else {id_: found for id_ in distinct if (found := _read_result(out, id_, watcher)) is not None}
    todo = [run for id_, run in distinct.items() if id_ not in there]
    watcher.begins(len(distinct), len(there))
    tally = Tally(there=len(there))
    results = _in_parallel(todo, jobs, make) if jobs > 1 and len(todo) > 1 else _in_turn(todo, make)
    with contextlib.closing(results):  # so that an interruption also ends the worker processes
        for run, result in results:
            if isinstance(result, dict):
                _write(_path(out, run.id), result)
                tally.made += 1
                watcher.made(run, result)
            else:
                reason = str(result) if isinstance(result, InstaInferError) else f"{type(result).__name__}: {result}"
                tally.failed.append(f"{run.name}: {reason}")
                watcher.failed(run, reason)
    return tally


def entry(run: Run) -> Entry:
    return Entry(run.id, run.workload, run.system, run.point, run.seed)


def read(out: Path) -> Campaign:
    """Read the results that a campaign has so far. Raises `NotFound` or `BadInput` when the folder has no campaign."""
    try:
        manifest = json.loads((out / _MANIFEST).read_bytes())
        entries = [Entry(**each) for each in manifest["runs"]]
        command = str(manifest["command"])
    except FileNotFoundError:
        raise NotFound(f"{out} holds no campaign; make one with `instainfer experiment run`") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{out / _MANIFEST} is damaged ({error}); run the experiment again into this folder") from None
    ids = dict.fromkeys(each.id for each in entries)
    documents = {id_: found for id_ in ids if (found := _read_result(out, id_, Watcher())) is not None}
    return Campaign(scenarios.load(out / _SCENARIO), command, entries, documents)


def _prepare_folder(folder: Folder, runs: Sequence[Run]) -> None:
    """Create the folder, or take over the folder of an earlier campaign with the same scenario name."""
    out = folder.path
    scenario = scenarios.parse(folder.text, _SCENARIO)
    manifest = out / _MANIFEST
    try:
        if manifest.is_file():
            with contextlib.suppress(ValueError):
                before = json.loads(manifest.read_bytes())
                if isinstance(before, dict) and before.get("scenario") != scenario.name:
                    raise BadInput(f"{out} holds the experiment {before.get('scenario')!r}; give another folder")
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadInput(f"{out} is not an experiment's folder; give an empty or new one")
        (out / _RUNS).mkdir(parents=True, exist_ok=True)
        (out / _SCENARIO).write_text(folder.text, encoding="utf-8")
    except OSError as error:
        raise HostError(f"cannot write into {out}: {error.strerror}; give another folder") from None
    entries = [asdict(entry(run)) for run in runs]
    document = {"scenario": scenario.name, "version": __version__, "command": folder.command, "runs": entries}
    _write(manifest, document)


def _path(out: Path, run_id: str) -> Path:
    return out / _RUNS / f"{run_id}.json"


def _read_result(out: Path, run_id: str, watcher: Watcher) -> Document | None:
    path = _path(out, run_id)
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        watcher.spoilt(path, f"it cannot be read ({error})")
        return None
    if not valid(found, run_id):
        watcher.spoilt(path, "it is not a result of this run by this version")
        return None
    document: Document = found
    return document


def _write(path: Path, document: Document) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(document, file, separators=(",", ":"))
            file.write("\n")
        part.replace(path)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}; make room, or give another folder") from None
    finally:
        part.unlink(missing_ok=True)


# Making runs


_Results: TypeAlias = Generator[tuple[Run, Document | BaseException], None, None]


def _in_turn(runs: Sequence[Run], make: Make) -> _Results:
    for run in runs:
        result: Document | Exception
        try:
            result = make(run)
        except Exception as error:  # any error of one run, bugs included: the other runs can still be made
            result = error
        yield run, result


def _in_parallel(runs: Sequence[Run], jobs: int, make: Make) -> _Results:
    # Not fork: it would copy a process that may have threads.
    context = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(min(jobs, len(runs)), mp_context=context, initializer=_begin_worker)
    with workers as pool, sigterm_as_exit(_end_workers):
        try:
            futures: dict[Future[Document], Run] = {pool.submit(make, run): run for run in runs}
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise HostError(
                        "a process that made runs has died, of too little memory perhaps; what is done is kept: try "
                        "again with fewer --jobs"
                    )
                yield futures.pop(future), error if error is not None else future.result()
        except BaseException:
            # After an interruption, or when nobody reads further results, the work under way is useless.
            _end_workers()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_workers() -> None:
    for process in multiprocessing.active_children():
        process.terminate()


def _begin_worker() -> None:
    """Prepare a worker: the parent handles Ctrl-C, a worker ends with its parent, and each worker uses one core."""
    # numpy's libraries read these when they are loaded, which is later. Without them a fitted predictor in each worker
    # would use a thread for every core, and wait for these threads most of the time.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
