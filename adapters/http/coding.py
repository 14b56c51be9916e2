"""The body of an answer as it comes in: unpacked where it was packed unasked, never more of it than may be read.
Pure."""

from __future__ import annotations

import zlib

TOO_LARGE = "ANSWER_TOO_LARGE"
UNREADABLE = "ANSWER_UNREADABLE"

_PLAIN = frozenset({"", "identity"})
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_EITHER_FORM = 32 + zlib.MAX_WBITS


class Body:
    """At most `most` bytes. `lack` is the word for what is missing of it, "" while nothing is."""

    def __init__(self, coding: str, most: int) -> None:
        coding = coding.strip().lower()
        self._packed = zlib.decompressobj(_EITHER_FORM) if coding in _PACKED else None
        self._strange = coding not in _PLAIN and self._packed is None
        self._most = most
        self._got = bytearray()
        self._some = False
        self.lack = ""

    def add(self, chunk: bytes) -> bool:
        """Take what came; False when nothing more is to be read."""
        self._some = True
        if self._strange:
            self.lack = UNREADABLE
        elif self._packed is None:
            self._got += chunk
        else:
            try:
                self._got += self._packed.decompress(chunk, self._most - len(self._got) + 1)
            except zlib.error:
                self.lack = UNREADABLE
            if self._packed.unused_data:
                self.lack = UNREADABLE
        if len(self._got) > self._most:
            self.lack = TOO_LARGE
        return not self.lack

    def content(self) -> bytes:
        """All of it, once it has come to its end; nothing where something is missing."""
        if self._some and not self.lack and self._packed is not None and not self._packed.eof:
            self.lack = UNREADABLE
        return b"" if self.lack else bytes(self._got)
