"""What devices ask of the hub: posts, events and raw data become notifications; attributes and tags are stored.

Nothing is answered or acknowledged before the hub holds it. What is not offered is refused at once, since devices
of the vendor's SDK wait half a minute for an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from adapters.mqtt import topics, wire
from adapters.mqtt.listener.codec import Publish
from adapters.mqtt.listener.gateway import Gateway
from adapters.mqtt.listener.registration import NOTHING, Facts, Registration
from adapters.mqtt.listener.settings import MqttSettings
from adapters.mqtt.topics import Name, Topic
from hub.model.errors import UnknownDevice
from hub.ports.abilities import Remembers
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

if TYPE_CHECKING:
    from adapters.mqtt.listener.session import Session

RAW = "/raw"
MOST_POINTS = 1000

Value = tuple[str, bytes, str]
"""Path, payload and content type of something that a device told."""


class Refused(Exception):
    """A request that is answered with a code of its own; it is acknowledged all the same."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unknown(Refused):
    """A request about a device that the hub does not have any more."""

    def __init__(self, registration: Registration) -> None:
        super().__init__(wire.NO_DEVICE, "no such device")
        self.registration = registration


class Inbound:
    """Deals with the requests of all devices; within a connection one after the other."""

    def __init__(self, ctx: AdapterContext, settings: MqttSettings, gateway: Gateway) -> None:
        self._ctx = ctx
        self._settings = settings
        self._gateway = gateway

    async def request(
        self, session: Session, registration: Registration, topic: Topic, message: Publish, came: float
    ) -> None:
        """One request that `came` then; answered and acknowledged at its end. Raises StorageFailed, then neither."""
        raw = topic.purpose == topics.UP_RAW and not topic.session
        large = len(message.payload) > self._settings.max_packet
        body = None if raw or large else wire.object_of(message.payload)
        id = (wire.id_of(message.payload) or "") if body is None else body.get("id", "")
        unknown: Registration | None = None
        try:
            if large:
                raise Refused(wire.TOO_LARGE, f"a message has at most {self._settings.max_packet} bytes")
            if raw:
                await self._tell(registration, [(RAW, message.payload, "application/octet-stream")], came)
                said = b""
            elif body is None:
                code = wire.NOT_JSON if message.payload else wire.EMPTY
                raise Refused(code, f"a message is a JSON object of at most {wire.MOST_LEVELS} levels")
            else:
                said = wire.answer(id, wire.OK, data=await self._dealt(session, registration, topic, body, came))
        except Refused as refused:
            said = wire.answer(id, refused.code, str(refused))
            unknown = refused.registration if isinstance(refused, Unknown) else None
        session.answer(message, said)
        session.acknowledge(message)
        if unknown is not None:
            session.dismiss(unknown)

    async def bereave(self, gateway: Registration, name: Name) -> None:
        """A sub-device is no device of the hub any more: its gateway's topology forgets it."""
        with contextlib.suppress(Unknown):  # nothing is kept of the gateway either
            await self._gateway.bereave(gateway, name)

    async def _dealt(
        self, session: Session, registration: Registration, topic: Topic, body: Mapping[str, Any], came: float
    ) -> Any:
        purpose, params = topic.purpose, body.get("params")
        event = topics.event_of(purpose)
        if topic.session:
            if registration is session.own and purpose in self._gateway.session_purposes:
                return _unless_refused(await self._gateway.session_request(session, registration, purpose, params))
        elif purpose in topics.POSTS:
            past = purpose.startswith(topics.RESUME)
            return await self._posted(session, registration, params, came, past)
        elif event is not None:
            value = (f"/event/{event}", orjson.dumps(_member(params, "events")), wire.JSON)
            await self._tell(registration, [value], came, wire.time_of(params))
            return None
        elif purpose.startswith(("thing/attribute/", "thing/tag/")):
            return await self._facts(registration, purpose, params)
        elif purpose.startswith("thing/topo/") and registration is session.own:
            verb = purpose.removeprefix("thing/topo/")
            if verb in self._gateway.topology_verbs:
                return _unless_refused(await self._gateway.topology(session, registration, verb, params))
        raise Refused(wire.NOT_ALLOWED, "topic not allowed")

    # -- posts ----------------------------------------------------------------------------------

    async def _posted(
        self, session: Session, registration: Registration, params: Any, came: float, past: bool
    ) -> None:
        """The points of one post; a batch may hold posts of the sub-devices behind this connection."""
        parts: list[tuple[Registration, list[Value], datetime | None]] = []
        for part in params if isinstance(params, list) else [params]:
            if not isinstance(part, dict):
                raise Refused(wire.PARAMETER, "params are objects")
            of = registration
            if "productKey" in part or "deviceKey" in part:
                found = session.routes.get((str(part.get("productKey")), str(part.get("deviceKey"))))
                if found is None:
                    raise Refused(wire.NOT_OF_GATEWAY, "the device is not logged in here")
                of = found
            points = _member(part, "measurepoints")
            if not isinstance(points, dict) or not all(topics.is_service(point) for point in points):
                raise Refused(wire.PARAMETER, "measurepoints are an object of points")
            values = [(f"/measurepoint/{point}", orjson.dumps(value), wire.JSON) for point, value in points.items()]
            parts.append((of, values, wire.time_of(part)))
        if sum(len(values) for _, values, _ in parts) > MOST_POINTS:
            raise Refused(wire.PARAMETER, f"at most {MOST_POINTS} points in a post")
        for of, values, said in parts:
            await self._tell(of, values, came, said, past)

    def _age(self, said: datetime | None) -> int | None:
        """For how many seconds a value may be told again; none for one that was true too long ago."""
        old = timedelta(0) if said is None else max(self._ctx.clock.now() - said, timedelta(0))
        return max(0, int(self._settings.max_age - old.total_seconds())) or None

    async def _tell(
        self, registration: Registration, values: list[Value], came: float, said: datetime | None = None,
        past: bool = False,
    ) -> None:
        """Hand values to the hub, those of one post together; `said` is the time that the device gave them."""
        if not values:
            return
        observed = any(path in registration.observations for path, _, _ in values)
        attrs: dict[str, Any] = {"observed": observed, "max_age": None if past else self._age(said)}
        if said is not None:
            attrs["time"] = said
        if past:
            attrs["past"] = True
        if len(values) == 1:
            target, payload, content_type = values[0]
            event = DeviceEvent(
                EventKind.NOTIFICATION, registration.address, came, target, payload, content_type, attrs=attrs
            )
        else:
            attrs["values"] = tuple(values)
            event = DeviceEvent(EventKind.NOTIFICATION, registration.address, came, attrs=attrs)
        try:
            await self._ctx.accept(event)
        except UnknownDevice:
            raise Unknown(registration) from None

    # -- attributes and tags --------------------------------------------------------------------

    async def _facts(self, registration: Registration, purpose: str, params: Any) -> Any:
        _, what, verb = purpose.split("/", 2)
        facts = registration.facts
        if verb == "query":
            held, names = _held(facts, what), _names(what, params)
            return {name: held[name] for name in names if name in held} if names else dict(held)
        if verb == "update":
            news, gone = _updates(what, params), frozenset[str]()
        elif verb == "delete":
            news, gone = {}, frozenset(_names(what, params))
        else:
            raise Refused(wire.NOT_ALLOWED, "topic not allowed")

        def change(facts: Facts) -> Facts:
            changed = {name: value for name, value in _held(facts, what).items() if name not in gone} | news
            if what == "attribute":
                facts = Facts(changed, facts.tags, facts.subs)
            else:
                facts = Facts(facts.attributes, changed, facts.subs)
            if len(orjson.dumps([facts.attributes, facts.tags])) > self._settings.attributes:
                raise Refused(wire.PARAMETER, f"attributes and tags have at most {self._settings.attributes} bytes")
            return facts

        await keep(self._ctx, registration, change)
        return None


async def keep(ctx: AdapterContext, registration: Registration, change: Callable[[Facts], Facts]) -> None:
    """Change the facts of a device: one change after the other, each true once it is on disk. Raises StorageFailed,
    and Unknown where the hub keeps nothing of the device."""
    async with registration.keeping:
        facts = change(registration.facts)
        if isinstance(ctx, Remembers):
            try:
                await ctx.remember(registration.address, facts.pack())
            except UnknownDevice:
                registration.boot = None  # with its next connection it registers anew
                registration.facts = NOTHING
                raise Unknown(registration) from None
        registration.facts = facts


def _held(facts: Facts, what: str) -> dict[str, Any]:
    return facts.attributes if what == "attribute" else facts.tags


def _member(params: Any, name: str) -> Any:
    if not isinstance(params, dict) or name not in params:
        raise Refused(wire.PARAMETER, f"params have {name}")
    return params[name]


def _updates(what: str, params: Any) -> dict[str, Any]:
    if what == "attribute":
        values = _member(params, "attributes")
        if not isinstance(values, dict):
            raise Refused(wire.PARAMETER, "attributes are an object")
        return values
    tags = params if isinstance(params, list) else None
    if tags is None or not all(isinstance(tag, dict) and isinstance(tag.get("tagKey"), str) for tag in tags):
        raise Refused(wire.PARAMETER, "tags are a list of tagKey and tagValue")
    return {tag["tagKey"]: tag.get("tagValue") for tag in tags}


def _names(what: str, params: Any) -> list[str]:
    names = _member(params, "attributes" if what == "attribute" else "tags")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused(wire.PARAMETER, "names are a list of texts")
    return names


def _unless_refused(answer: Any) -> Any:
    """The data of an answer of the gateway's; a pair of code and text is a refusal."""
    if isinstance(answer, tuple):
        raise Refused(*answer)
    return answer
