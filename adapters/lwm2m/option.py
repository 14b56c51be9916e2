"""What the options of a CoAP message mean: their numbers, unsigned integers, paths and queries."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from adapters.lwm2m.codec import Message, Options

URI_HOST = 3
ETAG = 4
OBSERVE = 6
URI_PORT = 7
LOCATION_PATH = 8
URI_PATH = 11
CONTENT_FORMAT = 12
MAX_AGE = 14
URI_QUERY = 15
ACCEPT = 17
LOCATION_QUERY = 20
BLOCK2 = 23
BLOCK1 = 27
SIZE2 = 28
PROXY_URI = 35
PROXY_SCHEME = 39
SIZE1 = 60
NO_RESPONSE = 258

# What our server understands of the options that a client may not send in vain (odd numbers).
_UNDERSTOOD = frozenset({URI_HOST, URI_PORT, URI_PATH, URI_QUERY, ACCEPT, BLOCK1, BLOCK2})
MAX_PIECE = 255


def uint(value: int) -> bytes:
    """An unsigned integer in as few bytes as it needs; zero needs none."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def number(value: bytes | None) -> int | None:
    """The integer of an option's value; None for an absent option. Leading zeros are tolerated."""
    return None if value is None else int.from_bytes(value, "big")


def not_understood(message: Message) -> int | None:
    """The first critical option that our server does not know: the request is to be refused for it."""
    for found, _ in message.options:
        if found & 1 and found not in _UNDERSTOOD:
            return found
    return None


def path_options(target: str, root: tuple[str, ...] = ()) -> Options:
    """A target as Uri-Path options: split at `/` first, each piece decoded by itself. Raises ValueError for a piece
    that is longer than an option may be, or for `.` and `..`, which devices may resolve."""
    pieces = [unquote_to_bytes(piece) for piece in target.split("/")[1:]] if target.strip("/") else []
    options = [(URI_PATH, piece.encode()) for piece in root]
    for piece in pieces:
        if len(piece) > MAX_PIECE or piece in (b".", b".."):
            raise ValueError("a path segment cannot be sent")
        options.append((URI_PATH, piece))
    return options


def query_options(query: Iterable[tuple[str, str]]) -> Options:
    """Decoded parameters as Uri-Query options; one without a value is its bare name. Raises ValueError where one is
    too long."""
    options: Options = []
    for name, value in query:
        piece = (f"{name}={value}" if value else name).encode()
        if len(piece) > MAX_PIECE:
            raise ValueError("a query parameter cannot be sent")
        options.append((URI_QUERY, piece))
    return options


def path_of(message: Message) -> tuple[str, ...]:
    """The path of a request, with what is no UTF-8 replaced."""
    return tuple(value.decode("utf-8", "replace") for value in message.all(URI_PATH))


def query_of(message: Message) -> list[tuple[str, str]]:
    """The query of a request as (name, value); a parameter without `=` has the value ""."""
    found = []
    for value in message.all(URI_QUERY):
        name, _, text = value.decode("utf-8", "replace").partition("=")
        found.append((name, text))
    return found
