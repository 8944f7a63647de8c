"""Messages are what they were after a trip over the wire; old and new sides understand each other."""

from __future__ import annotations

from typing import Any

import pytest

from instainfer.core.model import Failure, FailureKind
from instainfer.wire import calls, forks, messages
from instainfer.wire.bounds import KEY
from instainfer.wire.codec import Fields, Vocabulary
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
    (messages.COMMANDS, messages.Taken("a1", 300)),
    (messages.COMMANDS, messages.Enough("a1")),
    (messages.REPORTS, messages.Value("a1", b'"token"')),
    (calls.TO_PROCESS, calls.Taken(300)),
    (calls.TO_PROCESS, calls.Enough()),
    (calls.FROM_PROCESS, calls.Yielded(b"1.5")),
    (messages.COMMANDS, messages.Offload("guest/f@0.0.1")),
    (messages.COMMANDS, messages.Forget("guest/f@0.0.1")),
    (messages.COMMANDS, messages.Resize(512 << 20)),
    (messages.COMMANDS, messages.Stop()),
    (messages.REPORTS, messages.Ready(17, ["files: only its own"], 9_000_000)),
    (messages.REPORTS, messages.Loaded("guest/f@0.0.1", 0.5, 1.25, 123, ["own uid: given"], 456)),
    (messages.REPORTS, messages.Loaded("template:guest/e", 0.5, 0.0, 123, [], 456, left_out={"a": "a thread"})),
    (
        messages.REPORTS,
        messages.Loaded("guest/f@0.0.1", 0.5, 1.25, 123, [], 456, source="libraries", modules=["numpy"]),
    ),
    (messages.REPORTS, messages.LoadFailed("guest/f@0.0.1", FAILURE, 5)),
    (messages.REPORTS, messages.Gone("guest/f@0.0.1", None, 5)),
    (messages.REPORTS, messages.Gone("guest/f@0.0.1", FAILURE, 5)),
    (messages.REPORTS, messages.Ran("a1", "guest/f@0.0.1", 0.1, 7, 9, True, None, 2, 8, b"{}line 1\nline 2")),
    (messages.REPORTS, messages.Ran("a1", "guest/f@0.0.1", 0.1, 0, 0, False, FAILURE, 0, 8, b"")),
    (messages.REPORTS, messages.Measured({"guest/f@0.0.1": 77}, 100)),
    (calls.TO_PROCESS, calls.Prepare(FUNCTION, "/scratch/1")),
    (calls.TO_PROCESS, calls.Prepare(FUNCTION, "/scratch/1", {"HOME": "/scratch/1"}, learns=True)),
    (calls.TO_PROCESS, calls.Ask({"__OW_DEADLINE": "1"}, b"{}")),
    (calls.TO_PROCESS, calls.Warm()),
    (calls.FROM_PROCESS, calls.Warmed()),
    (calls.FROM_PROCESS, calls.Born(17)),
    (calls.FROM_PROCESS, calls.Apart()),
    (calls.TO_PROCESS, calls.Mapped(2_000_000_017)),
    (calls.FROM_PROCESS, calls.Jailed(["own uid: given"])),
    (calls.FROM_PROCESS, calls.Imported()),
    (calls.FROM_PROCESS, calls.Prepared()),
    (calls.FROM_PROCESS, calls.Prepared(["numpy", "numpy.linalg"])),
    (calls.FROM_PROCESS, calls.Unloadable(messages.Failure("load_failed", "no module"))),
    (calls.FROM_PROCESS, calls.Answered(None, False, b"[1]")),
    (calls.FROM_PROCESS, calls.Answered(FAILURE, True, b"")),
    (forks.TO_TEMPLATE, forks.Make(["numpy"], ["/code/f"], "/scratch/2")),
    (forks.TO_TEMPLATE, forks.Fork()),
    (forks.FROM_TEMPLATE, forks.Made({"numpy": "it cannot be imported"})),
    (forks.FROM_TEMPLATE, calls.Jailed(["own uid: not given"])),
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
    ran = messages.Ran("a1", "f", 0.1, 7, 9, True, None, 2, 8, b'{}first\nsecond "quoted"\n')
    assert ran.answer == b"{}"
    assert ran.logs == b'first\nsecond "quoted"\n'
    assert ran._replace(rest=b"{}").logs == b""


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
        ({"type": "offload"}, "message 'offload' lacks the fields function"),
        ({"type": "define", "function": {"key": "k"}}, "field function lacks the fields folder, python, handler"),
        ({"type": "define", "function": "k"}, "message 'define', field function: expected an object, not 'k'"),
        ({"type": "load_template", "template": {"key": "k"}}, "field template lacks the fields python, modules"),
        (
            {"type": "dance"},
            "unknown message 'dance'; known: define, enough, forget, load, load_function_template",
        ),
        ({"type": ["load"]}, "unknown message"),
        ({}, "unknown message None"),
        ({"type": "load", "function": 1}, "field function: expected text of 1 to 2000 characters, not 1"),
        ({"type": "load", "function": ["x"]}, "not a list of 1 items"),
        ({"type": "load", "function": "x" * 5000}, "expected text of 1 to 2000"),
        ({"type": "load", "function": "\ud800"}, "expected text of 1 to 2000"),
    ],
)
def test_what_is_no_message_is_refused(header: dict[str, Any], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        messages.COMMANDS.decode(Frame(header))


def test_each_direction_knows_its_own_messages_only() -> None:
    with pytest.raises(KeyError):
        messages.REPORTS.encode(messages.Stop())


def report(kind: str, **fields: Any) -> Frame:
    """A report of this kind that is right but for these fields."""
    right: dict[str, dict[str, Any]] = {
        "loaded": {"library_s": 1.0, "model_s": 0, "resident_bytes": 1, "isolation": []},
        "gone": {"failure": None},
        "ran": {
            "activation": "a",
            "compute_s": 1,
            "resident_bytes": 1,
            "peak_bytes": 1,
            "alive": True,
            "failure": None,
        },
        "measured": {"resident_bytes": {}},
    }
    header = {"type": kind, "function": "f", "total_bytes": 1, "answer_bytes": 0, **right[kind]}
    assert messages.REPORTS.decode(Frame(header)) is not None
    return Frame({**header, **fields})


@pytest.mark.parametrize(
    "frame",
    [
        report("ran", compute_s="x"),
        report("ran", compute_s=-0.1),
        report("ran", compute_s=float("nan")),
        report("ran", compute_s=float("inf")),
        report("ran", compute_s=True),
        report("ran", resident_bytes=1.5),
        report("ran", resident_bytes=10**30),
        report("ran", peak_bytes=-1),
        report("ran", alive=1),
        report("ran", failure={"kind": "container_lost", "message": ""}),
        report("ran", failure={"kind": "queue_full", "message": ""}),
        report("ran", failure={"kind": "crashed", "message": "x" * 100_000}),
        report("ran", failure={"kind": "crashed", "message": 3}),
        report("ran", failure={"kind": ["crashed"], "message": ""}),
        report("ran", answer_bytes=-1),
        report("loaded", isolation=[1]),
        report("loaded", isolation=["x" * 1000]),
        report("loaded", isolation=["x"] * 1000),
        report("loaded", isolation=["two\nlines"]),
        report("loaded", modules=["x" * 201]),
        report("loaded", modules=["\ud800"]),
        report("loaded", modules=["a\x1b[2Jb"]),
        report("loaded", modules=["x"] * 10_001),
        report("loaded", modules=["x" * 200] * 5000),
        report("loaded", left_out={"x": "y" * 400}),
        report("loaded", left_out={"x": None}),
        report("loaded", left_out=["x"]),
        report("loaded", source="magic"),
        report("measured", resident_bytes={"f": -1}),
        report("measured", resident_bytes={"f": "1"}),
        report("measured", total_bytes=None),
        Frame(report("gone").header, b"body"),
    ],
    ids=lambda frame: ascii(str(frame.header))[:60],
)
def test_what_a_field_may_not_hold_is_refused(frame: Frame) -> None:
    with pytest.raises(ProtocolError, match=r"expected|should have no body"):
        messages.REPORTS.decode(frame)


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if Failure(kind, "").fault == "platform"])
def test_nobody_inside_a_container_can_claim_a_failure_of_the_platform(kind: FailureKind) -> None:
    said = {"kind": kind, "message": "not my fault"}
    for vocabulary, header in (
        (messages.REPORTS, report("gone", failure=said).header),
        (calls.FROM_PROCESS, {"type": "unloadable", "failure": said}),
        (calls.FROM_PROCESS, {"type": "answered", "failure": said, "last": False}),
    ):
        with pytest.raises(ProtocolError, match=r"field failure\.kind: expected one of "):
            vocabulary.decode(Frame(header))


def test_every_failure_of_a_function_has_a_name_on_the_wire() -> None:
    for kind in FailureKind:
        if Failure(kind, "").fault == "function":
            (frame,) = Decoder().feed(messages.REPORTS.encode(messages.Gone("f", messages.Failure(kind, ""), 1)))
            assert messages.REPORTS.decode(frame).failure.kind == kind


def test_what_is_only_for_people_is_cut_and_not_refused() -> None:
    for text in ("x" * 100_000, "a\ud800b", "\0"):
        failed = messages.LoadFailed("f", messages.Failure("crashed", text), 1)
        (frame,) = Decoder().feed(messages.REPORTS.encode(failed))
        told = messages.REPORTS.decode(frame).failure.message
        assert told in {text[:15_997] + "...", "a?b", text}
        told.encode()
    skipped = {"x" * 300: "a name that is none", "numpy": "first\nsecond\ud800" + "x" * 1000, "empty": ""}
    (frame,) = Decoder().feed(forks.FROM_TEMPLATE.encode(forks.Made(skipped)))
    made = forks.FROM_TEMPLATE.decode(frame)
    assert made.skipped.keys() == {"numpy", "empty"}
    assert made.skipped["numpy"].startswith("first second ")
    many = [f"package.module_{number:0150d}" for number in range(20_000)]
    (frame,) = Decoder().feed(calls.FROM_PROCESS.encode(calls.Prepared(many)))
    assert 1000 < len(calls.FROM_PROCESS.decode(frame).modules) < 10_000


def test_a_message_is_told_apart_from_others_with_its_fields_in_place() -> None:
    with pytest.raises(TypeError, match="Failure has other fields"):
        Fields(messages.Failure, kind=KEY)
