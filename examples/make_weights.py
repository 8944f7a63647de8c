"""Write a function's weights file: full size, random, the same for the same seed.

    PYTHON examples/make_weights.py --function examples/functions/resnet50 --out DIR/resnet50.pt [--seed N]

PYTHON is the interpreter of the function's environment: its handler is imported, ``build()`` makes the architecture,
and the state_dict() goes to the file, all or nothing. Untrained batch norms would let the signal of a deep network grow
or fade until the answer no longer depended on the input, so they are first set to the statistics of random images.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import torch
from torch.nn import BatchNorm2d

IMAGES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a function's seeded weights file.")
    parser.add_argument("--function", type=Path, required=True, help="folder of the function")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same file (default: 0)")
    options = parser.parse_args()

    began = time.monotonic()
    handler = import_handler(parser, options.function)
    print(f"{options.function.name}: building", flush=True)
    # The order of additions, and with it the last bits of a sum, depends on the number of threads.
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    net = handler.build()
    if any(isinstance(module, BatchNorm2d) for module in net.modules()):
        settle(net, handler.SIZE)
    save(net.state_dict(), options.out)
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    megabytes = options.out.stat().st_size / 1e6
    print(
        f"{options.function.name}: {millions:.1f} million parameters, {megabytes:.1f} MB, "
        f"seed {options.seed}, {time.monotonic() - began:.1f} s -> {options.out}"
    )


def import_handler(parser: argparse.ArgumentParser, folder: Path) -> ModuleType:
    source = folder / "handler.py"
    if not source.is_file():
        parser.error(f"{folder} is not the folder of a function: it has no handler.py")
    # Looked up before the import: importing a script would run it.
    if "\ndef build(" not in source.read_text(encoding="utf-8"):
        parser.error(f"{source} has no build(): its weights come with its packages, or from another function")
    sys.path.insert(0, str(folder.resolve()))
    return importlib.import_module("handler")


def settle(net: torch.nn.Module, size: int) -> None:
    """Give every batch norm the mean and variance of what reaches it from random images of `size` pixels."""
    net.eval()
    for module in net.modules():
        if isinstance(module, BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # plain average of what was seen, not a moving one
            module.train()
    with torch.inference_mode():
        net(random_images(size))


def random_images(size: int) -> torch.Tensor:
    """Blotches of all sizes laid over each other: like photographs, and unlike noise, mostly coarse structure."""
    layers = [
        torch.nn.functional.interpolate(torch.randn(IMAGES, 3, cells, cells), size=(size, size), mode="bilinear")
        for cells in (1, 2, 4, 8, 16, 32, 64)
    ]
    return torch.stack(layers).sum(dim=0) / 1.5


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write to a neighbouring file first: whoever finds `path` finds all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            # By handle, not by name: torch would write the file's name, which is random here, into the file.
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


if __name__ == "__main__":
    main()
