"""A stranger's archive becomes a read-only folder with its weights, or is refused and leaves nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import threading
import warnings
import zipfile
from pathlib import Path

import pytest

from instainfer.environments import folders
from instainfer.environments.content import ContentStore
from instainfer.environments.folders import FunctionFolders
from instainfer.environments.package import pack
from instainfer.errors import BadFunction, BadInput


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


@pytest.fixture
def store(tmp_path: Path, content: ContentStore) -> FunctionFolders:
    return FunctionFolders(tmp_path / "functions", content)


def archive(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        warnings.simplefilter("ignore")  # it warns of the duplicate names that we want to see refused
        for name, data in entries:
            zipped.writestr(name, data)
    return buffer.getvalue()


def special(name: str, mode: int, compression: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = compression
    entry.external_attr = mode << 16
    return entry


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_packed_function_comes_out_as_it_went_in(
    tmp_path: Path, store: FunctionFolders, content: ContentStore
) -> None:
    source = tmp_path / "source"
    (source / "lib").mkdir(parents=True)
    (source / "function.toml").write_text('weights = ["w/model.pt"]')
    (source / "handler.py").write_text("import lib.util")
    (source / "lib/util.py").write_text("")
    (source / "w").mkdir()
    (source / "w/model.pt").write_bytes(b"numbers")
    package = pack(source)
    for path in package.weights.values():
        content.add_file(path)

    made = store.materialise(package.code, binary=True)
    assert made.manifest == package.manifest
    assert made.weights_bytes == len(b"numbers")
    assert made.folder == store.root / made.digest
    assert (made.folder / "handler.py").read_text() == "import lib.util"
    assert (made.folder / "w/model.pt").samefile(content.path(package.digests["w/model.pt"]))
    assert {mode(path) for path in made.folder.rglob("*") if path.is_file()} == {0o444}
    assert {mode(path) for path in (made.folder, made.folder / "lib", made.folder / "w")} == {0o555}
    assert store.materialise(package.code, binary=True) == made
    assert os.listdir(store.root) == [made.digest]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_what_may_be_executed_stays_so_and_everybody_may_read(store: FunctionFolders, umask: int) -> None:
    modes = {"mine": 0o100700, "group": 0o100650, "plain": 0o100600, "setuid": 0o104755, "dos": 0}
    code = archive(("__main__.py", b""), *((special(f"bin/{name}", mode), b"") for name, mode in modes.items()))
    before = os.umask(umask)
    try:
        folder = store.materialise(code, binary=True).folder
    finally:
        os.umask(before)
    assert {path.name: mode(path) for path in (folder / "bin").iterdir()} == {
        "mine": 0o555,
        "group": 0o555,
        "plain": 0o444,
        "setuid": 0o555,
        "dos": 0o444,
    }
    assert mode(folder) == mode(folder / "bin") == 0o555


def test_one_source_text_is_a_plain_action(store: FunctionFolders) -> None:
    made = store.materialise(b"def main(args): return args\n", binary=False)
    assert made.manifest.handler == "__main__"
    assert os.listdir(made.folder) == ["__main__.py"]


def test_the_same_bytes_as_text_and_as_archive_are_two_folders(store: FunctionFolders) -> None:
    code = archive(("__main__.py", b""))
    assert store.materialise(code, binary=False).folder != store.materialise(code, binary=True).folder


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("../evil.py", "inside the function's folder"),
        ("/evil.py", "inside the function's folder"),
        ("a/../../evil.py", "inside the function's folder"),
        ("a\\..\\evil.py", "inside the function's folder"),
        ("a//b.py", "inside the function's folder"),
        ("n" * 256, "inside the function's folder"),
        (special("link", stat.S_IFLNK | 0o777), "link or a device"),
        (special("squeezed", 0o644, zipfile.ZIP_LZMA), "not compressed by deflate"),
        (special("pipe", stat.S_IFIFO | 0o644), "link or a device"),
        ("__main__.py", "twice"),
        ("__main__.py/below", "both as a file and as a folder"),
    ],
)
def test_refused_archives(store: FunctionFolders, entry: str | zipfile.ZipInfo, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        store.materialise(archive(("__main__.py", b""), (entry, b"/etc/passwd")), binary=True)
    assert os.listdir(store.root) == []
    assert not (store.root.parent / "evil.py").exists()


def test_archives_that_swell(store: FunctionFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_BYTES", 1024 * 1024)
    bomb = archive(("__main__.py", b""), ("a", bytes(700_000)), ("b", bytes(700_000)))
    assert len(bomb) < 5000
    with pytest.raises(BadInput, match="unpacks to more than the 1 MB"):
        store.materialise(bomb, binary=True)
    monkeypatch.setattr(folders, "MAX_FILES", 2)
    with pytest.raises(BadInput, match="3 files"):
        store.materialise(bomb, binary=True)
    assert os.listdir(store.root) == []


def test_damaged_archives(store: FunctionFolders) -> None:
    whole = archive(("__main__.py", os.urandom(4096)))
    for code in (b"", b"not a zip", whole[:2000], whole[:1000] + b"\0" * 50 + whole[1050:]):
        with pytest.raises(BadInput, match="not a sound zip"):
            store.materialise(code, binary=True)
    assert os.listdir(store.root) == []


def test_not_a_function(store: FunctionFolders) -> None:
    with pytest.raises(BadFunction, match="neither handler"):
        store.materialise(archive(("readme", b"")), binary=True)
    assert os.listdir(store.root) == []


def with_weights(weights: object, *more: tuple[str, bytes], manifest: str = 'weights = ["m.pt"]') -> bytes:
    return archive(
        ("handler.py", b""),
        ("function.toml", manifest.encode()),
        (".instainfer/weights.json", json.dumps(weights).encode()),
        *more,
    )


def test_wrong_weights(store: FunctionFolders, content: ContentStore, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    stored = content.add_file(tmp_path / "m.pt")
    absent = f"sha256:{hashlib.sha256(b'absent').hexdigest()}"
    cases: list[tuple[bytes, type[Exception], str]] = [
        (with_weights({"m.pt": absent}), BadInput, rf"m\.pt: their content {absent} is not stored"),
        (with_weights({"m.pt": "md5:1"}), BadInput, "not a digest"),
        (with_weights({"../m.pt": stored}), BadInput, "not a path inside"),
        (with_weights(["m.pt"]), BadInput, "JSON object"),
        (with_weights({"handler.py": stored}), BadInput, "holds a file of that name"),
        (with_weights({"other.pt": stored}), BadFunction, r"m\.pt: neither sent apart nor part of the code"),
    ]
    for code, error, said in cases:
        with pytest.raises(error, match=said):
            store.materialise(code, binary=True)
    assert os.listdir(store.root) == []


def test_weights_inside_the_code_count_too(store: FunctionFolders) -> None:
    assert store.materialise(with_weights({}, ("m.pt", b"four")), binary=True).weights_bytes == 4


def test_without_hard_links_weights_are_links(
    tmp_path: Path, store: FunctionFolders, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.pt").write_bytes(b"numbers")
    digest = content.add_file(tmp_path / "m.pt")
    code = with_weights({"m.pt": digest})

    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", refuse)
        made = store.materialise(code, binary=True)
    assert (made.folder / "m.pt").is_symlink()
    assert (made.folder / "m.pt").read_bytes() == b"numbers"
    assert mode(content.path(digest)) == 0o444

    content.path(digest).unlink()
    with pytest.raises(BadInput, match="is not stored"):
        store.materialise(code, binary=True)
    content.add_file(tmp_path / "m.pt")
    assert (store.materialise(code, binary=True).folder / "m.pt").read_bytes() == b"numbers"


def test_many_at_once_make_one_folder(store: FunctionFolders) -> None:
    code = archive(("__main__.py", b"x = 1"), *((f"lib/m{n}.py", b"") for n in range(20)))
    made, start = set[Path](), threading.Barrier(4)

    def materialise() -> None:
        start.wait()
        made.add(store.materialise(code, binary=True).folder)

    threads = [threading.Thread(target=materialise) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert os.listdir(store.root) == [made.pop().name]


def test_remove(store: FunctionFolders) -> None:
    made = store.materialise(archive(("__main__.py", b""), ("a/b.py", b"")), binary=True)
    store.remove(made.digest)
    store.remove(made.digest)
    assert os.listdir(store.root) == []
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        store.remove("../content")
