"""Signing in: a token for a key and a proof of its secret, and another token in place of an old one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.delivery.control_reply import milliseconds
from hub.delivery.request import request_body
from hub.delivery.request_data import decode_json
from hub.dialects.enos.exchange import Front
from hub.dialects.enos.failure import Failure, answer, failure_of
from hub.dialects.enos.sign_in import BAD_PARAMETER, Token
from hub.model.errors import BadRequest, HubError

BUSINESS = "apim-token-service"
_MOST_BODY = 16 * 1024


class TokenRoutes:
    """Handlers of `/apim-token-service/v2.0/token`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def get(self, request: Request) -> Response:
        """`POST .../token/get`."""
        body = await _body(request)
        return self._told(self._front.tokens.get(*_proof(body)))

    async def refresh(self, request: Request) -> Response:
        """`POST .../token/refresh`."""
        body = await _body(request)
        return self._told(self._front.tokens.refresh(*_proof(body), _text(body, "accessToken")))

    def _told(self, token: Token) -> Response:
        left = max(0, token.until - milliseconds(self._front.hub.clock.now())) // 1000
        data = {"accessToken": token.text, "expire": left}
        return answer({"status": 0, "msg": "SUCCESS", "business": BUSINESS, "data": data})


def tell(error: HubError) -> Response:
    """An error in the words of this service."""
    found = failure_of(error)
    return answer({"status": found.code, "msg": found.msg, "business": BUSINESS, "data": None})


async def _body(request: Request) -> dict[str, Any]:
    raw = await request_body(request, _MOST_BODY)
    try:
        value = decode_json(raw)
    except BadRequest:
        value = None
    if not isinstance(value, dict):
        raise Failure(BAD_PARAMETER, "the body is an object", "bad parameter")
    return value


def _proof(body: dict[str, Any]) -> tuple[str, str, str]:
    return _text(body, "appKey"), _text(body, "encryption"), _text(body, "timestamp")


def _text(body: dict[str, Any], name: str) -> str:
    """A member as text; clients write the time as a number too."""
    value = body.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and name == "timestamp":
        return str(value)
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable():
        raise Failure(BAD_PARAMETER, f"{name} is a text", "bad parameter")
    return value
