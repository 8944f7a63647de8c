"""The commands that read: exact JSON for programs, tables that fit for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_harness import ACTION, AT, DETAILS, ID, NOW_MS, PHASES, PLACES, Platform, Run, record, runner

from instainfer.cli.views import resident_name
from instainfer.core.model import MIB, function_template_key

SUMMARY = {key: value for key, value in record({}).items() if key not in ("response", "logs")} | {"statusCode": 0}
CRASHED = SUMMARY | {"activationId": "f" * 32, "statusCode": 2}
RUNNING = {key: value for key, value in SUMMARY.items() if key not in ("end", "duration", "statusCode")} | {
    "activationId": "e" * 32,
    "annotations": [{"key": "path", "value": "guest/vgg19"}],
}

RESIDENTS = [
    {
        "function": "guest/resnet50@0.0.1",
        "state": "loaded",
        "origin": "call",
        "bytes": 152 * MIB,
        "reason": "called 12 s ago",
        "value": None,
    },
    {
        "function": "guest/vgg19@0.0.2",
        "state": "loading",
        "origin": "preload",
        "bytes": 530 * MIB,
        "reason": "likely to be called within 60 s (0.42), which would save 1.9 s",
        "value": 0.8,
    },
]
CONTAINER = {
    "id": "c1",
    "namespace": "guest",
    "state": "idle",
    "limit_bytes": 2048 * MIB,
    "used_bytes": 682 * MIB,
    "owner": "guest/resnet50@0.0.1",
    "running": None,
    "idle_s": 12.3,
    "expires_in_s": 588.0,
    "residents": RESIDENTS,
}
BUSY = CONTAINER | {
    "id": "c2",
    "state": "busy",
    "running": {"activation": ID, "function": "guest/bert_base@0.0.1"},
    "idle_s": None,
    "expires_in_s": None,
    "residents": [RESIDENTS[0] | {"function": "guest/bert_base@0.0.1", "state": "in_use"}],
}
STARTING = CONTAINER | {"id": "c3", "state": "starting", "idle_s": None, "expires_in_s": None, "residents": []}
ISOLATION = ["user: containers are never shared between namespaces", "system: no own uid per function [not root]"]
STATUS = {
    "version": "0.1.0",
    "uptime_s": 7512.0,
    "isolation": ISOLATION,
    "nodes": [
        {
            "name": "local",
            "backend": "process",
            "isolation": ISOLATION,
            "memory": {
                "budget_bytes": 10240 * MIB,
                "committed_bytes": 6144 * MIB,
                "used_bytes": 2048 * MIB,
                "committed_gb_s": 1.0,
                "used_gb_s": 0.5,
            },
            "queue": 0,
            "containers": [CONTAINER, BUSY, STARTING],
            "preloads": {"started": 14, "finished": 12, "failed": 1, "hits": 9, "templates": 2},
        }
    ],
    "records": {},
}


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


# functions


def test_functions(run: Run, platform: Platform) -> None:
    details = DETAILS | {"places": PLACES}
    platform.answers |= {"GET actions": (200, [ACTION]), "GET functions": (200, [details]), "GET status": (200, STATUS)}
    assert run("functions", "--json", *AT).stdout == compact([ACTION | {"places": PLACES}])
    head, _, row = run("functions", *AT).stdout.splitlines()
    assert head.split() == ["FUNCTION", "VERSION", "KIND", "MEMORY", "TIMEOUT", "READY", "DEPLOYED"]
    assert row.split()[:10] == ["resnet50", "0.0.1", "python:3", "2.0", "GB", "60", "s", "1", "of", "2"]


def test_functions_of_a_package_have_its_name_before_theirs(run: Run, platform: Platform) -> None:
    action, details = ACTION | {"namespace": "guest/vision"}, DETAILS | {"name": "vision/resnet50", "places": PLACES}
    platform.answers |= {"GET actions": (200, [action]), "GET functions": (200, [details]), "GET status": (200, STATUS)}
    row = run("functions", *AT).stdout.splitlines()[2]
    assert row.split()[0] == "vision/resnet50"
    assert row.split()[7:10] == ["1", "of", "2"], "the places are found by the whole name"


def test_no_functions_is_said_on_standard_error(run: Run, platform: Platform) -> None:
    platform.answers["GET actions"] = (200, [])
    result = run("functions", *AT)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "instainfer deploy DIR" in result.stderr


def test_functions_that_cannot_be_loaded_are_named(run: Run, platform: Platform) -> None:
    broken = DETAILS | {"name": "vgg19", "key": "guest/vgg19@0.0.2"}
    lost = DETAILS | {"name": "alexnet", "key": "guest/alexnet@0.0.1", "problem": "could not be [made] ready"}
    failures = [{"function": broken["key"], "load_failure": "import raised\n  line 7", "unfit": None}]
    status = STATUS | {"nodes": [STATUS["nodes"][0] | {"functions": failures}]}  # type: ignore[index]
    platform.answers |= {"GET actions": (200, [ACTION]), "GET functions": (200, [DETAILS, broken, lost])}
    platform.answers["GET status"] = (200, status)
    assert run("functions", *AT).stdout.splitlines()[3:] == [
        "vgg19: cannot be loaded: import raised; see `instainfer function show vgg19`",
        "alexnet: could not be [made] ready; see `instainfer function show alexnet`",
    ]


NODE = {"node": "local", "load_failure": None, "stands": []}
SHOWN = DETAILS | {
    "environment": "env-ab12",
    "profile": None,
    "contents": {"packages": ["numpy==2.4.6"], "environment_bytes": 30 * MIB, "weights": {"net.pt": 102 * MIB}},
}


def test_show_one_function_for_people(run: Run, platform: Platform) -> None:
    stands = [{"what": "function", "container": "c1", "state": "loaded"}]
    profile = {
        "loads": 2,
        "library_s": 1.0,
        "model_s": 0.35,
        "runs": 3,
        "compute_s": 0.031,
        "resident_bytes": 310 * MIB,
    }
    platform.answers |= {
        "GET actions/resnet50": (200, ACTION),
        "GET functions/resnet50": (200, SHOWN | {"profile": profile}),
        "GET functions/resnet50/why": (200, {"nodes": [NODE | {"stands": stands}]}),
        "GET activations": (200, [SUMMARY, SUMMARY, CRASHED, RUNNING]),
    }
    shown = run("function", "show", "resnet50", *AT)
    assert (shown.exit_code, shown.stderr) == (0, "")
    head, *lines = (line.strip() for line in shown.stdout.splitlines())
    assert head == "resnet50 0.0.1"
    told = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in lines if "  " in line}
    assert told["memory"] == "2.0 GB, 310 MB measured"
    assert told["packages"] == "1, 30 MB in env-ab12"
    assert "numpy==2.4.6" in lines
    assert told["weights"] == "net.pt (102 MB)"
    assert (told["loads in"], told["computes"]) == ("1.35 s from nothing", "31 ms")
    assert told["in memory"] == "function in c1 (loaded)"
    assert told["calls"].startswith("3 preloaded, 1 failed; the latest ")
    assert "problem" not in told


def test_show_says_what_is_wrong_with_a_function(run: Run, platform: Platform) -> None:
    failure = "loading it raised ValueError: [no]\x1b[2J\n  File handler.py, line 7"
    platform.answers |= {
        "GET actions/resnet50": (200, ACTION),
        "GET functions/resnet50": (
            200,
            SHOWN | {"contents": None, "forked": {"fit": False, "reason": "a thread\n in"}},
        ),
        "GET functions/resnet50/why": (200, {"nodes": [NODE | {"load_failure": failure}]}),
        "GET activations": (200, []),
    }
    _, problem, where, *lines = (line.strip() for line in run("function", "show", "resnet50", *AT).stdout.splitlines())
    assert problem == "problem     cannot be loaded: loading it raised ValueError: [no][2J"
    assert where == "File handler.py, line 7"
    assert "forking     cannot be forked: a thread" in lines
    assert "in memory   nothing" in lines
    assert "calls       none yet" in lines


@pytest.mark.parametrize(("first_s", "said"), [(15.0, True), (0.25, False)])
def test_show_says_when_first_calls_compute_longer(run: Run, platform: Platform, first_s: float, said: bool) -> None:
    def computed(kind: str, compute_s: float) -> dict[str, Any]:
        phases = {"key": "phases", "value": PHASES | {"compute": compute_s}}
        kept = [pair for pair in SUMMARY["annotations"] if pair["key"] not in ("phases", "startKind")]
        return SUMMARY | {"annotations": [*kept, {"key": "startKind", "value": kind}, phases]}

    calls = [computed("cold", 40.0), computed("preloaded", first_s), computed("warm", 0.2), computed("warm", 0.2)]
    platform.answers |= {
        "GET actions/resnet50": (200, ACTION),
        "GET functions/resnet50": (200, SHOWN),
        "GET functions/resnet50/why": (200, {"nodes": []}),
        "GET activations": (200, calls),
    }
    shown = " ".join(run("function", "show", "resnet50", *AT).stdout.split())
    assert ("the first call of a process computes 15 s, later ones 200 ms; what only" in shown) is said
    assert ("warmup" in shown) is said


def test_show_for_programs_and_delete_one_function(run: Run, platform: Platform) -> None:
    platform.answers |= {"GET actions/resnet50": (200, ACTION), "DELETE actions/resnet50": (200, ACTION)}
    forked = {"fit": False, "reason": "load() has started\x1b[2J a thread"}
    platform.answers["GET functions/resnet50"] = (200, DETAILS | {"forked": forked, "cache_bytes": 12 * MIB})
    platform.answers["GET functions/resnet50/secrets"] = (200, [{"key": "TOKEN", "updated_ms": NOW_MS}])
    as_json = run("function", "show", "resnet50", "--json", *AT)
    assert (as_json.stdout, as_json.stderr) == (
        compact(ACTION | {"forked": forked, "places": None, "cache_bytes": 12 * MIB, "secrets": ["TOKEN"]}),
        "",
    )
    assert platform.asked[0][1] == {"code": "false"}
    deleted = run("function", "delete", "resnet50", *AT)
    assert (deleted.exit_code, deleted.stdout, deleted.stderr) == (0, "", "deleted resnet50\n")
    assert run("function", "delete", "nope", *AT).exit_code == 3


def test_places_that_are_wanted_are_shown(run: Run, platform: Platform) -> None:
    platform.answers |= {
        "GET actions/resnet50": (200, ACTION),
        "GET functions/resnet50": (200, SHOWN | {"places": PLACES}),
        "GET functions/resnet50/why": (200, {"nodes": []}),
        "GET functions/resnet50/secrets": (200, [{"key": key, "updated_ms": NOW_MS} for key in ("A", "B")]),
        "GET activations": (200, []),
    }
    shown = [line.split() for line in run("function", "show", "resnet50", *AT).stdout.splitlines()]
    assert ["secrets", "A,", "B"] in shown
    assert "1 of 2 places ready; it needs 2 x 2048 MB" in run("function", "show", "resnet50", *AT).stdout
    wanted = [{"namespace": "guest", "name": "resnet50", **PLACES, "unmet": None, "until_ms": NOW_MS}]
    platform.answers["GET status"] = (200, STATUS | {"places": wanted})
    assert "resnet50: 1 of 2 places ready until " in run("status", *AT).stdout


def test_status_names_functions_that_cannot_be_forked(run: Run, platform: Platform) -> None:
    unfit = [{"function": f"guest/f{n}@0.0.1", "unfit": f"thread [{n}]"} for n in range(12)]
    node = STATUS["nodes"][0] | {"functions": [{"function": "guest/fit@0.0.1", "unfit": None}, *unfit]}  # type: ignore[index]
    platform.answers["GET status"] = (200, STATUS | {"nodes": [node]})
    lines = [line.strip() for line in run("status", *AT).stdout.splitlines() if "cannot be forked" in line]
    assert lines == [*(f"f{n} cannot be forked: thread [{n}]" for n in range(10)), "2 more functions cannot be forked"]


# activations


def test_activations_at_80_columns(run: Run, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    platform.answers["GET activations"] = (200, [SUMMARY, CRASHED, RUNNING])
    head, _, *rows = run("activations", *AT).stdout.splitlines()
    assert head.split() == ["BEGAN", "ACTIVATION", "FUNCTION", "START", "START-UP"]
    # Without the first column: the date has two words when it is not today's.
    assert [row.split()[row.split().index(mark) - 1 :] for row, mark in zip(rows, "✓✗…", strict=True)] == [
        [ID, "✓", "resnet50", "preloaded", "4.1", "ms"],
        ["f" * 32, "✗", "resnet50", "preloaded", "4.1", "ms"],
        ["e" * 32, "…", "vgg19", "–", "–"],
    ]


def test_a_long_name_gives_way_before_anything_else(
    run: Run, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = {"key": "path", "value": "guest/the_name_of_a_function_that_goes_on_and_on"}
    yesterday = {"start": NOW_MS - 86_400_000}
    long = SUMMARY | yesterday | {"annotations": [path, *SUMMARY["annotations"][1:]]}
    platform.answers["GET activations"] = (200, [long])
    row = run("activations", *AT).stdout.splitlines()[-1]
    assert len(row) <= 80
    assert row.split()[-6:-4] == [ID, "✓"]
    assert row.split()[-4].startswith("the_")
    assert row.endswith("…  preloaded    4.1 ms")


def test_activations_at_120_columns_also_show_compute_and_status(
    run: Run, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    platform.answers["GET activations"] = (200, [CRASHED])
    row = run("activations", *AT).stdout.splitlines()[-1]
    assert row.rstrip().endswith("31 ms  action developer error")


def test_the_last_activation_is_shown_in_full(run: Run, platform: Platform) -> None:
    platform.answers["GET activations"] = (200, [SUMMARY])
    platform.answers[f"GET activations/{SUMMARY['activationId']}"] = (200, record({"a": 1}))
    assert json.loads(run("activations", "--last", "--json", *AT).stdout) == record({"a": 1})
    assert run("activations", "--last", "--logs", "--name", "f", *AT).stdout == f"{record({})['logs'][0]}\n"
    assert platform.asked[2][1] == {"limit": "1", "skip": "0", "name": "f"}


def test_there_is_no_last_activation_yet(run: Run, platform: Platform) -> None:
    platform.answers["GET activations"] = (200, [])
    result = run("activations", "--last", "--name", "f", *AT)
    assert (result.exit_code, result.stderr) == (3, "instainfer: there is no activation of f yet\n")
    assert run("activations", "--last", ID, *AT).exit_code == 2
    assert run("activations", "--logs", *AT).exit_code == 2


def test_activations_pass_on_what_is_asked(run: Run, platform: Platform) -> None:
    platform.answers["GET activations"] = (200, [SUMMARY])
    args = ("--limit", "5", "--skip", "10", "--name", "resnet50", "--since", "10min", "--json")
    result = run("activations", *args, *AT)
    assert (result.stdout, result.stderr) == (compact([SUMMARY]), "")
    asked = platform.asked[0][1]
    since = int(asked.pop("since"))
    assert asked == {"limit": "5", "skip": "10", "name": "resnet50"}
    # Since this module was imported a test run may have taken a while.
    assert NOW_MS - 600_000 <= since <= NOW_MS - 600_000 + 3_600_000


def test_one_activation_shows_its_phases_one_after_the_other(run: Run, platform: Platform) -> None:
    platform.answers[f"GET activations/{ID}"] = (200, record({"class": "cat"}))
    text = run("activations", ID, *AT).stdout
    bars = {line.split()[0]: line for line in text.splitlines() if "█" in line}
    assert list(bars) == ["model", "handoff", "compute"]  # phases that took no time are not shown
    starts = [line.index("█") for line in bars.values()]
    assert starts == sorted(starts)
    assert bars["compute"].count("█") > 8 * bars["handoff"].count("█")
    assert "preloaded, 4.1 ms start-up + 31 ms compute" in text
    assert '{"class":"cat"}' in text
    assert text.endswith("stdout: loaded\n")


def test_logs_are_lines_for_people_and_an_array_for_programs(run: Run, platform: Platform) -> None:
    whole = record({})
    platform.answers[f"GET activations/{ID}"] = (200, whole)
    assert run("activations", ID, "--logs", *AT).stdout == f"{whole['logs'][0]}\n"
    assert run("activations", ID, "--logs", "--json", *AT).stdout == compact(whole["logs"])
    assert run("activations", ID, "--json", *AT).stdout == compact(whole)


def test_a_running_activation_has_no_answer_yet(run: Run, platform: Platform) -> None:
    platform.answers[f"GET activations/{'e' * 32}"] = (200, RUNNING)
    result = run("activations", "e" * 32, *AT)
    assert result.exit_code == 0
    assert "running" in result.stdout


def test_logs_need_an_id(run: Run, platform: Platform) -> None:
    result = run("activations", "--logs", *AT)
    assert (result.exit_code, platform.asked) == (2, [])


def test_an_unknown_activation_is_exit_code_3(run: Run) -> None:
    result = run("activations", ID, *AT)
    assert (result.exit_code, result.stderr) == (3, "instainfer: The requested resource does not exist.\n")


# status


@pytest.mark.parametrize("columns", [80, 120])
def test_status_says_what_is_resident_where_and_why(
    run: Run, platform: Platform, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    platform.answers["GET status"] = (200, STATUS)
    text = run("status", *AT).stdout
    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    words = " ".join(text.split())
    for part in (
        "InstaInfer 0.1.0, up 2 h 5 min",
        "Node local (process backend): 3 containers, nothing waiting",
        "6.0 GB of 10.0 GB set aside, 2.0 GB used",
        "14 started, 12 finished, 1 failed, 9 met their call",
        "idle 12 s, ends in 10 min",
        "682 MB of 2.0 GB",
        "runs bert_base",
        "resnet50 loaded a call 152 MB called 12 s ago",
        "vgg19 loading pre-load 530 MB 800 ms likely to be called",
        "bert_base in use a call 152 MB",
        *ISOLATION,
    ):
        assert part in words


def test_a_function_template_is_not_shown_as_its_function() -> None:
    assert resident_name("guest/resnet50@0.0.1") == "resnet50"
    assert resident_name(function_template_key("guest/resnet50@0.0.1")) == "template of resnet50"


def test_status_of_an_empty_node(run: Run, platform: Platform) -> None:
    empty = STATUS["nodes"][0] | {"containers": [], "queue": 3}
    platform.answers["GET status"] = (200, STATUS | {"nodes": [empty]})
    assert "0 containers, 3 activations waiting" in run("status", *AT).stdout


def test_status_as_json_is_what_the_platform_says(run: Run, platform: Platform) -> None:
    platform.answers["GET status"] = (200, STATUS)
    result = run("status", "--json", *AT)
    assert (result.stdout, result.stderr) == (compact(STATUS), "")


def test_watch_looks_until_it_is_interrupted(run: Run, platform: Platform) -> None:
    platform.answers["GET status"] = (200, STATUS)
    waits: list[float] = []

    def tick(every_s: float) -> None:
        waits.append(every_s)
        if len(waits) == 3:
            raise KeyboardInterrupt

    result = run("status", "--watch", "--every", "500ms", "--json", *AT, tick=tick)
    assert (result.exit_code, result.stdout, waits) == (130, compact(STATUS) * 3, [0.5] * 3)
