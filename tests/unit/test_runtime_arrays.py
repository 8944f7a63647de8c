"""Arrays, bytes and images survive JSON, and nothing else is made of what a stranger sends."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import types
from typing import Any

import numpy as np
import pytest
from PIL import Image

import instainfer
from instainfer.runtime.arrays import KEY, decode, encode

KINDS = ("?", "i1", "u2", "<i4", ">i4", "f2", "f4", "f8", "c8")


def through_json(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4)])
def test_arrays_come_back_as_they_were(dtype: str, shape: tuple[int, ...]) -> None:
    given = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    got = through_json({"a": [given]})["a"][0]
    assert (got.dtype, got.shape) == (given.dtype, given.shape)
    assert np.array_equal(got, given)
    assert got.flags.writeable


def test_tensors_are_sent_as_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor:
        def detach(self) -> Tensor:
            return self

        cpu = detach

        def numpy(self) -> Any:
            return np.ones(2, "f4")

    torch = types.ModuleType("torch")
    torch.Tensor = Tensor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert np.array_equal(through_json([Tensor()])[0], np.ones(2, "f4"))


def test_parts_of_arrays_are_sent_as_they_are_seen() -> None:
    whole = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(through_json(whole[:, ::2].T), whole[:, ::2].T)


@pytest.mark.parametrize("given", [b"\x00\xff", bytearray(b"ab"), memoryview(b"abc")])
def test_bytes_come_back_as_bytes(given: Any) -> None:
    assert through_json([given]) == [bytes(given)]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_images_come_back_pixel_by_pixel(mode: str) -> None:
    given = Image.effect_mandelbrot((8, 6), (-2, -1, 1, 1), 10).convert(mode)
    got = through_json({"image": given})["image"]
    assert (got.mode, got.size, got.tobytes()) == (given.mode, given.size, given.tobytes())


def test_an_image_that_png_does_not_have_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"CMYK.*convert\('RGB'\)"):
        encode({"image": Image.new("CMYK", (2, 2))})


def test_all_else_stays_as_it_is() -> None:
    plain = {"a": [1, 2.5, None, True, "x", {"b": []}], "c": {}}
    assert encode(plain) == plain
    assert decode(plain) == plain
    texts = np.array(["a", "b"])
    assert encode(texts) is texts  # an answer has it as a list, as always
    assert encode({"at": (texts,)})["at"][0] is texts


def tagged(kind: Any, **fields: Any) -> dict[str, Any]:
    return {KEY: kind, **fields}


FOUR = base64.b64encode(b"1234").decode()


@pytest.mark.parametrize(
    "hostile",
    [
        tagged("pickle", data=FOUR),
        tagged(["bytes"], data=FOUR),
        tagged(None),
        tagged("bytes"),
        tagged("bytes", data=7),
        tagged("bytes", data="no base64!"),
        tagged("bytes", data="é"),
        tagged("ndarray", dtype="<f4", data=FOUR),
        tagged("ndarray", dtype="|O", shape=[1], data=FOUR),
        tagged("ndarray", dtype="O", shape=[1], data=FOUR),
        tagged("ndarray", dtype="f4,i4", shape=[1], data=FOUR),
        tagged("ndarray", dtype=[["a", "<f4"]], shape=[1], data=FOUR),
        tagged("ndarray", dtype="<f4", shape=[2], data=FOUR),
        tagged("ndarray", dtype="<f3", shape=[1], data=FOUR),
        tagged("ndarray", dtype="<f4", shape=[-1], data=FOUR),
        tagged("ndarray", dtype="<f4", shape=[True], data=FOUR),
        tagged("ndarray", dtype="<f4", shape=[1.0], data=FOUR),
        tagged("ndarray", dtype="<f4", shape=1, data=FOUR),
        tagged("ndarray", dtype="<f4", shape=[1] * 1000, data=FOUR),
        tagged("ndarray", dtype="<f4", shape=[0, 10**30], data=""),
        tagged("image", data=FOUR),
        tagged("image", data=base64.b64encode(b"GIF89a" + bytes(40)).decode()),
    ],
)
def test_what_is_not_as_it_should_be_is_refused(hostile: Any) -> None:
    with pytest.raises(ValueError, match=r"is no kind of value|is none"):
        decode({"deep": [hostile]})


def test_a_picture_that_is_damaged_or_huge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = encode(Image.new("L", (4, 4)))
    data = base64.b64decode(sent["data"])
    damaged = data[:33] + b"\x00\x00\x00\x01" + data[37:]  # its pixels are said to be a byte long
    with pytest.raises(ValueError, match="broken PNG file"):
        decode(tagged("image", data=base64.b64encode(damaged).decode()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    with pytest.raises(ValueError, match="exceeds limit"):
        decode(sent)


def test_a_decorated_main_takes_and_answers_arrays() -> None:
    @instainfer.arrays
    def main(args: Any) -> Any:
        """Doubles."""
        return {"twice": 2 * args["x"], "same": args["plain"]}

    assert main.__doc__ == "Doubles."
    answer = decode(json.loads(json.dumps(main(encode({"x": np.ones(3), "plain": 1})))))
    assert np.array_equal(answer["twice"], 2 * np.ones(3))
    assert answer["same"] == 1


def test_a_decorated_main_may_be_asynchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instainfer.runtime.coroutines.awaited", asyncio.run)  # which closes its loop

    @instainfer.arrays
    async def main(args: Any) -> Any:
        await asyncio.sleep(0)
        return {"data": args["data"][::-1]}

    assert decode(main(encode({"data": b"abc"}))) == {"data": b"cba"}
