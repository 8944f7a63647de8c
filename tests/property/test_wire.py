"""Any message survives its trip; any bytes are messages or a `ProtocolError`, and nothing else."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from instainfer.wire import calls, forks, messages
from instainfer.wire.bounds import MAX_LOGS_BYTES
from instainfer.wire.codec import Vocabulary
from instainfer.wire.framing import Decoder, Frame, ProtocolError, encode

VOCABULARIES = [
    messages.COMMANDS,
    messages.REPORTS,
    calls.TO_PROCESS,
    calls.FROM_PROCESS,
    forks.TO_TEMPLATE,
    forks.FROM_TEMPLATE,
]

keys = st.text(min_size=1, max_size=40)
native = st.text("aZ/=\n é\ud800\udc80\U0001f642", max_size=20)
names = st.text("aZ_.- éλ漢\U0001f642", min_size=1, max_size=40).map(str.strip).filter(bool)
prose = st.text(max_size=200)
sizes = st.integers(0, 1 << 50)
seconds = st.floats(0, 1e9)
env = st.dictionaries(native, native, max_size=4)
words = st.lists(names, max_size=8)
modules = st.lists(names, max_size=20)
reasons = st.dictionaries(names, names, max_size=10)
bodies = st.binary(max_size=200)
folders = st.lists(native, max_size=4)
kinds = ["load_failed", "crashed", "timed_out", "raised", "bad_answer", "out_of_memory"]
pids = st.integers(1, 1 << 22)


def failures(*allowed: str) -> st.SearchStrategy[messages.Failure]:
    return st.builds(messages.Failure, st.sampled_from(allowed), prose)


failure = failures(*kinds)
maybe_failure = st.none() | failure
templates = st.builds(messages.Template, keys, native, modules, folders, native)
functions = st.builds(
    messages.Function,
    keys,
    native,
    native,
    keys,
    main=keys,
    style=keys,
    memory_bytes=sizes,
    timeout_s=seconds,
    logs_bytes=st.integers(0, MAX_LOGS_BYTES),
    env=env,
    secrets=env,
    fast_init=st.booleans(),
    template=st.none() | templates,
    cache=native,
)

sources = st.sampled_from(["nothing", "libraries", "function"])

uids = st.integers(0, (1 << 32) - 2)
SAYABLE: list[tuple[Vocabulary, st.SearchStrategy[Any]]] = [
    (
        messages.COMMANDS,
        st.one_of(
            st.builds(messages.Define, functions),
            st.builds(messages.Load, keys),
            st.builds(messages.LoadTemplate, templates),
            st.builds(messages.LoadFunctionTemplate, keys, keys, st.booleans()),
            st.builds(messages.Run, keys, keys, env, bodies),
            st.builds(messages.Offload, keys),
            st.builds(messages.Resize, sizes),
            st.just(messages.Stop()),
        ),
    ),
    (
        messages.REPORTS,
        st.one_of(
            st.builds(messages.Ready, pids, words, sizes),
            st.builds(messages.Loaded, keys, seconds, seconds, sizes, words, sizes, sources, modules, reasons),
            st.builds(messages.LoadFailed, keys, failure, sizes),
            st.builds(messages.Gone, keys, maybe_failure, sizes),
            st.builds(
                messages.Ran,
                *(keys, keys, seconds, sizes, sizes, st.booleans(), maybe_failure, st.integers(0, 200), sizes, bodies),
            ),
            st.builds(messages.Measured, st.dictionaries(keys, sizes, max_size=5), sizes),
        ),
    ),
    (
        calls.TO_PROCESS,
        st.one_of(
            st.builds(calls.Prepare, functions, native, env, st.booleans(), st.booleans(), uid=uids),
            st.builds(calls.Mapped, uids),
            st.builds(calls.Ask, env, bodies),
            st.just(calls.Warm()),
        ),
    ),
    (
        calls.FROM_PROCESS,
        st.one_of(
            st.builds(calls.Born, pids),
            st.just(calls.Apart()),
            st.builds(calls.Jailed, words),
            st.just(calls.Imported()),
            st.builds(calls.Prepared, modules),
            st.builds(calls.Unloadable, failures("load_failed", "out_of_memory")),
            st.just(calls.Warmed()),
            st.builds(
                calls.Answered,
                st.none() | failures("raised", "bad_answer", "crashed", "out_of_memory"),
                st.booleans(),
                bodies,
            ),
        ),
    ),
    (
        forks.TO_TEMPLATE,
        st.one_of(st.builds(forks.Make, modules, folders, native, native, uids), st.just(forks.Fork())),
    ),
    (
        forks.FROM_TEMPLATE,
        st.one_of(st.builds(calls.Jailed, words), st.builds(forks.Made, reasons), st.builds(forks.Unfit, names, names)),
    ),
]
messages_and_whose = st.one_of([st.tuples(st.just(vocabulary), said) for vocabulary, said in SAYABLE])


@given(messages_and_whose)
def test_a_message_is_the_same_after_its_trip(said: tuple[Vocabulary, Any]) -> None:
    vocabulary, message = said
    (frame,) = vocabulary.decoder().feed(vocabulary.encode(message))
    assert vocabulary.decode(frame) == message


def read(vocabulary: Vocabulary, raw: bytes, step: int) -> list[Any]:
    """What these bytes are; ends at the first `ProtocolError`. Every other exception fails the test."""
    decoder, got = vocabulary.decoder(), []
    try:
        for start in range(0, len(raw), step):
            for frame in decoder.feed(raw[start : start + step]):
                got.append(vocabulary.decode(frame))
    except ProtocolError:
        pass
    return got


@given(st.sampled_from(VOCABULARIES), st.binary(max_size=400), st.integers(1, 400))
def test_any_bytes_are_messages_or_refused(vocabulary: Vocabulary, raw: bytes, step: int) -> None:
    read(vocabulary, raw, step)


@given(
    st.lists(messages_and_whose, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6), st.integers(0, 6)), max_size=6),
    st.integers(1, 400),
)
def test_mutated_frames_are_messages_or_refused(
    said: list[tuple[Vocabulary, Any]], changes: list[tuple[int, bytes, int]], step: int
) -> None:
    raw = b"".join(vocabulary.encode(message) for vocabulary, message in said)
    for at, put, cut in changes:
        place = at % (len(raw) + 1)
        raw = raw[:place] + put + raw[place + cut :]
    for vocabulary in VOCABULARIES:
        read(vocabulary, raw, step)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.data())
def test_a_message_with_anything_in_its_fields_is_one_or_refused(data: st.DataObject) -> None:
    vocabulary, said = data.draw(st.sampled_from(SAYABLE))
    (frame,) = Decoder().feed(vocabulary.encode(data.draw(said)))
    for field in frame.header.keys() - {"type"}:
        if data.draw(st.booleans()):
            frame.header[field] = data.draw(anything)
    raw = encode(frame.header, frame.body)
    for message in read(vocabulary, raw, len(raw)):
        # What was taken can be sent on, and comes out the same.
        (again,) = vocabulary.decoder().feed(vocabulary.encode(message))
        assert vocabulary.decode(again) == message


@given(st.binary(max_size=100), st.integers(0, 200), st.integers(0, 200))
def test_any_lengths_are_frames_or_refused(rest: bytes, total: int, header: int) -> None:
    frames: list[Frame] = []
    try:
        frames += Decoder().feed(struct.pack("!II", total, header) + rest)
    except ProtocolError:
        return
    for frame in frames:
        json.dumps(frame.header)
