"""What every request goes through: who asks, of which array, may they, and what the answer carries of the session."""

from __future__ import annotations

import base64
import binascii
import enum
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from hub.core.hub import Hub
from hub.core.users import Holder, Users
from hub.delivery.request import header, header_values, raw_segments, request_body, request_pairs
from hub.delivery.request_data import decode_json
from hub.dialects.powerstore import wire
from hub.dialects.powerstore.sessions import Session, Sessions
from hub.dialects.powerstore.waiting import PowerStoreWaiting
from hub.model.device import ARRAY, Device
from hub.model.errors import BadRequest, NotAcceptable, NotAllowed, NotAuthenticated, NotFound, UnsupportedMedia
from hub.model.principal import Scope
from hub.model.target import parse_target

_ACCEPTED = frozenset({"application/json", "application/*", "*/*"})


class Way(enum.Enum):
    """How the request showed who asks. Only a COOKIE is sent by browsers unasked, so only it needs the token."""

    PASSWORD = "password"
    COOKIE = "cookie"
    HEADER = "header"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Place:
    """A host's array: account and device id."""

    account: str
    device: str


@dataclass(slots=True)
class Front:
    """What the handlers share. `hosts` are arrays by the host name (lower case, without port) that means them."""

    hub: Hub
    users: Users
    sessions: Sessions
    waiting: PowerStoreWaiting
    hosts: Mapping[str, Place]


class Exchange:
    """One authenticated request and the way to answer it."""

    __slots__ = ("array", "front", "holder", "parameters", "request", "segments", "session", "way")

    def __init__(self, front: Front, request: Request, way: Way, session: Session, array: Device) -> None:
        self.front = front
        self.request = request
        self.way = way
        self.session = session
        self.holder: Holder = session.holder
        self.array = array
        self.parameters: list[tuple[str, str]] = request_pairs(request.scope)
        self.segments: tuple[str, ...] = ()

    def need(self, *any_of: Scope) -> None:
        """Raises NotAllowed unless one of the scopes is there."""
        if not any(self.holder.principal.may(scope) for scope in any_of):
            raise NotAllowed("This is not allowed with the key that was shown.")

    async def body(self) -> tuple[bytes, dict[str, Any]]:
        """The body as bytes and as the object that it is; none is an empty one. Raises BadRequest, UnsupportedMedia."""
        raw = await request_body(self.request, self.front.hub.limits.body)
        kind = header(self.request.scope, b"content-type").partition(";")[0].strip().lower()
        if kind not in ("", "application/json"):
            raise UnsupportedMedia("A body is taken as application/json only.")
        if not raw.strip():
            return b"", {}
        value = decode_json(raw)
        if not isinstance(value, dict):
            raise BadRequest("The body is not an object.", code="bad-json")
        return raw, value

    def answer(self, status: int, value: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """A response, with the session where one was begun and the token where there is one."""
        content = b"" if value is None else orjson.dumps(value)
        media = None if value is None else "application/json"
        response = Response(content, status, {"cache-control": "no-store", **(headers or {})}, media)
        if self.way is Way.PASSWORD:
            secure = "; Secure" if self.request.scope.get("scheme") == "https" else ""
            attributes = f"; Path=/; HttpOnly; SameSite=Strict{secure}"
            response.headers["set-cookie"] = f"{wire.COOKIE}={self.session.cookie}{attributes}"
        if self.way is not Way.KEY:
            response.headers[wire.TOKEN] = self.front.sessions.token(self.session)
        return response


async def exchange_of(front: Front, request: Request) -> Exchange:
    """Judge what the request shows. Raises NotAuthenticated, NotAllowed (token), NotFound (no array), BadRequest,
    NotAcceptable."""
    scope = request.scope
    accepted = [part.partition(";")[0].strip().lower() for part in header(scope, b"accept").split(",")]
    if any(accepted) and _ACCEPTED.isdisjoint(accepted):
        raise NotAcceptable("Answers are application/json only.")
    named = _named(front, request)
    way, session, holder = await _shown(front, scope)
    if session is not None:
        holder = session.holder
        if named is None:
            named = Place(holder.principal.account, session.array)
    elif named is None and holder.array is not None:
        named = Place(holder.principal.account, holder.array)
    array = _array(front, holder, named)
    if session is None:
        session = front.sessions.begin(holder, array.id)
    elif session.array != array.id:
        raise NotAuthenticated("The session is of another array.")
    if way is Way.COOKIE and request.method not in ("GET", "HEAD"):
        shown = header(scope, wire.TOKEN.lower().encode())
        if not hmac.compare_digest(shown.encode("latin-1", "replace"), front.sessions.token(session).encode()):
            raise NotAllowed(f"The header {wire.TOKEN} is missing or wrong.")
    return Exchange(front, request, way, session, array)


def segments_of(request: Request) -> tuple[str, ...]:
    """The decoded segments behind `/api/rest`. Raises BadRequest for a broken escape."""
    raw = raw_segments(request.scope)
    after = raw[4:] if "array" in request.path_params else raw[2:]
    if after and not after[-1]:
        after = after[:-1]
    return tuple("".join(parse_target("/" + part).segments) for part in after)


def _named(front: Front, request: Request) -> Place | None:
    """The array that the address names: by its path, or by its host."""
    by_path = request.path_params.get("array")
    if by_path is not None:
        return Place("", by_path)
    host = header(request.scope, b"host").lower()
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return front.hosts.get(name)


async def _shown(front: Front, scope: Any) -> tuple[Way, Session | None, Holder]:
    """Who asks, and how they showed it."""
    shown = list(header_values(scope, b"authorization"))
    if len(shown) > 1:
        raise BadRequest("More than one Authorization header.", code="several-authorizations")
    if not shown:
        found = _of_cookies(front, scope)
        return Way.COOKIE, found, found.holder
    scheme, _, rest = shown[0].decode("latin-1").strip().partition(" ")
    match scheme.lower(), rest.strip():
        case "basic", credentials:
            return Way.PASSWORD, None, await front.users.sign_in(*_credentials(credentials))
        case "bearer", key if key:
            principal = front.hub.access.authenticate(key)
            return Way.KEY, None, Holder(principal, principal.application)
        case _, "":
            # The vendor's own guide prints the session there, without a word before it.
            found = front.sessions.find(scheme)
            return Way.HEADER, found, found.holder
    raise NotAuthenticated("The Authorization header has another form than Basic.")


def _of_cookies(front: Front, scope: Any) -> Session:
    for values in header_values(scope, b"cookie"):
        for pair in values.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wire.COOKIE:
                return front.sessions.find(value.strip().strip('"'))
    raise NotAuthenticated("The request shows neither name and password nor a session.")


def _credentials(text: str) -> tuple[str, str]:
    try:
        name, colon, password = base64.b64decode(text, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise NotAuthenticated("The Authorization header has another form than Basic.")
    return name, password


def _array(front: Front, holder: Holder, place: Place | None) -> Device:
    account = holder.principal.account
    device = None
    if place is not None and place.account in ("", account):
        device = front.hub.directory.device(account, place.device, (ARRAY,))
    if device is None or not device.is_array:
        raise NotFound("No array is known by this address, and none belongs to this user.", code="no-such-array")
    return device
