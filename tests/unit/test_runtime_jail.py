"""What a jail says where the host gives less than it seemed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from instainfer.runtime import jail
from instainfer.runtime.ends import Farewell
from instainfer.runtime.loading import Loading


def test_a_namespace_without_capabilities_costs_the_own_uid_and_not_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(jail, "enter_user_namespace", lambda: None)
    monkeypatch.setattr(jail, "_first_closed", lambda *_: None)
    monkeypatch.setattr(os, "setgroups", refused)
    monkeypatch.setattr(jail, "_restrict_files", lambda *_: "files: as they were")
    monkeypatch.setattr(jail, "_drop_privileges", lambda: "privileges: as they were")
    uid, *_ = jail.narrow(str(tmp_path), str(tmp_path), str(tmp_path), lambda: 2_000_000_001)
    assert uid.startswith("own uid: not given (forked from a template")
    assert "its own uid cannot be taken: Operation not permitted" in uid


def test_what_fails_for_one_function_is_not_held_against_others(tmp_path: Path) -> None:
    ended: list[Farewell] = []
    host: Any = SimpleNamespace(end=ended.append)
    loading = Loading(None, str(tmp_path), host)  # type: ignore[arg-type]
    loading._gives_uids = True
    resident: Any = SimpleNamespace(key="f", scratch=str(tmp_path / "taken away"))
    loading._give_uid(resident, os.getpid())
    assert [(farewell.process, farewell.again) for farewell in ended] == [(resident, True)]
    assert not loading._may_have_uid("f"), "so it is started without, and may ask no more"
    assert loading._may_have_uid("g")
