"""Mapped weights are found by the file they are of, and come back when the kernel has dropped them."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from instainfer.runtime import mapped


def test_large_mapped_files_of_the_folder_are_found_whatever_name_they_were_opened_by(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "function"
    store.mkdir()
    folder.mkdir()
    weights = store / "abc"
    weights.write_bytes(os.urandom(2 * 1024 * 1024))
    os.link(weights, folder / "net.pt")
    (folder / "small.txt").write_bytes(b"x" * 100)
    assert mapped.weights_in(str(folder)) == []
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        assert pages[0:1]
        ((address, length),) = mapped.weights_in(str(folder))
        assert address > 0
        assert length == 2 * 1024 * 1024
        mapped.refresh([(address, length)])
    assert mapped.weights_in(str(folder)) == []
