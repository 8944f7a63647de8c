"""Frames that an enemy would send: whole ones, and whole ones with something wrong."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

from instainfer.wire import messages
from instainfer.wire.calls import (
    FROM_PROCESS,
    Answered,
    Apart,
    Born,
    Imported,
    Jailed,
    Prepared,
    Unloadable,
    Warmed,
    Yielded,
)
from instainfer.wire.codec import Vocabulary
from instainfer.wire.framing import Decoder, encode

WEIRD: list[Any] = [
    *(None, True, -1, 0, 1, 1.5, -0.0, 1e308, 2**53, 2**64, 10**30, "", "x", "x" * 70_000, "\0", "\ud800", "\x1b[2J"),
    *([], {}, [1], [[]], ["x"] * 20_000, {"x": "y"}, {"kind": "container_lost", "message": "no"}, {"kind": "crashed"}),
    *({"kind": "crashed", "message": "x" * 20_000}, {f"k{n}": n for n in range(11_000)}, "\u202e", "template:t/e"),
]
RAW_VALUES = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 6000,
    b'"\xff"',
    b'"\\ud800"',
    b"",
    b"}",
]


class Fuzzer:
    """Draws from `rng` alone, so that a seed says it all."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ways = [
            *(self._with_a_weird_field, self._with_a_field_less, self._with_raw_json, self._flipped, self._cut),
            *(self._noise, self._wrong_lengths, self._with_a_body, self._huge_claim, self._twice, self._unknown),
        ]

    def spoiled(self, raw: bytes) -> bytes:
        """This frame, or what was made of it."""
        return self._rng.choice(self._ways)(raw)

    def _parts(self, raw: bytes) -> tuple[dict[str, Any], bytes]:
        (frame,) = Decoder().feed(raw)
        return frame.header, frame.body

    def _with_a_weird_field(self, raw: bytes) -> bytes:
        header, body = self._parts(raw)
        target = header
        field = self._rng.choice(list(target))
        if isinstance(target[field], dict) and target[field] and self._rng.random() < 0.5:
            target = target[field]
            field = self._rng.choice(list(target))
        target[field] = self._rng.choice(WEIRD)
        return encode(header, body)

    def _with_a_field_less(self, raw: bytes) -> bytes:
        header, body = self._parts(raw)
        del header[self._rng.choice(list(header))]
        return encode(header, body)

    def _with_raw_json(self, raw: bytes) -> bytes:
        header, body = self._parts(raw)
        field = self._rng.choice(list(header))
        header[field] = "HERE"
        text = json.dumps(header, ensure_ascii=True).encode().replace(b'"HERE"', self._rng.choice(RAW_VALUES))
        return struct.pack("!II", 4 + len(text) + len(body), len(text)) + text + body

    def _flipped(self, raw: bytes) -> bytes:
        changed = bytearray(raw)
        for _ in range(self._rng.randint(1, 4)):
            changed[self._rng.randrange(8, len(raw))] = self._rng.randrange(256)
        return bytes(changed)

    def _cut(self, raw: bytes) -> bytes:
        return raw[: self._rng.randrange(len(raw))]

    def _noise(self, raw: bytes) -> bytes:
        return self._rng.randbytes(self._rng.randint(1, 200))

    def _wrong_lengths(self, raw: bytes) -> bytes:
        total, header = (self._rng.choice([0, 3, 4, 5, len(raw), 2**31, 2**32 - 1]) for _ in range(2))
        return struct.pack("!II", total, header) + raw[8:]

    def _with_a_body(self, raw: bytes) -> bytes:
        header, body = self._parts(raw)
        return encode(header, body + self._rng.randbytes(self._rng.choice([1, 100, 100_000])))

    def _huge_claim(self, raw: bytes) -> bytes:
        return struct.pack("!II", 128 * 1024 * 1024, self._rng.choice([2, 127 * 1024 * 1024])) + b"{}"

    def _twice(self, raw: bytes) -> bytes:
        return raw + raw

    def _unknown(self, raw: bytes) -> bytes:
        return encode({"type": self._rng.choice(["", "stop", "fork", "dance", "ready"])})

    # -- what may be said, at some time or another --------------------------------------------------------------------

    def process_frame(self) -> bytes:
        """Anything that a function's process may say."""
        rng = self._rng
        failure = messages.Failure(
            rng.choice(["raised", "crashed", "bad_answer", "out_of_memory", "cancelled"]), "it \x00 broke"
        )
        return self._encoded(
            FROM_PROCESS,
            Born(rng.choice([1, 2, 300, 4_194_304])),
            Apart(),
            Jailed(["own uid: given", "files: none"]),
            Imported(),
            Prepared(["numpy", "a\x00b", "..."]),
            Unloadable(messages.Failure("load_failed", "no")),
            Warmed(),
            Yielded(rng.choice([b"1", b"}{", b"", b"1\n\n2", b"[" * 5000, b'"' + b"x" * 300_000 + b'"'])),
            Answered(None, rng.random() < 0.3, rng.choice([b"{}", b"}{", b"[" * 5000, b"", b"\xff", b"[1]" * 20_000])),
            Answered(failure, rng.random() < 0.3, b"ignored"),
        )

    def report_frame(self, keys: list[str], activations: list[str]) -> bytes:
        """Anything that a manager may report, of these functions and activations."""
        rng = self._rng
        key, activation = rng.choice(keys), rng.choice(activations)
        failure = rng.choice([None, messages.Failure(rng.choice(["crashed", "cancelled"]), "so it says")])
        a_s, size = rng.choice([0.0, 0.1, 1e9]), rng.choice([0, 1000, 1 << 50])
        return self._encoded(
            messages.REPORTS,
            messages.Ready(1, ["files: none"], size),
            messages.Loaded(key, a_s, a_s, size, ["own uid: given"], size, rng.random() < 0.5, ["numpy"], {"a": "b"}),
            messages.LoadFailed(key, failure or messages.Failure("load_failed", ""), size),
            messages.Gone(key, failure, size),
            messages.Ran(
                activation, key, a_s, size, size, rng.random() < 0.5, failure, rng.choice([0, 2]), size, b"{}x\ny"
            ),
            messages.Value(activation, rng.choice([b"1", b"}{", b"", b"1\r2", b'"' + b"x" * 300_000 + b'"'])),
            messages.Measured({key: size}, size),
        )

    def _encoded(self, vocabulary: Vocabulary, *said: Any) -> bytes:
        return vocabulary.encode(self._rng.choice(said))
