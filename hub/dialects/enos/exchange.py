"""What every request goes through: who asks and of which organisation, may they, and the body read once.

Whoever shows a key or a signature must show a right one; only a request that shows neither may be let in by its
place, for clients whose token nobody can check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import HTTPConnection, Request

from hub.core.control_channels import ControlChannels
from hub.core.hub import Hub
from hub.core.organisations import Organisation, Organisations, principal_of
from hub.delivery.request import has_header, header, header_values, request_body, request_key, request_pairs, socket_key
from hub.delivery.request_data import Loose, decode_json, decode_loose
from hub.dialects.enos.failure import Failure
from hub.dialects.enos.sign_in import Tokens
from hub.dialects.enos.waiting import EnosWaiting
from hub.model.errors import BadRequest, NotAllowed, NotAuthenticated
from hub.model.principal import Principal, Scope

T = TypeVar("T")
TOKEN, SIGNATURE, TIMESTAMP = b"apim-accesstoken", b"apim-signature", b"apim-timestamp"
KEY_PREFIX = "key."
_FORWARDED = (b"forwarded", b"x-forwarded-")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(slots=True)
class Front:
    """What the handlers share. `hosts` are the names, beside its addresses, by which the hub may be asked for."""

    hub: Hub
    organisations: Organisations
    controls: ControlChannels
    tokens: Tokens
    waiting: EnosWaiting
    hosts: frozenset[str]
    began: float

    @property
    def settling(self) -> bool:
        """Whether the hub started so lately that devices seen before may be on their way back."""
        return self.hub.clock.monotonic() - self.began < self.hub.limits.presence_grace.total_seconds()


class Exchange:
    """One request whose asker is known, and the organisation that it is about."""

    __slots__ = ("body", "front", "organisation", "principal", "query", "request")

    def __init__(
        self, front: Front, request: Any, principal: Principal, organisation: Organisation, body: bytes
    ) -> None:
        self.front = front
        self.request = request
        self.principal = principal
        self.organisation = organisation
        self.body = body
        self.query: dict[str, str] = dict(request_pairs(request.scope))

    def need(self, *any_of: Scope) -> None:
        """Raises NotAllowed unless one of the scopes is there."""
        if not any(self.principal.may(scope) for scope in any_of):
            raise NotAllowed("the key needs the scope " + " or ".join(scope.value for scope in any_of))

    def object(self) -> dict[str, Any]:
        """The body as the object that it is; none is an empty one. Raises Failure (400)."""
        return _an_object(_decoded(decode_json, self.body)) if self.body.strip() else {}

    def parts(self) -> Loose:
        """The body as an object whose parts are judged each on its own. Raises Failure (400)."""
        found = _decoded(decode_loose, self.body)
        _an_object(found.value)
        return found


def _decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except BadRequest as error:
        raise Failure(400, error.detail, "Invalid Argument body") from None


def _an_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Failure(400, "the body is an object", "Invalid Argument body")
    return value


async def exchange_of(front: Front, request: Request) -> Exchange:
    """Judge what the request shows. Raises NotAuthenticated, Failure (no such organisation, a bad signature),
    BadRequest, TooLarge."""
    principal, signed = _shown(front, request)
    pairs = request_pairs(request.scope)
    found = None if principal is not None else _let_in(front, request, dict(pairs))
    body = await request_body(request, front.hub.limits.batch_body)
    if signed is not None:
        _verify(front, request, signed, pairs, body)
    principal = principal or principal_of(found or _nobody())
    return Exchange(front, request, principal, organisation_of(front, principal, dict(pairs)), body)


def socket_exchange(front: Front, websocket: HTTPConnection) -> Exchange:
    """As `exchange_of` for a handshake, which has no body and may show its key as a subprotocol."""
    pairs = request_pairs(websocket.scope)
    offered = header(websocket.scope, b"sec-websocket-protocol")
    principal: Principal | None = None
    if KEY_PREFIX in offered:
        principal = front.hub.access.authenticate(socket_key(websocket.scope, KEY_PREFIX))
    principal, signed = _shown(front, websocket, principal)
    found = None if principal is not None else _let_in(front, websocket, dict(pairs))
    if signed is not None:
        _verify(front, websocket, signed, pairs, b"")
    principal = principal or principal_of(found or _nobody())
    return Exchange(front, websocket, principal, organisation_of(front, principal, dict(pairs)), b"")


def organisation_of(front: Front, principal: Principal, query: dict[str, str]) -> Organisation:
    """The organisation that the query names. Raises Failure for none, an unknown one and a foreign one alike."""
    named = query.get("orgId")
    if not named:
        raise Failure(400, "orgId is missing", "Invalid Argument orgId")
    found = front.organisations.get(named)
    if found is None or found.account != principal.account:
        raise Failure(400, "orgId does not exist", "Invalid Argument orgId")
    return found


def _shown(
    front: Front, request: HTTPConnection, principal: Principal | None = None
) -> tuple[Principal | None, str | None]:
    """Who asks by what was shown, and the token of a signature that is still to be verified. What is there counts as
    shown, and be it empty (decisions J1). `principal`: who was shown elsewhere."""
    scope = request.scope
    if has_header(scope, b"authorization"):
        principal = front.hub.access.authenticate(request_key(scope))
    if not has_header(scope, SIGNATURE):
        return principal, None
    token = header(scope, TOKEN)
    app = front.tokens.holder(token)
    if principal is not None and principal.application != app.application:
        raise NotAuthenticated("the key and the signature are of different applications")
    return principal or principal_of(app), token


def _verify(
    front: Front, request: HTTPConnection, token: str, pairs: list[tuple[str, str]], body: bytes
) -> None:
    scope = request.scope
    app = front.tokens.holder(token)
    front.tokens.verify(app, token, header(scope, SIGNATURE), header(scope, TIMESTAMP), pairs, body)


def _let_in(front: Front, request: HTTPConnection, query: dict[str, str]) -> Organisation:
    """The organisation whose client is let in by its place alone (decisions J1)."""
    scope = request.scope
    if not header(scope, TOKEN):
        raise NotAuthenticated("the request shows no key")
    named = query.get("orgId")
    if not named:
        raise Failure(400, "orgId is missing", "Invalid Argument orgId")
    found = front.organisations.get(named)
    if found is None:
        raise Failure(400, "orgId does not exist", "Invalid Argument orgId")
    if any(name.lower().startswith(_FORWARDED) for name, _ in scope["headers"]):
        raise NotAuthenticated("a token that cannot be checked is not taken through a proxy")
    peer = scope.get("client")
    if peer is None or not front.organisations.believes(found, peer[0]):
        raise NotAuthenticated("a token that cannot be checked is not taken from this address")
    if not _asked_for_us(front, scope):
        raise NotAuthenticated("the Host is not this hub")
    return found


def _asked_for_us(front: Front, scope: Any) -> bool:
    """Whether Host names this hub: a page of a browser that was lured to our address names its own."""
    hosts = list(header_values(scope, b"host"))
    server = scope.get("server")
    if len(hosts) != 1 or server is None:
        return False
    host = hosts[0].decode("latin-1").lower()
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name = host
    ours = front.hosts | {str(server[0]).lower()} | (_LOOPBACK if server[0] in _LOOPBACK else frozenset())
    default = "443" if scope.get("scheme") in ("https", "wss") else "80"
    return name.strip("[]") in ours and (port or default) == str(server[1])


def _nobody() -> Organisation:
    raise NotAuthenticated("the request shows no key")
