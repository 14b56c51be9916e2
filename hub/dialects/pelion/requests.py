"""`POST /v2/device-requests/{device-id}`: the answer says accepted, the outcome comes on the notification channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.hub import Hub
from hub.delivery.request import (
    call_headers,
    callback_url,
    header,
    repetition,
    request_body,
    request_key,
    request_query,
)
from hub.dialects.pelion import wire
from hub.model.device import Device
from hub.model.errors import MethodNotAllowed, NotAllowed, Refusal
from hub.model.principal import Principal, Scope


def principal_of(hub: Hub, request: Request, scope: Scope | None = None) -> Principal:
    """Whose key the request shows, with or without the word Bearer (A5); without a scope any key will do.

    Raises NotAuthenticated, NotAllowed.
    """
    principal = hub.access.authenticate(request_key(request.scope, bare=True))
    if scope is not None and not principal.may(scope):
        raise NotAllowed(f"the key needs the scope {scope.value}")
    return principal


def reads_singly(scope: Any) -> bool:
    """Whether whoever asks is the vendor's Python SDK, which loses the values of a message behind the first that it has
    no queue for."""
    return header(scope, b"user-agent").startswith(wire.PYTHON_SDK)


def speaks_otherwise(device: Device | None) -> None:
    """Raises MethodNotAllowed for an array: it has no resources that this API could name."""
    if device is not None and device.is_array:
        raise MethodNotAllowed("an array is asked by its own API")


class DeviceRequests:
    """Handler of the device requests of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def submit(self, request: Request) -> Response:
        """Take one call on; 202 with an empty body, and the hub's own headers beside it."""
        hub = self._hub
        principal = principal_of(hub, request, Scope.CALL)
        query = request_query(request.scope)
        named = request.path_params["device"]
        body = await request_body(request, hub.limits.body)
        device = hub.directory.device(principal.account, named)
        speaks_otherwise(device)
        spec = replace(
            wire.device_request(body, query, principal, named, device), callback=callback_url(request.scope)
        )
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
        return Response(
            status_code=202,
            headers=call_headers(call.id, call.spec.channel, verdict.position, replayed=submission.replayed),
        )
