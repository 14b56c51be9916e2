"""Sub-devices behind a gateway: its topology, and their coming and going over its connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from adapters.mqtt import wire
from adapters.mqtt.listener.registration import Facts, Gone, Registration
from adapters.mqtt.topics import Name
from hub.model.errors import StorageFailed, UnknownDevice
from hub.ports.adapter import AdapterContext, Admission

if TYPE_CHECKING:
    from adapters.mqtt.listener.session import Session

Refusal = tuple[int, str]
log = logging.getLogger("hub.adapter.mqtt")
GONE: Refusal = (wire.NO_DEVICE, "the gateway is not connected any more")
Keep = Callable[[AdapterContext, Registration, Callable[[Facts], Facts]], Awaitable[None]]


class Roster(Protocol):
    """Who is there: the adapter."""

    async def arrived(self, session: Session, name: Name, admission: Admission, boot: str) -> Registration: ...
    async def left(self, session: Session, registrations: list[Registration]) -> None: ...
    def gateway_of(self, name: Name) -> Registration | None: ...
    def know_topology(self, gateway: Registration) -> None: ...


class Gateway:
    """Answers are data for the device, or a code and a text."""

    session_purposes = frozenset({"combine/login", "combine/login/batch", "combine/logout"})
    topology_verbs = frozenset({"add", "get", "delete"})

    def __init__(self, ctx: AdapterContext, roster: Roster, most: int, keep: Keep) -> None:
        self._ctx = ctx
        self._roster = roster
        self._most = most
        self._keep = keep
        self._changing = asyncio.Lock()  # a sub-device is in one topology: two gateways must not both get it

    # -- topology -------------------------------------------------------------------------------

    async def topology(self, session: Session, gateway: Registration, verb: str, params: Any) -> Any:
        """thing/topo/add, get and delete."""
        if verb == "get":
            return [{"productKey": product, "deviceKey": device} for product, device in sorted(gateway.facts.subs)]
        if not isinstance(params, list) or not all(isinstance(sub, dict) for sub in params):
            return wire.PARAMETER, "params are a list of devices"
        async with self._changing:
            if verb == "add":
                return await self._add(gateway, params)
            return await self._remove(session, gateway, params)

    async def _add(self, gateway: Registration, subs: list[Mapping[str, Any]]) -> Refusal | None:
        names: set[Name] = set()
        for sub in subs:
            sign = wire.sub_sign_in(sub)
            if sign is None or sign.device == gateway.name:
                return wire.PARAMETER, "a device is named and signs"
            if not isinstance(await self._ctx.admit(sign.kind, sign.identity, sign.proof), Admission):
                return wire.BAD_SIGN, "bad sign"
            other = self._roster.gateway_of(sign.device)
            if other is not None and other is not gateway:
                return wire.NOT_OF_GATEWAY, "the device is in another topology"
            names.add(sign.device)
        if len(gateway.facts.subs | names) > self._most:
            return wire.TOO_MANY, f"at most {self._most} sub-devices"
        await self._change(gateway, lambda subs: subs | names)
        return None

    async def _remove(
        self, session: Session, gateway: Registration, subs: list[Mapping[str, Any]]
    ) -> None:
        names = {(str(sub.get("productKey")), str(sub.get("deviceKey"))) for sub in subs}
        await self._change(gateway, lambda subs: subs - names)
        gone = [session.routes[name] for name in names if name in session.routes and name != gateway.name]
        for registration in gone:
            session.forget(registration, "the device left the topology")
        await self._roster.left(session, gone)

    async def bereave(self, gateway: Registration, name: Name) -> None:
        """A sub-device is no device of the hub any more: its place is nobody's. What cannot be written now goes with
        the next change, or at the next start."""
        async with self._changing:
            try:
                await self._change(gateway, lambda subs: subs - {name})
            except StorageFailed as failure:
                log.warning("a topology could not be kept without a deleted device: %s", failure)
                facts = gateway.facts
                gateway.facts = Facts(facts.attributes, facts.tags, facts.subs - {name})
                self._roster.know_topology(gateway)

    async def _change(self, gateway: Registration, change: Callable[[frozenset[Name]], frozenset[Name]]) -> None:
        try:
            await self._keep(
                self._ctx, gateway, lambda facts: Facts(facts.attributes, facts.tags, change(facts.subs))
            )
        finally:
            self._roster.know_topology(gateway)

    # -- sessions -------------------------------------------------------------------------------

    async def session_request(self, session: Session, gateway: Registration, purpose: str, params: Any) -> Any:
        """combine/login, login/batch and logout."""
        if not isinstance(params, dict):
            return wire.PARAMETER, "params are an object"
        if purpose == "combine/login":
            return await self._login(session, gateway, params)
        if purpose == "combine/logout":
            return await self._logout(session, gateway, params)
        return await self._batch(session, gateway, params)

    async def _login(self, session: Session, gateway: Registration, params: Mapping[str, Any]) -> Any:
        sign = wire.sub_sign_in(params)
        if sign is None:
            return wire.PARAMETER, "a device is named and signs"
        if sign.device == gateway.name:
            return wire.OWN_LOGIN, "a gateway is no sub-device of its own"
        if self._roster.gateway_of(sign.device) is not gateway:
            return wire.NOT_OF_GATEWAY, "the device is not in the topology"
        if session.ended:
            return GONE
        verdict = await self._ctx.admit(sign.kind, sign.identity, sign.proof)
        if not isinstance(verdict, Admission):
            return wire.BAD_SIGN, "bad sign"
        try:
            await self._roster.arrived(session, sign.device, verdict, _boot(params))
        except Gone:
            return GONE
        except UnknownDevice:
            session.routes.pop(sign.device, None)
            return wire.NO_DEVICE, "no such device"
        product, device = sign.device
        data = {"assetId": verdict.device_id, "productKey": product, "deviceKey": device}
        if verdict.grant is not None:
            data["deviceSecret"] = verdict.grant
        return data

    async def _batch(self, session: Session, gateway: Registration, params: Mapping[str, Any]) -> Any:
        subs = params.get("subDevices")
        if not isinstance(subs, list) or not all(isinstance(sub, dict) for sub in subs) or len(subs) > self._most:
            return wire.PARAMETER, "subDevices are a list of devices"
        shared = {name: params[name] for name in ("clientId", "timestamp", "signMethod") if name in params}
        done: list[Any] = []
        failed: list[Any] = []
        for sub in subs:
            if session.ended:
                break  # nobody hears the answer; over its next connection the gateway asks again
            answer = await self._login(session, gateway, {**shared, **sub})
            if isinstance(answer, tuple):
                name = {"productKey": str(sub.get("productKey")), "deviceKey": str(sub.get("deviceKey"))}
                failed.append({**name, "code": answer[0], "message": answer[1]})
            else:
                done.append(answer)
        return {"loginedSubDevices": done, "failedSubDevices": failed}

    async def _logout(self, session: Session, gateway: Registration, params: Mapping[str, Any]) -> Any:
        name = (str(params.get("productKey")), str(params.get("deviceKey")))
        registration = session.routes.get(name)
        if registration is None or registration is gateway:
            return wire.NO_DEVICE, "the device is not logged in"
        session.forget(registration, "the device logged out")
        await self._roster.left(session, [registration])
        return {"productKey": name[0], "deviceKey": name[1]}


def _boot(params: Mapping[str, Any]) -> str:
    # A gateway logs its sub-devices in anew after each break, with another time: that is no new life of theirs.
    return f"behind {params.get('productKey')}&{params.get('deviceKey')}"
