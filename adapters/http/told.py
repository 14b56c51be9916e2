"""What an upstream tells of a job, read by its shape: at work, ended, forgotten, or gone on as another. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from yarl import URL

from adapters.http.coding import UNREADABLE
from adapters.http.shape import JobShape
from adapters.http.wire import REFUSALS, REFUSED, Answer, response_of, retry_after
from hub.ports.adapter import DeviceResponse

MOST_ID, MOST_DIGITS = 1024, 300
_NO_TEXT = "\ufffd"
MOST_MENDED = 2 * 1024 * 1024
"""Bytes of a body that is read once more where it is no proper JSON: that takes far longer, and everybody waits."""
OMITTED = "omitted"
"""The member of `native` that says why a result is missing."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """Not over. `again` is in how many seconds its upstream wants to be asked again; `estimate` is in how many it takes
    the job to be over, and only a guess."""

    again: float | None = None
    estimate: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """Over, with its result."""

    response: DeviceResponse


@dataclass(frozen=True, slots=True)
class Further:
    """It ended by beginning another job; or, with `result`, its result is to be fetched there."""

    job: str
    result: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Over, and its upstream itself does not know what became of it."""


Told = AtWork | Ended | Further | Unknown


def job_of(shape: JobShape, answer: Answer, asked: URL) -> str | None:
    """What names the job of a 202: its id, or the path of its address on the same server; None where nothing does."""
    if shape.id:
        value = loaded(answer.body)
        return _id(value.get(shape.id)) if isinstance(value, dict) else None
    return place_of(answer, asked)


def place_of(answer: Answer, asked: URL) -> str | None:
    """Path and query of the header Location; None where it leads to another server."""
    text = answer.headers.get("Location", "")
    try:
        place = asked.join(URL(text)) if text else None
        if place is None or place.origin() != asked.origin():
            return None
    except ValueError:
        return None
    return _id(place.raw_path_qs)


def of_answer(shape: JobShape, answer: Answer, asked: URL, now: datetime) -> Told | None:
    """What the answer to a question after one job says; None where it says nothing of it."""
    again = retry_after(answer.headers, now)
    if answer.status == 202:
        return AtWork(again)
    if answer.status == 303:
        place = place_of(answer, asked)
        return None if place is None else Further(place, result=True)
    if not 200 <= answer.status < 300:
        return None
    if not shape.state:
        return Ended(result_of(answer, now))
    row = loaded(answer.body)
    if not isinstance(row, dict):
        return None
    if not shape.body and shape.state not in row:
        # The address gave the result itself: there is no word to wait for.
        return Ended(response_of(answer, now))
    told = of_row(shape, row, now)
    return AtWork(again) if isinstance(told, AtWork) and again is not None else told


def result_of(answer: Answer, now: datetime) -> DeviceResponse:
    """The answer that is the result of a job. One that cannot be read is the end all the same, and no failure."""
    if not answer.whole and 200 <= answer.status < 300:
        return DeviceResponse(answer.status, native={"status": answer.status, OMITTED: answer.lack})
    return response_of(answer, now)


def of_row(shape: JobShape, row: Mapping[str, Any], now: datetime) -> Told:
    """What a job's own members say."""
    word = row.get(shape.state)
    if word is None and shape.state_else:
        word = row.get(shape.state_else)
    state = str(word).casefold() if isinstance(word, str) else ""
    if state in shape.unknown:
        return Unknown()
    if state not in shape.done and state not in shape.failed:
        return AtWork(estimate=_until(row.get(shape.ends_at), now) if shape.ends_at else None)
    status = _status(row.get(shape.status)) if shape.status else None
    body = row.get(shape.body) if shape.body else row
    native: dict[str, Any] = {"state": str(word)}
    if state in shape.done:
        if isinstance(body, dict) and shape.follow and body.get("response_type") == shape.follow:
            further = _id(body.get("id"))
            if further is not None:
                return Further(further)
        if status is None or not 200 <= status < 300:
            status = 204 if body is None else 200
    else:
        if status is None or status < 400:
            status = 500 if state.startswith("unrecoverable") else 422
        if state != "failed":
            native["error"] = str(word).upper()
    native["status"] = status
    if status in REFUSALS:
        status, native["error"] = 503, REFUSED
    if body is None:
        return Ended(DeviceResponse(status, native=native))
    try:
        payload = json.dumps(body).encode()
    except RecursionError:
        # The job is over, and its result would be no other the next time.
        return Ended(DeviceResponse(status, native={**native, OMITTED: UNREADABLE}))
    return Ended(DeviceResponse(status, payload, "application/json", native=native))


def no_answer(shape: JobShape, answer: Answer) -> bool:
    """Whether somebody on the way spoke instead of the upstream, so that a change may have been taken or not.

    A 500 is the upstream's own where it has `messages`, and wherever nobody could look for the job anyway.
    """
    if answer.status == 500 and (shape.key or shape.find):
        value = loaded(answer.body)
        return not (isinstance(value, dict) and "messages" in value)
    return answer.status in (502, 504)


def of_repetition(answer: Answer) -> bool:
    """Whether the answer to a repetition says what became of the change: it was taken, or it comes from where its key
    was looked up. Anything else may have been said before anybody looked at the key."""
    if 200 <= answer.status < 300:
        return True
    looked_up = answer.headers.get("Idempotent-Replayed", "").strip().lower()
    return looked_up == "true" or (looked_up == "false" and answer.status not in (429, 503))


def id_of(shape: JobShape, row: Mapping[str, Any]) -> str | None:
    """The id of a job's row; None where it has none."""
    return _id(row.get(shape.id))


def rows(body: bytes) -> list[Mapping[str, Any]] | None:
    """The jobs of a collection; None for what is none."""
    value = loaded(body)
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    return None


def loaded(body: bytes) -> Any:
    """The value of a JSON body, None for anything else. What is no text in it is read as U+FFFD, what is no number as
    null: a job is not waited for without end because of a message that cannot be read."""
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        if len(body) > MOST_MENDED:
            return None  # a list, and the same is asked for in shorter ones
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"), strict=False, parse_int=_whole)
        # Halves of pairs of surrogates, which can be written in JSON, and infinities are found where it is written out.
        text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None


def _no_number(word: str) -> None:
    return None


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MOST_ID or value in (".", ".."):
        return None
    return value if value.isprintable() and _NO_TEXT not in value else None


def _status(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600 else None


def _until(value: Any, now: datetime) -> float | None:
    """Seconds to a moment that a job names."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    try:
        return (at - now).total_seconds()
    except OverflowError:
        return None
