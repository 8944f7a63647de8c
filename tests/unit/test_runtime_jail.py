"""What a jail says where the host gives less than it seemed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from instainfer.runtime import jail
from instainfer.runtime.uids import Uids
from instainfer.runtime.view import View


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
    monkeypatch.setattr(jail, "_filter_calls", lambda *_: "calls: as they were")
    uid, *_ = jail.narrow(str(tmp_path), str(tmp_path), str(tmp_path), lambda: 2_000_000_001)
    assert uid.startswith("own uid: not given (forked from a template")
    assert "its own uid cannot be taken: Operation not permitted" in uid


def test_what_fails_for_one_function_is_not_held_against_others(tmp_path: Path) -> None:
    uids = Uids(View())
    uids._can_give = True
    function: Any = SimpleNamespace(key="f", cache="")
    assert uids.give(function, str(tmp_path / "taken away"), 0, os.getpid()) is None
    assert not uids.may_give("f"), "so it is started without, and may ask no more"
    assert uids.may_give("g")
