"""What operators and their tools ask: is it alive, is it ready, how is it doing."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from hub import __version__
from hub.core.hub import Hub, HubState
from hub.delivery.request import request_key
from hub.metrics import CONTENT_TYPE, Metrics
from hub.model.errors import NotAllowed, Refusal
from hub.model.principal import Scope


class Ops:
    """The routes of one hub. `/metrics` is for keys with the scope admin and for whoever shows `metrics_token`;
    `metrics_open` opens it to everybody unless there is a token, `metrics` False leaves it away."""

    def __init__(
        self,
        hub: Hub,
        listeners: Callable[[], int],
        *,
        metrics: bool = True,
        metrics_open: bool = False,
        metrics_token: str | None = None,
    ) -> None:
        self._hub = hub
        self._metrics = Metrics(hub, listeners) if metrics else None
        self._open = metrics_open and metrics_token is None
        self._token = metrics_token

    def routes(self) -> list[BaseRoute]:
        """`/livez`, `/readyz` and, unless switched off, `/metrics`."""
        routes: list[BaseRoute] = [Route("/livez", self.livez), Route("/readyz", self.readyz)]
        if self._metrics is not None:
            routes.append(Route("/metrics", self.metrics))
        return routes

    async def livez(self, request: Request) -> Response:
        """200 as long as the loop turns; says nothing about whether work is taken."""
        return PlainTextResponse("alive\n", headers=_NOT_KEPT)

    async def readyz(self, request: Request) -> Response:
        """200 while calls are taken, else 503 with the reasons; both name the durability found."""
        reasons = self.reasons()
        engine = self._hub.engine.health()
        report: dict[str, Any] = {
            "ready": not reasons,
            "state": self._hub.state.value,
            "reasons": reasons,
            "durability": engine.get("durability"),
            "adapters": self.adapters(),
            "version": __version__,
        }
        headers = _NOT_KEPT if not reasons else {**_NOT_KEPT, "retry-after": "1"}
        return Response(orjson.dumps(report, default=str), 503 if reasons else 200, headers, "application/json")

    async def metrics(self, request: Request) -> Response:
        """The counters as text."""
        assert self._metrics is not None
        if not self._open:
            try:
                self._let_in(request)
            except Refusal as refusal:
                headers = {**_NOT_KEPT, "www-authenticate": "Bearer"} if refusal.status == 401 else _NOT_KEPT
                return PlainTextResponse(f"{refusal}\n", refusal.status, headers)
        return Response(self._metrics.text(), 200, _NOT_KEPT, CONTENT_TYPE)

    def _let_in(self, request: Request) -> None:
        """Whether the bearer may read the metrics. Raises Refusals."""
        shown = request.headers.get("authorization", "").encode()
        if self._token is not None and hmac.compare_digest(shown, f"Bearer {self._token}".encode()):
            return
        if not self._hub.access.authenticate(request_key(request.scope)).may(Scope.ADMIN):
            raise NotAllowed("the key needs the scope admin")

    def reasons(self) -> list[str]:
        """Why no calls are taken; empty when they are. An adapter that is down stops nobody else: not a reason."""
        reasons = []
        if self._hub.state is not HubState.READY:
            reasons.append(f"the hub is {self._hub.state.value}")
        state = self._hub.engine.health().get("state")
        if state != "up":
            reasons.append(f"the engine is {state}")
        return reasons

    def adapters(self) -> dict[str, str]:
        """Each adapter's own word on its state; what could not be started is `failed`."""
        states = {name: str(adapter.health().get("state", "unknown")) for name, adapter in self._hub.adapters.items()}
        return states | {name: f"failed: {why}" for name, why in self._hub.broken.items()}


_NOT_KEPT = {"cache-control": "no-store"}
