"""The body of `PUT /v2/notification/callback` as a value, and back. Pure; where the URL leads to is the guard's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.delivery.request_data import decode_json
from hub.delivery.request_members import Members
from hub.dialects.pelion.wire import MALFORMED_JSON_CONTENT, Serialization, serialization, serialization_view
from hub.model.errors import BadRequest

MOST_CHARACTERS = 400
"""Of the URL and all names and values of headers together."""

INVALID_HEADERS = "INVALID_CALLBACK_HEADERS"
TOO_LONG = "CALLBACK_TOO_LONG"
UNREACHABLE = "CALLBACK_UNREACHABLE"
ADDRESS = "CALLBACK_ADDRESS"

TRIAL = b"{}"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
# What belongs to the connection, to the message, or to the hub's own signatures (delivery-guarantees F10).
_OURS = frozenset(
    (
        "host", "content-length", "content-type", "content-encoding", "expect", "connection", "keep-alive", "te",
        "proxy-authenticate", "proxy-authorization", "proxy-connection", "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback as it was asked for."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    options: Serialization | None


def callback(body: bytes) -> Callback:
    """The callback that a body asks for. Raises BadRequest whose code is the word that says why not."""
    try:
        members = Members(decode_json(body))
    except BadRequest as error:
        raise BadRequest(error.detail, code=MALFORMED_JSON_CONTENT) from None
    url = members.text("url", required=True, most=1 << 16)
    headers = members.mapping("headers") or {}
    if members.found or url is None:
        raise BadRequest("; ".join(f"{at}: {what}" for at, what in members.found), code=MALFORMED_JSON_CONTENT)
    options = serialization(body)
    sent = _headers(headers)
    if len(url) + sum(len(name) + len(value) for name, value in sent.items()) > MOST_CHARACTERS:
        raise BadRequest(f"URL and headers have at most {MOST_CHARACTERS} characters", code=TOO_LONG)
    return Callback(url, sent, options)


def callback_view(url: str, headers: Mapping[str, str], options: Serialization | None) -> dict[str, Any]:
    """The callback as it is told back."""
    view: dict[str, Any] = {"url": url, "headers": dict(headers)}
    if options is not None:
        view["serialization"] = serialization_view(options)
    return view


def _headers(given: Mapping[str, Any]) -> dict[str, str]:
    """The headers, all fit to be sent. Raises BadRequest."""
    sent: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in given.items():
        lower = name.lower()
        if not _NAME.fullmatch(name) or lower in seen:
            raise BadRequest("a header's name is a token, and comes once", code=INVALID_HEADERS)
        if lower in _OURS or lower.startswith("webhook-"):
            raise BadRequest(f"the header {lower} cannot be set", code=INVALID_HEADERS)
        if not isinstance(value, str) or (value and not _VALUE.fullmatch(value)):
            raise BadRequest(f"the value of {lower} is visible ASCII text", code=INVALID_HEADERS)
        seen.add(lower)
        sent[name] = value
    return sent
