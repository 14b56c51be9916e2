"""What every dialect needs of an HTTP request: the key, the query, the body, and the mark of a repetition.

Rules that hold on every front stand here once (delivery-guarantees A4, G1, G3, J): one Authorization only, no
key in a URL, bodies within their limit and in no coding. What the bytes mean is `request_data.py`;
how a refusal is told is the dialect's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from hub.core.intake import Idempotency
from hub.model.errors import BadRequest, NotAuthenticated, TooLarge, UnsupportedMedia
from hub.model.event import Position

_KEYS_IN_QUERY = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token", "authorization"})
_MOST_PARAMETERS = 64


def header_values(scope: Any, name: bytes) -> Iterator[bytes]:
    """Every value of a header (lower-case name) as it came."""
    return (value for key, value in scope["headers"] if key == name)


def has_header(scope: Any, name: bytes) -> bool:
    """Whether a header (lower-case name) is there, an empty one too."""
    return any(key == name for key, _ in scope["headers"])


def header(scope: Any, name: bytes) -> str:
    """The values of a header joined as HTTP does, "" when there is none."""
    return ", ".join(value.decode("latin-1") for value in header_values(scope, name))


def request_key(scope: Any, *, bare: bool = False) -> str:
    """The key that the request shows in `Authorization: Bearer <key>`, with `bare` also without the word.

    Raises BadRequest for more than one Authorization, NotAuthenticated for none or one of another form.
    """
    shown = list(header_values(scope, b"authorization"))
    if len(shown) > 1:
        raise BadRequest("more than one Authorization header", code="several-authorizations")
    if not shown:
        raise NotAuthenticated("the request shows no key")
    words = shown[0].decode("latin-1").split()
    if len(words) == 2 and words[0].lower() == "bearer":
        return words[1]
    if bare and len(words) == 1:
        return words[0]
    raise NotAuthenticated("the Authorization header has another form than Bearer <key>")


def subprotocols(scope: Any) -> list[str]:
    """The subprotocols that a WebSocket handshake offers, in order."""
    offered = (word.strip() for word in header(scope, b"sec-websocket-protocol").split(","))
    return [word for word in offered if word]


def socket_key(scope: Any, prefix: str, *, bare: bool = False) -> str:
    """The key of a WebSocket handshake: a subprotocol `<prefix><key>`, or else the Authorization header.

    Raises as `request_key`, and BadRequest where several keys are shown.
    """
    shown = [word.removeprefix(prefix) for word in subprotocols(scope) if word.startswith(prefix)]
    if not shown:
        return request_key(scope, bare=bare)
    if len(shown) > 1 or has_header(scope, b"authorization"):
        raise BadRequest("more than one key is shown", code="several-authorizations")
    return shown[0]


def request_query(scope: Any) -> dict[str, str]:
    """The query by name; the last of equal names wins. Raises BadRequest for a key in the URL or a broken query."""
    return dict(request_pairs(scope))


def request_pairs(scope: Any) -> list[tuple[str, str]]:
    """The query as it came, decoded, equal names and all. Raises as `request_query`."""
    raw: bytes = scope.get("query_string", b"")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise BadRequest("the query cannot be read", code="bad-query") from None
    if any(name.lower() in _KEYS_IN_QUERY for name, _ in pairs):
        # URLs end up in logs, histories and Referer headers.
        raise BadRequest("a key is never taken from the URL", code="key-in-url")
    return pairs


async def request_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge over `limit` bytes, UnsupportedMedia for any Content-Encoding but identity.

    A body that never comes is ended by the server's own timer; starlette's ClientDisconnect passes through.
    """
    coding = header(request.scope, b"content-encoding").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMedia("the body is taken in no coding but identity", code="unsupported-encoding")
    declared = header(request.scope, b"content-length")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise TooLarge(f"the body has at most {limit} bytes", code="body-too-large")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body has at most {limit} bytes", code="body-too-large")
    return bytes(body)


def repetition(scope: Any, body: bytes) -> Idempotency | None:
    """The mark of a request that may be repeated safely, None without `Idempotency-Key`.

    Raises BadRequest for a key that is not 1 to 255 visible ASCII characters.
    """
    shown = list(header_values(scope, b"idempotency-key"))
    if not shown:
        return None
    key = shown[0]
    if len(shown) > 1 or not 1 <= len(key) <= 255 or not all(0x21 <= char <= 0x7E for char in key):
        raise BadRequest("an Idempotency-Key has 1 to 255 visible ASCII characters", code="bad-idempotency-key")
    return Idempotency(key.decode("ascii"), _fingerprint(scope, body))


def callback_url(scope: Any) -> str | None:
    """The address of `Hub-Callback-Url`, for dialects whose bodies have no room for one; whether it may be called
    is judged at intake. Raises BadRequest for more than one."""
    shown = list(header_values(scope, b"hub-callback-url"))
    if len(shown) > 1:
        raise BadRequest("more than one Hub-Callback-Url header", code="several-callbacks")
    return shown[0].decode("latin-1") if shown else None


def _fingerprint(scope: Any, body: bytes) -> bytes:
    digest = hashlib.sha256()
    path = scope.get("raw_path") or scope["path"].encode()
    for part in (scope["method"].encode(), path, scope.get("query_string", b""), body):
        # With their lengths, so that no byte can wander from one part into the next.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def raw_segments(scope: Any) -> list[str]:
    """The path's segments as they came, still escaped: `/a/b%2Fc` is ["a", "b%2Fc"]."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1").split("/")[1:]


def call_headers(call_id: str, channel: str, position: Position, *, replayed: bool = False) -> dict[str, str]:
    """The headers that every 202 of a call carries, whichever the dialect (design 7, delivery-guarantees A4)."""
    headers = {"hub-call-id": call_id, "hub-channel": channel, "hub-position": str(position)}
    if replayed:
        headers["idempotent-replayed"] = "true"
    return headers
