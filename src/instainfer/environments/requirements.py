"""Checks the requirements of a function: only specifiers of packages are allowed, no options, addresses or paths.

The host's pip or uv configuration says where packages come from (indexes, links, proxies, constraints). If a function
named its own sources, its environment could not be shared, nor built on another host.

The text comes from strangers, so every check takes time in proportion to its length: words are split and checked one by
one, and the parser of `packaging` gets only lines of limited length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

MAX_REQUIREMENTS = 2000
MAX_LENGTH = 1000
"""Largest number of characters of one requirement, without its hashes."""
MAX_TEXT = 4 * 1024 * 1024
"""Largest number of characters of all requirements, with their hashes."""
_ARCHIVES = (".whl", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_HASH = "--hash="
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Requirements:
    """The packages to install for a function, as its author wrote them."""

    text: str = ""
    """Requirement specifiers, one a line, which are resolved together with their dependencies."""
    no_deps: tuple[str, ...] = ()
    """Specifiers of packages that are installed without their dependencies."""
    python: str | None = None
    """A version such as ``"3.11"``; None means the platform's own Python."""
    image: str = ""
    """The image that the function's containers are made from. Empty: the usual one."""
    from_source: bool = False
    """Whether packages without a wheel may be built, which runs their own code."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The requirements of `text` without comments, blank lines and continuations."""
        return tuple(line for _, line in logical_lines(self.text))


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, requirement) for each requirement, as pip would read the text."""
    started, parts = 0, list[str]()
    for number, physical in enumerate(text.splitlines(), start=1):
        line = _without_comment(physical).strip()
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


def first_refused(text: str) -> tuple[int, str, str] | None:
    """The first refused requirement of a text, as (number of its line, the line, the reason); None if there is none."""
    if len(text) > MAX_TEXT:
        return 1, "", f"{len(text)} characters are more than the {MAX_TEXT} allowed; ask for fewer packages"
    for count, (number, line) in enumerate(logical_lines(text), start=1):
        if count > MAX_REQUIREMENTS:
            return number, line, f"more than {MAX_REQUIREMENTS} requirements; ask for fewer packages"
        if reason := refusal(line):
            return number, line, reason
    return None


def refusal(line: str) -> str | None:
    """The reason why a requirement is refused; None if it is accepted."""
    bare = _without_hashes(line)
    if len(bare) > MAX_LENGTH:
        return f"{len(bare)} characters are more than the {MAX_LENGTH} allowed; shorten it, or write several lines"
    if bare.startswith(("-e", "--editable")):
        return "an editable install points at a folder of one machine; put the code into the function's folder"
    if bare.startswith(("-r", "--requirement", "-c", "--constraint")):
        return "other files are not read; write their lines here"
    if bare.startswith("-"):
        return "options are part of the host's pip configuration, not of a function"
    specifier = bare.partition(";")[0]
    if "://" in specifier or "@" in specifier:
        return "addresses and repositories are not installed from; name a package and its version"
    if specifier.startswith((".", "/", "~")) or "/" in specifier or specifier.rstrip().endswith(_ARCHIVES):
        return "local paths exist on one machine only; name a package and its version"
    # pip and uv would replace ${NAME} by the host's own variable, and could read a second line as an option.
    if "$" in bare or not bare.replace("\t", " ").isprintable():
        return "a requirement has neither $ nor control characters; leave them out"
    if _parsed(bare) is None:
        return 'not a requirement; write it like "numpy==2.3.1", "pillow>=11,<12" or "click"'
    return None


def package_name(line: str) -> str:
    """The normalised name of the package that an accepted requirement asks for."""
    requirement = _parsed(_without_hashes(line))
    if requirement is None:
        raise ValueError(f"not a requirement: {line!r}")
    return canonicalize_name(requirement.name)


def _parsed(bare: str) -> Requirement | None:
    try:
        return Requirement(bare)
    except (InvalidRequirement, RecursionError):  # a marker with deeply nested parentheses raises RecursionError
        return None


def _without_comment(line: str) -> str:
    """The line up to a ``#`` that begins it or follows white space."""
    at = line.find("#")
    while at > 0 and not line[at - 1].isspace():
        at = line.find("#", at + 1)
    return line if at < 0 else line[:at]


def _without_hashes(line: str) -> str:
    if _HASH not in line:
        return line.strip()
    return " ".join(word for word in line.split() if not _is_hash(word))


def _is_hash(word: str) -> bool:
    algorithm, colon, digits = word.removeprefix(_HASH).partition(":")
    named = word.startswith(_HASH) and algorithm.isascii() and algorithm.isalnum() and algorithm == algorithm.lower()
    return named and bool(colon and digits) and _HEX_DIGITS.issuperset(digits)
