"""How much messages may hold, and the kinds of fields that several of them share.

Bounds on what an invoker tells a manager, and a manager a process, keep accidents away and are generous. Bounds on what
comes back keep enemies away: a function's process says what its author likes.
"""

from __future__ import annotations

from .framing import MIB
from .schema import choice, integer, many, name, names, native, number, prose, reasons, remark, table, text

MAX_ARGS_BYTES = 128 * MIB
"""Bound on one request inside a container; what a caller may send is the controller's to decide and far less."""
MAX_ANSWER_BYTES = 32 * MIB
"""Bound on one answer inside a container; what a function may answer is the controller's to decide and far less."""
MAX_LOGS_BYTES = 16 * MIB
"""Bound on what is kept of one activation's logs, whatever its limit says."""
LOGS_SLACK_BYTES = 1024
"""For the line which says that logs were cut."""
MAX_COMMAND_HEADER_BYTES = 64 * MIB
MAX_SAID_HEADER_BYTES = 2 * MIB
"""Of what a function's or a template's process says."""
MAX_REPORT_HEADER_BYTES = 4 * MIB

MOST_MESSAGE_CHARS = 16_000
"""Of a failure's words."""
MOST_MODULES = 10_000
MOST_MODULE_CHARS = 200
MOST_MODULES_CHARS = 400_000
"""Of the names of all modules in one message; what takes four bytes each is within the header's bound."""

KEY = text(2000, 1)
ACTIVATION = text(200, 1)
PATH = native(8192)
WORD = text(1000, 1)
ENV = table(native(4096), native(MIB), 10_000)
MODULES = names(MOST_MODULES, MOST_MODULE_CHARS, MOST_MODULES_CHARS)
SKIPPED = reasons(MOST_MODULES, MOST_MODULE_CHARS, 300, MOST_MODULES_CHARS)
"""Modules that cannot be had, and why."""
FOLDERS = many(PATH, 100_000)
ISOLATION = many(remark(400), 8)
"""Words about what was applied to a process."""
REASON = remark(300)
MODULE = name(MOST_MODULE_CHARS)
MESSAGE = prose(MOST_MESSAGE_CHARS)

SIZE = integer(0, 1 << 50)
SECONDS = number(0.0, 1e9)
PID = integer(1, 1 << 22)
"""The kernel's own bound."""
UID = integer(0, (1 << 32) - 2)

LOAD_FAILURE = choice("load_failed", "out_of_memory")
"""What a function's process may call the end of its load; how else it can end, it does not live to say."""
RUN_FAILURE = choice("raised", "bad_answer", "crashed", "out_of_memory")
FAILURE_KIND = choice("load_failed", "crashed", "timed_out", "raised", "bad_answer", "out_of_memory")
"""What a manager may call a failure: those of `core.model.FailureKind` that are a function's fault. A container's loss
and everything else that is the platform's fault is only ever found by the invoker."""
