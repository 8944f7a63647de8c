"""Messages are what they were after a trip over the wire; old and new sides understand each other."""

from __future__ import annotations

from typing import Any

import pytest

from instainfer.wire import calls, forks, messages
from instainfer.wire.codec import Vocabulary
from instainfer.wire.framing import Decoder, Frame, ProtocolError

FUNCTION = messages.Function("guest/f@0.0.1", "/code/f", "/env/bin/python", "handler", env={"A": "ü"})
TEMPLATE = messages.Template("template:guest/e", "/env/bin/python", ["numpy", "numpy.linalg"], ["/code/f"])
FAILURE = messages.Failure("crashed", "killed by SIGSEGV")

MESSAGES: list[tuple[Vocabulary, Any]] = [
    (messages.COMMANDS, messages.Define(FUNCTION)),
    (messages.COMMANDS, messages.Define(FUNCTION._replace(template=TEMPLATE))),
    (messages.COMMANDS, messages.Load("guest/f@0.0.1")),
    (messages.COMMANDS, messages.LoadTemplate(TEMPLATE)),
    (messages.COMMANDS, messages.Run("guest/f@0.0.1", "a1", {"__OW_NAMESPACE": "guest"}, b'{"x": "\xc3\xbc"}')),
    (messages.COMMANDS, messages.Offload("guest/f@0.0.1")),
    (messages.COMMANDS, messages.Stop()),
    (messages.REPORTS, messages.Ready(17, ["files: only its own"], 9_000_000)),
    (messages.REPORTS, messages.Loaded("guest/f@0.0.1", 0.5, 1.25, 123, ["own uid: given"], 456)),
    (messages.REPORTS, messages.Loaded("template:guest/e", 0.5, 0.0, 123, [], 456, left_out={"a": "a thread"})),
    (messages.REPORTS, messages.Loaded("guest/f@0.0.1", 0.5, 1.25, 123, [], 456, forked=True, modules=["numpy"])),
    (messages.REPORTS, messages.LoadFailed("guest/f@0.0.1", FAILURE, 5)),
    (messages.REPORTS, messages.Gone("guest/f@0.0.1", None, 5)),
    (messages.REPORTS, messages.Gone("guest/f@0.0.1", FAILURE, 5)),
    (messages.REPORTS, messages.Ran("a1", "guest/f@0.0.1", 0.1, 7, True, None, 2, 8, b"{}line 1\nline 2")),
    (messages.REPORTS, messages.Ran("a1", "guest/f@0.0.1", 0.1, 0, False, FAILURE, 0, 8, b"")),
    (messages.REPORTS, messages.Measured({"guest/f@0.0.1": 77}, 100)),
    (calls.TO_PROCESS, calls.Prepare(FUNCTION, "/scratch/1")),
    (calls.TO_PROCESS, calls.Prepare(FUNCTION, "/scratch/1", {"HOME": "/scratch/1"}, learns=True)),
    (calls.TO_PROCESS, calls.Ask({"__OW_DEADLINE": "1"}, b"{}")),
    (calls.TO_PROCESS, calls.Warm()),
    (calls.FROM_PROCESS, calls.Warmed()),
    (calls.FROM_PROCESS, calls.Born(17)),
    (calls.FROM_PROCESS, calls.Apart()),
    (calls.TO_PROCESS, calls.Mapped(2_000_000_017)),
    (calls.FROM_PROCESS, calls.Prepared(1.5, ["own uid: given"])),
    (calls.FROM_PROCESS, calls.Prepared(1.5, [], ["numpy", "numpy.linalg"])),
    (calls.FROM_PROCESS, calls.Unloadable(FAILURE)),
    (calls.FROM_PROCESS, calls.Answered(0.25, None, False, b"[1]")),
    (calls.FROM_PROCESS, calls.Answered(0.25, FAILURE, True, b"")),
    (forks.TO_TEMPLATE, forks.Make(["numpy"], ["/code/f"], "/scratch/2")),
    (forks.TO_TEMPLATE, forks.Fork()),
    (forks.FROM_TEMPLATE, forks.Made(["own uid: not given"], {"numpy": "it cannot be imported"})),
    (forks.FROM_TEMPLATE, forks.Unfit("grpc", "its import starts a thread")),
]


@pytest.mark.parametrize(("vocabulary", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_message_is_the_same_after_its_trip(vocabulary: Vocabulary, message: Any) -> None:
    (frame,) = Decoder().feed(vocabulary.encode(message))
    assert vocabulary.decode(frame) == message


def test_requests_and_answers_are_not_encoded_again() -> None:
    raw = messages.COMMANDS.encode(messages.Run("guest/f@0.0.1", "a1", {}, b'{ "spaces" :  1 }'))
    assert raw.endswith(b'{ "spaces" :  1 }')


def test_answer_and_logs_share_the_body_of_a_report() -> None:
    ran = messages.Ran("a1", "f", 0.1, 7, True, None, 2, 8, b'{}first\nsecond "quoted"\n')
    assert ran.answer == b"{}"
    assert ran.logs == ["first", 'second "quoted"', ""]
    assert ran._replace(rest=b"{}").logs == []


def test_unknown_fields_are_ignored_at_every_depth() -> None:
    command = messages.Define(FUNCTION._replace(template=TEMPLATE))
    (frame,) = Decoder().feed(messages.COMMANDS.encode(command))
    frame.header["colour"] = "blue"
    frame.header["function"]["colour"] = "blue"
    frame.header["function"]["template"]["colour"] = "blue"
    assert messages.COMMANDS.decode(frame) == command


def test_fields_with_a_default_may_be_missing() -> None:
    header = {"type": "define", "function": {"key": "k", "folder": "/f", "python": "/p", "handler": "h"}}
    assert messages.COMMANDS.decode(Frame(header)).function == messages.Function("k", "/f", "/p", "h")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"type": "offload"}, "message 'offload' lacks function"),
        ({"type": "define", "function": {"key": "k"}}, "'function of define' lacks folder, python, handler"),
        ({"type": "define", "function": "k"}, "'function of define' is a str, not an object"),
        ({"type": "load_template", "template": {"key": "k"}}, "'template of load_template' lacks python, modules"),
        ({"type": "dance"}, "unknown message 'dance'; known: define, load, load_template, offload, run, stop"),
        ({"type": ["load"]}, "unknown message"),
        ({}, "unknown message None"),
    ],
)
def test_what_is_no_message_is_refused(header: dict[str, Any], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        messages.COMMANDS.decode(Frame(header))


def test_each_direction_knows_its_own_messages_only() -> None:
    with pytest.raises(KeyError):
        messages.REPORTS.encode(messages.Stop())
