"""A filter: something that is listened to at a broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filter:
    """Something that is listened to. `own`: also what this very connection says; only MQTT 5 can leave that out. Where
    it is `optional` the hub does its work although the broker refuses it."""

    topic: str
    qos: int = 1
    own: bool = True
    optional: bool = False
