"""Limits on the sizes of messages, and the kinds of fields that several messages share.

Messages from an invoker to a manager, and from a manager to a process, have generous limits, which only guard against
accidents. Messages the other way have limits that guard against attacks, because a function's author decides what the
function's process sends.
"""

from __future__ import annotations

from .framing import MIB
from .schema import choice, integer, many, name, names, native, number, prose, reasons, remark, table, text

MAX_ARGS_BYTES = 128 * MIB
"""Limit on one request inside a container. The controller sets a lower limit for callers."""
MAX_ANSWER_BYTES = 64 * MIB
"""Limit on one answer inside a container. The controller sets a lower limit for functions."""
MAX_VALUE_BYTES = 8 * MIB
"""Limit on one value of a streamed answer."""
WINDOW_BYTES = 256 * 1024
"""While the values that are on their way to the caller cost so much, the function waits with its next one."""
_VALUE_OVERHEAD_BYTES = 256
"""What a value costs beside its length, so that many small ones count, too."""
MAX_LOGS_BYTES = 16 * MIB
"""Limit on the stored logs of one activation, even if the function's own limit is higher."""
LOGS_SLACK_BYTES = 1024
"""Additional room for the line which says that logs were cut."""
MAX_COMMAND_HEADER_BYTES = 64 * MIB
MAX_SAID_HEADER_BYTES = 2 * MIB
"""Limit on the header of a message from a function's or a template's process."""
MAX_REPORT_HEADER_BYTES = 4 * MIB

MOST_MESSAGE_CHARS = 16_000
"""Limit on the text of a failure."""
MOST_MODULES = 10_000
MOST_MODULE_CHARS = 200
MOST_MODULES_CHARS = 400_000
"""Limit on the names of all modules in one message. They fit into a header even at four bytes per character."""

KEY = text(2000, 1)
ACTIVATION = text(200, 1)
PATH = native(8192)
WORD = text(1000, 1)
ENV = table(native(4096), native(MIB), 10_000)
MODULES = names(MOST_MODULES, MOST_MODULE_CHARS, MOST_MODULES_CHARS)
SKIPPED = reasons(MOST_MODULES, MOST_MODULE_CHARS, 300, MOST_MODULES_CHARS)
"""Modules that a template does without, with the reasons."""
FOLDERS = many(PATH, 100_000)
ISOLATION = many(remark(400), 8)
"""Texts about the isolation that was applied to a process."""
REASON = remark(300)
MODULE = name(MOST_MODULE_CHARS)
MESSAGE = prose(MOST_MESSAGE_CHARS)

SIZE = integer(0, 1 << 50)
SECONDS = number(0.0, 1e9)
PID = integer(1, 1 << 22)
"""The kernel's own limit on process ids."""
UID = integer(0, (1 << 32) - 2)

SOURCE = choice("nothing", "libraries", "function")
"""The values of `core.model.Source`."""
LOAD_FAILURE = choice("load_failed", "out_of_memory")
"""Failures of a load that a function's process may report. It does not survive the other failures of a load."""
RUN_FAILURE = choice("raised", "bad_answer", "crashed", "out_of_memory", "cancelled")
FAILURE_KIND = choice("load_failed", "crashed", "timed_out", "raised", "bad_answer", "out_of_memory", "cancelled")
"""Failures that a manager may report: the kinds of `core.model.FailureKind` that are a function's fault, and the end of
a streamed run that nobody wants any more. Failures that are the platform's fault, such as the loss of a container, are
found by the invoker only."""


def cost_bytes(value: bytes) -> int:
    """What one value of a streamed answer counts against `WINDOW_BYTES`."""
    return len(value) + _VALUE_OVERHEAD_BYTES
