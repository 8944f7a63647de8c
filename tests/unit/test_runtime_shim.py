"""``import instainfer`` inside a function, where no container is around."""

from __future__ import annotations

import io
import json
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

import instainfer
from instainfer.runtime import shim


@pytest.fixture(autouse=True)
def _fresh_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "_session", shim.Session())


def test_requests_are_lines_of_standard_input_and_answers_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 1}\n{"a": 2}\n'))
    assert instainfer.receive() == {"a": 1}
    instainfer.reply({"b": 1})
    assert instainfer.receive() == {"a": 2}
    assert capsys.readouterr().out == '{"b":1}\n'
    with pytest.raises(SystemExit) as end:
        instainfer.receive()
    assert end.value.code == 0


def fake_torch(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    module = types.ModuleType("torch")
    module.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", module)


def modern_load(f: Any, map_location: Any = None, *, mmap: bool | None = None, **more: Any) -> Any:
    return f, map_location, mmap, more


def old_load(f: Any, map_location: Any = None, **more: Any) -> Any:
    return f, map_location, more


def test_load_is_torch_load_onto_the_cpu_and_mapped_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_torch(monkeypatch, modern_load)
    new, old = tmp_path / "new.pt", tmp_path / "old.pt"
    with zipfile.ZipFile(new, "w") as archive:
        archive.writestr("data", b"x")
    old.write_bytes(b"\x80\x02 pickled")
    assert instainfer.load(new) == (new, "cpu", True, {})
    assert instainfer.load(old) == (old, "cpu", None, {})
    assert instainfer.load(new, mmap=False, map_location="meta", weights_only=True) == (
        new,
        "meta",
        False,
        {"weights_only": True},
    )
    assert instainfer.load(new, mmap=None) == (new, "cpu", True, {})
    fake_torch(monkeypatch, old_load)
    assert instainfer.load(str(new)) == (str(new), "cpu", {})


def torch_load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: Any = None,
    mmap: Any = None,
    **more: Any,
) -> Any:
    """With the parameters of PyTorch 2."""
    return f, map_location, pickle_module, weights_only, mmap, more


def test_load_takes_what_torch_load_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_torch(monkeypatch, torch_load)
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", b"x")
    assert instainfer.load(str(path), "meta") == (str(path), "meta", None, None, True, {})
    assert instainfer.load(path, None) == (path, None, None, None, True, {})
    assert instainfer.load(path, "cpu", json, weights_only=False) == (path, "cpu", json, False, True, {})
    assert instainfer.load(f=path, map_location="cpu", weights_only=True) == (path, "cpu", None, True, True, {})
    assert instainfer.load(path, encoding="latin1") == (path, "cpu", None, None, True, {"encoding": "latin1"})
    content = io.BytesIO(path.read_bytes())
    assert instainfer.load(content, "cpu", weights_only=True) == (content, "cpu", None, True, None, {})
    with path.open("rb") as file:
        assert instainfer.load(file) == (file, "cpu", None, None, None, {})


def test_safetensors_are_mapped_by_their_own_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = types.ModuleType("safetensors.torch")
    module.load_file = lambda path, device="cpu": (path, device)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "safetensors", types.ModuleType("safetensors"))
    monkeypatch.setitem(sys.modules, "safetensors.torch", module)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    assert instainfer.load(path) == (path, "cpu")
    assert instainfer.load(str(path), map_location="meta", weights_only=True, mmap=True) == (str(path), "meta")
    assert instainfer.load(path, device="cuda:1") == (path, "cuda:1")
    assert instainfer.load(path, "cuda:1", weights_only=None) == (path, "cuda:1")
    assert instainfer.load(f=path, map_location=None) == (path, "cpu")
    with pytest.raises(TypeError, match="pickle_module"):
        instainfer.load(path, pickle_module=None)
    with pytest.raises(FileNotFoundError, match=r"No such file or directory.*none\.safetensors"):
        instainfer.load(tmp_path / "none.safetensors")
