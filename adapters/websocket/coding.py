"""The two codings of a message: plain members in, bytes out, and back. What the members mean is the wire's."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import msgpack
import orjson

MAX_MEMBERS = 1024


class BadFrame(ValueError):
    """A message that is no frame; `undecodable` when it was not even JSON or MessagePack."""

    def __init__(self, detail: str, *, undecodable: bool = False) -> None:
        super().__init__(detail)
        self.undecodable = undecodable


class Subprotocol(enum.Enum):
    """The two codings."""

    MSGPACK = "hubdev.v1.msgpack"
    JSON = "hubdev.v1.json"

    @property
    def binary(self) -> bool:
        """Whether its messages are binary ones."""
        return self is Subprotocol.MSGPACK


def pack(members: Sequence[Any], coding: Subprotocol) -> bytes:
    """The message that holds these members; UTF-8 text for JSON."""
    if coding is Subprotocol.JSON:
        return orjson.dumps(members)
    packed: bytes = msgpack.packb(members, use_bin_type=True)
    return packed


def unpack(message: bytes | str, coding: Subprotocol) -> Any:
    """What a message holds. Raises BadFrame, and nothing else."""
    try:
        if coding is Subprotocol.JSON:
            return orjson.loads(message)
        if isinstance(message, str):
            raise BadFrame("a MessagePack frame is binary", undecodable=True)
        size = len(message)
        return msgpack.unpackb(
            message, raw=False, strict_map_key=True, max_str_len=size, max_bin_len=size,
            max_array_len=min(size, MAX_MEMBERS), max_map_len=min(size, MAX_MEMBERS), max_ext_len=0,
        )
    except BadFrame:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as failure:
        # What the codecs raise on rubbish; an OverflowError of a timestamp is a ValueError here as well.
        raise BadFrame(f"not {coding.value}: {type(failure).__name__}", undecodable=True) from None
    except OverflowError:
        raise BadFrame("a number is out of range", undecodable=True) from None
