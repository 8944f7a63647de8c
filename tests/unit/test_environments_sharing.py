"""Equal files of environments become links to one file, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from instainfer.environments.builder import gpu_hint
from instainfer.environments.lock import Lock, Pin
from instainfer.environments.sharing import Installed, share


def installed(root: Path, name: str, packages: str, files: dict[str, str], python: str = "python3.11") -> Installed:
    site = root / name / "lib" / python / "site-packages"
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    return Installed(site, frozenset(packages.split()))


def linked(one: Installed, two: Installed, name: str) -> bool:
    return (one.site / name).samefile(two.site / name)


def test_equal_files_are_linked_and_different_ones_are_not(tmp_path: Path) -> None:
    old = installed(tmp_path, "old", "a==1", {"a/x.py": "same", "a/y.py": "abc"})
    new = installed(tmp_path, "new", "a==1 b==1", {"a/x.py": "same", "a/y.py": "abd", "b.py": "12345"})
    sizes = share(new, [old])
    assert (sizes.total_bytes, sizes.shared_bytes) == (12, 4)
    assert [linked(old, new, name) for name in ("a/x.py", "a/y.py")] == [True, False]
    assert (new.site / "a/y.py").read_text() == "abd", "a package of this name may have other content"
    assert sorted(path.name for path in (new.site / "a").iterdir()) == ["x.py", "y.py"]
    assert share(new, [old]).shared_bytes == 4


@pytest.mark.parametrize(
    ("packages", "python"), [("c==1", "python3.11"), ("a==2", "python3.11"), ("a==1", "python3.12")]
)
def test_others_without_a_common_package_or_with_another_python_are_not_looked_at(
    tmp_path: Path, packages: str, python: str
) -> None:
    old = installed(tmp_path, "old", packages, {"a.py": "same"}, python)
    new = installed(tmp_path, "new", "a==1", {"a.py": "same"})
    assert share(new, [old]).shared_bytes == 0
    assert not (old.site / "a.py").samefile(new.site / "a.py")


def test_each_package_may_come_from_another_environment(tmp_path: Path) -> None:
    olds = [installed(tmp_path, name, f"{name}==1", {f"{name}.py": name}) for name in ("a", "b")]
    new = installed(tmp_path, "new", "a==1 b==1 c==1", {"a.py": "a", "b.py": "b", "c.py": "c"})
    assert share(new, olds).shared_bytes == 2
    assert linked(olds[0], new, "a.py")
    assert linked(olds[1], new, "b.py")


def test_links_are_neither_followed_nor_shared(tmp_path: Path) -> None:
    old = installed(tmp_path, "old", "a==1", {"a.py": "same"})
    new = installed(tmp_path, "new", "a==1", {"b.py": "same"})
    (new.site / "a.py").symlink_to(new.site / "b.py")
    share(new, [old])
    assert (new.site / "a.py").is_symlink()
    assert not (new.site / "b.py").samefile(old.site / "a.py")


def test_builds_for_gpus_are_hinted_at_where_there_is_none(tmp_path: Path) -> None:
    lock = Lock((Pin("nvidia-cublas-cu12", "12"), Pin("nvidia-cudnn-cu12", "9"), Pin("torch", "2")))
    hint = gpu_hint(lock, tmp_path / "none")
    assert "2 packages are for one (nvidia-cublas-cu12 and so on)" in hint
    assert "environments.index_url" in hint
    assert gpu_hint(lock, tmp_path) == ""
    assert gpu_hint(Lock((Pin("torch", "2"),)), tmp_path / "none") == ""
