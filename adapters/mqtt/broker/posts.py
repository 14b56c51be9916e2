"""What EnOS devices post through a broker, and how they are answered: at once for what is not offered, else once it is
held, since devices of the vendor's SDK wait half a minute for an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from adapters.mqtt import topics, wire
from adapters.mqtt.broker.client import Message
from hub.ports.adapter import NotConnected, TooLarge

RAW = "/raw"
MOST_POINTS = 1000
# Asked of the hub's own listener, which knows who is connected; through a broker it is refused.
NOT_HERE = (
    *(f"/sys/+/+/thing/{what}" for what in (
        "attribute/update", "attribute/query", "attribute/delete", "tag/update", "tag/query", "tag/delete",
        "tsltemplate/get", "topo/add", "topo/get", "topo/delete", "device/register",
    )),
    *(f"/sys/+/+/ota/device/{what}" for what in ("inform", "progress", "request", "getversion")),
    *(f"/ext/session/+/+/combine/{what}" for what in ("login", "login/batch", "logout")),
)  # fmt: skip
FILTERS = (*(f"/sys/+/+/{post}" for post in sorted(topics.POSTS)), "/sys/+/+/thing/event/+/post",
           f"/sys/+/+/{topics.UP_RAW}", *NOT_HERE)  # fmt: skip

Value = tuple[str, bytes, str | None]


@dataclass(frozen=True, slots=True)
class Post:
    """A request of a device: what it tells (None for nothing), and how it is answered when that is held."""

    told: Sequence[tuple[str, Sequence[Value]]] | None
    answer: Callable[[], None]


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Posts:
    """`publish` sends an answer."""

    def __init__(self, publish: Callable[[str, bytes], None]) -> None:
        self._publish = publish

    def read(self, message: Message) -> Post | None:
        """The request in a message; None for a message that is none."""
        topic = topics.parse(message.topic)
        if topic is None or topic.reply or topic.purpose.startswith("thing/service/"):
            return None
        address = "/".join(topic.device)
        if topic.purpose == topics.UP_RAW:
            return Post([(address, [(RAW, message.payload, "application/octet-stream")])], self._saying(message, b""))
        body = wire.object_of(message.payload)
        id = "" if body is None else body.get("id", "")
        try:
            if body is None:
                raise _Refused(wire.NOT_JSON if message.payload else wire.EMPTY, "a message is a JSON object")
            told = _told(topic, address, body.get("params"))
            return Post(told, self._saying(message, wire.answer(id, wire.OK)))
        except _Refused as refused:
            return Post(None, self._saying(message, wire.answer(id, refused.code, str(refused))))

    def _saying(self, message: Message, body: bytes) -> Callable[[], None]:
        def say() -> None:
            try:
                self._publish(message.topic + topics.REPLY, body)
            except (NotConnected, TooLarge):
                return  # the device asks again

        return say


def _told(topic: topics.Topic, address: str, params: Any) -> Sequence[tuple[str, Sequence[Value]]]:
    event = topics.event_of(topic.purpose)
    if event is not None:
        return [(address, [(f"/event/{event}", orjson.dumps(_member(params, "events")), wire.JSON)])]
    if topic.purpose not in topics.POSTS or topic.session:
        raise _Refused(wire.NOT_ALLOWED, "topic not allowed")
    told = []
    for part in params if isinstance(params, list) else [params]:
        if isinstance(part, Mapping) and ("productKey" in part or "deviceKey" in part):
            raise _Refused(wire.NOT_OF_GATEWAY, "a broker does not vouch for other devices")
        points = _member(part, "measurepoints")
        if not isinstance(points, dict) or not all(topics.is_service(point) for point in points):
            raise _Refused(wire.PARAMETER, "measurepoints are an object of points")
        told.append((address, [(f"/measurepoint/{p}", orjson.dumps(value), wire.JSON) for p, value in points.items()]))
    if not told or sum(len(values) for _, values in told) > MOST_POINTS:
        raise _Refused(wire.PARAMETER, f"from 1 to {MOST_POINTS} points in a post")
    return told


def _member(params: Any, name: str) -> Any:
    if not isinstance(params, Mapping) or name not in params:
        raise _Refused(wire.PARAMETER, f"params have {name}")
    return params[name]
