"""Writes the folder of a new function from a starter: a small function that works, to be changed into one's own.

The starters are in ``starters/`` beside the example functions. Each is a function named `NAME`.
"""

from __future__ import annotations

from pathlib import Path

from .environments.manifest import MANIFEST, allows_name
from .errors import BadInput, Conflict, HostError, shown
from .examples import examples_dir

NAME = "my_function"
"""The name of a starter. It is replaced in the files in `NAMED` by that of the new function."""
NAMED = (MANIFEST, "README.md")


def write_starter(template: str, folder: Path) -> str:
    """Make `folder` and write the files of the starter `template` into it. Returns the function's name, the folder's.

    Raises `Conflict` if there is something at that place already, `BadInput` if a function cannot have that name,
    `NotFound` if the installation lacks the starters, and `HostError` if the folder cannot be written.
    """
    name = folder.name
    if not allows_name(name):
        raise BadInput(f"a function cannot be called {shown(name)}; take letters, digits and _, with @ . - inside")
    source = examples_dir() / "starters" / template
    try:
        folder.mkdir(parents=True)
        for file in source.iterdir():
            if file.is_file():
                content = file.read_bytes()
                named = content.replace(NAME.encode(), name.encode()) if file.name in NAMED else content
                (folder / file.name).write_bytes(named)
    except FileExistsError:
        raise Conflict(f"{folder} exists already, and nothing is overwritten; give another name") from None
    except OSError as error:
        raise HostError(f"cannot write {folder}: {error.strerror}; give another place") from None
    return name
