"""What a function's author reads when its code raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from instainfer.runtime.failures import failure_of


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_type_text_and_place_are_named() -> None:
    failure = failure_of(raised(ValueError("bad shape")), "raised", "main()")
    assert failure.kind == "raised"
    first, *rest = failure.message.split("\n")
    assert first == "main() raised ValueError: bad shape"
    assert any("test_runtime_failures.py" in line and "in raised" in line for line in rest)


def test_types_of_libraries_are_named_with_their_module() -> None:
    failure = failure_of(pytest.UsageError("x"), "raised", "main()", hint="do y")
    assert failure.message == "main() raised pytest.UsageError: x (do y)"


def test_memory_error_is_its_own_kind() -> None:
    failure = failure_of(raised(MemoryError()), "raised", "main()")
    assert failure.kind == "out_of_memory"
    assert failure.message.startswith("main() raised MemoryError (the function's memory limit may be too low)")


def test_an_exception_whose_text_raises_is_reported_all_the_same() -> None:
    assert "OddError: (its text cannot be had)" in failure_of(OddError(), "raised", "main()").message


def test_long_texts_are_cut() -> None:
    assert len(failure_of(ValueError("x" * 100_000), "raised", "main()").message) < 5000


def test_frames_of_the_platform_and_of_imports_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_handler.py").write_text("def inner():\n    1 / 0\ninner()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    try:
        importlib.import_module("broken_handler")
    except ZeroDivisionError as error:
        trace = error.__traceback__
        assert trace is not None
        message = failure_of(error.with_traceback(trace.tb_next), "load_failed", "importing").message
    assert message.split("\n")[1].strip() == 'File "{}", line 3, in <module>'.format(tmp_path / "broken_handler.py")
    assert "importlib" not in message


def test_a_folder_that_is_not_private_has_its_remedy_named() -> None:
    failure = failure_of(raised(PermissionError(13, "Permission denied", "/tmp/x")), "raised", "main()")
    assert "(only the folder that TMPDIR and tempfile.gettempdir() name may be written)" in failure.message
