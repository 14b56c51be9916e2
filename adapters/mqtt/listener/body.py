"""The body of an MQTT packet, read field by field; pure."""

from __future__ import annotations


class Malformed(Exception):
    """These bytes are no MQTT 3.1.1 as this end speaks it; the connection has to end."""


class Body:
    """Read from front to back; each method takes what stands next. All raise Malformed."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes were not read yet."""
        return len(self._body) - self._at

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count > self.left:
            raise Malformed("a packet ends in the middle")
        self._at += count
        return self._body[self._at - count : self._at]

    def byte(self) -> int:
        """One byte as a number."""
        return self.take(1)[0]

    def number(self) -> int:
        """Two bytes as a number."""
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        """A number that is not 0."""
        number = self.number()
        if number == 0:
            raise Malformed("a packet id is not 0")
        return number

    def data(self) -> bytes:
        """Bytes with their length before them."""
        return self.take(self.number())

    def text(self) -> str:
        """The same as UTF-8 without U+0000."""
        try:
            text = self.data().decode()
        except UnicodeDecodeError:
            raise Malformed("a text is no UTF-8") from None
        if "\0" in text:
            raise Malformed("a text holds U+0000")
        return text

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Nothing may be left."""
        if self.left:
            raise Malformed("a packet is longer than what it says")
