"""The words of the PowerStore front: how endings are told, as an answer and as a job, and how errors are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.dialects.powerstore import wire
from hub.dialects.powerstore.job import row
from hub.model.call import Call, CallSpec, CallState, Stage
from hub.model.errors import (
    BadRequest,
    Conflict,
    HubError,
    IdempotencyConflict,
    IllegalStep,
    NotAcceptable,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OutOfRange,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooMany,
    Unavailable,
    Unprocessable,
    UnsupportedMedia,
)
from hub.model.ids import CallId
from hub.model.job import STATUSES, facets_of
from hub.model.outcome import Ending, Outcome

AT = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
MESSAGES = {"messages": [{"code": "0xE0A07001000D", "severity": "Error", "message_l10n": "No.", "arguments": ["1"]}]}


def state(
    outcome: Outcome | None = None, stage: Stage = Stage.DONE, method: str = "PATCH", target: str = "/volume/v1"
) -> CallState:
    spec = CallSpec("acme", "shop", "r", "array", method, target, "shop/default", "powerstore")
    second = timedelta(seconds=1)
    call = Call(CallId("c1"), spec, "http", "array", "array", False, AT, AT + second, second, AT + 2 * second)
    return CallState(call, stage, outcome=outcome, ended_at=None if outcome is None else AT + second)


# Decisions C, column PowerStore, with the closed list of statuses.
ENDINGS: list[tuple[Outcome, str, int]] = [
    (Outcome(Ending.ANSWERED, 200), "COMPLETED", 204),
    (Outcome(Ending.ANSWERED, 200, b'{"id": "x"}', native={"status": 201}), "COMPLETED", 201),
    (Outcome(Ending.ANSWERED, 200, b'{"id": "x"}'), "COMPLETED", 200),
    (Outcome(Ending.ANSWERED, 200, b'{"id": "x"}', native={"status": 299}), "COMPLETED", 200),
    (Outcome(Ending.DEVICE_ERROR, 422), "FAILED", 422),
    (Outcome(Ending.DEVICE_ERROR, 409), "FAILED", 422),
    (Outcome(Ending.DEVICE_ERROR, 429), "FAILED", 503),
    (Outcome(Ending.DEVICE_ERROR, 401), "FAILED", 503),
    (Outcome(Ending.DEVICE_ERROR, 403), "FAILED", 503),
    (Outcome(Ending.DEVICE_ERROR, 418), "FAILED", 422),
    (Outcome(Ending.DEVICE_ERROR, 502), "FAILED", 503),
    (Outcome(Ending.DEVICE_ERROR, 599), "FAILED", 500),
    (Outcome(Ending.DEVICE_ERROR, 500, error="UNRECOVERABLE_FAILED"), "UNRECOVERABLE_FAILED", 500),
    (Outcome(Ending.DEVICE_ERROR, 422, error="UNRECOVERABLE_FAILED"), "UNRECOVERABLE_FAILED", 422),
    (Outcome(Ending.REFUSED, 404), "FAILED", 404),
    (Outcome(Ending.REFUSED, 413), "FAILED", 400),
    (Outcome(Ending.UNREACHABLE, 502, error="UNREACHABLE"), "FAILED", 503),
    (Outcome(Ending.TIMED_OUT, 504, error="TIMEOUT"), "FAILED", 503),
    (Outcome(Ending.UNKNOWN, 504, error="OUTCOME_UNKNOWN"), "UNRECOVERABLE_FAILED", 500),
    (Outcome(Ending.EXPIRED, 429, error="REQUEST_EXPIRED"), "FAILED", 503),
    (Outcome(Ending.REMOVED, 429, error="DEVICE_REMOVED_REGISTRATION"), "FAILED", 503),
    (Outcome(Ending.CANCELLED, 409, error="CANCELLED"), "FAILED", 422),
]


@pytest.mark.parametrize(("outcome", "word", "status"), ENDINGS)
def test_every_ending_has_its_state_and_status(outcome: Outcome, word: str, status: int) -> None:
    job, answer = row(state(outcome)), wire.answer(outcome)

    assert (job["state"], job["response_status"], answer.status) == (word, str(status), status)
    assert job["phase"].upper() == word
    assert status in STATUSES
    if status >= 400:
        assert job["response_body"]["response_type"] == "job_error_response"
        assert job["response_body"]["messages"] == answer.value["messages"]
        assert answer.value["messages"][0]["message_l10n"]


@pytest.mark.parametrize(
    ("stage", "word"),
    [(Stage.ACCEPTED, "QUEUED"), (Stage.PARKED, "QUEUED"), (Stage.SENT, "IN_PROGRESS"), (Stage.WAITING, "IN_PROGRESS")],
)
def test_a_job_that_has_not_ended_says_so(stage: Stage, word: str) -> None:
    job = row(state(stage=stage))

    assert (job["state"], job["progress_percentage"]) == (word, 0)
    assert [job[name] for name in ("end_time", "response_body", "response_status")] == [None, None, None]


def test_the_arrays_own_messages_are_handed_on() -> None:
    outcome = Outcome(Ending.DEVICE_ERROR, 422, json.dumps(MESSAGES).encode())

    assert wire.answer(outcome).value == MESSAGES
    assert row(state(outcome))["response_body"] == {**MESSAGES, "response_type": "job_error_response"}


def test_an_array_that_refuses_the_hub_says_so_and_does_not_blame_the_caller() -> None:
    outcome = Outcome(Ending.DEVICE_ERROR, 503, error="UPSTREAM_REFUSED", native={"status": 401})
    answer = wire.answer(outcome)

    assert answer.status == 503
    assert answer.value["messages"][0]["code"] == "0xE0101001000D"
    assert "the hub" in answer.value["messages"][0]["message_l10n"]


def test_patience_that_the_array_asks_for_is_handed_on() -> None:
    busy = Outcome(Ending.DEVICE_ERROR, 503, native={"status": 503, "retry_after": 16.2})

    assert wire.answer(busy).headers == {"retry-after": "17"}
    assert not wire.answer(Outcome(Ending.DEVICE_ERROR, 422, native={"retry_after": 5})).headers


def test_the_body_of_an_upstreams_job_loses_its_mark_where_it_is_no_job_here() -> None:
    told = {"id": "x", "response_type": "job_create_response"}
    outcome = Outcome(Ending.ANSWERED, 200, json.dumps(told).encode(), native={"status": 201})

    assert wire.answer(outcome).value == {"id": "x"}
    assert row(state(outcome, method="POST", target="/volume"))["response_body"] == told


@pytest.mark.parametrize("payload", [b"<html/>", b"\xff"])
def test_an_answer_that_is_no_json_is_no_answer(payload: bytes) -> None:
    good, bad = Outcome(Ending.ANSWERED, 200, payload), Outcome(Ending.DEVICE_ERROR, 500, payload)

    assert wire.answer(good).status == 500
    assert wire.answer(bad).value["messages"]
    assert row(state(good))["response_body"] is None


@pytest.mark.parametrize(
    ("method", "target", "wanted"),
    [
        ("POST", "/volume", ("volume", "create", None, None)),
        ("PATCH", "/volume/v1", ("volume", "modify", "v1", None)),
        ("PUT", "/volume/v1", ("volume", "modify", "v1", None)),
        ("DELETE", "/volume/name:Gold", ("volume", "delete", None, "Gold")),
        ("POST", "/volume/v1/clone", ("volume", "clone", "v1", None)),
        ("POST", "/volume/query", ("volume", "query", None, None)),
        ("GET", "/volume/v1", None),
        ("INVOKE", "reboot", None),
        ("POST", "/", None),
    ],
)
def test_what_a_job_works_on_follows_from_its_request(method: str, target: str, wanted: Any) -> None:
    facets = facets_of(state(method=method, target=target).call.spec)

    assert (None if facets is None else (facets.kind, facets.action, facets.instance, facets.name)) == wanted


REFUSALS: list[tuple[HubError, int, str]] = [
    (BadRequest("x"), 400, "0xE04040010005"),
    (BadRequest("x", code="bad-attribute"), 400, "0xE04040030001"),
    (BadRequest("x", code="unknown-attribute"), 400, "0xE0404003000A"),
    (NotFound("x", code="resource-not-found"), 404, "0xE04040020009"),
    (NotFound("x", code="unknown-type"), 404, "0xE04040020002"),
    (TooLarge("x"), 400, "0xE04040010005"),
    (Conflict("x"), 422, "0xE04040010009"),
    (IdempotencyConflict("x"), 422, "0xE04040010009"),
    (Unprocessable("x"), 422, "0xE04040010009"),
    (TooMany("x"), 503, "0xE0101001000D"),
    (Unavailable("x"), 503, "0xE0101001000D"),
    (StorageFailed("/secret/path"), 503, "0xE0101001000D"),
    (StorageFull("/secret/path"), 503, "0xE0101001000D"),
    (NotAuthenticated("x"), 401, "0xE04040010001"),
    (NotAllowed("x"), 403, "0xE04040010002"),
    (NotAcceptable("x"), 406, "0xE04040010006"),
    (UnsupportedMedia("x"), 415, "0xE04040010007"),
    (OutOfRange("x"), 416, "0xE04040010008"),
]


@pytest.mark.parametrize(("error", "status", "code"), REFUSALS)
def test_every_refusal_is_told_within_the_list(error: HubError, status: int, code: str) -> None:
    told, entity = wire.told(error)

    assert (told, entity["messages"][0]["code"]) == (status, code)
    assert entity["messages"][0]["severity"] == "Error"
    assert "secret" not in json.dumps(entity)


def test_a_bug_is_not_told_as_a_refusal() -> None:
    with pytest.raises(IllegalStep):
        wire.told(IllegalStep("x"))


@pytest.mark.parametrize("status", [400, 404, 405, 409, 418, 422, 429, 500, 501, 502, 503])
@pytest.mark.parametrize("word", ["DEVICE_ERROR", "ANSWER_TOO_LARGE", "SKIPPED", None])
def test_an_array_that_refuses_without_a_word_is_told_in_a_sentence(status: int, word: str | None) -> None:
    said = wire.failure(Outcome(Ending.DEVICE_ERROR, status, error=word))["messages"][0]["message_l10n"]

    assert said.startswith("The a") and said.endswith(".")
    assert "_" not in said and not any(part.isupper() and len(part) > 1 for part in said.split())
