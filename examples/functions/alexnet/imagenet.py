"""What every image classifier here does around its network: read the image, load the weights, name the best classes.

A function's folder is all of it that is deployed, so each classifier carries a copy of this file; a test keeps the
copies equal.
"""

from __future__ import annotations

import base64
import binascii
import functools
import io
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

HERE = Path(__file__).parent

# Means and deviations of the red, green and blue channels over ImageNet, for values from 0 to 1.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# The share of the shorter side that the centred square keeps: 224 of 256, as these networks were evaluated.
CROP = 0.875

# Names of tensors that torchvision uses for these architectures and pytorchcv does not.
TORCHVISION = ("layer1.", "features.0.", "classifier.0.", "Mixed_5b.")


class BadRequest(ValueError):
    """The request cannot be answered; the message says why."""


def classify(net: torch.nn.Module, args: dict[str, Any], size: int) -> dict[str, Any]:
    """The `top` best classes of ``args["image"]``, best first, or ``{"error": ...}`` for a request that has none."""
    try:
        top = read_top(args)
        pixels = preprocess(read_image(args), size)
    except BadRequest as error:
        return {"error": str(error)}
    # Whether gradients are recorded is a property of the thread, hence here and not once at the start.
    with torch.inference_mode():
        scores, indices = net(pixels).softmax(dim=1)[0].topk(top)
    return {"top": [entry(i, score) for i, score in zip(indices.tolist(), scores.tolist(), strict=True)]}


def restore(net: torch.nn.Module, path: Path, unused: tuple[str, ...] = ()) -> torch.nn.Module:
    """Put the weights in the file `path` into `net` and make it ready to answer (no dropout, fixed batch norm).

    Tensors whose names start with one of `unused` are passed over. Raises ValueError when the file holds the weights
    of something else.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(unused)}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        foreign = any(name.startswith(TORCHVISION) for name in state)
        fault = "is in torchvision's layout, which is not read here" if foreign else "does not fit"
        kind = f"{type(net).__module__}.{type(net).__name__}"
        raise ValueError(
            f"{path.name} {fault}; it has to be the state_dict() of a {kind}. {textwrap.shorten(str(error), 400)}"
        ) from None
    return net.eval()


def warm_up(net: torch.nn.Module, size: int) -> None:
    """Answer a request that nobody made: what only a first request pays for is paid."""
    file = io.BytesIO()
    Image.new("RGB", (size, size)).save(file, "JPEG")
    classify(net, {"image": base64.b64encode(file.getvalue()).decode()}, size)


def read_top(args: dict[str, Any]) -> int:
    top = args.get("top", 5)
    if type(top) is not int or not 1 <= top <= 1000:
        raise BadRequest(f'"top" must be a whole number from 1 to 1000, not {top!r}')
    return top


def read_image(args: dict[str, Any]) -> Image.Image:
    """The image of a request, upright and in colour."""
    encoded = args.get("image")
    if not isinstance(encoded, str) or not encoded:
        raise BadRequest('the request has no "image": give it a JPEG or PNG file in base64')
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f'"image" is not base64: {error}') from error
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise BadRequest('"image" is neither a JPEG nor a PNG file') from error
    # Pillow tells of a damaged file by OSError, ValueError or SyntaxError, depending on where the damage is.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadRequest(f'"image" cannot be read: {error}') from error


def preprocess(image: Image.Image, size: int) -> torch.Tensor:
    """The centred square of the image as normalised pixels, shape (1, 3, size, size)."""
    side = CROP * min(image.size)
    left, upper = ((length - side) / 2 for length in image.size)
    # Cutting and scaling at once: scaling the whole of a very long image first could take any amount of memory.
    square = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, upper, left + side, upper + side))
    values = (np.asarray(square, dtype=np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(values.transpose(2, 0, 1).copy()).unsqueeze(0)


def entry(index: int, score: float) -> dict[str, Any]:
    names = labels()
    if index < len(names):
        return {"index": index, "label": names[index], "score": score}
    return {"index": index, "score": score}


@functools.cache
def labels() -> list[str]:
    """Names of the classes, from ``labels.txt`` beside this file (one a line, in order), if it is there."""
    path = HERE / "labels.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
