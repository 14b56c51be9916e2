"""Failures and answers of the cloud's command API: always HTTP 200, `code` in the body, an id of the request."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.responses import Response

from hub.core.ending import completion
from hub.delivery.control_reply import reply_of
from hub.dialects.enos import failure
from hub.dialects.enos.failure import Failure, answer
from hub.model.call import CallState
from hub.model.errors import HubError, NotFound, Refusal, TooMany
from hub.model.outcome import Ending

NO_COMMAND = 11404
NO_PRODUCT = 11651
NOT_ENCODED = 11810
NOT_ACTIVATED = 11888
OFFLINE = 11900
QUEUE_FULL = 11902
NOT_SENT = 11904
NO_ANSWER = 11915
ARGUMENT, NOT_FOUND, INTERNAL = 99400, 99404, 99500
BUSY = 429

MESSAGE = {
    401: "Unauthorized",
    403: "Forbidden",
    BUSY: "Too many requests",
    NO_COMMAND: "Command does not exist",
    NO_PRODUCT: "Product key does not exist",
    NOT_ENCODED: "Command cannot be encoded for the device",
    NOT_ACTIVATED: "Device is not activated",
    OFFLINE: "Device is offline",
    QUEUE_FULL: "The number of cached commands reaches the upper limit",
    NOT_SENT: "Command is not sent",
    NO_ANSWER: "Command is sent, but there is no answer in time",
    ARGUMENT: "Invalid argument",
    NOT_FOUND: "Not found",
    INTERNAL: "Internal error",
}
_TRANSLATED = {
    400: ARGUMENT, failure.PARAMETER: ARGUMENT, 404: NOT_FOUND,
    failure.SYNC_FULL: BUSY, failure.ASYNC_FULL: BUSY, failure.INTERNAL: INTERNAL,
}  # fmt: skip
_ENDED = {
    Ending.REFUSED: NOT_ENCODED,
    Ending.UNREACHABLE: OFFLINE,
    Ending.TIMED_OUT: NO_ANSWER,
    Ending.UNKNOWN: NO_ANSWER,
    Ending.EXPIRED: NOT_SENT,
    Ending.REMOVED: NOT_SENT,
    Ending.CANCELLED: NOT_SENT,
}


def fail(code: int, submsg: str | None = None) -> Failure:
    """A failure with a code of this API."""
    return Failure(code, submsg, MESSAGE[code])


def refused(error: Refusal) -> Failure:
    """Why a command was not taken on."""
    if isinstance(error, TooMany):
        return fail(QUEUE_FULL if error.code == "queue-full" else BUSY, error.detail)
    if error.code == "device-not-found":
        return fail(NOT_FOUND, "there is no such device")
    if error.status in (404, 405) or error.code == "resource-not-found":
        return fail(NOT_ENCODED, error.detail or error.code)
    return fail(ARGUMENT, error.detail or error.code)


def failure_of(state: CallState) -> Failure | None:
    """What the ending of a command is told as, None for success. A device's own code is told as it is."""
    assert state.outcome is not None and state.ended_at is not None
    ending = state.outcome.ending
    if ending is Ending.ANSWERED:
        return None
    submsg = reply_of(completion(state.call, state.outcome, state.ended_at).body)["submsg"]
    if ending is not Ending.DEVICE_ERROR:
        return fail(_ENDED[ending], submsg)
    own = str(state.outcome.native.get("code", ""))
    code = int(own) if own.isascii() and own.isdigit() and 0 < len(own) < 10 else INTERNAL
    words = state.outcome.native.get("message")
    return Failure(code or INTERNAL, submsg, str(words) if words else "The device refused the command")


def tell(error: HubError) -> Response:
    """An error as the answer to a request."""
    if isinstance(error, NotFound) and error.code == "call-not-found":
        return told(fail(NO_COMMAND))
    found = failure.failure_of(error)
    code = _TRANSLATED.get(found.code, found.code)
    return told(found if code == found.code else fail(code, found.submsg))


def told(found: Failure, data: Any = None) -> Response:
    """A failure; `data` names the command where one came of the request."""
    return _enveloped(found.code, found.msg, found.submsg, data)


def success(data: Any, **members: Any) -> Response:
    """The answer to a request that was taken; `members` stand beside the data."""
    return _enveloped(0, "OK", None, data, **members)


def _enveloped(code: int, msg: str, submsg: str | None, data: Any, **members: Any) -> Response:
    return answer({
        "code": code, "msg": msg, "submsg": submsg, "requestId": secrets.token_hex(16), "data": data, **members,
    })  # fmt: skip
