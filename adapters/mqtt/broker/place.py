"""Where a broker is, and how the hub comes in."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from adapters.mqtt.broker.settings import BrokerSettings
from hub.ports.adapter import AdapterContext

ROOM = 64 * 1024
"""Bytes of a packet beside its payload. What is larger than all that, a broker of MQTT 5 throws away without a word:
the hub never hears of such an answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """A broker as a connection needs it; times are in seconds."""

    host: str
    port: int
    version: int
    username: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None
    keep_alive: int
    connect_time: float
    pause_most: float
    max_packet: int


def place_of(settings: BrokerSettings, ctx: AdapterContext) -> Place:
    """The broker of the settings. Raises ValueError for a file or a secret that is not there, and for a key that would
    have to be asked for its pass phrase: nobody is there to type it."""
    host, port = settings.place
    try:
        tls = ssl.create_default_context(cafile=settings.ca or None) if settings.tls else None
        if tls is not None and settings.certificate:
            tls.load_cert_chain(settings.certificate, settings.key, _no_phrase)
    except OSError as error:
        raise ValueError(f"ca, certificate or key cannot be used: {error}") from None
    return Place(
        host, port, settings.version, settings.username, _secret(ctx, settings.password), tls, settings.keep_alive,
        settings.connect_time.total_seconds(), settings.reconnect_most.total_seconds(),
        max(settings.max_message, settings.max_payload * 2) + ROOM,
    )  # fmt: skip


def _no_phrase() -> str:
    raise ValueError("key: the file is encrypted; the hub takes one without a pass phrase")


def _secret(ctx: AdapterContext, text: str) -> str:
    if not text.startswith(("env:", "file:")):
        return text
    try:
        return ctx.secret(text).decode()
    except (KeyError, UnicodeDecodeError):
        raise ValueError("password: there is no such secret") from None
