"""`/v2/endpoints/{device-id}/{path}`: a call on a resource as an HTTP request on it. The hub makes the id by which its
outcome comes on the notification channel."""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.core.hub import Hub
from hub.delivery.request import call_headers, header, raw_segments, repetition, request_body, request_query
from hub.dialects.pelion import wire_resources as wire
from hub.dialects.pelion.endpoints import Endpoints, registered
from hub.dialects.pelion.requests import principal_of, speaks_otherwise
from hub.model.call import CallSpec
from hub.model.errors import Refusal, TooMany
from hub.model.principal import Principal, Scope


class DirectCalls:
    """Handlers of the direct resource calls of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._endpoints = Endpoints(hub)

    async def get(self, request: Request) -> Response:
        """200 with the value itself where it was kept, else 202; with `cacheOnly=true` 205 instead."""
        segments = raw_segments(request.scope)[3:]
        if not any(segments):
            return await self._endpoints.resources(request)
        hub, principal = self._hub, principal_of(self._hub, request, Scope.CALL)
        only_kept = wire.flag(request_query(request.scope), "cacheOnly")
        device = registered(hub, principal.account, request.path_params["device"])
        target = wire.target_of(segments, request.scope["query_string"])
        accept = wire.wanted_form(header(request.scope, b"accept"))
        found = hub.cache.look((device.adapter, device.address), str(target), accept)
        if found is not None:
            kept, left = found
            headers = {"cache-control": f"max-age={int(left.total_seconds())}"}
            return Response(kept.payload, 200, headers, kept.content_type)
        if not only_kept:
            return await self.call(request)
        self._judge(principal, wire.direct_request(
            "GET", target, b"", "", header(request.scope, b"accept"), principal, device.id, device, ""
        ))  # fmt: skip
        return Response(status_code=205)

    def _judge(self, principal: Principal, spec: CallSpec) -> None:
        """Raises the refusal that the call would have met, but for a device that is busy: it is not asked."""
        try:
            self._hub.intake.judge(principal, spec, declared_ok=False)
        except TooMany as error:
            if error.code not in ("queue-full", "too-many-calls"):
                raise

    async def call(self, request: Request) -> Response:
        """202 with the id of the outcome; with `noResp=true` 204, and there is none."""
        hub, principal = self._hub, principal_of(self._hub, request, Scope.CALL)
        unanswered = wire.flag(request_query(request.scope), "noResp")
        named = request.path_params["device"]
        speaks_otherwise(hub.directory.device(principal.account, named))
        body = await request_body(request, hub.limits.body)
        spec = wire.direct_request(
            request.method,
            wire.target_of(raw_segments(request.scope)[3:], request.scope["query_string"]),
            body,
            header(request.scope, b"content-type"),
            header(request.scope, b"accept"),
            principal,
            named,
            hub.directory.device(principal.account, named),
            secrets.token_hex(16),
        )
        if unanswered:
            await hub.unanswered.send(principal, spec)
            return Response(status_code=204)
        return await self._submit(request, principal, spec, body)

    async def _submit(self, request: Request, principal: Principal, spec: CallSpec, body: bytes) -> Response:
        hub = self._hub
        submission = await hub.intake.submit(
            principal,
            [spec],
            repetition(request.scope, body),
            declared_ok=False,
            queue_limit=hub.limits.pelion_waiting,
        )
        verdict = submission.verdicts[0]
        if isinstance(verdict, Refusal):
            raise verdict
        call = verdict.call
        headers = call_headers(call.id, call.spec.channel, verdict.position, replayed=submission.replayed)
        return JSONResponse(wire.async_response_id(call.spec.ref), 202, headers)
