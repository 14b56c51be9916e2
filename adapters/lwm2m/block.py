"""Blocks (RFC 7959): their option, and putting together what a device uploads, within bounds.

Only the arithmetic. How a request of ours goes out in blocks is transfer.py, and what a device that uploads is told
is server.py.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from adapters.lwm2m.option import uint

LARGEST = 6  # the size exponent of 1024 bytes
MAX_NUMBER = (1 << 20) - 1
# What an upload takes beside its bytes.
_FRAME = 1024
MOST_EACH = 64
SIZE_EACH = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its number, whether more follow, its size exponent (0 to 6 for 16 to 1024 bytes)."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """Bytes in a full block."""
        return 16 << self.exponent

    @property
    def start(self) -> int:
        """Where the block begins in the whole."""
        return self.number << (self.exponent + 4)

    def encode(self) -> bytes:
        """The option's value."""
        return uint(self.number << 4 | self.more << 3 | self.exponent)


def block_of(value: bytes | None) -> Block | None:
    """The block that an option names; None for no option. Raises ValueError for the reserved size and an over-long
    value."""
    if value is None:
        return None
    raw = int.from_bytes(value, "big")
    if len(value) > 3 or raw & 7 == 7:
        raise ValueError("no such block")
    return Block(raw >> 4, bool(raw & 8), raw & 7)


class Step(enum.Enum):
    """What became of a block that a device uploaded."""

    MORE = "more"
    WHOLE = "whole"
    OUT_OF_ORDER = "out of order"
    TOO_LARGE = "too large"
    NO_ROOM = "no room"


@dataclass(slots=True)
class _Holder:
    """Who uploads, and what he holds; `known` if a device of the hub was heard there."""

    known: bool
    uploads: int = 0
    size: int = 0


@dataclass(slots=True)
class _Upload:
    peer: Hashable
    holder: _Holder
    touched: float
    data: bytearray = field(default_factory=bytearray)


class Uploads:
    """Uploads that are under way: of at most `most` bytes in all and `limit` bytes each, none that rests longer than
    `age`.

    Nobody pushes another one out: there is NO_ROOM for a block that would be too much, and its upload begins again
    later. Nor does anybody keep the others out: one peer holds MOST_EACH uploads or SIZE_EACH bytes, all that are not
    known a quarter of the whole. A key tells uploads apart (device, path, query).
    """

    def __init__(self, most: int = 16 * 1024 * 1024, limit: int = 65_536, age: float = 60.0) -> None:
        one = limit + _FRAME
        self._most = max(most, one)
        self._most_unknown = max(most // 4, one)
        self._most_each = max(SIZE_EACH, one)
        self._taken = self._unknown = 0
        self.limit = limit
        self._age = age
        self._open: OrderedDict[Hashable, _Upload] = OrderedDict()
        self._holders: dict[Hashable, _Holder] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(
        self, key: Hashable, block: Block, data: bytes, now: float, peer: Hashable = None, known: bool = True
    ) -> tuple[Step, bytes]:
        """Take a block of a peer in; with WHOLE come the bytes of all. A first block begins anew, whatever was
        there."""
        while self._open:
            oldest, upload = next(iter(self._open.items()))
            if now - upload.touched <= self._age:
                break
            self._drop(oldest)
        if block.number == 0:
            self._drop(key)
            if not block.more:
                return (Step.TOO_LARGE, b"") if len(data) > self.limit else (Step.WHOLE, data)
            self._begin(key, peer, known, now)
        found = self._open.get(key)
        if found is None or block.start != len(found.data) or (block.more and len(data) != block.size):
            self._drop(key)
            return Step.OUT_OF_ORDER, b""
        if len(found.data) + len(data) > self.limit:
            self._drop(key)
            return Step.TOO_LARGE, b""
        if not block.more:
            self._drop(key)
            return Step.WHOLE, bytes(found.data) + data
        found.data += data
        self._count(found.holder, len(data))
        if self._too_much(found.holder):
            self._drop(key)
            return Step.NO_ROOM, b""
        found.touched = now
        self._open.move_to_end(key)
        return Step.MORE, b""

    def _begin(self, key: Hashable, peer: Hashable, known: bool, now: float) -> None:
        holder = self._holders.setdefault(peer, _Holder(known))
        if holder.known != known:  # it registered meanwhile, or is no longer registered
            self._unknown += holder.size if holder.known else -holder.size
            holder.known = known
        holder.uploads += 1
        self._open[key] = _Upload(peer, holder, now)
        self._count(holder, _FRAME)

    def _too_much(self, holder: _Holder) -> bool:
        return (
            self._taken > self._most
            or holder.uploads > MOST_EACH
            or holder.size > self._most_each
            or (not holder.known and self._unknown > self._most_unknown)
        )

    def _count(self, holder: _Holder, size: int) -> None:
        self._taken += size
        holder.size += size
        if not holder.known:
            self._unknown += size

    def _drop(self, key: Hashable) -> None:
        upload = self._open.pop(key, None)
        if upload is None:
            return
        self._count(upload.holder, -len(upload.data) - _FRAME)
        upload.holder.uploads -= 1
        if not upload.holder.uploads:
            del self._holders[upload.peer]
