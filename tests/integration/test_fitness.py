"""Which loaded processes can be forked from, tried with real libraries, each in an interpreter of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

FRAME = """
import json, os, sys
import warnings; warnings.simplefilter("ignore")
from instainfer.runtime.fitness import trial_failure, unfit_reason
from instainfer.runtime.forksafe import ForkSafety

safety = ForkSafety()
{load}

def forked_answer():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(answer()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return json.loads(said)

own = answer()  # before it is made fit: the answer may start threads
reason = unfit_reason(safety, answer)
threads = len(os.listdir("/proc/self/task"))
same = None if reason else [forked_answer() == own, forked_answer() == own]
print(json.dumps({{"reason": reason, "threads": threads, "same": same}}))
"""

DATA = """
import numpy as np
rng = np.random.default_rng(0)
x = rng.random((400, 20)); y = (x[:, 0] + x[:, 1] > 1).astype(int); q = rng.random((5, 20))
"""


def tried(load: str) -> dict[str, object]:
    code = FRAME.format(load=textwrap.dedent(load))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(
            """
            a = rng.random((600, 600))
            def answer(): return float((a @ a).sum())
            """,
            id="numpy",
        ),
        pytest.param(
            """
            from sklearn.ensemble import RandomForestClassifier
            model = RandomForestClassifier(50, n_jobs=2, random_state=0).fit(x, y)
            def answer(): return model.predict_proba(q).tolist()
            """,
            id="sklearn-forest",
        ),
        pytest.param(
            """
            from sklearn.ensemble import HistGradientBoostingClassifier
            model = HistGradientBoostingClassifier(max_iter=20).fit(x, y)
            def answer(): return model.predict_proba(q).tolist()
            """,
            id="sklearn-boosting-with-openmp",
        ),
    ],
)
def test_libraries_that_keep_threads_are_made_fit_and_answer_the_same(load: str) -> None:
    found = tried(DATA + textwrap.dedent(load))
    assert found == {"reason": None, "threads": 1, "same": [True, True]}


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        pytest.param(
            """
            import threading
            threading.Thread(target=threading.Event().wait, name="refresh", daemon=True).start()
            def answer(): return 1
            """,
            "load() has started a thread (refresh), which a forked process would not have; start it in main()",
            id="thread",
        ),
        pytest.param(
            """
            import subprocess
            child = subprocess.Popen(["sleep", "100"])
            import atexit; atexit.register(child.kill)
            def answer(): return 1
            """,
            "load() has started a process; start it in main(), or not at all",
            id="process",
        ),
        pytest.param(
            """
            import socket
            kept = socket.socketpair()
            def answer(): return 1
            """,
            "load() opens a connection (socket), which forked processes would share",
            id="connection",
        ),
        pytest.param(
            """
            owner = os.getpid()
            def answer():
                if os.getpid() != owner: raise ValueError("not here")
            """,
            "a forked process ends with exit code 1 in warmup()",
            id="fails-in-a-fork",
        ),
        pytest.param(
            """
            import signal
            owner = os.getpid()
            def answer():
                if os.getpid() != owner: os.kill(os.getpid(), signal.SIGSEGV)
            """,
            "a forked process is killed by signal 11 in warmup()",
            id="crashes-in-a-fork",
        ),
        pytest.param(
            """
            import threading
            import instainfer.runtime.fitness as fitness
            fitness.TRIAL_LEAST_S = 0.2
            owner = os.getpid()
            def answer():
                if os.getpid() != owner: threading.Event().wait()
            """,
            "warmup() does not end in a forked process (0.2 s); does a library keep threads of its own?",
            id="hangs-in-a-fork",
        ),
    ],
)
def test_what_cannot_be_forked_says_why_and_never_hangs(load: str, reason: str) -> None:
    found = tried(load)
    assert found["reason"] == reason


def test_a_trial_that_gets_no_processor_has_more_time() -> None:
    """A verdict that depended on how busy the machine was would be kept with the version."""
    found = tried(
        """
        import time
        import instainfer.runtime.fitness as fitness
        fitness.TRIAL_LEAST_S, fitness.TRIAL_FACTOR = 0.6, 0.0
        cpu = min(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpu})
        owner = os.getpid()

        def busy(cpu_s):
            began_s = time.process_time()
            while time.process_time() - began_s < cpu_s: pass

        def answer():
            # In the trial, other processes want the same processor for as long as the work takes.
            others = []
            for _ in range(8 if os.getpid() != owner else 0):
                others.append(os.fork())
                if others[-1] == 0:
                    busy(3.0)
                    os._exit(0)
            busy(0.3)
            for pid in others: os.kill(pid, 9)
            return 1
        """
    )
    assert found["reason"] is None
