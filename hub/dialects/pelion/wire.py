"""The words of the Connect REST dialect: device requests, serialization options, channel views. Pure.

Immediate refusals are bare code words as text (`Word`); `said` picks the word and the status for an error of the
hub. Numbers and booleans of the serialization options come as strings in the vendor's own examples,
so both are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hub.core.channels import DEFAULT, full_name
from hub.delivery.request_data import decode_json
from hub.delivery.request_members import Members, is_plain
from hub.model.call import CallSpec, Order
from hub.model.device import Device
from hub.model.errors import (
    BadRequest,
    Conflict,
    HubError,
    MethodNotAllowed,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refusal,
    RevisionConflict,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooMany,
    UnsupportedMedia,
)
from hub.model.principal import Principal
from hub.model.target import MAX_TARGET, Target, parse_target

DIALECT = "pelion"
PYTHON_SDK = "mbed-cloud-sdk-python"
"""How the `User-Agent` of the vendor's Python SDK begins."""
METHODS = ("GET", "PUT", "POST", "DELETE")

MALFORMED_ASYNC_ID = "MALFORMED_ASYNC_ID"
MALFORMED_JSON_CONTENT = "MALFORMED_JSON_CONTENT"

# An async-id is a correlation id; the vendor's own pattern is narrower than what its examples recommend (A3).
MOST_ASYNC_ID = 256
LEAST_EXPIRY, MOST_EXPIRY = 60, 30 * 24 * 3600
EXPIRY, EXPIRY_QUEUED = timedelta(hours=2), timedelta(days=3)
MOST_RETRIES, RETRIES, RETRIES_QUEUED = 10, 0, 2

MOST_PATH = 255
"""Characters of a resource path, without the slash that it begins with and without a query."""

LEAST_CHUNK, MOST_CHUNK = 100, 10_000

WEBSOCKET, CALLBACK, PULL = "websocket", "callback", "pull"
MECHANISMS: Mapping[str, str] = {WEBSOCKET: "WEB_SOCKET", CALLBACK: "CALLBACK", PULL: "LONG_POLLING"}


@dataclass(frozen=True, slots=True)
class Serialization:
    """How the items of a channel are told; the defaults are what the vendor's SDKs need."""

    max_chunk_size: int = MOST_CHUNK
    include_uid: bool = False
    include_timestamp: bool = False
    include_original_ep: bool = False
    deregistrations_as_object: bool = False


_FLAGS = ("include_uid", "include_timestamp", "include_original_ep", "deregistrations_as_object")


def device_request(
    body: bytes, query: Mapping[str, str], principal: Principal, named: str, device: Device | None
) -> CallSpec:
    """The spec of `POST /v2/device-requests/{device-id}`. Raises BadRequest with a word of 2.3 as its code.

    `device`, if known, decides the defaults of `retry` and `expiry-seconds`. Whether the caller set an expiry
    travels in `echo`, since a call that ran out is told by it (decisions C).
    """
    async_id = query.get("async-id", "")
    if not is_plain(async_id, MOST_ASYNC_ID):
        raise BadRequest("async-id has 1 to 256 characters, no control characters", code=MALFORMED_ASYNC_ID)
    queued = device is not None and device.queue_mode
    retries = _number(query, "retry", 0, MOST_RETRIES)
    seconds = _number(query, "expiry-seconds", LEAST_EXPIRY, MOST_EXPIRY)
    expiry = (EXPIRY_QUEUED if queued else EXPIRY) if seconds is None else timedelta(seconds=seconds)
    members = _object(body)
    method = members.text("method", required=True, most=16)
    if method is not None and method not in METHODS:
        members.wrong("method", "one of these is expected: " + ", ".join(METHODS))
    uri = members.text("uri", required=True, most=MAX_TARGET)
    content_type, accept = members.text("content-type"), members.text("accept")
    payload = members.base64("payload-b64")
    if members.found:
        raise BadRequest("; ".join(f"{at}: {what}" for at, what in members.found), code=MALFORMED_JSON_CONTENT)
    try:
        target = str(resource_target(uri or ""))
    except BadRequest as error:
        raise BadRequest(error.detail, code=MALFORMED_JSON_CONTENT) from None
    return CallSpec(
        account=principal.account,
        application=principal.application,
        ref=async_id,
        device=named,
        method=method or "",
        target=target,
        channel=full_name(principal.application, DEFAULT),
        dialect=DIALECT,
        payload=payload or b"",
        content_type=content_type,
        accept=accept,
        expiry=expiry,
        retries=(RETRIES_QUEUED if queued else RETRIES) if retries is None else retries,
        order=Order.STRICT,
        echo={"expiry_set": seconds is not None},
    )


def resource_target(text: str) -> Target:
    """The resource that a path with a query names. Raises BadRequest."""
    target = parse_target(text)
    if len("/".join(target.segments)) > MOST_PATH:
        raise BadRequest(f"a resource path has at most {MOST_PATH} characters")
    return target


def serialization(body: bytes) -> Serialization | None:
    """The options of a `PUT` of a channel, None if it gives none (an empty body too). Raises BadRequest."""
    if not body.strip():
        return None
    members = _object(body)
    given = members.mapping("serialization")
    if given is None:
        if members.found:
            raise BadRequest("serialization is an object", code=MALFORMED_JSON_CONTENT)
        return None
    options = Members(given)
    if given.get("type") != "v2":
        options.wrong("type", "only v2 is known")
    cfg = options.mapping("cfg") or {}
    flags = {name: _flag(cfg.get(name), name, options) for name in _FLAGS}
    chunk = _chunk(given.get("max_chunk_size"), options)
    if options.found:
        raise BadRequest("; ".join(f"{at}: {what}" for at, what in options.found), code="INVALID_SERIALIZATION")
    return Serialization(chunk, **flags)


def serialization_view(options: Serialization) -> dict[str, Any]:
    """The options as they are told back."""
    return {
        "type": "v2",
        "max_chunk_size": options.max_chunk_size,
        "cfg": {name: getattr(options, name) for name in _FLAGS},
    }


def websocket_view(options: Serialization | None, *, connected: bool, queue_size: int) -> dict[str, Any]:
    """A WebsocketChannel; `queue_size` is how many events wait, -1 if that is not known."""
    view: dict[str, Any] = {"status": "connected" if connected else "disconnected", "queue_size": queue_size}
    if options is not None:
        view["serialization"] = serialization_view(options)
    return view


def said(error: HubError) -> tuple[int, str]:
    """Status and code word of an error. What is neither a refusal nor a storage failure is a bug: raised again."""
    match error:
        case StorageFull():
            return 507, "STORAGE_FULL"
        case StorageFailed():
            return 503, "STORAGE_FAILED"
        case RevisionConflict():
            return 409, "CONFLICT"
        case Refusal():
            return _refused(error)
    raise error


def _refused(error: Refusal) -> tuple[int, str]:
    match error:
        case NotFound(code="device-not-found"):
            return 404, "DEVICE_NOT_FOUND"
        case NotFound(code="resource-not-found"):
            return 400, "RESOURCE_NOT_FOUND"
        case NotFound(code="no-such-path"):
            return 404, "URI_PATH_DOES_NOT_EXISTS"
        case TooMany(code="queue-full"):
            return 400, "QUEUE_IS_FULL"
        case TooMany(code="too-many-listeners" | "another-handshake" | "another-trial"):
            return 429, _as_word(error.code)
        case TooMany():
            return 400, "LIMITS_EXCEEDED"
        case TooLarge(code="payload-too-large"):
            return 413, "PAYLOAD_TOO_LARGE"
        case TooLarge():
            return 413, "BODY_TOO_LARGE"
        case NotAuthenticated():
            return 401, "NOT_AUTHENTICATED"
        case NotAllowed():
            return 403, "NOT_ALLOWED"
        case MethodNotAllowed():
            return 405, "METHOD_NOT_ALLOWED"
        case UnsupportedMedia():
            return 415, "UNSUPPORTED_MEDIA_TYPE"
        case Conflict():
            return 409, _as_word(error.code)
        case _:
            return error.status, _as_word(error.code)


def _as_word(code: str) -> str:
    return code.replace("-", "_").upper()


def _object(body: bytes) -> Members:
    try:
        return Members(decode_json(body))
    except BadRequest as error:
        raise BadRequest(error.detail, code=MALFORMED_JSON_CONTENT) from None


def _number(query: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 20 and least <= int(text) <= most:
        return int(text)
    raise BadRequest(f"{name} is an integer from {least} to {most}", code=f"INVALID_{_as_word(name)}")


def _flag(value: Any, name: str, found: Members) -> bool:
    if value is None or value is False or value == "false":
        return False
    if value is True or value == "true":
        return True
    found.wrong(f"cfg/{name}", "true or false is expected")
    return False


def _chunk(value: Any, found: Members) -> int:
    if value is None:
        return MOST_CHUNK
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdigit() and len(text) <= 6 and LEAST_CHUNK <= int(text) <= MOST_CHUNK:
        return int(text)
    found.wrong("max_chunk_size", f"an integer from {LEAST_CHUNK} to {MOST_CHUNK} is expected")
    return MOST_CHUNK
