"""What a device told and the hub does not hold yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adapters.mqtt.broker.client import Message

Value = tuple[str, bytes, str | None]
"""Path, payload and content type of something that a device told."""
Told = tuple[str, Sequence[Value]]
"""A device and what it told."""


class Held:
    """A message of a device: what it tells, and `answer`, for when that is held. `lasting`: the broker has not kept it,
    so it will not come again; `again`: it has kept it, and will."""

    __slots__ = ("again", "answer", "lasting", "message", "told")

    def __init__(self, told: Sequence[Told], message: Message, answer: Callable[[], None] | None) -> None:
        self.told = told
        self.message = message
        self.answer = answer
        self.again = self.lasting = False
