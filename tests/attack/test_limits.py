"""Attacks that take more of the machine than a function may have."""

from __future__ import annotations

import pytest
from support.attacks import attacked

pytestmark = pytest.mark.attack


def test_open_files_end_before_those_of_the_machine(user: int) -> None:
    outcome = attacked(
        """
        import os
        def main(args):
            held = []
            while isinstance(fd := attempt(os.open, "/dev/null", os.O_RDONLY), int):
                held.append(fd)
            for each in held:
                os.close(each)
            return {"held": len(held), "error": fd}
        """,
        user=user,
    )
    assert outcome.failure is None
    assert outcome.got["error"] == "EMFILE"
    assert outcome.got["held"] <= 8192


def test_limits_cannot_be_raised_and_the_platform_is_ended_last(user: int) -> None:
    outcome = attacked(
        """
        import resource
        def lower(score):
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(score)
        def raised(name):
            try:
                resource.setrlimit(name, (1 << 20, 1 << 20))
            except (OSError, ValueError):
                return False
            return True
        def main(args):
            kinds = [resource.RLIMIT_NOFILE, resource.RLIMIT_CORE]
            if args["own uid"]:
                kinds.append(resource.RLIMIT_NPROC)
            return {
                "raised": [raised(name) for name in kinds],
                "score": int(open("/proc/self/oom_score_adj").read()),
                "manager": int(open("/proc/1/oom_score_adj").read()) if attempt(os.getppid) == 1 else 0,
                "lowered": attempt(lower, "-1000"),
            }
        """,
        {"own uid": user == 0},
        user=user,
    )
    assert outcome.failure is None
    assert not any(outcome.got["raised"])
    assert outcome.got["score"] > outcome.got["manager"] >= 0
    assert outcome.got["lowered"] in ("EACCES", "EPERM")
