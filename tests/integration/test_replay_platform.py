"""Platforms as processes, and functions without one: started, told ready, ended, and failures with their cause."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from instainfer.errors import BadFunction, HostError
from instainfer.experiments.direct import measure
from instainfer.experiments.platform import Setting, running

PYTHON = sys.executable
SETTING = Setting("stateless", retain=False, preload="none", templates=False)

# Stands for `instainfer up`: takes its options and environment, and ends by SIGTERM like it.
UP = """
import json, os, pathlib, signal, sys
options = dict(zip(sys.argv[4::2], sys.argv[5::2]))
home = pathlib.Path(os.environ["INSTAINFER_HOME"])
home.mkdir(parents=True)
(home / "credentials").write_text("APIHOST=http://127.0.0.1:1\\nAUTH=u:k\\n")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pathlib.Path(options["--story"]).write_text(json.dumps(dict(os.environ)))
pathlib.Path(options["--ready-file"]).write_text(json.dumps({"api_host": "http://127.0.0.1:1", "pid": os.getpid()}))
signal.sigwait([signal.SIGTERM])
(home / "ended").touch()
sys.exit(0)
"""


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the program that is started in the place of `instainfer up`."""
    program = tmp_path / "up"
    program.write_text(f"#!{PYTHON}\n{UP}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return program


@pytest.mark.usefixtures("up")
def test_a_platform_is_configured_used_and_ended(tmp_path: Path) -> None:
    with running(SETTING, tmp_path / "run", tmp_path / "cache", 6144) as platform:
        assert (platform.api_host, platform.auth) == ("http://127.0.0.1:1", "u:k")
        told = platform.story.read_text()
        assert not (tmp_path / "run" / "home" / "ended").exists()
    assert (tmp_path / "run" / "home" / "ended").exists()
    for key, value in {
        "INSTAINFER_CACHE": str(tmp_path / "cache"),
        "INSTAINFER_SERVER__PORT": "0",
        "INSTAINFER_NODE__MEMORY_MB": "6144",
        "INSTAINFER_NODE__RETAIN": "false",
        "INSTAINFER_NODE__TEMPLATES": "false",
        "INSTAINFER_NODE__FAST_INIT": "false",
        "INSTAINFER_PRELOAD__POLICY": "none",
        "INSTAINFER_KEEPALIVE__POLICY": "fixed",
        "INSTAINFER_KEEPALIVE__TTL_S": "600",
    }.items():
        assert f'"{key}": "{value}"' in told


@pytest.mark.usefixtures("up")
@pytest.mark.parametrize("how", ["error", "SIGTERM"])
def test_whatever_happens_in_between_the_platform_is_ended(tmp_path: Path, how: str) -> None:
    def use() -> None:
        with running(SETTING, tmp_path / "run", tmp_path / "cache", 6144):
            if how == "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
            raise ZeroDivisionError

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit if how == "SIGTERM" else ZeroDivisionError):
        use()
    assert (tmp_path / "run" / "home" / "ended").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_platform_that_does_not_start_says_its_last_words(tmp_path: Path, up: Path) -> None:
    up.write_text(f"#!{PYTHON}\nraise SystemExit('port 3233 is taken')\n")
    with (
        pytest.raises(HostError, match=r"ended with status 1 while starting(.|\n)*port 3233 is taken"),
        running(SETTING, tmp_path / "run", tmp_path / "cache", 6144),
    ):
        pass


def test_a_platform_that_crashed_in_the_middle_is_an_error_at_the_end(tmp_path: Path, up: Path) -> None:
    up.write_text(up.read_text().replace("sys.exit(0)", "sys.exit('books do not balance')"))
    with (
        pytest.raises(HostError, match=r"did not end in order(.|\n)*books do not balance"),
        running(SETTING, tmp_path / "run", tmp_path / "cache", 6144),
    ):
        pass


def make_function(tmp_path: Path, handler: str, manifest: str = "") -> Path:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "handler.py").write_text(textwrap.dedent(handler))
    (folder / "function.toml").write_text(manifest)
    return folder


def test_a_function_is_timed_without_a_platform(tmp_path: Path) -> None:
    folder = make_function(
        tmp_path,
        """
        import pathlib, time
        import instainfer
        time.sleep(0.02)
        assert instainfer.__version__
        def load():
            time.sleep(0.03)
            return pathlib.Path(__file__).with_name("w.bin").read_bytes()
        def main(args):
            print("noise on standard output")
            time.sleep(0.1 if not hasattr(main, "called") else 0.01)
            main.called = True
            return {"twice": 2 * args["x"]}
        """,
        'weights = ["w.bin"]\n',
    )
    (tmp_path / "w.bin").write_bytes(b"weights")
    found = measure(Path(PYTHON), folder, b'{"x": 4}', tmp_path, calls=3)
    assert found is not None
    assert found.library_s >= 0.02
    assert found.model_s >= 0.03
    assert found.first_s >= 0.1
    assert 0.01 <= found.later_s < 0.1
    assert not (folder / "w.bin").exists()


def test_a_script_has_no_main_to_time_and_a_broken_function_says_why(tmp_path: Path) -> None:
    folder = make_function(tmp_path, "raise RuntimeError('no such model')\n")
    with pytest.raises(BadFunction, match="no such model"):
        measure(Path(PYTHON), folder, b"{}")
    (folder / "function.toml").write_text('style = "script"\n')
    assert measure(Path(PYTHON), folder, b"{}") is None
