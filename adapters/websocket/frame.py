"""The frames of the device protocol as values; what they mean and how they are written is in `wire.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Hello:
    dev: str
    boot: str
    auth: Mapping[str, str] = field(default_factory=dict)
    win: int | None = None
    links: tuple[Mapping[str, Any], ...] | None = None
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    sid: str
    hb: float
    win: int
    max: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class Call:
    id: str
    method: str
    target: str
    payload: bytes = b""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    id: str
    status: int
    payload: bytes = b""
    content_type: str | None = None
    max_age: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Error:
    id: str
    code: int
    text: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Observe:
    id: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notify:
    id: str
    seq: int
    payload: bytes = b""
    content_type: str | None = None
    max_age: int | None = None
    last: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    id: str


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    kind: str
    payload: bytes = b""
    target: str | None = None
    content_type: str | None = None
    max_age: int | None = None
    links: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    seq: int


@dataclass(frozen=True, slots=True)
class Ping:
    n: int


@dataclass(frozen=True, slots=True)
class Pong:
    n: int


@dataclass(frozen=True, slots=True)
class Bye:
    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame of a type that this version does not know: it is to be ignored."""

    type: int


Frame = (
    Hello | Welcome | Call | Result | Error | Observe | Notify | Cancel | Event | Ack | Ping | Pong | Bye | Unknown
)
