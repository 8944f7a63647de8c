"""A scenario's runs made side by side, and left behind in a folder so that what is done need not be done again::

    OUT/campaign.json     which runs belong to it, and the command that makes them
    OUT/scenario.toml     the scenario as it was run
    OUT/runs/ID.json      one run in the form of results.json; ID is a digest of everything that it depends on

Each result appears whole or not at all. A result that is there, is the run's and is of this version is not made again.
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
    """A run as the manifest names it."""

    id: str
    workload: str
    system: str
    point: Point
    seed: int


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a campaign goes, and what is noted there beside its results."""

    path: Path
    text: str
    """The scenario's."""
    command: str
    """What repeats it."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is in a folder."""

    scenario: Scenario
    command: str
    entries: Sequence[Entry]
    documents: Mapping[str, Document]
    """By id; runs that have not been made are missing."""

    @property
    def missing(self) -> list[Entry]:
        return [each for each in self.entries if each.id not in self.documents]


class Watcher:
    """Told how a campaign goes; to be overridden."""

    def begins(self, runs: int, there: int) -> None: ...

    def spoilt(self, path: Path, reason: str) -> None: ...

    def made(self, run: Run, document: Document) -> None: ...

    def failed(self, run: Run, reason: str) -> None: ...


@dataclass(slots=True)
class Tally:
    """How a campaign went, in runs."""

    made: int = 0
    there: int = 0
    failed: list[str] = field(default_factory=list)
    """Names of runs, with the reasons."""

    @property
    def runs(self) -> int:
        """All of the campaign's."""
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
    """Make what is missing of a scenario's runs, or all of them `again`.

    With more than one of `jobs` they are made in processes of their own, so that `make` must be a function that those
    can import. A run that fails is told and counted, and the others go on. An interruption leaves what is done.
    Raises `BadInput` when the folder holds other things, `HostError` when it cannot be written or a process dies.
    """
    out = folder.path
    _take(folder, runs)
    distinct = {run.id: run for run in runs}
    there = {} if again else {id_: found for id_ in distinct if (found := _found(out, id_, watcher)) is not None}
    todo = [run for id_, run in distinct.items() if id_ not in there]
    watcher.begins(len(distinct), len(there))
    tally = Tally(there=len(there))
    results = _side_by_side(todo, jobs, make) if jobs > 1 and len(todo) > 1 else _in_turn(todo, make)
    with contextlib.closing(results):  # an interruption reaches what it waits for
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
    """What a campaign has left behind so far. Raises `NotFound` and `BadInput` when there is none."""
    try:
        manifest = json.loads((out / _MANIFEST).read_bytes())
        entries = [Entry(**each) for each in manifest["runs"]]
        command = str(manifest["command"])
    except FileNotFoundError:
        raise NotFound(f"{out} holds no campaign; make one with `instainfer experiment run`") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{out / _MANIFEST} is damaged ({error}); run the experiment again into this folder") from None
    ids = dict.fromkeys(each.id for each in entries)
    documents = {id_: found for id_ in ids if (found := _found(out, id_, Watcher())) is not None}
    return Campaign(scenarios.load(out / _SCENARIO), command, entries, documents)


def _take(folder: Folder, runs: Sequence[Run]) -> None:
    """Make the folder, or take over what an earlier campaign of that name has left there."""
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


def _found(out: Path, run_id: str, watcher: Watcher) -> Document | None:
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
        except Exception as error:  # whatever went wrong with one run, a bug too: the others can still be made
            result = error
        yield run, result


def _side_by_side(runs: Sequence[Run], jobs: int, make: Make) -> _Results:
    # Forking would copy a process that may have threads.
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
            # An interruption, or nobody wants further results: what they still work on is for nothing.
            _end_workers()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_workers() -> None:
    for process in multiprocessing.active_children():
        process.terminate()


def _begin_worker() -> None:
    """Ctrl-C is the parent's to handle; nothing goes on when the parent is gone; and one worker uses one core."""
    # Read by numpy's libraries when they are loaded, which is later: a fitted predictor in each of several workers
    # would have as many threads as there are cores, and wait for them most of the time.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()
