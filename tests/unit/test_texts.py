"""Files that people saved with a byte order mark, in UTF-16, or in another encoding, wherever InstaInfer reads text."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from instainfer.address import credentials
from instainfer.cli.values import data
from instainfer.config import load_config
from instainfer.environments.manifest import read_manifest
from instainfer.environments.package import pack
from instainfer.environments.sample import sample_request
from instainfer.errors import InstaInferError
from instainfer.experiments.scenario import load as load_scenario
from instainfer.texts import decoded
from instainfer.traces.read import read

MARKED = {
    "UTF-8": codecs.BOM_UTF8 + "é=1".encode(),
    "UTF-16 LE": codecs.BOM_UTF16_LE + "é=1".encode("utf-16-le"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + "é=1".encode("utf-16-be"),
    "UTF-32 LE": codecs.BOM_UTF32_LE + "é=1".encode("utf-32-le"),
    "UTF-32 BE": codecs.BOM_UTF32_BE + "é=1".encode("utf-32-be"),
    "no mark": "é=1".encode(),
}


@pytest.mark.parametrize("name", MARKED)
def test_a_byte_order_mark_tells_the_encoding(name: str) -> None:
    assert decoded(MARKED[name]) == "é=1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"caf\xe9", r"not UTF-8 text \(byte 3\); save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"a", r"not UTF-16 text \(byte 2\); save it as UTF-8"),
        ("idna".encode("utf-16-le"), "no text: character 1 is NUL; save it as UTF-8"),
    ],
)
def test_another_encoding_is_told_with_its_place(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decoded(content)


def _manifest(folder: Path) -> object:
    return read_manifest(folder).memory_mb


def _requirements(folder: Path) -> object:
    return read_manifest(folder).requirements.lines


def _packed(folder: Path) -> object:
    return b"junk.bin" in pack(folder).code


def _config(folder: Path) -> object:
    return load_config().server.port


READERS: dict[str, tuple[str, Callable[[Path], object], object]] = {
    "function.toml": ("# é\nmemory = 512\n", _manifest, 512),
    "requirements.txt": ("idna==3.10  # é\n", _requirements, ("idna==3.10",)),
    ".instainferignore": ("# é\njunk.bin\n", _packed, False),
    "sample.json": ('{"text": "é"}', sample_request, json.dumps({"text": "é"}, separators=(",", ":")).encode()),
    "data.json": ('{"text": "é"}', lambda folder: data(f"@{folder}/data.json"), {"text": "é"}),
    "trace.csv": ("function,seconds\né,1\n", lambda folder: read(folder / "trace.csv").functions[0].name, "é"),
    "trace.csv.gz": ("function,seconds\né,1\n", lambda folder: read(folder / "trace.csv.gz").functions[0].name, "é"),
    "credentials": ("APIHOST=here\nAUTH=é:b\n", credentials, ("here", "é:b")),
    "instainfer.toml": ("# é\n[server]\nport = 7\n", _config, 7),
    "scenario.toml": (
        'name = "é"\n[nonsense]\n',
        lambda folder: load_scenario(folder / "scenario.toml"),
        InstaInferError,
    ),
}


def folder_with(folder: Path, name: str, content: bytes) -> Path:
    (folder / "handler.py").write_text("def main(args): return args\n")
    (folder / "junk.bin").write_bytes(b"junk")
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", READERS)
def test_each_file_is_read_by_its_mark(
    name: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, reader, expected = READERS[name]
    monkeypatch.chdir(folder_with(tmp_path, name, text.encode(encoding)))
    if expected is InstaInferError:
        with pytest.raises(InstaInferError, match="is not a scenario"):
            reader(tmp_path)
    else:
        assert reader(tmp_path) == expected


@pytest.mark.parametrize("name", READERS)
def test_each_file_in_another_encoding_is_named_with_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, reader, _ = READERS[name]
    monkeypatch.chdir(folder_with(tmp_path, name, text.encode("latin-1") + b"\xe9"))
    with pytest.raises(InstaInferError) as caught:
        reader(tmp_path)
    assert name in str(caught.value)
    assert "UTF-8" in str(caught.value)
