"""A whole request and its whole answer, in as many blocks as they need (RFC 7959).

Our payload goes out in blocks of 1024 bytes or what the device asks for; its answer is put together again, as long
as it stays the same one. Everything ends by the deadline of the call.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from adapters.lwm2m import codec
from adapters.lwm2m.block import LARGEST, MAX_NUMBER, Block, block_of
from adapters.lwm2m.codec import CON, NON, Message, Options
from adapters.lwm2m.exchange import Exchanges, Owner
from adapters.lwm2m.operation import READING
from adapters.lwm2m.option import BLOCK1, BLOCK2, CONTENT_FORMAT, ETAG, NO_RESPONSE, OBSERVE, SIZE1, uint
from adapters.lwm2m.registration import Registration
from hub.ports.adapter import Delivery, TooLarge, Unreachable
from hub.ports.clock import Clock

TOKEN = 8
NOTHING = 26
"""Of the option No-Response: no answer of any class is wanted."""
_SMALL = 16 << LARGEST
_AGAIN = (codec.REQUEST_ENTITY_INCOMPLETE, codec.REQUEST_ENTITY_TOO_LARGE)


class Tokens:
    """Random tokens, drawn from the system some hundred at a time."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def next(self) -> bytes:
        """Eight bytes that nobody can guess."""
        if self._at >= len(self._pool):
            self._pool, self._at = secrets.token_bytes(TOKEN * 512), 0
        self._at += TOKEN
        return self._pool[self._at - TOKEN : self._at]


class Transfers:
    """Runs whole requests over exchanges. `limit` bounds what an answer may become."""

    def __init__(self, clock: Clock, exchanges: Exchanges, limit: int) -> None:
        self._clock = clock
        self._exchanges = exchanges
        self._limit = limit
        self._tokens = Tokens()

    async def run(
        self, to: Registration, code: int, options: Sequence[tuple[int, bytes]], payload: bytes, deadline: float,
        owner: Owner, token: bytes | None = None,
    ) -> Message:
        """The device's answer with its whole payload. `token` is that of the first message.

        Raises what `Registration.next_mid` and `Exchanges.ask` raise; Unreachable when the answer kept changing;
        TooLarge (DELIVERED).
        """
        if len(payload) <= _SMALL:
            # Most requests and answers are one message each: nothing between them and the exchange.
            mid = to.next_mid(self._clock)
            message = Message(CON, code, mid, token or self._tokens.next(), options, payload)
            answer = await self._exchanges.ask(message, to.peer, deadline, owner)
            if answer.code < codec.BAD_REQUEST and not payload and answer.first(BLOCK2) is None:
                return answer
            offered = _block(answer, BLOCK1)
            if payload and answer.code == codec.REQUEST_ENTITY_TOO_LARGE and offered and offered.size < len(payload):
                answer = await self._upload(to, code, options, payload, deadline, owner, offered.exponent)
        else:
            answer = await self._upload(to, code, options, payload, deadline, owner, LARGEST)
        if answer.code == codec.CONTINUE:
            raise Unreachable("the device waits for blocks that there are not", delivery=Delivery.MAYBE)
        if len(answer.payload) > self._limit:
            raise TooLarge("the answer is too large", delivery=Delivery.DELIVERED)
        block = _block(answer, BLOCK2)
        if block is None or not block.more:
            return answer
        return await self.rest(to, code, options, payload, answer, deadline, owner)

    def tell(self, to: Registration, code: int, options: Sequence[tuple[int, bytes]], payload: bytes) -> None:
        """Send a request once, not confirmable and without wish for an answer (RFC 7967). Raises TooLarge (NOT_SENT)
        for what would need an answer to every block."""
        if len(payload) > _SMALL:
            raise TooLarge(f"at most {_SMALL} bytes can be sent unanswered", delivery=Delivery.NOT_SENT)
        mid = to.next_mid(self._clock)
        asked = [*options, (NO_RESPONSE, uint(NOTHING))]
        self._exchanges.tell(Message(NON, code, mid, self._tokens.next(), asked, payload), to.peer)

    async def rest(
        self, to: Registration, code: int, options: Sequence[tuple[int, bytes]], payload: bytes, first: Message,
        deadline: float, owner: Owner,
    ) -> Message:
        """The answer whose first block is there, with all of its payload."""
        repeat = code == codec.FETCH and len(payload) <= _SMALL
        # What is asked for again is the same representation: neither observed anew nor uploaded once more.
        dropped = {OBSERVE, BLOCK1, BLOCK2, SIZE1} | (set() if repeat else {CONTENT_FORMAT})
        kept = [option for option in options if option[0] not in dropped]
        for restart in (True, False):
            whole = await self._download(to, code, kept, payload if repeat else b"", first, deadline, owner)
            if whole is not None:
                return whole
            if not restart or code not in READING:
                break
            again = payload if repeat else b""
            first = await self._ask(to, code, kept, again, deadline, owner, Delivery.DELIVERED)
            block = _block(first, BLOCK2)
            if block is None or not block.more:
                return first
        raise Unreachable("the answer changed while it was read", delivery=Delivery.DELIVERED)

    async def _download(
        self, to: Registration, code: int, options: Options, payload: bytes, first: Message, deadline: float,
        owner: Owner,
    ) -> Message | None:
        """All blocks behind the first; None when they turn out to be of another representation."""
        block = _block(first, BLOCK2)
        data, etag = bytearray(first.payload), first.first(ETAG)
        if block is None or block.number or len(data) != block.size:
            return None
        exponent = block.exponent
        while block is not None and block.more:
            number = len(data) >> (exponent + 4)
            if number > MAX_NUMBER:
                raise TooLarge("the answer is too large", delivery=Delivery.DELIVERED)
            wanted = [*options, (BLOCK2, Block(number, False, exponent).encode())]
            answer = await self._ask(to, code, wanted, payload, deadline, owner, Delivery.DELIVERED)
            if answer.code >> 5 != 2:
                return None if answer.code == codec.REQUEST_ENTITY_INCOMPLETE else answer
            block = _block(answer, BLOCK2)
            if block is None or answer.first(ETAG) != etag or answer.code != first.code:
                return None
            if block.start != len(data) or block.exponent > exponent:
                return None
            if block.more and len(answer.payload) != block.size:
                return None
            exponent = block.exponent
            data += answer.payload
            if len(data) > self._limit:
                raise TooLarge("the answer is too large", delivery=Delivery.DELIVERED)
        return replace(first, payload=bytes(data))

    async def _upload(
        self, to: Registration, code: int, options: Sequence[tuple[int, bytes]], payload: bytes, deadline: float,
        owner: Owner, exponent: int,
    ) -> Message:
        """Send a payload in blocks; returns the answer to the last one, or the refusal of an earlier one."""
        at, restarted = 0, False
        while True:
            block = Block(at >> (exponent + 4), at + (16 << exponent) < len(payload), exponent)
            chunk = payload[at : at + block.size]
            sent = [*options, (BLOCK1, block.encode())]
            if at == 0:
                sent.append((SIZE1, uint(len(payload))))
            known = Delivery.MAYBE if at else Delivery.NOT_SENT
            answer = await self._ask(to, code, sent, chunk, deadline, owner, known)
            told = _block(answer, BLOCK1)
            if answer.code in _AGAIN and not restarted:
                offered = told is not None and told.exponent < exponent
                if answer.code == codec.REQUEST_ENTITY_INCOMPLETE or offered:
                    exponent = told.exponent if told is not None and offered else exponent
                    at, restarted = 0, True
                    continue
            if not block.more or answer.code >> 5 != 2 or (answer.code != codec.CONTINUE and told is None):
                return answer
            if told is not None and told.exponent < exponent:
                exponent = told.exponent
            at += len(chunk)

    async def _ask(
        self, to: Registration, code: int, options: Sequence[tuple[int, bytes]], payload: bytes, deadline: float,
        owner: Owner, known: Delivery,
    ) -> Message:
        """One message of several; `known` is what is known of the request before it."""
        mid = to.next_mid(self._clock, known)
        message = Message(CON, code, mid, self._tokens.next(), options, payload)
        return await self._exchanges.ask(message, to.peer, deadline, owner)


def _block(message: Message, number: int) -> Block | None:
    """The block option of an answer; one that makes no sense is none."""
    try:
        return block_of(message.first(number))
    except ValueError:
        return None
