"""The frames between the hub and devices that dial in: a message in, a Frame out, and back.

Subprotocol `hubdev.v1.msgpack`: every WebSocket message is binary and holds one MessagePack array whose first
member is the type, an unsigned integer; the others follow in the order below. Payloads are `bin`, maps have text
keys; extension types are refused. Members at the end may be left out where they have a default; further ones are
ignored.

     0 HELLO   {v: 1, dev, auth?, boot, caps?, links?, resume?}        device -> hub, first frame
     1 WELCOME {v: 1, sid, hb, win, max, resumed}                      hub -> device, the answer to HELLO
     2 CALL    id, method, target, payload, {ttl, ct?, accept?, idem?, args?, query?, try?, noresp?}
     3 RESULT  id, status, payload, {ct?, max_age?, retry_after?}      the answer to CALL and to OBSERVE
     4 ERROR   id, code, text, {retry_after?}                          the device refuses a CALL or OBSERVE
     5 OBSERVE id, target, {params?}                                   answered as a CALL, then NOTIFY with its id
     6 NOTIFY  id, seq, payload, {ct?, max_age?, last?}
     7 CANCEL  id                                                      of a CALL or an observation
     8 EVENT   seq, kind, payload, {target?, ct?, max_age?, links?}    device -> hub, told again until its ACK
     9 ACK     seq                                                     the hub holds the event on disk
    10 PING n   11 PONG n                                              either side
    12 BYE     code, text                                              the last frame before the socket closes

HELLO: `dev` is the device's id or name; `auth` is {key: "ak_..."} or {secret: "..."}, absent when the upgrade
request had an Authorization header; `boot` names this life of the device and changes with every restart; `caps`
{win?} asks for fewer calls at a time; `links` are [{path, rt?, if?, ct?, obs?}]; `resume` is the last `sid`.
WELCOME: `hb` is the seconds between signs of life, `win` the calls at a time, `max` the bytes of a message; with
`resumed` the device's observations still stand, without it they are over. CALL: `ttl` is in milliseconds from receipt,
`query` a list of [name, value]. Ids are text that the device gives back as it got it. A call that is sent again has the
same id (and a `try` above 1), so a device that remembers 64 answers for 5 minutes gives the second one from memory;
it does not remember an answer with `retry_after`, which asks the hub to come again. `status` and `code` are HTTP's
numbers, 200 to 599; with `noresp` none is wanted. EVENT: `seq` grows with every event of a boot; kinds are `notify`
(with `target`), `update` (with `links`), `deregister`, `asleep`, `awake`; others are notifications of `/event/<kind>`.

Subprotocol `hubdev.v1.json`, the twin: every WebSocket message is text and holds the same array as JSON. The only
difference is that `payload` is base64 text (RFC 4648, section 4, with padding).

Frames of unknown type and unknown map keys are ignored. A message that is none of this raises BadFrame.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapters.websocket.coding import MAX_MEMBERS, BadFrame, Subprotocol, pack, unpack
from adapters.websocket.frame import (
    Ack,
    Bye,
    Call,
    Cancel,
    Error,
    Event,
    Frame,
    Hello,
    Notify,
    Observe,
    Ping,
    Pong,
    Result,
    Unknown,
    Welcome,
)

VERSION = 1
MAX_ID = 128
MAX_TEXT = 4096
MAX_LINKS = MAX_MEMBERS
_EMPTY: Mapping[str, Any] = {}


# -- encoding -----------------------------------------------------------------------------------


def encode(frame: Frame, coding: Subprotocol) -> bytes:
    """The message for a frame; UTF-8 text for JSON."""
    return pack(_members(frame, _base64 if coding is Subprotocol.JSON else _same), coding)


def _members(frame: Frame, data: Callable[[bytes], Any]) -> list[Any]:
    match frame:
        case Hello():
            caps = {"win": frame.win} if frame.win is not None else None
            links = None if frame.links is None else [dict(link) for link in frame.links]
            return [0, {"v": VERSION, "dev": frame.dev, "boot": frame.boot,
                        **_given(auth=dict(frame.auth) or None, caps=caps, links=links, resume=frame.resume)}]
        case Welcome():
            return [1, {"v": VERSION, "sid": frame.sid, "hb": frame.hb, "win": frame.win, "max": frame.max,
                        "resumed": frame.resumed}]
        case Call():
            return [2, frame.id, frame.method, frame.target, data(frame.payload), dict(frame.options)]
        case Result():
            return [3, frame.id, frame.status, data(frame.payload),
                    _given(ct=frame.content_type, max_age=frame.max_age, retry_after=frame.retry_after)]
        case Error():
            return [4, frame.id, frame.code, frame.text, _given(retry_after=frame.retry_after)]
        case Observe():
            return [5, frame.id, frame.target, dict(frame.options)]
        case Notify():
            return [6, frame.id, frame.seq, data(frame.payload),
                    _given(ct=frame.content_type, max_age=frame.max_age, last=frame.last or None)]
        case Cancel():
            return [7, frame.id]
        case Event():
            links = None if frame.links is None else [dict(link) for link in frame.links]
            return [8, frame.seq, frame.kind, data(frame.payload),
                    _given(target=frame.target, ct=frame.content_type, max_age=frame.max_age, links=links)]
        case Ack():
            return [9, frame.seq]
        case Ping():
            return [10, frame.n]
        case Pong():
            return [11, frame.n]
        case Bye():
            return [12, frame.code, frame.text]
        case Unknown():
            return [frame.type]


def _given(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}


def _same(data: bytes) -> bytes:
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# -- decoding -----------------------------------------------------------------------------------


def decode(message: bytes | str, coding: Subprotocol) -> Frame:
    """The frame in a message. Raises BadFrame, and nothing else whatever the message holds."""
    members = unpack(message, coding)
    if not isinstance(members, list) or not members or type(members[0]) is not int or members[0] < 0:
        raise BadFrame("a frame is a list that begins with its type")
    reader = _READERS.get(members[0])
    if reader is None:
        return Unknown(members[0])
    return reader(_Members(members, coding))


class _Members:
    """Typed access to the members of one frame."""

    __slots__ = ("_coding", "_members")

    def __init__(self, members: Sequence[Any], coding: Subprotocol) -> None:
        self._members = members
        self._coding = coding

    def get(self, index: int, default: Any = None) -> Any:
        return self._members[index] if index < len(self._members) else default

    def id(self, index: int = 1) -> str:
        value = self.get(index)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
            raise BadFrame("an id is a text of 1 to 128 characters")
        return value

    def text(self, index: int, default: str | None = None) -> str:
        return _text(self.get(index, default), "a text member")

    def number(self, index: int, least: int = 0, most: int = (1 << 63) - 1) -> int:
        return _number(self.get(index), least, most)

    def data(self, index: int) -> bytes:
        return self.bytes_of(self.get(index))

    def bytes_of(self, value: Any) -> bytes:
        if value is None:
            return b""
        if self._coding is Subprotocol.MSGPACK:
            if isinstance(value, bytes):
                return value
        elif isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                pass
        raise BadFrame("a payload is binary, or base64 in JSON")

    def map(self, index: int) -> Mapping[str, Any]:
        value = self.get(index, _EMPTY)
        if value is None:
            return _EMPTY
        if not isinstance(value, dict):
            raise BadFrame("the options of a frame are a map")
        return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadFrame(f"{what} is text of at most {MAX_TEXT} characters")
    return value


def _number(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise BadFrame(f"a number from {least} to {most} is needed")
    return value


def _maybe_text(options: Mapping[str, Any], key: str) -> str | None:
    value = options.get(key)
    return None if value is None else _text(value, key)


def _maybe_number(options: Mapping[str, Any], key: str, most: int = (1 << 31) - 1) -> int | None:
    value = options.get(key)
    return None if value is None else _number(value, 0, most)


def _maybe_seconds(options: Mapping[str, Any], key: str) -> float | None:
    value = options.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 86_400:
        raise BadFrame(f"{key} is a number of seconds, at most a day")
    return float(value)


def _links(value: Any) -> tuple[Mapping[str, Any], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_LINKS:
        raise BadFrame(f"links are a list of at most {MAX_LINKS}")
    links = []
    for link in value:
        if not isinstance(link, dict):
            raise BadFrame("a link is a map")
        kept: dict[str, Any] = {"path": _text(link.get("path"), "the path of a link")}
        kept.update(_given(rt=_maybe_text(link, "rt"), ct=_maybe_text(link, "ct")))
        kept.update(_given(**{"if": _maybe_text(link, "if")}))
        if link.get("obs") is True:
            kept["obs"] = True
        links.append(kept)
    return tuple(links)


def _hello(members: _Members) -> Frame:
    body = members.map(1)
    if body.get("v") != VERSION or isinstance(body.get("v"), bool):
        raise BadFrame("the version of a HELLO is 1")
    dev, boot = body.get("dev"), body.get("boot")
    if not isinstance(dev, str) or not 0 < len(dev) <= 256 or not isinstance(boot, str) or not 0 < len(boot) <= 256:
        raise BadFrame("a HELLO names dev and boot, texts of 1 to 256 characters")
    given = body.get("auth", {})
    if not isinstance(given, dict):
        raise BadFrame("auth is a map")
    auth = {kind: _text(given[kind], kind) for kind in ("key", "secret") if given.get(kind) is not None}
    caps = body.get("caps")
    win = _maybe_number(caps, "win", 1024) if isinstance(caps, dict) else None
    return Hello(dev, boot, auth, win or None, _links(body.get("links")), _maybe_text(body, "resume"))


def _welcome(members: _Members) -> Frame:
    body = members.map(1)
    hb = body.get("hb")
    if body.get("v") != VERSION or not isinstance(hb, int | float) or isinstance(hb, bool):
        raise BadFrame("a WELCOME of version 1 names hb")
    return Welcome(
        _text(body.get("sid"), "sid"), hb, _number(body.get("win"), 1, 1024), _number(body.get("max"), 1, 1 << 31),
        body.get("resumed") is True,
    )


def _result(members: _Members) -> Frame:
    options = members.map(4)
    return Result(
        members.id(), members.number(2, 200, 599), members.data(3), _maybe_text(options, "ct"),
        _maybe_number(options, "max_age"), _maybe_seconds(options, "retry_after"),
    )


def _notify(members: _Members) -> Frame:
    options = members.map(4)
    return Notify(
        members.id(), members.number(2), members.data(3), _maybe_text(options, "ct"),
        _maybe_number(options, "max_age"), options.get("last") is True,
    )


def _event(members: _Members) -> Frame:
    options = members.map(4)
    kind = members.text(2)
    if not kind or len(kind) > 64 or not kind.isprintable():
        raise BadFrame("the kind of an event is a word of 1 to 64 characters")
    return Event(
        members.number(1), kind, members.data(3), _maybe_text(options, "target"), _maybe_text(options, "ct"),
        _maybe_number(options, "max_age"), _links(options.get("links")),
    )


_READERS: Mapping[int, Callable[[_Members], Frame]] = {
    0: _hello,
    1: _welcome,
    2: lambda m: Call(m.id(), m.text(2), m.text(3), m.data(4), m.map(5)),
    3: _result,
    4: lambda m: Error(m.id(), m.number(2, 200, 599), m.text(3, ""), _maybe_seconds(m.map(4), "retry_after")),
    5: lambda m: Observe(m.id(), m.text(2), m.map(3)),
    6: _notify,
    7: lambda m: Cancel(m.id()),
    8: _event,
    9: lambda m: Ack(m.number(1)),
    10: lambda m: Ping(m.number(1)),
    11: lambda m: Pong(m.number(1)),
    12: lambda m: Bye(m.number(1, 0, 9999), m.text(2, "")),
}
