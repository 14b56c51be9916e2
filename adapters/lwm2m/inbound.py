"""Every datagram that comes: what kind of message it is, whether it came before, and who shall have it.

Answers go to the exchanges, notifications to the observations, requests to the server, each acknowledged when the hub
holds what it tells. Nothing that comes raises out of here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from adapters.lwm2m import codec
from adapters.lwm2m.codec import ACK, CON, EMPTY, NON, RST, Malformed, Message, decode, encode
from adapters.lwm2m.crew import Crew
from adapters.lwm2m.exchange import EXCHANGE_LIFETIME, Exchanges, Peer
from adapters.lwm2m.generations import Generations
from adapters.lwm2m.notifications import Held, Notifications
from adapters.lwm2m.option import LOCATION_PATH, OBSERVE
from adapters.lwm2m.reach import Reach
from adapters.lwm2m.registrar import Reply
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.response import response_of
from adapters.lwm2m.server import Server
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

MOST_RECEIPTS = 16_384
Receipt = int
"""What a datagram is known by when it comes again: 64 bits of where it came from and all that it says, by a hash that
nobody outside can compute. A device that began anew may use a message id again, and then says something else."""

_PENDING = b""
_NOTHING = b"\0"

log = logging.getLogger("hub.adapter.lwm2m")


class Inbound:
    """Sorts what comes. `send` is the way back; `identity` says who a peer has proved to be. What is asked of the hub
    and what is told to it have a crew each, so that neither takes the other's place."""

    def __init__(
        self, ctx: AdapterContext, asked: Crew, told: Crew, registry: Registry, reach: Reach,
        exchanges: Exchanges, notifications: Notifications, server: Server, send: Callable[[bytes, Peer], None],
        identity: Callable[[Peer], str | None],
    ) -> None:
        self._ctx = ctx
        self._asked = asked
        self._told = told
        self._registry = registry
        self._reach = reach
        self._exchanges = exchanges
        self._notifications = notifications
        self._server = server
        self._send = send
        self._identity = identity
        self._receipts: Generations[Receipt, bytes] = Generations(EXCHANGE_LIFETIME, MOST_RECEIPTS)
        self._mid = int(ctx.clock.now().timestamp() * 200) & 0xFFFF
        self.malformed = 0
        self.shed = 0

    def heard(self, data: bytes, peer: Peer) -> None:
        """One datagram."""
        try:
            message = decode(data)
        except Malformed as error:
            self.malformed += 1
            if error.kind == CON and error.mid is not None:
                self._send(encode(Message(RST, EMPTY, error.mid)), peer)
            return
        registration = self._whose(peer)
        code = message.code
        if registration is not None and message.kind != CON and not 0 < code < 0x20:
            # Whoever waits for an acknowledgement gets that first: many clients take no request before it.
            self._reach.heard(registration)
        if code == EMPTY:
            if message.kind == CON:  # a CoAP ping
                self._reset(message, peer)
            else:
                self._exchanges.heard(message, peer)
        elif code < 0x20:
            self._request(message, peer, hash((peer, data)))
        elif code >> 5 in (2, 4, 5):
            self._response(message, peer, hash((peer, data)))
        elif message.kind == CON:
            self._reset(message, peer)

    def _whose(self, peer: Peer) -> Registration | None:
        """The registration that messages from there belong to. A device with a new session is there from now on."""
        identity = self._identity(peer)
        registration = self._registry.from_peer(peer)
        if identity is None or (registration is not None and registration.identity == identity):
            return registration
        registration = self._registry.of_identity(identity)
        if registration is not None:
            self._reach.relocate(registration, peer)
        return registration

    # -- requests -------------------------------------------------------------------------------

    def _request(self, message: Message, peer: Peer, receipt: Receipt) -> None:
        if message.kind not in (CON, NON):
            return
        seen = self._receipts.get(receipt)
        if seen is not None and not self._outdated(seen):
            if seen not in (_PENDING, _NOTHING):
                self._send(seen, peer)
            return
        if self._asked.full:
            self.shed += 1
            return  # a client that waits for an answer asks again
        self._receipts.put(receipt, _PENDING, self._ctx.clock.monotonic())
        self._asked.spawn(self._serve(message, peer, receipt), "request")

    def _outdated(self, answer: bytes) -> bool:
        """Whether an answer speaks of a registration that has ended: whoever asks in the same words began anew."""
        if len(answer) < 2 or answer[1] != codec.CREATED:
            return False
        return not any(
            self._registry.located(piece.decode()) for piece in decode(answer).all(LOCATION_PATH) if piece != b"rd"
        )

    async def _serve(self, message: Message, peer: Peer, receipt: Receipt) -> None:
        try:
            reply = await self._server.answer(message, peer, self._identity(peer))
        except Exception:
            # A bug must not leave a device without an answer, or it would come again for ever.
            log.exception("a request could not be served")
            reply = Reply(0xA0)
        if message.kind == CON:
            kind, mid = ACK, message.mid
        else:
            kind, mid = NON, self._next_mid()
        answer = encode(Message(kind, reply.code, mid, message.token, reply.options, reply.payload))
        self._receipts.change(receipt, answer)
        self._send(answer, peer)
        # The answer is on its way first: many clients take no request before it.
        if reply.awake is not None:
            self._reach.awake(reply.awake)
        else:
            self._awake(peer)

    # -- answers and notifications --------------------------------------------------------------

    def _response(self, message: Message, peer: Peer, receipt: Receipt) -> None:
        confirmable = message.kind == CON
        if message.kind == RST:
            return
        if confirmable:
            seen = self._receipts.get(receipt)
            if seen is not None:
                if seen != _PENDING:
                    self._send(seen, peer)
                    self._awake(peer)
                return
        if self._exchanges.heard(message, peer):
            self._notifications.begun(message)
            if confirmable:
                self._acknowledge(message, peer, receipt)
            return
        watched = self._registry.watched(message.token)
        if watched is not None and not self._exchanges.is_open(message.token):
            registration, observed = watched
            if registration.identity != self._identity(peer):
                return
            if not confirmable:
                self._notifications.heard(registration, observed, message, peer)
            elif not self._told.full:
                # Judged now: what comes behind it in the same burst is newer.
                verdict = self._notifications.judge(registration, observed, message, peer)
                if isinstance(verdict, Held):
                    self._receipts.put(receipt, _PENDING, self._ctx.clock.monotonic())
                    self._told.spawn(self._keep(verdict, message, peer, receipt), "notification")
                elif verdict:
                    self._acknowledge(message, peer, receipt)
            else:
                self.shed += 1
            return
        owner = self._exchanges.late(message, peer)
        if owner is not None:
            if confirmable:
                self._acknowledge(message, peer, receipt)
            if owner.call_id is not None and message.code != codec.CONTINUE:
                now = self._ctx.clock.monotonic()
                attrs = {"call_id": owner.call_id, "response": response_of(message, path=owner.path)}
                self._ctx.emit(DeviceEvent(EventKind.LATE_RESPONSE, owner.device, now, attrs=attrs))
            return
        if self._exchanges.is_open(message.token):
            return  # from somewhere else than the request went to: not the answer
        if confirmable or (message.kind == NON and message.first(OBSERVE) is not None):
            self._reset(message, peer)

    async def _keep(self, held: Held, message: Message, peer: Peer, receipt: Receipt) -> None:
        """Give a confirmable notification to the hub, then acknowledge it; if that fails, let it come again."""
        if await self._notifications.hold(held):
            self._acknowledge(message, peer, receipt)
        else:
            self._receipts.pop(receipt)

    # -- small change ---------------------------------------------------------------------------

    def _acknowledge(self, message: Message, peer: Peer, receipt: Receipt) -> None:
        answer = encode(Message(ACK, EMPTY, message.mid))
        self._receipts.put(receipt, answer, self._ctx.clock.monotonic())
        self._send(answer, peer)
        self._awake(peer)

    def _reset(self, message: Message, peer: Peer) -> None:
        self._send(encode(Message(RST, EMPTY, message.mid)), peer)
        self._awake(peer)

    def _awake(self, peer: Peer) -> None:
        """Who is there has what it waited for."""
        registration = self._whose(peer)
        if registration is not None:
            self._reach.heard(registration)

    def _next_mid(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

