"""Errors of `/v2` as they are told: a bare code word as text."""

from __future__ import annotations

import math
from collections.abc import Callable

from starlette.responses import PlainTextResponse, Response

from hub.dialects.pelion.wire import said
from hub.model.errors import HubError, Refusal

Said = Callable[[HubError], tuple[int, str]]


def word_response(error: HubError, said: Said = said) -> Response:
    """The word as a response, with the headers that belong to its status; `said` picks both."""
    status, word = said(error)
    headers: dict[str, str] = {}
    retry_after = error.retry_after if isinstance(error, Refusal) else None
    if retry_after is not None or status in (429, 503, 507):
        headers["retry-after"] = str(max(1, math.ceil(retry_after or 1)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return PlainTextResponse(word, status, headers)
