"""Weights by content: what is stored is what was announced, or nothing is."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from instainfer.environments.content import ContentStore
from instainfer.errors import BadInput, HostError, NotFound


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_written_in_pieces_and_read_only(tmp_path: Path) -> None:
    store, digest = ContentStore(tmp_path / "content"), digest_of(b"onetwo")
    assert not store.has(digest)
    with store.writer(digest) as writer:
        writer.write(b"one")
        writer.write(b"two")
        assert not store.has(digest)
        writer.commit()
    assert store.has(digest)
    assert store.path(digest).read_bytes() == b"onetwo"
    assert store.path(digest).stat().st_mode & 0o777 == 0o444
    assert len(names(store.root)) == 1


def test_what_differs_from_its_digest_is_refused(tmp_path: Path) -> None:
    store, digest = ContentStore(tmp_path), digest_of(b"announced")
    with store.writer(digest) as writer:
        writer.write(b"sent")
        with pytest.raises(BadInput, match="not what was announced"):
            writer.commit()
    assert names(tmp_path) == []
    with pytest.raises(NotFound):
        store.path(digest)


def test_without_commit_nothing_stays(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    with store.writer(digest_of(b"half")) as writer:
        writer.write(b"half")
    assert names(tmp_path) == []


def test_two_writers_of_the_same_content(tmp_path: Path) -> None:
    store, digest = ContentStore(tmp_path), digest_of(b"x")
    with store.writer(digest) as one, store.writer(digest) as other:
        for writer in (one, other):
            writer.write(b"x")
            writer.commit()
    assert len(names(tmp_path)) == 1
    assert store.path(digest).read_bytes() == b"x"


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ContentStore(tmp_path)
    half = os.write

    def fills_up(fd: int, data: bytes) -> int:
        half(fd, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fills_up)
    with (
        pytest.raises(HostError, match=r"no space left .* \(\d+ bytes free\)") as caught,
        store.writer(digest_of(b"big")) as writer,
    ):
        writer.write(b"big")
    assert str(tmp_path) in str(caught.value)
    assert names(tmp_path) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, write = ContentStore(tmp_path), os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    with store.writer(digest_of(b"longer")) as writer:
        writer.write(b"longer")
        writer.commit()
    assert store.path(digest_of(b"longer")).read_bytes() == b"longer"


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../x", f"sha256:{'A' * 64}", "a" * 64, f"md5:{'a' * 64}"])
def test_malformed_digests(tmp_path: Path, digest: str) -> None:
    store = ContentStore(tmp_path)
    for ask in (store.has, store.path, store.writer):
        with pytest.raises(BadInput, match="64 lower-case hexadecimal digits"):
            ask(digest)


def test_add_file_copies_once(tmp_path: Path) -> None:
    store, file = ContentStore(tmp_path / "content"), tmp_path / "model.pt"
    file.write_bytes(b"numbers")
    digest = store.add_file(file)
    assert digest == digest_of(b"numbers")
    inode = store.path(digest).stat().st_ino
    assert store.add_file(file) == digest
    assert store.path(digest).stat().st_ino == inode != file.stat().st_ino


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".incoming-old", tmp_path / ".incoming-young"
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    ContentStore(tmp_path)
    assert names(tmp_path) == [young.name]
