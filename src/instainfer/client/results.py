"""What a caller gets of a call: its answer with how it began and where its time went, or an error that says why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import BadInput, CallFailed, Unreachable, several_lines
from ..runtime.answers import encode_answer
from ..runtime.arrays import decode, encode
from .answers import MAX_TEXT_LENGTH, Json, event_of

_STATUSES: dict[str, tuple[Literal["function", "platform"], str]] = {
    "application error": ("function", "application_error"),
    "action developer error": ("function", "bad_answer"),
    "whisk internal error": ("platform", ""),
}
"""OpenWhisk's names of the statuses of failed calls: whose fault they are, and their kind if no other is said."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call began, where its time went, and what its function printed."""

    activation_id: str
    start_kind: str
    """How the call began: ``cold``, ``forked``, ``warm`` and so on; the glossary has all."""
    phases: Mapping[str, float]
    """Where the time went: seconds in ``queue``, ``container``, ``libraries``, ``model``, ``handoff``, ``compute``."""
    logs: tuple[str, ...]
    """What the function printed, in lines with their times."""

    @property
    def startup_s(self) -> float:
        """Seconds from the request until the function computed."""
        return sum(seconds for phase, seconds in self.phases.items() if phase != "compute")

    @property
    def compute_s(self) -> float:
        """Seconds of the function's own ``main``."""
        return self.phases.get("compute", 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Result(Ended, Mapping[Any, Any]):
    """The answer of a function. It can be read like the dict, or the list, that the function answered."""

    value: Any
    """The answer, with arrays, bytes and images in it as such."""

    def __getitem__(self, key: Any) -> Any:
        return self.value[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __contains__(self, key: object) -> bool:
        return key in self.value

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, Result) else other))

    __hash__ = None  # type: ignore[assignment]


def arguments(args: Mapping[str, Any] | None, named: Mapping[str, Any]) -> bytes:
    """The JSON of what a function is called with. Raises `BadInput` for what cannot be sent, with its place."""
    if not isinstance(args, Mapping | None):
        raise BadInput(f"a function is called with a dict or with named arguments, not with a {type(args).__name__}")
    try:
        content, failure = encode_answer(encode({**(args or {}), **named}), "what the function is called with")
    except (ValueError, TypeError) as error:  # of an image or a tensor
        raise BadInput(f"what the function is called with cannot be sent: {error}") from None
    except RecursionError:
        raise BadInput(
            "what the function is called with contains itself, or is nested too deeply; flatten it"
        ) from None
    if failure is not None:
        raise BadInput(failure.message)
    return content


def result_of(name: str, record: Json, api_host: str) -> Result:
    """The result in the record of a call that has ended. Raises `CallFailed` if it failed."""
    try:
        status, value = record["response"]["status"], record["response"]["result"]
        annotations = {pair["key"]: pair["value"] for pair in record.get("annotations", ())}
        ended = _ended({**annotations, **record})
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _unreadable(name, api_host) from None
    if status != "success":
        fault, kind = _STATUSES.get(str(status), ("platform", ""))
        failure = annotations.get("failure")
        raise CallFailed(
            f"{name} failed: {_error_text(value)}",
            fault=fault,
            kind=str(failure.get("kind", kind)) if isinstance(failure, Mapping) else kind,
            activation_id=ended.activation_id,
            logs=ended.logs,
        )
    value = _decoded(name, value, ended.activation_id, ended.logs)
    return Result(ended.activation_id, ended.start_kind, ended.phases, ended.logs, value)


class Reading:
    """Reads the events of a streamed answer: its values, and at the end how the call went."""

    def __init__(self, name: str, activation_id: str, api_host: str) -> None:
        self.ended: Ended | None = None
        """None before the end."""
        self.activation_id = activation_id
        self._name = name
        self._api_host = api_host

    def take(self, line: bytes) -> Iterator[Any]:
        """The value in the next line of the answer; nothing for its end, after which `ended` is known.

        Raises `CallFailed` when the call has failed.
        """
        event = event_of(line)
        try:
            match event["event"]:
                case "value":
                    yield _decoded(self._name, event["value"], self.activation_id, ())
                case "result":
                    self.ended = _ended(event)
                case "error":
                    raise CallFailed(
                        f"{self._name} failed: {_error_text(event)}",
                        fault="function" if event["fault"] == "function" else "platform",
                        kind=str(event["kind"]),
                        activation_id=str(event.get("activationId", self.activation_id)),
                        logs=tuple(map(str, event.get("logs", ()))),
                    )
                case _:
                    pass  # a newer platform may tell more
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _unreadable(self._name, self._api_host) from None

    def checked_end(self) -> None:
        """Raise `Unreachable` if the answer has broken off before its end."""
        if self.ended is None:
            raise Unreachable(
                f"the answer of {self._name} broke off; see `instainfer activations {self.activation_id}`, and whether "
                "`instainfer up` still runs"
            )


def _ended(told: Json) -> Ended:
    """How a call went. Raises one of several errors for what is not told as it should be."""
    phases = {str(phase): float(seconds) for phase, seconds in (told.get("phases") or {}).items()}
    logs = tuple(map(str, told.get("logs", ())))
    return Ended(str(told["activationId"]), str(told.get("startKind") or ""), phases, logs)


def _unreadable(name: str, api_host: str) -> Unreachable:
    return Unreachable(
        f"what answers at {api_host} is not InstaInfer: it says nothing that can be read of a call of {name}; "
        "correct the address"
    )


def _decoded(name: str, value: Any, activation_id: str, logs: tuple[str, ...]) -> Any:
    """A value of an answer with arrays, bytes and images in it as such. Raises `BadInput` and `CallFailed`."""
    try:
        return decode(value)
    except ImportError as error:
        raise BadInput(
            f"{name} answered with an array or an image, and it cannot be read: {error}; install it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CallFailed(
            f"{name} answered what cannot be read: {error}",
            fault="function",
            kind="bad_answer",
            activation_id=activation_id,
            logs=logs,
        ) from None


def _error_text(result: Any) -> str:
    error = result.get("error", result) if isinstance(result, Mapping) else result
    return several_lines(str(error)[:MAX_TEXT_LENGTH])
