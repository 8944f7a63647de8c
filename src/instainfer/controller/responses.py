"""Turns outcomes into records, and records into the JSON of OpenWhisk's API, with the texts that OpenWhisk uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ..core.model import Failure, FailureKind, Option, Phases, StartKind
from ..links.base import Outcome
from .bodies import LARGE_BYTES
from .queries import ActivationSummary
from .records import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    STATUS_TEXTS,
    SUCCESS,
    WHISK_ERROR,
    Action,
    ActionLimits,
    ActivationRecord,
    Origin,
)

encode = msgspec.json.Encoder().encode

PIECE_BYTES = 256 * 1024
"""Longer answers are sent in pieces of this size, so that a slow client fills no large buffer."""
STOPPED = (
    "The platform stopped while this activation ran; whether it took effect is not known. Call again if that is safe."
)
_NOT_JSON = "The action did not produce a valid JSON or JSON Array response"
_LOADS_ON_PATH = (StartKind.COLD, StartKind.PREWARMED)
_HTTP_STATUS = {SUCCESS: 200, APPLICATION_ERROR: 502, DEVELOPER_ERROR: 502, WHISK_ERROR: 500}


class Said(NamedTuple):
    """What an outcome says of its activation, as its record holds it."""

    status_code: int
    result: bytes
    """JSON."""
    logs: bytes
    """A JSON array."""


class _HasError(msgspec.Struct):
    """Finds the key ``error`` of an answer without decoding the other keys."""

    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_find_error = msgspec.json.Decoder(_HasError).decode


class _Response(msgspec.Struct):
    status: str
    success: bool
    size: int
    result: msgspec.Raw


class _Activation(msgspec.Struct, rename="camel"):
    namespace: str
    name: str
    version: str
    activation_id: str
    start: int
    subject: str
    logs: msgspec.Raw
    annotations: msgspec.Raw
    publish: bool
    cause: str | msgspec.UnsetType = msgspec.UNSET
    end: int | msgspec.UnsetType = msgspec.UNSET
    duration: int | msgspec.UnsetType = msgspec.UNSET
    response: _Response | msgspec.UnsetType = msgspec.UNSET


class _Summary(msgspec.Struct, rename="camel"):
    namespace: str
    name: str
    version: str
    publish: bool
    annotations: msgspec.Raw
    activation_id: str
    start: int
    cause: str | msgspec.UnsetType = msgspec.UNSET
    end: int | msgspec.UnsetType = msgspec.UNSET
    duration: int | msgspec.UnsetType = msgspec.UNSET
    status_code: int | msgspec.UnsetType = msgspec.UNSET


class _Result(msgspec.Struct):
    status: str
    success: bool
    result: msgspec.Raw
    size: int


def judge(outcome: Outcome, limits: ActionLimits, max_result_bytes: int) -> tuple[int, bytes]:
    """OpenWhisk's status code and result for an outcome. The result is JSON."""
    if outcome.failure is not None:
        return blame(outcome.failure), encode({"error": printable(failure_text(outcome, outcome.failure, limits))})
    result = outcome.result
    if result is None:
        return WHISK_ERROR, encode({"error": "The node answered neither a result nor a failure."})
    if len(result) > max_result_bytes:
        text = (
            "The action produced a response that exceeded the allowed length: "
            f"{len(result)} > {max_result_bytes} bytes. server.max_result_bytes is the bound."
        )
        return DEVELOPER_ERROR, encode({"error": text})
    try:
        return (APPLICATION_ERROR if names_an_error(result) else SUCCESS), result
    except (msgspec.DecodeError, RecursionError) as error:
        return DEVELOPER_ERROR, encode({"error": f"{_NOT_JSON}: {error}"})


def said_of(outcome: Outcome, limits: ActionLimits, max_result_bytes: int) -> Said:
    """What an outcome says. May be called in a thread."""
    return Said(*judge(outcome, limits, max_result_bytes), log_lines(outcome.logs))


def blame(failure: Failure) -> int:
    if failure.fault == "caller":
        return APPLICATION_ERROR  # of OpenWhisk's statuses, the one that accuses neither the function's code nor us
    return DEVELOPER_ERROR if failure.fault == "function" else WHISK_ERROR


def names_an_error(result: bytes) -> bool:
    """Whether an answer is an object with the key ``error``. OpenWhisk calls that an application error.

    Raises `msgspec.DecodeError` for some answers that are no valid JSON object. Not all answers are checked.
    """
    # Almost no answer contains these bytes, so few are decoded. The key may be spelled with Unicode escapes.
    if is_array(result) or (b'"error"' not in result and b"\\u" not in result):
        return False
    return _find_error(result).error is not msgspec.UNSET


def is_array(result: bytes) -> bool:
    return result.lstrip()[:1] == b"["


def failure_text(outcome: Outcome, failure: Failure, limits: ActionLimits) -> str:
    match failure.kind:
        case FailureKind.RAISED:
            return f"An error has occurred: {failure.message}"
        case FailureKind.LOAD_FAILED:
            return f"The action failed during initialization: {failure.message}"
        case FailureKind.CRASHED:
            how = failure.message.partition("\n")[0]
            return f"The action did not produce a valid response and exited unexpectedly: {how}"
        case FailureKind.OUT_OF_MEMORY:
            return "The action exhausted its memory and was aborted."
        case FailureKind.BAD_ANSWER:
            return f"{_NOT_JSON}: {failure.message}"
        case FailureKind.TIMED_OUT:
            phases = outcome.phases
            while_loading = phases.compute == 0.0 and phases.libraries + phases.model > 0.0
            when = " during initialization" if while_loading else ""
            return f"The action exceeded its time limits of {limits.timeout} milliseconds{when}."
        case FailureKind.CONTAINER_START_FAILED:
            return f"Failed to provision resources to run the action. {failure.message}"
        case _:
            return failure.message


def running_record(activation: str, action: Action, origin: Origin, start_ms: int) -> ActivationRecord:
    """The record of an activation that was accepted and has not ended."""
    return ActivationRecord(
        id=activation,
        namespace=origin.namespace,
        package=origin.package,
        name=action.name,
        version=action.version,
        cause=origin.cause,
        start_ms=start_ms,
        annotations=encode(_annotations_at_start(action, origin)),
    )


def final_record(
    outcome: Outcome,
    action: Action,
    origin: Origin,
    phases: Phases,
    *,
    end_ms: int,
    said: Said,
) -> ActivationRecord:
    """The record of an activation that has ended. `end_ms` is in milliseconds since the epoch.

    `phases` are the outcome's phases with the time in the controller added.
    """
    duration_ms = round((phases.libraries + phases.model + phases.compute) * 1000)
    return ActivationRecord(
        id=outcome.activation,
        namespace=origin.namespace,
        package=origin.package,
        name=action.name,
        version=action.version,
        cause=origin.cause,
        start_ms=end_ms - duration_ms,
        end_ms=end_ms,
        duration_ms=duration_ms,
        status_code=said.status_code,
        annotations=encode(_annotations(outcome, action, origin, phases)),
        result=said.result,
        logs=said.logs,
    )


def without_large_result(record: ActivationRecord, most_bytes: int) -> ActivationRecord:
    """A record as it is stored of a call whose caller has had the answer: words in place of a large one."""
    if record.result is None or len(record.result) <= most_bytes:
        return record
    text = (
        f"The answer of {len(record.result)} bytes went to the caller of this blocking call only: "
        f"{most_bytes} bytes are kept (retention.records_max_result_bytes)."
    )
    return msgspec.structs.replace(record, result=encode({"omitted": text}))


def _annotations(outcome: Outcome, action: Action, origin: Origin, phases: Phases) -> list[dict[str, Any]]:
    failure = outcome.failure
    annotations = [
        *_annotations_at_start(action, origin, round((phases.queue + phases.container + phases.handoff) * 1000)),
        {"key": "timeout", "value": failure is not None and failure.kind is FailureKind.TIMED_OUT},
        {"key": "phases", "value": msgspec.Raw(phases_json(phases))},
    ]
    # As in OpenWhisk, a record without this annotation tells clients that the call did not wait for loading.
    if outcome.start_kind in _LOADS_ON_PATH and phases.libraries + phases.model > 0.0:
        annotations.append({"key": "initTime", "value": round((phases.libraries + phases.model) * 1000)})
    if outcome.start_kind is not None:
        annotations.append({"key": "startKind", "value": outcome.start_kind})
    if outcome.container:
        annotations.append({"key": "container", "value": outcome.container})
    if outcome.options:
        annotations.append({"key": "options", "value": [_option(option) for option in outcome.options]})
    if failure is not None:
        cause = {"kind": failure.kind, "message": printable(failure.message)}
        annotations.append({"key": "failure", "value": cause})
    return annotations


def _option(option: Option) -> dict[str, Any]:
    told = {
        "action": option.action,
        "container": option.container,
        "startKind": option.start_kind,
        "start_s": round(option.start_s, 6),
        "lost_s": round(option.lost_s, 6),
        "stops": option.stops,
    }
    return {key: value for key, value in told.items() if value not in (None, ())}


def _annotations_at_start(action: Action, origin: Origin, wait_ms: int = 0) -> list[dict[str, Any]]:
    return [
        {"key": "path", "value": str(action.path)},
        {"key": "kind", "value": action.kind},
        {"key": "waitTime", "value": wait_ms},
        {"key": "limits", "value": action.limits},
        *origin.annotations(),
    ]


def phases_json(phases: Phases) -> bytes:
    """The phases as a compact JSON object, in seconds with microseconds."""
    return (
        f'{{"queue":{phases.queue:.6f},"container":{phases.container:.6f},"libraries":{phases.libraries:.6f},'
        f'"model":{phases.model:.6f},"handoff":{phases.handoff:.6f},"compute":{phases.compute:.6f}}}'
    ).encode()


def story_headers(record: ActivationRecord, outcome: Outcome, phases: Phases) -> list[tuple[bytes, bytes]]:
    """The headers that tell how a call began and where its time went."""
    headers = [
        (b"x-openwhisk-activation-id", record.id.encode()),
        (b"x-instainfer-phases", phases_json(phases)),
    ]
    if outcome.start_kind is not None:
        headers.append((b"x-instainfer-start-kind", outcome.start_kind.encode()))
    if outcome.container:
        headers.append((b"x-instainfer-container", outcome.container.encode("latin-1", "replace")))
    return headers


def http_status(record: ActivationRecord) -> int:
    return 202 if record.status_code is None else _HTTP_STATUS[record.status_code]


def activation_json(record: ActivationRecord) -> msgspec.Raw:
    """The full record, as in the answers to a blocking call and to ``GET activations/{id}``.

    The record of a running activation has no end, duration and response.
    """
    return msgspec.Raw(encode(_full(record, record.result or b"{}")))


def _full(record: ActivationRecord, shown: bytes) -> _Activation:
    """The full record, with `shown` for its result."""
    full = _Activation(
        namespace=record.namespace,
        name=record.name,
        version=record.version,
        activation_id=record.id,
        start=record.start_ms,
        subject=record.namespace,
        logs=msgspec.Raw(record.logs),
        annotations=msgspec.Raw(record.annotations),
        publish=False,
        cause=record.cause or msgspec.UNSET,
    )
    if record.status_code is not None and record.end_ms is not None and record.duration_ms is not None:
        size = len(record.result or b"{}")
        full.end = record.end_ms
        full.duration = record.duration_ms
        full.response = _Response(
            STATUS_TEXTS[record.status_code], record.status_code == SUCCESS, size, msgspec.Raw(shown)
        )
    return full


def activation_pieces(record: ActivationRecord) -> tuple[bytes, ...]:
    """The full record in pieces that follow each other. A large answer is a piece of its own, which is not copied."""
    if record.result is None or len(record.result) < LARGE_BYTES:
        return (bytes(activation_json(record)),)
    before, _, behind = encode(_full(record, b"{}")).rpartition(b"{}")  # the result is the last field of the last one
    return before, record.result, behind


def summary_json(record: ActivationSummary) -> msgspec.Raw:
    """The JSON of one activation in a list."""
    summary = _Summary(
        namespace=record.namespace,
        name=record.name,
        version=record.version,
        publish=False,
        annotations=msgspec.Raw(record.annotations),
        activation_id=record.id,
        start=record.start_ms,
        cause=record.cause or msgspec.UNSET,
    )
    if record.status_code is not None and record.end_ms is not None and record.duration_ms is not None:
        summary.end, summary.duration, summary.status_code = record.end_ms, record.duration_ms, record.status_code
    return msgspec.Raw(encode(summary))


def result_json(record: ActivationRecord) -> bytes:
    """The answer to ``GET activations/{id}/result``. The activation must have ended."""
    assert record.status_code is not None
    result = record.result or b"{}"
    return encode(
        _Result(STATUS_TEXTS[record.status_code], record.status_code == SUCCESS, msgspec.Raw(result), len(result))
    )


def action_json(action: Action, code: str | None) -> dict[str, Any]:
    """The JSON of one action, with its code unless `code` is None."""
    if action.components is not None:
        parts = {"kind": action.kind, "components": action.components}
        return {**_common(action), "exec": parts, "parameters": action.parameters}
    execution: dict[str, Any] = {"kind": action.kind, "binary": action.binary}
    if action.main is not None:
        execution["main"] = action.main
    if code is not None:
        execution["code"] = code
    return {**_common(action), "exec": execution, "parameters": action.parameters}


def action_summary(action: Action) -> dict[str, Any]:
    """The JSON of one action in a list."""
    return {**_common(action), "exec": {"binary": action.binary}}


def _common(action: Action) -> dict[str, Any]:
    return {
        "namespace": action.path.folder,
        "name": action.name,
        "version": action.version,
        "publish": action.publish,
        "updated": action.updated_ms,
        "annotations": action.annotations,
        "limits": action.limits,
    }


def log_lines(logs: Sequence[str]) -> bytes:
    """Log lines as the JSON array that a record holds. May be called in a thread."""
    if not logs:
        return b"[]"
    try:
        return encode(logs)
    except UnicodeEncodeError:
        return encode([printable(line) for line in logs])


def printable(text: str) -> str:
    """`text` with each lone surrogate replaced by ``?``, since UTF-8 cannot encode those."""
    return text.encode("utf-8", "replace").decode("utf-8")
