"""The words of the PowerStore REST API: message entities, the query of a change, targets, outcomes as answers. Pure.

The API has a closed list of statuses; whatever the hub has to say is told by the nearest of them. The codes of
messages are those seen in recorded answers where there are any.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from hub.model.errors import BadRequest, HubError, NotFound, Refusal, RevisionConflict, StorageFailed
from hub.model.job import status_of, status_within
from hub.model.outcome import Outcome
from hub.model.query_text import parse_range
from hub.model.target import Target

DIALECT = "powerstore"
TOKEN = "DELL-EMC-TOKEN"
COOKIE = "auth_cookie"

_ASYNC = frozenset({"is_async", "async"})
_PAGING = frozenset({"limit", "offset"})

_BY_WORD: Mapping[str, str] = {
    "unknown-instance": "0xE04040020009",
    "resource-not-found": "0xE04040020009",
    "unknown-type": "0xE04040020002",
    "no-such-path": "0xE04040020002",
    "no-such-array": "0xE04040020002",
    "device-not-found": "0xE04040020002",
    "bad-attribute": "0xE04040030001",
    "unknown-attribute": "0xE0404003000A",
}
_BY_STATUS: Mapping[int, str] = {
    400: "0xE04040010005",
    401: "0xE04040010001",
    403: "0xE04040010002",
    404: "0xE04040020009",
    405: "0xE04040020003",
    406: "0xE04040010006",
    415: "0xE04040010007",
    416: "0xE04040010008",
    422: "0xE04040010009",
    500: "0xE0101001000C",
    503: "0xE0101001000D",
}

# For people, where nobody but the hub has anything to say.
_SENTENCES: Mapping[str, str] = {
    "NOT_CONNECTED": "The array has no connection now.",
    "UNREACHABLE": "The array cannot be reached.",
    "TIMEOUT": "The array did not answer in time.",
    "OUTCOME_UNKNOWN": "The request may or may not have been carried out; the array did not say.",
    "UPSTREAM_REFUSED": "The array refused the hub: the user or the password that the hub shows there is not taken.",
    "CANCELLED": "The request was cancelled.",
    "REQUEST_EXPIRED": "The request waited too long to be sent.",
    "DEVICE_REMOVED_REGISTRATION": "The array was removed.",
    "ANSWER_TOO_LARGE": "The answer of the array is too large to be handed on.",
    "ANSWER_UNREADABLE": "The answer of the array cannot be read.",
    "REDIRECTED": "The array answered with a redirect, which is not followed.",
    "UNRECOVERABLE_FAILED": "The request failed while it ran, and the array could not recover.",
    "SKIPPED": "The array skipped the request.",
}
# The same where an array refused without a word.
_BARE: Mapping[int, str] = {
    400: "The array could not read the request.",
    404: "The array does not know what was asked for.",
    405: "The array does not offer this on what was asked for.",
    409: "The array refused the request: it conflicts with how things stand there.",
    422: "The array refused the request.",
    429: "The array has too much to do now.",
    500: "The array failed on the request.",
    501: "The array does not offer this.",
    503: "The array cannot take requests now.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back for an outcome. `value` is None where there is no body."""

    status: int
    value: Any = None
    headers: Mapping[str, str] | None = None


def entity(status: int, detail: str, word: str = "", arguments: Sequence[str] = ()) -> dict[str, Any]:
    """A message entity of one message."""
    code = _BY_WORD.get(word) or _BY_STATUS.get(status, _BY_STATUS[500])
    return {
        "messages": [
            {"code": code, "severity": "Error", "message_l10n": detail, "arguments": list(arguments)},
        ]
    }


def told(error: HubError) -> tuple[int, dict[str, Any]]:
    """Status and message entity of an error. One that is no refusal and no storage failure is a bug: raised again."""
    if isinstance(error, Refusal):
        status = status_within(error.status)
        return status, entity(status, error.detail or str(error), error.code)
    if isinstance(error, StorageFailed):
        return 503, entity(503, "The request could not be stored; nothing was promised.")
    if isinstance(error, RevisionConflict):
        return 422, entity(422, "The record was changed meanwhile.")
    raise error


def wants_job(parameters: Iterable[tuple[str, str]]) -> bool:
    """Whether a change is asked for as a job. Raises BadRequest for a value that says neither."""
    wanted = False
    for name, value in parameters:
        if name.lower() in _ASYNC:
            word = value.strip().lower()
            if word not in ("true", "false"):
                raise BadRequest(f"{name} is true or false, not {value}.", code="bad-query")
            wanted = word == "true"
    return wanted


def read_parameters(parameters: Sequence[tuple[str, str]], range_header: str) -> list[tuple[str, str]]:
    """The parameters of a query, with what a Range asks for in the place of `limit` and `offset`. Raises OutOfRange."""
    found = [(name, value) for name, value in parameters if name.lower() not in _ASYNC]
    asked = parse_range(range_header) if range_header else None
    if asked is None:
        return found
    plain = [(name, value) for name, value in found if name not in _PAGING]
    return [*plain, ("offset", str(asked[0])), ("limit", str(asked[1]))]


def target(segments: Sequence[str], parameters: Iterable[tuple[str, str]] = ()) -> str:
    """What of the array is meant: type, instance, action, and the query of a read. Raises NotFound."""
    if not 1 <= len(segments) <= 3 or not all(segments) or any(part in (".", "..") for part in segments):
        raise NotFound(f"The resource {'/'.join(segments)} is not known.", code="unknown-type")
    return str(Target(tuple(segments), tuple(parameters)))


def answer(outcome: Outcome) -> Answer:
    """The answer of a request that waited for its end."""
    status = status_of(outcome)
    if status >= 400:
        patience = outcome.native.get("retry_after")
        known = status == 503 and isinstance(patience, int | float)
        return Answer(status, failure(outcome), {"retry-after": seconds(patience)} if known else None)
    if status == 204 or not outcome.payload:
        return Answer(204)
    value = loaded(outcome.payload)
    if value is None:
        return Answer(500, entity(500, "The array answered with what is no JSON."))
    place = outcome.native.get("content_range")
    return Answer(status, _plain(value), {"content-range": place} if isinstance(place, str) else None)


def seconds(patience: float | None) -> str:
    """What a Retry-After says: whole seconds, at least 1; 1 where nobody knows better."""
    return str(max(1, math.ceil(patience or 0)))


def failure(outcome: Outcome) -> dict[str, Any]:
    """The message entity of an outcome that is none of success: the array's own, where it sent one."""
    value = loaded(outcome.payload)
    if isinstance(value, dict) and isinstance(value.get("messages"), list) and value["messages"]:
        plain = _plain(value)
        assert isinstance(plain, dict)
        return plain
    status, word, detail = status_of(outcome), outcome.native.get("word"), outcome.native.get("detail")
    if not isinstance(detail, str):
        detail = _SENTENCES.get(outcome.error or "") or _BARE.get(outcome.status)
    if not isinstance(detail, str):
        detail = f"The array answered with status {outcome.status}."
    return entity(status, detail, word if isinstance(word, str) else "")


def loaded(payload: bytes) -> Any:
    """The value of a JSON payload, None for anything else."""
    try:
        return orjson.loads(payload) if payload else None
    except orjson.JSONDecodeError:
        return None


def moment(at: datetime | None) -> str | None:
    """A moment as the API writes it."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


def _plain(value: Any) -> Any:
    """A body without the discriminator that an upstream's job has put into it."""
    if isinstance(value, dict) and str(value.get("response_type", "")).startswith("job_"):
        return {name: part for name, part in value.items() if name != "response_type"}
    return value
