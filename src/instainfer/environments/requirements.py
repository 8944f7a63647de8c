"""What a function may ask to have installed: requirement specifiers, nothing that reaches outside of them.

Where packages come from (indexes, links, proxies, constraints) is the host's pip or uv configuration; a function that
named its own sources could not be shared, nor built on another host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_COMMENT = re.compile(r"(^|\s+)#.*$")
_HASH = re.compile(r"\s+--hash=[a-z0-9]+:[0-9a-fA-F]+(?=\s|$)")
_ARCHIVE = re.compile(r"\.(whl|zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_SPECIFIER = re.compile(
    r"""(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?) \s*
        (?:\[[A-Za-z0-9._,\s-]*\])? \s*
        (?:\(?\s*(?:===|==|~=|!=|<=|>=|<|>)[^;@\s()]+(?:\s*,\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[^;@\s(),]+)*\s*\)?)? \s*
        (?:;.*)?""",
    re.VERBOSE,
)
_SPACE_AFTER_OPERATOR = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s+")


@dataclass(frozen=True, slots=True)
class Requirements:
    """What is to be installed for a function, as its author wrote it."""

    text: str = ""
    """Requirement specifiers, one a line, resolved together with what they depend on."""
    no_deps: tuple[str, ...] = ()
    """Specifiers of packages that are installed without what they declare to depend on."""
    python: str | None = None
    """``"3.11"``; None is the platform's own Python."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The requirements of `text` without comments, blank lines and continuations."""
        return tuple(line for _, line in logical_lines(self.text))


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, requirement) as pip would read them."""
    started, parts = 0, list[str]()
    for number, physical in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", physical).strip()
        started = started if parts else number
        if line.endswith("\\"):
            parts.append(line[:-1].strip())
            continue
        parts.append(line)
        if joined := " ".join(part for part in parts if part):
            yield started, joined
        parts.clear()
    if joined := " ".join(part for part in parts if part):
        yield started, joined


def refusal(line: str) -> str | None:
    """Say why a requirement is refused; None when it is not."""
    bare = _HASH.sub("", line).strip()
    if bare.startswith(("-e", "--editable")):
        return "an editable install points at a folder of one machine; put the code into the function's folder"
    if bare.startswith(("-r", "--requirement", "-c", "--constraint")):
        return "other files are not read; write their lines here"
    if bare.startswith("-"):
        return "options are part of the host's pip configuration, not of a function"
    specifier = bare.partition(";")[0]
    if "://" in specifier or "@" in specifier:
        return "addresses and repositories are not installed from; name a package and its version"
    if specifier.startswith((".", "/", "~")) or "/" in specifier or _ARCHIVE.search(specifier.strip()):
        return "local paths exist on one machine only; name a package and its version"
    if _SPECIFIER.fullmatch(_SPACE_AFTER_OPERATOR.sub(r"\1", bare)) is None:
        return 'not a requirement; write it like "numpy==2.3.1", "pillow>=11,<12" or "click"'
    return None


def package_name(line: str) -> str:
    """The normalised name of the package that an accepted requirement asks for."""
    match = _SPECIFIER.match(line)
    if match is None:
        raise ValueError(f"not a requirement: {line!r}")
    return re.sub(r"[-_.]+", "-", match["name"]).lower()
