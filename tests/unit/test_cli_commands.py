"""Calling functions, and what becomes of errors: exit codes, standard output, standard error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cli_harness import AT, ID, KEY, Platform, Run, record, runner

from instainfer.client import Client
from instainfer.errors import BadFunction, Conflict, EnvironmentBuildError, HostError, InternalError


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, "instainfer 0.1.0\n")


def test_help_names_every_exit_code(run: Run) -> None:
    words = " ".join(run("--help").stdout.split())
    assert "Exit codes: 0 it worked, 1 the function" in words
    assert all(f" {code} " in words for code in (2, 3, 4, 5, 70, 130))


# invoke


def test_invoke_prints_the_answer_and_says_how_it_went(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (200, record({"class": "chat", "p": 0.9}))
    result = run("invoke", "resnet50", "-p", "top", "3", "-p", "text", "a b", *AT)
    assert result.exit_code == 0
    assert result.stdout == '{"class":"chat","p":0.9}\n'
    assert result.stderr == "preloaded, 4.1 ms start-up + 31 ms compute\n"
    assert platform.asked == [("POST actions/resnet50", {"blocking": "true"}, {"top": 3, "text": "a b"})]


def test_invoke_with_json_says_nothing_else(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (200, record([1, 2]))
    result = run("invoke", "resnet50", "--json", *AT)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "[1,2]\n", "")


@pytest.mark.parametrize(("more", "printed"), [([], [1, 2]), (["--json"], [1, 2]), (["--full"], record([1, 2]))])
def test_an_answer_that_is_a_list_comes_without_its_record_and_is_a_success(
    run: Run, platform: Platform, more: list[str], printed: Any
) -> None:
    platform.answers["POST actions/resnet50"] = (200, [1, 2])
    platform.answers[f"GET activations/{ID}"] = (200, record([]) if not more else record([1, 2]))
    result = run("invoke", "resnet50", *more, *AT)
    assert (result.exit_code, json.loads(result.stdout)) == (0, printed)
    assert ("start-up" in result.stderr) == (more != ["--json"])


@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        (["--data", "-"], b'{"t": "\xfc"}', r"standard input is not UTF-8 text (byte 7); save it as UTF-8"),
        (["--data", '{"t": "\udcfc"}'], b"", r"the value of --data is not UTF-8 text (byte 7); save it as UTF-8"),
        (["-p", "t", "\udcfc"], b"", "is not UTF-8 text"),
        (["-p", "\udcfc", "1"], b"", "is not UTF-8 text"),
    ],
)
def test_arguments_that_are_not_utf8_are_refused_with_their_place(
    run: Run, platform: Platform, args: list[str], stdin: bytes, said: str
) -> None:
    result = run("invoke", "resnet50", *args, *AT, stdin=stdin)
    assert (result.exit_code, platform.asked) == (2, [])
    assert said in result.stderr


def test_data_from_standard_input_may_begin_with_a_mark(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (200, record({}))
    assert run("invoke", "resnet50", "--data", "-", *AT, stdin='{"t": "\u00fc"}'.encode("utf-16")).exit_code == 0
    assert platform.asked[0][2] == {"t": "\u00fc"}


@pytest.mark.parametrize("command", [["invoke"], ["function", "show"], ["function", "delete"], ["activations"]])
def test_a_name_that_is_not_utf8_is_wrong_input(run: Run, command: list[str]) -> None:
    assert run(*command, "caf\udce9", *AT).exit_code == 2


def test_parameters_win_over_data_from_standard_input(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (200, record({}))
    run("invoke", "resnet50", "--data", "-", "--param", "a", "2", *AT, stdin='{"a": 1, "b": {"c": null}}')
    assert platform.asked[0][2] == {"a": 2, "b": {"c": None}}


def test_a_parameter_may_look_like_an_option(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (200, record({}))
    run("invoke", "-p", "--full", "-1", "resnet50", *AT)
    assert platform.asked[0][2] == {"--full": -1}


def test_full_prints_the_record(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (200, record({}))
    assert json.loads(run("invoke", "resnet50", "--full", *AT).stdout) == record({})


def test_no_wait_prints_the_id(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (202, {"activationId": ID})
    result = run("invoke", "resnet50", "--no-wait", *AT)
    assert (result.exit_code, result.stdout) == (0, f'{{"activationId":"{ID}"}}\n')
    assert platform.asked[0][1] == {"blocking": "false"}


def test_a_call_that_outlasts_the_wait_is_not_a_success(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (202, {"activationId": ID})
    result = run("invoke", "resnet50", *AT)
    assert (result.exit_code, result.stdout) == (1, f'{{"activationId":"{ID}"}}\n')
    assert f"goes on; see `instainfer activations {ID}` later" in result.stderr


def test_a_failed_function_is_exit_code_1_with_its_error(run: Run, platform: Platform) -> None:
    answer = {"error": "ZeroDivisionError: division by zero.\n  File handler.py, line 3"}
    platform.answers["POST actions/resnet50"] = (502, record(answer, "action developer error"))
    result = run("invoke", "resnet50", *AT)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == answer
    assert result.stderr.splitlines()[-1] == (
        "instainfer: resnet50 failed: ZeroDivisionError: division by zero (action developer error); "
        f"its logs: `instainfer activations {ID} --logs`"
    )


def test_an_activation_that_never_started_has_no_start_kind(run: Run, platform: Platform) -> None:
    refused = record({"error": "the queue is full"}, "whisk internal error", kind=None)
    platform.answers["POST actions/resnet50"] = (500, refused)
    result = run("invoke", "resnet50", *AT)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "not started, 4.1 ms after it was asked for")


@pytest.mark.parametrize("args", [["-p", "a"], ["-p"], ["--data", "[1]"], ["--data", "{"], ["--nope"]])
def test_wrong_usage_is_exit_code_2_and_asks_nobody(run: Run, platform: Platform, args: list[str]) -> None:
    result = run("invoke", "resnet50", *AT, *args)
    assert (result.exit_code, result.stdout, platform.asked) == (2, "", [])
    assert result.stderr


# errors


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 4), (403, 4), (404, 3), (409, 1), (413, 2), (429, 1), (503, 1), (507, 1)]
)
def test_the_platforms_errors_have_exit_codes(run: Run, platform: Platform, status: int, code: int) -> None:
    platform.answers["GET status"] = (status, {"error": "what is wrong", "code": "x"})
    result = run("status", "--json", *AT)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "instainfer: what is wrong\n")


def test_no_platform_is_exit_code_5(run: Run, tmp_path: Path) -> None:
    result = run("functions")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("instainfer: ")
    assert result.stderr.endswith("start it with `instainfer up`, or name its home (--home, INSTAINFER_HOME)\n")


def test_a_refused_connection_is_exit_code_5(run: Run) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    result = run(
        "status", *AT, connect=lambda host, auth: Client(host, auth, retries=0, transport=httpx2.MockTransport(refuse))
    )
    assert (result.exit_code, result.stderr) == (
        5,
        "instainfer: no InstaInfer at http://here:1; start it with `instainfer up`\n",
    )


def test_an_address_without_a_key_is_exit_code_4(run: Run) -> None:
    result = run("functions", "--api-host", "http://here:1")
    assert (result.exit_code, result.stderr) == (
        4,
        "instainfer: there is no key for http://here:1; give it (--auth, auth=) or set INSTAINFER_AUTH\n",
    )


def test_address_and_key_come_from_the_home_that_is_named(run: Run, platform: Platform, tmp_path: Path) -> None:
    platform.answers["GET actions"] = (200, [])
    (tmp_path / "credentials").write_text(f"APIHOST=http://here:1\nAUTH={KEY}\n")
    assert run("functions", "--json", "--home", str(tmp_path)).stdout == "[]\n"


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (BadFunction("no main; write one"), 2, ["instainfer: no main; write one"]),
        (HostError("the disk is full; free some"), 1, ["instainfer: the disk is full; free some"]),
        (Conflict("it exists"), 1, ["instainfer: it exists"]),
        (EnvironmentBuildError("no such package", "a\nb"), 1, ["instainfer: no such package", "a", "b"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_errors_on_purpose_have_no_traceback(run: Run, error: BaseException, code: int, lines: list[str]) -> None:
    result = run("up", serve=raising(error))
    assert (result.exit_code, result.stderr.splitlines()) == (code, lines)


@pytest.mark.parametrize("error", [InternalError("the books are wrong"), ZeroDivisionError("the books are wrong")])
def test_a_bug_of_ours_is_exit_code_70_with_a_traceback(run: Run, error: Exception) -> None:
    result = run("up", serve=raising(error))
    assert result.exit_code == 70
    assert result.stderr.startswith("Traceback")
    assert "the books are wrong" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(
        f"instainfer: this is a bug ({type(error).__name__}); please report"
    )


def raising(error: BaseException) -> Callable[..., Any]:
    def raise_it(*_: Any, **__: Any) -> Any:
        raise error

    return raise_it
