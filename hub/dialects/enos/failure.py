"""Failures as this API tells them: always HTTP 200, the code in the body. One place knows which code is whose."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from hub.delivery.control_reply import INVOKE_FAILED, MESSAGES, WRITE_FAILED
from hub.model.errors import HubError, NotAllowed, NotAuthenticated, Refusal, TooLarge, TooMany

PARAMETER = 1000
CHANNEL_EXISTS, CHANNEL_ID, NO_CHANNEL, CHANNEL_UPDATE, CHANNELS_FULL = 101, 102, 103, 104, 108
NO_DEVICE = 1000201
SYNC_FULL, ASYNC_FULL = 1000206, 1000207
INTERNAL = 9999

MESSAGE = {
    400: "Invalid Argument",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Invalid object id",
    PARAMETER: "para error",
    NO_DEVICE: "device does not exist",
    SYNC_FULL: "number of sync control reaches the upper limit",
    ASYNC_FULL: "number of async control reaches the upper limit",
    INTERNAL: "internal error",
    **MESSAGES,
}
_GROUP = {
    CHANNEL_EXISTS: "control group already exists",
    CHANNEL_ID: "control group id is illegal",
    NO_CHANNEL: "control group does not exist",
    CHANNEL_UPDATE: "update control group error",
    CHANNELS_FULL: "number of control group reaches the upper limit",
}


class Failure(HubError):
    """The request, or one call of it, is refused with a code of this API."""

    def __init__(self, code: int, submsg: str | None = None, msg: str | None = None) -> None:
        super().__init__(submsg or msg or str(code))
        self.code = code
        self.msg = msg or MESSAGE.get(code, "unknown error")
        self.submsg = submsg


def of_channels(family: int, code: int, submsg: str | None = None) -> Failure:
    """A failure about control channels; `family` is 1000000, or 1000200 for channels of points that are set."""
    return Failure(family + code, submsg, _GROUP[code])


def failure_of(error: HubError) -> Failure:
    """What a whole request is told."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, TooMany):
        return Failure(ASYNC_FULL, error.detail)
    if isinstance(error, NotAuthenticated):
        return Failure(401, error.detail)
    if isinstance(error, NotAllowed):
        return Failure(403, error.detail)
    if isinstance(error, TooLarge):
        return Failure(400, error.detail)
    if isinstance(error, Refusal):
        if error.status == 503:
            return Failure(INTERNAL, error.detail or error.code)
        return Failure(404 if error.status in (404, 405) else 400, error.detail)
    return Failure(INTERNAL, "nothing was taken; try again")


def failure_of_call(error: Refusal, *, setting: bool = False) -> Failure:
    """What one call is told that the hub did not take on."""
    failed = WRITE_FAILED if setting else INVOKE_FAILED
    if error.code == "callback-address":
        return Failure(PARAMETER, "callbackUrl not allowed")
    if error.code == "device-not-found":
        return Failure(NO_DEVICE)
    if isinstance(error, TooMany):
        return Failure(ASYNC_FULL, error.detail)
    if error.status in (404, 405):
        return Failure(failed, error.detail or error.code)
    return Failure(PARAMETER, error.detail or error.code)


def tell(error: HubError) -> Response:
    """An error as the answer to a whole request."""
    found = failure_of(error)
    return answer({"status": found.code, "msg": found.msg, "submsg": found.submsg})


def success(data: Any) -> Response:
    """The answer to a request that was taken."""
    return answer({"status": 0, "msg": "Success", "submsg": None, "data": data})


def answer(members: dict[str, Any]) -> Response:
    """A body of this API; its clients throw the body of anything but a 2xx away."""
    return Response(orjson.dumps(members), 200, {"cache-control": "no-store"}, "application/json")


def denial(error: HubError) -> Response:
    """As `tell`, for a handshake that comes to nothing: there the HTTP status says it, too."""
    response = tell(error)
    if isinstance(error, Failure):
        response.status_code = error.code if 400 <= error.code < 500 else 404
    else:
        response.status_code = error.status if isinstance(error, Refusal) else 503
    return response
