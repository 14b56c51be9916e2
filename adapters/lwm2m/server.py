"""What devices may ask of the hub: /rd, /dp and discovery. Blocks of long bodies are put together here.

One request in, one reply out; de-duplication, sockets and tasks are inbound.py.
"""

from __future__ import annotations

import hashlib
import logging

from adapters.lwm2m import codec, content
from adapters.lwm2m.block import Step, Uploads, block_of
from adapters.lwm2m.codec import Message
from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.option import (
    ACCEPT,
    BLOCK1,
    BLOCK2,
    CONTENT_FORMAT,
    MAX_AGE,
    PROXY_SCHEME,
    PROXY_URI,
    SIZE1,
    not_understood,
    number,
    path_of,
    query_of,
    uint,
)
from adapters.lwm2m.registrar import Registrar, Reply
from adapters.lwm2m.sends import Sends
from hub.ports.clock import Clock

_WELL_KNOWN = b'</rd>;rt="core.rd",</dp>;rt="core.dp"'
_METHODS = {codec.GET, codec.POST, codec.PUT, codec.DELETE, codec.FETCH, codec.PATCH, codec.IPATCH}

log = logging.getLogger("hub.adapter.lwm2m")


class Server:
    """The hub as a CoAP server. `identity` in the methods is who the DTLS session proved to be, None without one."""

    def __init__(self, clock: Clock, registrar: Registrar, sends: Sends, max_payload: int) -> None:
        self._clock = clock
        self._registrar = registrar
        self._sends = sends
        self._uploads = Uploads(limit=max_payload)

    async def answer(self, message: Message, peer: Peer, identity: str | None) -> Reply:
        """The reply to a request, as soon as the hub holds what it tells."""
        if message.first(PROXY_URI) is not None or message.first(PROXY_SCHEME) is not None:
            return Reply(codec.PROXYING_NOT_SUPPORTED)
        unknown = not_understood(message)
        if unknown is not None:
            return Reply(codec.BAD_OPTION, payload=b"option %d" % unknown)
        if message.code not in _METHODS:
            return Reply(codec.METHOD_NOT_ALLOWED)
        try:
            block = block_of(message.first(BLOCK1))
            block_of(message.first(BLOCK2))
        except ValueError:
            return Reply(codec.BAD_OPTION, payload=b"block")
        path, body = path_of(message), message.payload
        if block is None:
            return await self._whole(message, path, body, peer, identity)
        # Of what tells uploads apart as much as is counted, whatever the device put into its query.
        key = hashlib.blake2b(repr((peer, message.code, path, query_of(message))).encode(), digest_size=16).digest()
        known = identity is not None or self._registrar.knows(peer)
        step, body = self._uploads.add(key, block, body, self._clock.monotonic(), peer, known)
        told = ((BLOCK1, block.encode()),)
        if step is Step.MORE:
            return Reply(codec.CONTINUE, told)
        if step is Step.OUT_OF_ORDER:
            return Reply(codec.REQUEST_ENTITY_INCOMPLETE, told)
        if step is Step.TOO_LARGE:
            return Reply(codec.REQUEST_ENTITY_TOO_LARGE, (*told, (SIZE1, uint(self._uploads.limit))))
        if step is Step.NO_ROOM:
            return Reply(codec.SERVICE_UNAVAILABLE, (*told, (MAX_AGE, uint(30))))
        reply = await self._whole(message, path, body, peer, identity)
        return Reply(reply.code, (*reply.options, *told), reply.payload, reply.awake)

    async def _whole(
        self, message: Message, path: tuple[str, ...], body: bytes, peer: Peer, identity: str | None
    ) -> Reply:
        if len(body) > self._uploads.limit:
            return Reply(codec.REQUEST_ENTITY_TOO_LARGE, ((SIZE1, uint(self._uploads.limit)),))
        match path:
            case ("rd",) | ("rd", ""):
                if message.code != codec.POST:
                    return Reply(codec.METHOD_NOT_ALLOWED)
                return await self._registrar.register(query_of(message), body, peer, identity)
            case ("rd", location):
                if message.code in (codec.POST, codec.PUT):
                    return await self._registrar.update(location, query_of(message), body, peer, identity)
                if message.code == codec.DELETE:
                    return await self._registrar.deregister(location, identity)
                return Reply(codec.METHOD_NOT_ALLOWED)
            case ("dp",):
                if message.code != codec.POST:
                    return Reply(codec.METHOD_NOT_ALLOWED)
                form = number(message.first(CONTENT_FORMAT))
                return await self._sends.take(body, form, peer, identity)
            case (".well-known", "core"):
                return _discovery(message)
        return Reply(codec.NOT_FOUND)


def _discovery(message: Message) -> Reply:
    if message.code != codec.GET:
        return Reply(codec.METHOD_NOT_ALLOWED)
    if number(message.first(ACCEPT)) not in (None, content.LINK):
        return Reply(codec.NOT_ACCEPTABLE)
    return Reply(codec.CONTENT, ((CONTENT_FORMAT, uint(content.LINK)),), _WELL_KNOWN)
