"""A deployment is tried on the platform before callers get it, and what was compiled then is there after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from acceptance.live import running

pytestmark = pytest.mark.acceptance

NUMBA = """
import numba

@numba.njit(cache=True)
def total(n):
    s = 0.0
    for i in range(n):
        s += i % 7
    return s

def main(args):
    return {
        "total": total(args["n"]),
        "found": sum(total.stats.cache_hits.values()),
        "compiled": sum(total.stats.cache_misses.values()),
    }
"""


def test_one_that_fails_is_the_deployers_error_and_callers_keep_the_version_before(tmp_path: Path) -> None:
    with running(tmp_path) as platform:
        good = {"handler.py": "def main(args):\n    return {'x': args['x'] + 1}\n", "sample.json": '{"x": 1}'}
        said = platform.deploy("f", good)
        assert "loading f 0.0.1 and calling it with sample.json" in said.err
        assert "sample.json is answered: " in said.err
        assert platform.call("f", {"x": 1}).json()["response"]["result"] == {"x": 2}

        for wrong, words in (
            (
                "def main(args):\n    print('I was here')\n    return {'x': args['y']}\n",
                ["KeyError", "line 3, in main", "I was here"],
            ),
            ("import nothing_of_that_name\n", ["nothing_of_that_name", "is it in the function's requirements?"]),
            (
                "def load():\n    open('/nowhere')\ndef main(args):\n    return {}\n",
                ["FileNotFoundError", "line 2, in load"],
            ),
        ):
            said = platform.deploy("f", {**good, "handler.py": wrong}, code=1)
            assert [word for word in words if word not in said.err] == []
            assert "nothing has changed for callers" in said.err
            assert platform.call("f", {"x": 2}).json()["response"]["result"] == {"x": 3}

        platform.deploy("f", {**good, "handler.py": "def main(args):\n    return {'y': 0}\n"}, "--no-check")
        assert platform.call("f", {"x": 1}).json()["response"]["result"] == {"y": 0}


def test_without_a_sample_it_is_loaded_and_warmed_up(tmp_path: Path) -> None:
    code = """
        import os
        KERNEL = os.path.join(os.environ["XDG_CACHE_HOME"], "kernel")
        def warmup():
            open(KERNEL, "w").close()
        def main(args):
            return {"warm": os.path.exists(KERNEL)}
    """
    with running(tmp_path) as platform:
        assert "it can be loaded: " in platform.deploy("f", {"handler.py": code}).err
        platform.stop()
        platform.start()
        assert platform.call("f").json()["response"]["result"] == {"warm": True}


@pytest.mark.torch
@pytest.mark.timeout(900)
def test_what_numba_has_compiled_at_the_deployment_is_there_in_new_containers(tmp_path: Path) -> None:
    files = {"handler.py": NUMBA, "requirements.txt": "numba==0.68.1\n", "sample.json": '{"n": 10}'}
    with running(tmp_path) as platform:
        platform.deploy("f", files)
        for _ in range(2):
            platform.stop()
            platform.start()
            answer = platform.call("f", {"n": 10}).json()
            assert answer["response"]["result"] == {"total": 24.0, "found": 1, "compiled": 0}
