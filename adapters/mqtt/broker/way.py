"""How devices behind a broker are called: the one seam between calls and the words of a way of speaking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.filter import Filter
from hub.ports.adapter import DeviceRequest, DeviceResponse


@dataclass(frozen=True, slots=True)
class Sending:
    """A call as a message. `purpose` ties the answer to what was asked, `needs` must be listened to before, `service`
    is the one that is invoked, where the way knows of services."""

    id: str
    purpose: str
    topic: str
    payload: bytes
    properties: Mapping[str, Any] = field(default_factory=dict)
    needs: Filter | None = None
    service: str | None = None
    said: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A message that answers something: what, by its own words. Without an id it answers nothing: whoever is at the
    broker could have said it."""

    id: str
    device: str
    purpose: str
    body: Any


class Way(Protocol):
    """A way of speaking. Pure: what it says goes out over a link that it does not know. `hub` is in the digest of its
    ids, so that an answer to a call of another hub is known for one, also after a restart."""

    hub: str
    methods: frozenset[str]
    idempotent: frozenset[str]

    def filters(self) -> Sequence[Filter]:
        """Where answers come."""
        ...

    def adopts(self, topic: str) -> bool:
        """Whether this filter, which an earlier life of the hub listened to, may bring answers."""
        ...

    def sending(self, req: DeviceRequest, deadline: int) -> Sending:
        """The message of a call that shall not be carried out after the deadline, in milliseconds since 1970. Raises
        CallError (NOT_SENT) for what there are no words for."""
        ...

    def answer(self, message: Message) -> Answer | None:
        """What a message answers; None for one that is no answer."""
        ...

    def response(self, answer: Answer, said: Any) -> DeviceResponse:
        """What a device answered; `said` is that of the sending, None when nobody knows it any more."""
        ...
