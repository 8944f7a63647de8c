"""The client turns answers into values and failures into our errors; deploying is a sequence of its requests."""

from __future__ import annotations

import base64
import io
import json
import socket
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from instainfer.address import credentials
from instainfer.client import Client
from instainfer.deployment import deploy
from instainfer.errors import (
    BadFunction,
    BadInput,
    CheckFailed,
    Conflict,
    EnvironmentBuildError,
    HostError,
    InstaInferError,
    InternalError,
    NotAllowed,
    NotFound,
    Throttled,
    Unreachable,
    UserError,
)

Handler = Callable[[httpx2.Request], httpx2.Response]


def client(handler: Handler) -> Client:
    return Client("127.0.0.1:3233", "user:secret", retries=0, transport=httpx2.MockTransport(handler))


def answering(status: int, body: Any) -> Handler:
    return lambda _: httpx2.Response(status, json=body)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadInput),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (413, BadInput),
        (418, UserError),
        (429, Throttled),
        (500, HostError),
        (503, HostError),
        (507, HostError),
    ],
)
def test_errors_keep_the_platforms_words(status: int, error: type[InstaInferError]) -> None:
    with client(answering(status, {"error": "the cause", "code": "x"})) as it, pytest.raises(error) as raised:
        it.action("f")
    assert type(raised.value) is error
    assert str(raised.value) == "the cause"


def test_no_platform_is_unreachable_with_a_remedy() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    with client(refuse) as it, pytest.raises(Unreachable, match=r"no InstaInfer at .*:3233; start it with `instainfer"):
        it.status()


def test_a_broken_connection_and_a_strange_server_are_unreachable_too() -> None:
    def cut(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("cut", request=request)

    with client(cut) as it, pytest.raises(Unreachable, match="broke"):
        it.functions()
    with client(lambda _: httpx2.Response(200, text="hello")) as it, pytest.raises(Unreachable, match="not InstaInfer"):
        it.status()


def test_requests_carry_the_key_and_percent_encoded_names() -> None:
    seen: list[httpx2.Request] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"name": "a b", "wanted": 1})

    with client(note) as it:
        assert it.delete_action("a b")["name"] == "a b"
        it.delete_action("tools/a b")
        it.preload("tools/a b", places=1, for_s=1.0)
    request, packaged, own = seen
    assert packaged.url.raw_path == b"/api/v1/namespaces/_/actions/tools/a%20b"
    assert own.url.raw_path == b"/instainfer/v1/functions/tools%2Fa%20b/preload"
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()
    assert str(request.url) == "http://127.0.0.1:3233/api/v1/namespaces/_/actions/a%20b"


def test_a_key_without_colon_is_refused_at_once() -> None:
    with pytest.raises(NotAllowed, match="uuid:secret"):
        Client("127.0.0.1:1", "nonsense")


def test_invoking_returns_the_record_of_a_failed_function_too() -> None:
    record = {"activationId": "a1", "response": {"status": "action developer error"}}
    with client(answering(502, record)) as it:
        assert it.invoke("f", {"x": 1}) == record
    with client(answering(202, {"activationId": "a1"})) as it:
        assert it.invoke("f", blocking=False) == {"activationId": "a1"}
    with client(answering(404, {"error": "no f"})) as it, pytest.raises(NotFound, match="no f"):
        it.invoke("f")


def test_all_functions_are_listed_page_by_page() -> None:
    names = [f"f{n}" for n in range(401)]

    def page(request: httpx2.Request) -> httpx2.Response:
        skip, limit = int(request.url.params["skip"]), int(request.url.params["limit"])
        return httpx2.Response(200, json=[{"name": name} for name in names[skip : skip + limit]])

    with client(page) as it:
        assert [action["name"] for action in it.functions()] == names


def test_events_of_a_build_come_one_by_one() -> None:
    events = [{"event": "progress", "step": "lock", "text": "…"}, {"event": "ready", "digest": "env-1"}]
    text = "".join(json.dumps(event) + "\n" for event in events)
    with client(lambda _: httpx2.Response(200, text=text)) as it:
        assert list(it.build_environment("numpy", (), None)) == events
    with client(lambda _: httpx2.Response(200, text="<html>\n")) as it, pytest.raises(Unreachable, match="html"):
        list(it.build_environment("numpy", (), None))
    with client(answering(401, {"error": "wrong key"})) as it, pytest.raises(NotAllowed, match="wrong key"):
        list(it.build_environment("numpy", (), None))


def test_a_build_is_asked_for_with_all_that_makes_it() -> None:
    sent: list[Any] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200, text="")

    with client(handler) as it:
        list(it.build_environment("a\n", ("b==1",), "3.12", "media:1", from_source=True))
    wanted = {"requirements": "a\n", "no_deps": ["b==1"], "python": "3.12", "image": "media:1", "from_source": True}
    assert sent == [wanted]


STRANGE = {
    "text": b"hello",
    "nothing": b"",
    "deep": b"[" * 100_000,
    "digits": b"1" * 5000,
    "not UTF-8": b'{"a":"\xff"}',
    "a list of no objects": b"[1, null]",
    "an object without what it must have": b"{}",
}


@pytest.mark.parametrize("status", [200, 302, 400, 502])
@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
def test_whatever_a_strange_server_says_is_an_error_of_ours(status: int, body: bytes) -> None:
    with client(lambda _: httpx2.Response(status, content=body)) as it:

        def build() -> list[Any]:
            return list(it.build_environment("", (), None))

        for ask in (
            it.functions,
            it.status,
            lambda: it.activation("a"),
            lambda: it.invoke("f"),
            it.activations,
            build,
        ):
            if status == 200 and body == b"" and ask is build:
                assert ask() == []  # a build without events; whoever deploys misses its end
                continue
            with pytest.raises(InstaInferError, match=";") as raised:  # a cause, then a remedy
                ask()
            assert not isinstance(raised.value, InternalError)


def test_an_answer_that_cannot_be_decoded_is_an_error_of_ours() -> None:
    def garbled(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Encoding": "gzip"}, content=iter([b"not gzip"]))

    with client(garbled) as it, pytest.raises(Unreachable, match="broke"):
        it.status()


def test_an_error_must_not_talk_to_the_terminal() -> None:
    with client(answering(400, {"error": "a\x1b[2Jb\nc" + "x" * 100_000})) as it, pytest.raises(BadInput) as raised:
        it.status()
    assert str(raised.value).startswith("a[2Jb\nc")
    assert len(str(raised.value)) < 20_000


def test_a_line_without_end_and_a_list_without_end_are_given_up() -> None:
    def endless(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(200, content=(b"x" * 1_000_000 for _ in range(1000)))
        return httpx2.Response(200, json=[{"name": "f"}] * 200)

    with client(endless) as it:
        with pytest.raises(Unreachable, match="not InstaInfer"):
            list(it.build_environment("", (), None))
        with pytest.raises(Unreachable, match="not InstaInfer"):
            it.functions()


@pytest.mark.parametrize("host", ["http://[::", "http://a:b", "http://\x00"])
def test_an_address_that_is_none_is_said_to_be_none(host: str) -> None:
    with pytest.raises(BadInput, match="is no address"):
        Client(host, "user:secret")


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instainfer.client.api.READ_TIMEOUT_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(f"127.0.0.1:{silent.getsockname()[1]}", "user:secret") as it,
        pytest.raises(Unreachable, match="says nothing"),
    ):
        it.status()


def test_credentials_come_from_home_then_from_wsk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wsk = tmp_path / "wskprops"
    monkeypatch.setenv("WSK_CONFIG_FILE", str(wsk))
    with pytest.raises(Unreachable, match="instainfer up"):
        credentials(tmp_path)
    wsk.write_text("# comment=1\nAPIHOST=http://far:1\nAUTH=u:k=\nNAMESPACE=guest\n")
    assert credentials(tmp_path) == ("http://far:1", "u:k=")
    (tmp_path / "credentials").write_text("APIHOST=http://127.0.0.1:3233\nAUTH=a:b\nAPIVERSION=v1\n")
    assert credentials(tmp_path) == ("http://127.0.0.1:3233", "a:b")


class Platform:
    """As much of a platform as a deployment sees."""

    def __init__(self, *events: dict[str, Any], checked: Sequence[dict[str, Any]] = ()) -> None:
        self.checked = checked
        self.blobs: dict[str, bytes] = {}
        self.actions: dict[str, Any] = {}
        self.events = events

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        last = request.url.path.rpartition("/")[2]
        match request.method, request.url.path.split("/")[-2]:
            case "HEAD", "blobs":
                return httpx2.Response(200 if last in self.blobs else 404)
            case "PUT", "blobs":
                self.blobs[last] = request.read()
                return httpx2.Response(201)
            case "POST", "v1":
                return httpx2.Response(200, text="".join(json.dumps(event) + "\n" for event in self.events))
            case "PUT", "functions":
                return httpx2.Response(200, text="".join(json.dumps(event) + "\n" for event in self.checked))
            case "PUT", "actions":
                self.actions[last] = json.loads(request.read())
                return httpx2.Response(200, json={"name": last, "version": "0.0.1"})
        return httpx2.Response(404, json={"error": "?"})


class Heard:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.bytes: list[tuple[str, int, int]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def sent(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        self.bytes.append((name, sent_bytes, total_bytes))


READY = {"event": "ready", "digest": "env-1", "packages": [], "cached": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "handler.py").write_text("def main(args):\n    return args\n")
    (folder / "function.toml").write_text('name = "echo"\nmemory = "512MB"\ntimeout = "9s"\nweights = ["w.pt"]\n')
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.pt").write_bytes(b"w" * 1500)
    return folder


def test_deploying_sends_code_and_weights_once(folder: Path) -> None:
    platform, heard = Platform(READY), Heard()
    weights = folder.parent / "weights"
    with client(platform) as it:
        assert deploy(it, folder, weights, heard)["name"] == "echo"
        deploy(it, folder, weights, heard, name="other", memory_mb=1024, timeout_ms=500)
    assert list(platform.blobs.values()) == [b"w" * 1500]
    assert heard.bytes == [("w.pt", 1500, 1500)]
    assert "w.pt is there already" in heard.steps
    echo, other = platform.actions["echo"], platform.actions["other"]
    assert echo["limits"] == {"memory": 512, "timeout": 9000}
    assert other["limits"] == {"memory": 1024, "timeout": 500}
    assert (echo["exec"]["kind"], echo["exec"]["binary"]) == ("python:3", True)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(echo["exec"]["code"]))) as code:
        assert "handler.py" in code.namelist()
        assert "w.pt" not in code.namelist()


def test_a_failed_build_is_the_deployers_error_with_the_tail_of_the_log(folder: Path) -> None:
    failed = {"event": "failed", "error": "no such package", "log_tail": "ERROR: nope"}
    platform = Platform(failed)
    with client(platform) as it, pytest.raises(EnvironmentBuildError, match="no such package\nERROR: nope"):
        deploy(it, folder, folder.parent / "weights")
    assert platform.actions == {}


def test_a_checked_deployment_has_the_record_of_the_check_and_its_failure_is_the_deployers(folder: Path) -> None:
    def checked(*events: dict[str, Any]) -> dict[str, Any]:
        heard = Heard()
        with client(Platform(READY, checked=events)) as it:
            action = deploy(it, folder, folder.parent / "weights", heard, check=True)
        assert "loading echo" in heard.steps
        return action

    progress = {"event": "progress", "text": "loading echo"}
    done = {"event": "deployed", "action": {"name": "echo"}, "record": {"activationId": "a"}}
    assert checked(progress, done) == {"name": "echo", "check": {"activationId": "a"}}
    failed = {
        "event": "failed",
        "error": "KeyError: 'x'\n  in main\x1b[2J",
        "logs": ["stdout: hm"],
        "activationId": "a",
    }
    with pytest.raises(CheckFailed) as caught:
        checked(progress, failed)
    assert str(caught.value).splitlines() == [
        "echo failed when it was tried:",
        "KeyError: 'x'",
        "  in main [2J",
        "logs:",
        "stdout: hm",
        "nothing has changed for callers; correct it, or deploy with --no-check",
    ]
    for status, kind in ((400, BadInput), (409, Conflict), (503, HostError), ("?", HostError)):
        with pytest.raises(kind, match="no"):
            checked({"event": "refused", "status": status, "error": "no"})
    with pytest.raises(HostError, match="without saying"):
        checked(progress)


def test_a_build_that_ends_without_a_word_is_an_error_with_a_remedy(folder: Path) -> None:
    with client(Platform()) as it, pytest.raises(HostError, match=r"without saying.*deploy again"):
        deploy(it, folder, folder.parent / "weights")


def test_a_function_without_a_name_needs_one(folder: Path) -> None:
    (folder / "function.toml").write_text("")
    with client(Platform(READY)) as it, pytest.raises(BadFunction, match="has no name"):
        deploy(it, folder)
