"""Errors as the cloud's command API tells them: HTTP 200, its own codes, an id of the request."""

from __future__ import annotations

import json

import pytest

from hub.dialects.enos.commands_failure import failure_of, refused, tell
from hub.dialects.enos.failure import SYNC_FULL, Failure
from hub.model.call import CallState, Stage
from hub.model.errors import (
    BadRequest,
    HubError,
    IdempotencyConflict,
    MethodNotAllowed,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refusal,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooMany,
    Unavailable,
)
from hub.model.ids import CallIds
from hub.model.outcome import Ending, Outcome
from tests.clock import ManualClock
from tests.unit.test_command_search import command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageFailed("x"), 99500), (StorageFull("x"), 99500), (Unavailable("x", code="draining"), 99500),
        (TooMany("x"), 429), (Failure(SYNC_FULL), 429), (TooLarge("x"), 99400), (IdempotencyConflict("x"), 99400),
        (BadRequest("x"), 99400), (Failure(400, "x", "Invalid Argument orgId"), 99400), (NotFound("x"), 99404),
        (MethodNotAllowed("x"), 99404), (NotFound("x", code="call-not-found"), 11404), (NotAuthenticated("x"), 401),
        (NotAllowed("x"), 403), (Failure(11900, "x", "Device is offline"), 11900),
    ],
)  # fmt: skip
def test_an_error_of_a_request_has_its_code(error: HubError, code: int) -> None:
    response = tell(error)

    told = json.loads(bytes(response.body))
    assert (response.status_code, told["code"], told["data"]) == (200, code, None)
    assert told["msg"] and told["requestId"] and "submsg" in told


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TooMany("x", code="queue-full"), 11902), (TooMany("x", code="too-many-calls"), 429),
        (NotFound("x", code="device-not-found"), 99404), (NotFound("x", code="resource-not-found"), 11810),
        (MethodNotAllowed("x"), 11810), (TooLarge("x"), 99400), (BadRequest("x"), 99400),
    ],
)  # fmt: skip
def test_a_command_that_is_not_taken_on_has_its_code(error: Refusal, code: int) -> None:
    assert refused(error).code == code


@pytest.mark.parametrize(
    ("outcome", "code", "submsg"),
    [
        (Outcome(Ending.DEVICE_ERROR, 500, native={"code": 2001, "message": "hot"}), 2001, "2001: hot"),
        (Outcome(Ending.DEVICE_ERROR, 500, error="DEVICE_ERROR", native={"code": "1101"}), 1101, "1101: DEVICE_ERROR"),
        (Outcome(Ending.DEVICE_ERROR, 405, b"no", native={"coap": "4.05"}), 99500, "4.05: no"),
        (Outcome(Ending.DEVICE_ERROR, 500, b"no", native={"code": 0}), 99500, "0: no"),
        (Outcome(Ending.REFUSED, 400, error="BAD_REQUEST"), 11810, "BAD_REQUEST"),
        (Outcome(Ending.UNREACHABLE, 502, error="UNREACHABLE"), 11900, "UNREACHABLE"),
        (Outcome(Ending.TIMED_OUT, 504), 11915, "no answer"),
        (Outcome(Ending.UNKNOWN, 504, error="OUTCOME_UNKNOWN"), 11915, "OUTCOME_UNKNOWN"),
        (Outcome(Ending.EXPIRED, 503), 11904, "not sent"),
        (Outcome(Ending.REMOVED, 429, error="DEVICE_REMOVED_REGISTRATION"), 11904, "DEVICE_REMOVED_REGISTRATION"),
        (Outcome(Ending.CANCELLED, 409, error="CANCELLED"), 11904, "CANCELLED"),
    ],
)
def test_an_ending_has_its_code(outcome: Outcome, code: int, submsg: str) -> None:
    clock = ManualClock()
    state = CallState(command(CallIds(), clock, 1), Stage.DONE, outcome=outcome, ended_at=clock.now())

    found = failure_of(state)

    assert found is not None and (found.code, found.submsg) == (code, submsg)


def test_every_answer_has_another_request_id() -> None:
    ids = {json.loads(bytes(tell(BadRequest("x")).body))["requestId"] for _ in range(3)}

    assert len(ids) == 3
