"""Each attack is made on a platform that root has started, and on one of an ordinary user."""

from __future__ import annotations

import os

import pytest
from support.attacks import USER


@pytest.fixture(params=["root", "user"])
def user(request: pytest.FixtureRequest) -> int:
    """The user id of the platform."""
    is_root = os.geteuid() == 0
    if request.param == "root":
        if not is_root:
            pytest.skip("needs root")
        return 0
    return USER if is_root else 0  # 0 changes nothing
