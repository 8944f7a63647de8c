"""Arrays, bytes and images in JSON, as programs and functions send them to each other.

Such a value is an object that names its kind. ``data`` is base64: of the elements in C order, of the bytes, or of the
picture as a PNG file::

    {"__instainfer__": "ndarray", "dtype": "<f4", "shape": [2, 3], "data": "..."}
    {"__instainfer__": "bytes", "data": "..."}
    {"__instainfer__": "image", "data": "..."}

What is decoded comes from a stranger, so it is only numbers, bytes and pixels: nothing of it is ever run or unpickled.
NumPy and Pillow are the caller's own. They are imported only when such a value is decoded.
"""

from __future__ import annotations

import base64
import io
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from typing import Any

KEY = "__instainfer__"
_NUMBERS = "biufc"
"""NumPy's letters for the kinds of elements that have no parts and no references: Booleans, numbers."""
_DTYPE = re.compile("[<>|][{}][0-9]{{1,2}}".format(_NUMBERS))


def encode(value: Any) -> Any:
    """The same with objects of JSON in place of arrays of NumPy, tensors of PyTorch, bytes, and images of Pillow.

    They are found in dicts, lists and tuples, however deep. All else stays as it is. Raises `ValueError` for an image
    that PNG does not have, and what PyTorch raises for a tensor that NumPy does not have.
    """
    if isinstance(value, dict):
        return {key: encode(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(inner) for inner in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {KEY: "bytes", "data": _text(bytes(value))}
    if _is(value, "torch", "Tensor"):
        value = value.detach().cpu().numpy()
    if _is(value, "numpy", "ndarray") and value.dtype.kind in _NUMBERS:
        described = {"dtype": value.dtype.str, "shape": list(value.shape)}
        return {KEY: "ndarray", **described, "data": _text(value.tobytes())}
    if _is(value, "PIL.Image", "Image"):
        return {KEY: "image", "data": _text(_png(value))}
    return value


def decode(value: Any) -> Any:
    """The same with arrays, bytes and images in place of the objects that `encode` made of them.

    Raises `ValueError` for such an object that is not as `encode` makes it, and ImportError where NumPy or Pillow is
    needed and missing.
    """
    if isinstance(value, list):
        return [decode(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if KEY not in value:
        return {key: decode(inner) for key, inner in value.items()}
    kind = value[KEY]
    if not isinstance(kind, str) or kind not in _DECODERS:
        raise ValueError("{:.60} is no kind of value; there are {}".format(repr(kind), ", ".join(_DECODERS)))
    try:
        return _DECODERS[kind](value, base64.b64decode(value["data"], validate=True))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            "what says that it is {!r} is none ({}: {:.200}); see docs/howto/call-from-python.md".format(
                kind, type(error).__name__, str(error)
            )
        ) from None


def arrays(main: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have `main` called with arrays, bytes and images as such, and let it answer with them or yield them. A
    decorator."""

    @wraps(main)
    def answering(args: Any) -> Any:
        from .coroutines import awaited
        from .streaming import is_stream

        answer = awaited(main(decode(args)))
        return _encoded_values(answer) if is_stream(answer) else encode(answer)

    return answering


def _encoded_values(stream: Any) -> Iterator[Any]:
    from .streaming import values_of

    with closing(values_of(stream)) as values:
        for value in values:
            yield encode(value)


def _is(value: Any, module: str, kind: str) -> bool:
    """Whether `value` is of this class. Nothing is imported for that: without its module there is no such value."""
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], kind, ()))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    try:
        image.save(file, "PNG")
    except OSError as error:
        raise ValueError("{}; use image.convert('RGB')".format(error)) from None
    return file.getvalue()


def _bytes(_described: dict[str, Any], data: bytes) -> bytes:
    return data


def _array(described: dict[str, Any], data: bytes) -> Any:
    import numpy

    dtype, shape = described["dtype"], described["shape"]
    if _DTYPE.fullmatch(dtype) is None:
        raise ValueError("its dtype is not one of numbers")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("its shape is no list of lengths")
    if math.prod(shape) * numpy.dtype(dtype).itemsize != len(data):
        raise ValueError("its data is not as long as dtype and shape say")
    return numpy.frombuffer(bytearray(data), dtype).reshape(shape)  # of a bytearray, it can be written to


def _image(_described: dict[str, Any], data: bytes) -> Any:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        image.load()
    except (SyntaxError, Image.DecompressionBombError) as error:  # as Pillow calls a damaged and a huge picture
        raise ValueError(str(error)) from None
    return image


_DECODERS: dict[str, Callable[[dict[str, Any], bytes], Any]] = {"ndarray": _array, "bytes": _bytes, "image": _image}
