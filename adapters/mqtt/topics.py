"""EnOS topics: whose they are and what they are for. Pure text."""

from __future__ import annotations

import re
from typing import NamedTuple

REPLY = "_reply"

Name = tuple[str, str]
"""Product key and device key: how the protocol names a device."""

_TOPIC = re.compile(r"/(sys|ext/session)/([^/]{1,128})/([^/]{1,128})/(.{1,512})", re.DOTALL)
_KEY = re.compile(r"[^/+#\s&|,%\x00-\x1f\x7f]{1,128}")
_SERVICE = re.compile(r"[^/+#\s\x00-\x1f\x7f]{1,128}")

SET = "thing/service/measurepoint/set"
GET = "thing/service/measurepoint/get"
RESUME = "thing/measurepoint/resume"
POSTS = frozenset({"thing/measurepoint/post", "thing/measurepoint/post/batch", RESUME, f"{RESUME}/batch"})
UP_RAW = "thing/model/up_raw"
ACTIVATE = "thing/activate/info"
_EVENT = re.compile(r"thing/event/([^/]{1,128})/post")


class Topic(NamedTuple):
    """A topic that a device published to: the device it names, what it is for, whether it answers the hub."""

    device: Name
    purpose: str
    session: bool
    reply: bool


def parse(topic: str) -> Topic | None:
    """What a topic says; None for one that is no topic of EnOS devices."""
    found = _TOPIC.fullmatch(topic)
    if found is None:
        return None
    tree, product, device, rest = found.groups()
    reply = rest.endswith(REPLY)
    return Topic((product, device), rest.removesuffix(REPLY), tree != "sys", reply)


def event_of(purpose: str) -> str | None:
    """The event that is posted by this purpose."""
    found = _EVENT.fullmatch(purpose)
    return None if found is None else found[1]


def command(device: Name, purpose: str, *, session: bool = False) -> str:
    """The topic of a purpose of a device."""
    return f"/{'ext/session' if session else 'sys'}/{device[0]}/{device[1]}/{purpose}"


def service(id: str) -> str:
    """The purpose of a service."""
    return f"thing/service/{id}"


def is_key(text: str) -> bool:
    """Whether a product key or a device key can stand in a topic."""
    return _KEY.fullmatch(text) is not None


def is_service(text: str) -> bool:
    """Whether a text can name a service, a point or an event in a topic."""
    return _SERVICE.fullmatch(text) is not None and not text.endswith(REPLY)


def owner_of(filter: str) -> Name | None:
    """The device whose topics a filter asks for; None where it asks for more than one device's."""
    found = _TOPIC.fullmatch(filter)
    if found is None or any(mark in key for key in found.groups()[1:3] for mark in "+#"):
        return None
    return found[2], found[3]
