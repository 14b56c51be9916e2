"""`/v1/devices`: the account's devices, their credentials, and what an application observes of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.claims import Claims
from hub.core.hub import Hub
from hub.delivery.request import raw_segments
from hub.dialects.native import wire
from hub.dialects.native.exchange import Exchange
from hub.model.device import Device, Presence
from hub.model.errors import Conflict, MethodNotAllowed, NotFound
from hub.model.principal import Principal, Scope
from hub.model.target import parse_target

MOST_LISTED = 1000

audit = logging.getLogger("hub.audit")


class DeviceRoutes:
    """Handlers of the devices of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._claims = Claims(hub.directory, hub.products)

    async def listing(self, request: Request) -> Response:
        """`GET /v1/devices`, by id; `next` goes into `after` of the next page."""
        exchange = Exchange(self._hub, request)
        query = exchange.query
        fits = _filter(query)
        limit = wire.whole_number(query, "limit", 100, 1, MOST_LISTED)
        after = query.get("after")
        found: list[Device] = []
        for device in self._hub.directory.devices(exchange.principal.account):
            if (after is None or device.id > after) and fits(device):
                found.append(device)
                if len(found) > limit:
                    break
        page = found[:limit]
        answer: dict[str, Any] = {"devices": [self._view(device) for device in page]}
        if len(found) > limit:
            answer["next"] = page[-1].id
        return exchange.answer(answer)

    async def get(self, request: Request) -> Response:
        """`GET /v1/devices/{id}`."""
        exchange = Exchange(self._hub, request)
        return exchange.answer(self._view(self._device(exchange.principal, request)))

    async def put(self, request: Request) -> Response:
        """`PUT /v1/devices/{id}`: 201 for a new device, 200 for a changed one; absent members stay as they are."""
        exchange = Exchange(self._hub, request, Scope.DEVICE)
        value, _ = await exchange.value()
        id, account = request.path_params["device"], exchange.principal.account
        adapters = self._hub.adapters_for(account)
        known: list[Device] = []

        def change(before: Device | None) -> Device:
            if before is not None and not before.disabled:
                known.append(before)
            wanted = wire.changed_device(value, known[0] if known else None, id, account, adapters)
            self._claims.check(wanted, known[0] if known else None)
            return wanted

        stored = await self._hub.directory.edit_device(account, id, change)
        _note("device put", exchange.principal, stored)
        return exchange.answer(self._view(stored), 200 if known else 201)

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/devices/{id}`: its unsent calls end, and whoever listens is told if it was registered."""
        exchange = Exchange(self._hub, request, Scope.DEVICE)
        device = self._device(exchange.principal, request)
        await self._hub.presence.remove(device)
        _note("device deleted", exchange.principal, device)
        return Response(status_code=204)

    async def put_credentials(self, request: Request) -> Response:
        """`PUT /v1/devices/{id}/credentials`: the device's own secret; it cannot be read again."""
        exchange = Exchange(self._hub, request, Scope.DEVICE)
        device = self._device(exchange.principal, request)
        value, form = await exchange.value()
        secret = wire.device_secret(value, form)
        await self._hub.directory.edit_device(device.account, device.id, _still_there, secret=secret)
        _note("device credentials put", exchange.principal, device)
        return Response(status_code=204)

    async def list_observations(self, request: Request) -> Response:
        """`GET /v1/devices/{id}/observations`: the paths that the application wants to be told of."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        device = self._device(exchange.principal, request)
        wanted = self._hub.observe.wanted(exchange.principal.application, device)
        return exchange.answer({"observations": [{"path": path} for path in wanted]})

    async def get_observation(self, request: Request) -> Response:
        """`GET /v1/devices/{id}/observations/{path}`: 200 if wanted, else 404."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        device, path = self._device(exchange.principal, request), _observed(request)
        if path not in self._hub.observe.wanted(exchange.principal.application, device):
            raise NotFound("no such observation", code="observation-not-found")
        return exchange.answer({"path": path})

    async def put_observation(self, request: Request) -> Response:
        """`PUT /v1/devices/{id}/observations/{path}`: 201 for a new one; the values come on the default channel."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        device, path = self._device(exchange.principal, request), _observed(request)
        try:
            new = await self._hub.observe.want(exchange.principal.application, device, path)
        except MethodNotAllowed as refusal:
            # The device says no, not this path: 405 would speak of PUT.
            raise Conflict(refusal.detail, code=refusal.code) from None
        return exchange.answer({"path": path}, 201 if new else 200)

    async def delete_observation(self, request: Request) -> Response:
        """`DELETE /v1/devices/{id}/observations/{path}`."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        device, path = self._device(exchange.principal, request), _observed(request)
        if not await self._hub.observe.unwant(exchange.principal.application, device, path):
            raise NotFound("no such observation", code="observation-not-found")
        return Response(status_code=204)

    def _device(self, principal: Principal, request: Request) -> Device:
        found = self._hub.directory.device(principal.account, request.path_params["device"])
        if found is None:
            raise NotFound("no such device", code="device-not-found")
        return found

    def _view(self, device: Device) -> dict[str, Any]:
        return wire.device_view(device, *self._hub.dispatch.standing(device))


def _still_there(device: Device | None) -> Device:
    if device is None or device.disabled:
        raise NotFound("no such device", code="device-not-found")
    return device


def _note(what: str, principal: Principal, device: Device) -> None:
    audit.info(what, extra={"device": device.id, "account": device.account, "key": principal.key_id})


def _observed(request: Request) -> str:
    # From the path as it came: a slash that was escaped is part of a segment, not the end of one.
    return parse_target("/".join(raw_segments(request.scope)[4:])).path


def _filter(query: dict[str, str]) -> Callable[[Device], bool]:
    presence, adapter, kind, name = (query.get(word) for word in ("presence", "adapter", "type", "name"))
    if presence is not None and presence not in {known.value for known in Presence}:
        raise wire.bad_parameter("presence", "one of these is expected: " + ", ".join(p.value for p in Presence))

    def fits(device: Device) -> bool:
        return (
            (presence is None or device.presence.value == presence)
            and (adapter is None or device.adapter == adapter)
            and (kind is None or device.type == kind)
            and (name is None or device.name == name)
        )

    return fits
