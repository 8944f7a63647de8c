"""What goes wrong is said: by HTTP status, exit code and a text that names the cause. And the platform goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from live import ACTIONS, HELLO, NATIVE, Json, Platform, annotation, running, write

pytestmark = pytest.mark.acceptance

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One for the whole module: what goes wrong in a test must not be felt in the next."""
    with running(tmp_path_factory.mktemp("bad")) as up:
        up.put("good", HELLO)
        yield up


@pytest.fixture(autouse=True)
def goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "platform" in request.fixturenames:
        still_good(request.getfixturevalue("platform"))


def still_good(platform: Platform) -> None:
    answered = platform.call("good", {"name": "Ada"})
    assert answered.status_code == 200, answered.text
    assert answered.json()["response"]["result"] == {"hello": "Ada"}


# -- requests ------------------------------------------------------------------------------------------------------


def test_an_unknown_function(platform: Platform) -> None:
    answer = platform.call("nobody")
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "The requested resource does not exist. There is no action nobody in the namespace guest.",
        "code": answer.headers["x-request-id"],
    }
    assert "does not exist" in platform.cli("invoke", "nobody", code=3).err
    assert "does not exist" in platform.cli("function", "show", "nobody", code=3).err
    assert "does not exist" in platform.cli("activations", "0" * 32, code=3).err


@pytest.mark.parametrize("body", [b'{"name": ', b"[1, 2]", b'"text"', b'{"name": "\xff"}', b'{"n": NaN}'])
def test_malformed_json(platform: Platform, body: bytes) -> None:
    answer = platform.http.post(f"{ACTIONS}/good", params={"blocking": "true"}, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("The request content was malformed")


def test_malformed_json_on_the_command_line(platform: Platform) -> None:
    assert "is not valid JSON" in platform.cli("invoke", "good", "--data", '{"name": ', code=2).err
    assert "takes a JSON object" in platform.cli("invoke", "good", "--data", "[1]", code=2).err
    assert "there is no file" in platform.cli("invoke", "good", "--data", "@nowhere.json", code=3).err


@pytest.mark.parametrize(
    "body",
    [b'{"a":' + b"[" * 600 + b"]" * 600 + b"}", b'{"a":1' + b"0" * 5000 + b"}", b'{"a":"\\ud800"}'],
    ids=["nested without end", "a number without end", "half a character"],
)
def test_json_that_no_function_could_read(platform: Platform, body: bytes) -> None:
    answer = platform.http.post(f"{ACTIONS}/good", params={"blocking": "true"}, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("The request content was malformed")


def test_json_at_the_bounds_reaches_the_function(platform: Platform) -> None:
    platform.put(
        "deep", "def main(args): return {'digits': args['b'].bit_length(), 'depth': str(args['a']).count('[')}"
    )
    body = b'{"b":1' + b"0" * 4299 + b',"a":' + b"[" * 499 + b"]" * 499 + b"}"
    answer = platform.http.post(f"{ACTIONS}/deep", params={"blocking": "true"}, content=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["response"]["result"] == {"digits": (10**4299).bit_length(), "depth": 499}


def test_a_head_without_end(platform: Platform) -> None:
    answer = platform.http.get("/ping", headers={"a": "x" * 20_000})
    assert answer.status_code == 431
    assert "shorten it" in answer.json()["error"]


def test_an_oversized_body(platform: Platform) -> None:
    limit = platform.http.get("/").json()["limits"]["max_body_bytes"]
    answer = platform.call("good", {"text": "x" * limit})
    assert answer.status_code == 413
    assert f"> {limit} bytes. server.max_body_bytes is the bound." in answer.json()["error"]
    write(platform.folder, {"big.json": '{"text": "' + "x" * limit + '"}'})
    assert "larger than allowed" in platform.cli("invoke", "good", "--data", "@big.json", code=2).err


def test_a_wrong_key(platform: Platform) -> None:
    answer = platform.http.post(f"{ACTIONS}/good", auth=("nobody", "nothing"))
    assert answer.status_code == 401
    assert answer.json()["error"] == "The supplied authentication is invalid"
    assert "authentication is invalid" in platform.cli("invoke", "good", "--auth", "nobody:nothing", code=4).err
    assert "uuid:secret" in platform.cli("invoke", "good", "--auth", "nothing", code=4).err


def test_no_platform(platform: Platform, tmp_path: Path) -> None:
    said = platform.cli("invoke", "good", "--api-host", "http://127.0.0.1:1", code=5)
    assert "no InstaInfer at http://127.0.0.1:1; start it with `instainfer up`" in said.err
    assert "start it with `instainfer up`" in platform.cli("functions", "--home", str(tmp_path), code=5).err


# -- functions that cannot be deployed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "the folder has neither handler.py nor __main__.py"),
        ({"handler.py": HELLO, "function.toml": "name = "}, "not valid TOML"),
        ({"handler.py": HELLO, "function.toml": 'nam = "x"'}, "unknown key: nam"),
        ({"handler.py": HELLO, "function.toml": 'name = "x"\nweights = ["model.pt"]'}, "model.pt"),
        ({"handler.py": HELLO, "function.toml": 'name = "x"\nmemory = "1MB"'}, "below allowed threshold of 64 MB"),
        ({"handler.py": HELLO, "requirements.txt": "--index-url http://example.org/"}, "is refused"),
        ({"handler.py": HELLO, "requirements.txt": "a" + " " * 900 + "!"}, "is refused: not a requirement"),
        ({"handler.py": HELLO, "function.toml": "x = " + "[" * 5000}, "not valid TOML"),
    ],
    ids=[
        "no handler",
        "no TOML",
        "unknown key",
        "weights missing",
        "too little memory",
        "an option",
        "many spaces",
        "deep TOML",
    ],
)
def test_a_folder_that_is_not_a_function(platform: Platform, tmp_path: Path, files: dict[str, str], words: str) -> None:
    write(tmp_path / "f", {"function.toml": 'name = "x"', **files})
    assert words in platform.cli("deploy", str(tmp_path / "f"), code=2).err
    assert platform.call("x").status_code == 404


# -- functions that fail -------------------------------------------------------------------------------------------


class Bad(NamedTuple):
    """A function that fails, and what is said of it."""

    code: str
    kind: str
    """Of failure, in the record."""
    said: str
    """To the caller."""
    cause: str
    """In the record."""
    timeout_ms: int = 20_000


BAD = {
    "no main": Bad(
        "def mian(args): return {}",
        "load_failed",
        "during initialization: handler.py has no function 'main'",
        "handler.py has no function 'main'",
    ),
    "import error": Bad(
        "import nowhere\ndef main(args): return {}",
        "load_failed",
        "importing handler.py raised ModuleNotFoundError: No module named 'nowhere'",
        "is it in the function's requirements?",
    ),
    "syntax error": Bad("def main(args) return {}", "load_failed", "SyntaxError", "handler.py"),
    "model file missing": Bad(
        "def load(): open('model.pt')\ndef main(args): return {}",
        "load_failed",
        "load() raised FileNotFoundError: [Errno 2] No such file or directory: 'model.pt'",
        "model.pt",
    ),
    "raises": Bad("def main(args): return {'x': 1 / 0}", "raised", "ZeroDivisionError: division by zero", "main()"),
    "exits": Bad(
        "import os\ndef main(args): os._exit(7)",
        "crashed",
        "exited unexpectedly: the function's process ended by itself with exit code 7",
        "exit code 7",
    ),
    "exits while loading": Bad("import os\nos._exit(7)", "crashed", "exited unexpectedly", "exit code 7"),
    "segmentation fault": Bad(
        "import os, signal\ndef main(args): os.kill(os.getpid(), signal.SIGSEGV)",
        "crashed",
        "exited unexpectedly",
        "killed by SIGSEGV",
    ),
    "hangs": Bad(
        "import threading\ndef main(args): threading.Event().wait()",
        "timed_out",
        "exceeded its time limits of 300 milliseconds",
        "its time limit",
        timeout_ms=300,
    ),
    "hangs while loading": Bad(
        "import threading\ndef load(): threading.Event().wait()\ndef main(args): return {}",
        "timed_out",
        "exceeded its time limits of 300 milliseconds during initialization",
        "its time limit",
        timeout_ms=300,
    ),
    "no JSON": Bad(
        "def main(args): return {'x': [b'']}",
        "bad_answer",
        "did not produce a valid JSON",
        "$.x[0] is a bytes",
    ),
    "no object": Bad("def main(args): return 'text'", "bad_answer", "did not produce a valid JSON", "is a str"),
    "out of memory": Bad(
        "import threading\ndef main(args):\n    held = b'x' * (200 << 20)\n    threading.Event().wait()",
        "out_of_memory",
        "exhausted its memory and was aborted",
        "its limit is 128 MiB; raise the limit",
    ),
    "out of memory while loading": Bad(
        "import threading\nheld = b'x' * (200 << 20)\nthreading.Event().wait()",
        "out_of_memory",
        "exhausted its memory and was aborted",
        "its limit is 128 MiB; raise the limit",
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_function_that_fails(platform: Platform, bad: Bad) -> None:
    platform.put("bad", bad.code, memory=128, timeout=bad.timeout_ms)
    answer = platform.call("bad")
    assert answer.status_code == 502
    record = answer.json()
    response = record["response"]
    assert (response["status"], response["success"]) == ("action developer error", False)
    assert bad.said in response["result"]["error"]
    failure = annotation(record, "failure")
    assert failure["kind"] == bad.kind
    assert bad.cause in failure["message"]
    assert annotation(record, "timeout") == (bad.kind == "timed_out")
    assert platform.record(record["activationId"]) == record

    said = platform.cli("invoke", "bad", code=1)
    assert said.err.splitlines()[-1].startswith("instainfer: bad failed: ")
    assert "(action developer error)" in said.err
    assert response["result"]["error"].splitlines()[0].rstrip(".;") in said.err


def test_an_error_of_the_functions_own(platform: Platform) -> None:
    platform.put("bad", "def main(args): return {'error': 'no cat in the picture'}")
    answer = platform.call("bad")
    assert answer.status_code == 502
    assert answer.json()["response"]["status"] == "application error"
    assert "bad failed: no cat in the picture (application error)" in platform.cli("invoke", "bad", code=1).err


# -- a host that cannot --------------------------------------------------------------------------------------------


def test_a_container_that_cannot_start(tmp_path: Path) -> None:
    with running(tmp_path, "--preload", "none") as platform:  # its first call starts the first container
        platform.put("good", HELLO)
        scratch = platform.home / "containers"
        scratch.write_text("a file where the folder should be")
        answer = platform.call("good")
        assert answer.status_code == 500
        record = answer.json()
        assert record["response"]["status"] == "whisk internal error"
        assert record["response"]["result"]["error"].startswith("Failed to provision resources to run the action.")
        assert str(scratch) in record["response"]["result"]["error"]
        assert annotation(record, "failure")["kind"] == "container_start_failed"
        said = platform.cli("invoke", "good", code=1)
        assert str(scratch) in said.err
        assert "(whisk internal error)" in said.err
        scratch.unlink()
        still_good(platform)


def test_an_environment_whose_python_was_removed(tmp_path: Path) -> None:
    with running(tmp_path, "--preload", "none") as platform:  # its first call starts the first container
        platform.deploy("good", {"handler.py": HELLO}, "--no-check")
        (environment,) = (platform.home / "cache" / "environments").glob("env-*")
        shutil.rmtree(environment / "bin")
        answer = platform.call("good")
        assert answer.status_code == 502
        failure = annotation(answer.json(), "failure")
        assert failure["kind"] == "load_failed"
        assert str(environment / "bin" / "python") in failure["message"]
        assert "build the function's environment anew" in failure["message"]
        assert "cannot be started" in platform.cli("invoke", "good", code=1).err
        platform.deploy("good", {"handler.py": HELLO})
        still_good(platform)


@contextlib.contextmanager
def tiny_disk(folder: Path) -> Iterator[None]:
    """The folder is on a disk of 64 kB. What is mounted there is seen by containers too, as on most hosts."""
    folder.mkdir(parents=True)
    above = str(folder.parent)
    for mount in (
        ["--bind", above, above],
        ["--make-shared", above],
        ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
    ):
        mounted = subprocess.run(["mount", *mount], capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"a tiny disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        subprocess.run(["umount", "--lazy", above], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tiny disk")
def test_a_full_disk_for_environments(tmp_path: Path) -> None:
    with running(tmp_path) as platform:
        platform.put("good", HELLO)
        environments = platform.home / "cache" / "environments"
        shutil.rmtree(environments)
        with tiny_disk(environments):
            (environments / "filler").write_bytes(b"x" * (48 << 10))
            said = platform.deploy("other", {"handler.py": HELLO}, code=1)
            assert f"no space left on the disk of {environments}" in said.err
            assert "free some, or move the cache elsewhere" in said.err
            action: Json = {"exec": {"kind": "python:3", "code": textwrap.dedent(HELLO)}}
            answer = platform.http.put(f"{ACTIONS}/other", json=action)
            assert answer.status_code == 507
            assert "no space left on the disk" in answer.json()["error"]
            assert platform.http.get(f"{NATIVE}/status").status_code == 200
        platform.deploy("other", {"handler.py": HELLO})
        assert platform.call("other", {"name": "Ada"}).status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tiny disk")
def test_a_full_disk_for_weights(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "home" / "cache" / "weights"), running(tmp_path) as platform:
        platform.put("good", HELLO)
        files = {
            "handler.py": HELLO,
            "function.toml": 'name = "heavy"\nweights = ["model.bin"]\n',
            "model.bin": "x" * (256 << 10),
        }
        said = platform.deploy("heavy", files, code=1)
        assert "no space left on the disk of" in said.err
        assert platform.call("heavy").status_code == 404
        still_good(platform)
