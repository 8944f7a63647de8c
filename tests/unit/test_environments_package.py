"""A folder becomes an archive: the same bytes every time, nothing that does not belong in it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from instainfer.environments.package import pack
from instainfer.errors import BadFunction


def make_folder(folder: Path, **files: bytes) -> Path:
    for name, content in {"function.toml": b'weights = ["w/model.pt"]', "handler.py": b"", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names(code: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(code)).namelist()


def test_weights_travel_apart_and_are_named_by_content(tmp_path: Path) -> None:
    package = pack(make_folder(tmp_path, **{"w/model.pt": b"numbers"}))
    digest = f"sha256:{hashlib.sha256(b'numbers').hexdigest()}"
    assert package.weights == {"w/model.pt": tmp_path / "w/model.pt"}
    assert package.digests == {"w/model.pt": digest}
    assert names(package.code) == [".instainfer/weights.json", "function.toml", "handler.py"]
    with zipfile.ZipFile(io.BytesIO(package.code)) as archive:
        assert json.loads(archive.read(".instainfer/weights.json")) == {"w/model.pt": digest}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one = make_folder(tmp_path / "one", **{"w/model.pt": b"x", "a.py": b"a", "b.py": b"b"})
    other = make_folder(tmp_path / "other", **{"b.py": b"b", "a.py": b"a", "w/model.pt": b"x"})
    os.utime(other / "a.py", (1, 1))
    assert pack(one).code == pack(other).code


def test_of_a_mode_it_is_kept_whether_the_file_is_executable(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", **{"w/model.pt": b"", "bin/tool": b"#!/bin/sh\n", "data": b""})
    (folder / "bin/tool").chmod(0o700)
    (folder / "data").chmod(0o600)
    (folder / "linked").symlink_to("bin/tool")
    code = pack(folder).code
    entries = zipfile.ZipFile(io.BytesIO(code)).infolist()
    executable = {entry.filename for entry in entries if entry.external_attr >> 16 == 0o100755}
    assert executable == {"bin/tool", "linked"}
    (folder / "bin/tool").chmod(0o755)
    (folder / "data").chmod(0o644)
    assert pack(folder).code == code


def test_changed_weights_are_seen(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **{"w/model.pt": b"old"})
    before = pack(folder).digests
    (folder / "w/model.pt").write_bytes(b"newer")
    assert pack(folder).digests != before


def test_weights_come_from_the_other_folder_by_path_then_by_name(tmp_path: Path) -> None:
    folder, store = make_folder(tmp_path / "f"), tmp_path / "store"
    (store / "w").mkdir(parents=True)
    (store / "model.pt").write_bytes(b"by name")
    assert pack(folder, store).weights["w/model.pt"] == store / "model.pt"
    (store / "w/model.pt").write_bytes(b"by path")
    assert pack(folder, store).weights["w/model.pt"] == store / "w/model.pt"


def test_missing_weights_name_the_places(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f")
    with pytest.raises(BadFunction) as caught:
        pack(folder, tmp_path / "store")
    for place in (folder / "w/model.pt", tmp_path / "store/w/model.pt", tmp_path / "store/model.pt"):
        assert str(place) in str(caught.value)
    with pytest.raises(BadFunction, match="--weights"):
        pack(folder)


def test_what_stays_behind(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path,
        **{
            "function.toml": b"",
            "lib/util.py": b"",
            "lib/__pycache__/util.pyc": b"",
            ".git/config": b"",
            ".venv/bin/python": b"",
            ".instainfer/weights.json": b"{}",
            "notes.md": b"",
            "data/big.bin": b"",
            "data/small.txt": b"",
            "lib/data/kept.txt": b"",
            "tests/test_it.py": b"",
            ".instainferignore": b"# ours\n*.md\n\ndata/*.bin\ntests/\n",
        },
    )
    assert names(pack(folder).code) == [
        "data/small.txt",
        "function.toml",
        "handler.py",
        "lib/data/kept.txt",
        "lib/util.py",
    ]


def test_the_requirements_must_not_stay_behind(tmp_path: Path) -> None:
    files = {"function.toml": b"", "requirements.txt": b"six==1.16.0\n", ".instainferignore": b"*.txt\n"}
    folder = make_folder(tmp_path, **files)
    with pytest.raises(BadFunction, match=r"requirements\.txt is needed"):
        pack(folder)


def test_the_handler_must_not_stay_behind(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **{"function.toml": b"", ".instainferignore": b"hand*\n"})
    with pytest.raises(BadFunction, match=r"handler\.py is needed"):
        pack(folder)


def test_links(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", **{"function.toml": b""})
    (tmp_path / "shared.py").write_bytes(b"shared = 1")
    (folder / "shared.py").symlink_to(tmp_path / "shared.py")
    with zipfile.ZipFile(io.BytesIO(pack(folder).code)) as archive:
        assert archive.read("shared.py") == b"shared = 1"
    (folder / "loop").symlink_to(folder)
    with pytest.raises(BadFunction, match="link to a folder"):
        pack(folder)
    (folder / "loop").unlink()
    (folder / "broken").symlink_to(tmp_path / "absent")
    with pytest.raises(BadFunction, match="broken link"):
        pack(folder)
