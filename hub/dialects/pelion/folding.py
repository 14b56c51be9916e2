"""Repeated slashes are one, wherever they stand in a path: the vendor's SDKs write them, its service folded them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send

_SLASHES = re.compile(rb"//+")


class Folding(BaseRoute):
    """Leads what is below these prefixes once its slashes are folded to routes; other paths are left alone."""

    def __init__(self, prefixes: Sequence[str], routes: Sequence[BaseRoute]) -> None:
        self._prefixes = tuple(f"{prefix}/".encode("ascii") for prefix in prefixes)
        self._router = Router(routes, redirect_slashes=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        # An escaped slash is no separator: what counts is the path as it came.
        path, mark, query = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")
        if b"//" not in path:
            return Match.NONE, {}
        plain = _SLASHES.sub(b"/", path)
        if not (plain + b"/").startswith(self._prefixes):
            return Match.NONE, {}
        return Match.FULL, {"path": unquote(plain.decode("latin-1")), "raw_path": plain + mark + query}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)
