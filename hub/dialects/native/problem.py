"""Errors as the native dialect tells them: RFC 9457 problems. Pure.

`type` and `status` are stable, `detail` is not and holds no text of exceptions that the hub did not write.
"""

from __future__ import annotations

import math
import secrets
from typing import Any

import orjson
from starlette.responses import Response

from hub.model.errors import HubError, Refusal, RevisionConflict, StorageFailed, StorageFull

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:hub:problem:"

_TITLES = {
    400: "The request is malformed",
    401: "The request shows no valid key",
    403: "The key may not do this",
    404: "There is no such thing",
    405: "The path does not know this method",
    406: "No acceptable form is offered",
    408: "The request did not arrive in time",
    409: "The request contradicts the present state",
    413: "The request is too large",
    415: "The body has a type that is not taken",
    422: "The request names what cannot be used",
    426: "This path is a WebSocket",
    429: "Too many at once",
    431: "The head of the request is too large",
    503: "The hub cannot take work now",
    507: "The hub has no room left",
}

_UNREAD = {408: "request-timeout", 426: "upgrade-required", 431: "head-too-large"}


def problem(error: HubError, request_id: str) -> dict[str, Any]:
    """The problem that tells of an error. An error that is no refusal and no storage failure is a bug: raised again."""
    status, code, detail = _told(error)
    told: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": _TITLES.get(status, "The request is refused"),
        "status": status,
    }
    if detail:
        told["detail"] = detail
    told["instance"] = f"urn:request:{request_id}"
    if isinstance(error, Refusal) and error.fields:
        told["errors"] = [{"pointer": pointer, "detail": text} for pointer, text in error.fields]
    return told


def problem_response(error: HubError) -> Response:
    """The problem as a response, with the headers that belong to its status."""
    told = problem(error, secrets.token_hex(8))
    return Response(orjson.dumps(told), told["status"], problem_headers(error, told["status"]), MEDIA_TYPE)


def upgrade_required() -> Response:
    """426, for a plain request of what is a WebSocket."""
    told = {
        "type": TYPE_PREFIX + "upgrade-required",
        "title": _TITLES[426],
        "status": 426,
        "instance": f"urn:request:{secrets.token_hex(8)}",
    }
    return Response(orjson.dumps(told), 426, {"upgrade": "websocket", "connection": "Upgrade"}, MEDIA_TYPE)


def refused_unread(status: int) -> tuple[str, bytes]:
    """Media type and body of a refusal that the server makes before a request can be read."""
    told = {
        "type": TYPE_PREFIX + _UNREAD.get(status, "bad-request"),
        "title": _TITLES.get(status, "The request is refused"),
        "status": status,
        "instance": f"urn:request:{secrets.token_hex(8)}",
    }
    return MEDIA_TYPE, orjson.dumps(told)


def problem_headers(error: HubError, status: int) -> dict[str, str]:
    """Retry-After and WWW-Authenticate where they belong.

    No `Connection: close` where the body was not read: the server reads it to its end and throws it away, so that
    a client which is still sending gets the answer instead of a reset.
    """
    headers: dict[str, str] = {}
    retry_after = error.retry_after if isinstance(error, Refusal) else None
    if retry_after is not None or status in (429, 503, 507):
        headers["retry-after"] = str(max(1, math.ceil(retry_after or 1)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def _told(error: HubError) -> tuple[int, str, str]:
    if isinstance(error, Refusal):
        return error.status, error.code, error.detail
    if isinstance(error, StorageFull):
        return 507, "storage-full", "there is no room for another call"
    if isinstance(error, StorageFailed):
        return 503, "storage-failed", "the request could not be stored; nothing was promised"
    if isinstance(error, RevisionConflict):
        return 409, "conflict", "the record was changed meanwhile"
    raise error
