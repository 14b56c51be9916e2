"""Reading the members of a decoded body, telling everything that is wrong with them at once.

Each reader returns the value or None and notes what is wrong under its JSON pointer; `check` raises what
was noted. Members that nobody reads are ignored, so that newer clients can talk to older hubs.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from hub.model.errors import BadRequest

E = TypeVar("E", bound=enum.Enum)

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_plain(text: str, most: int) -> bool:
    """Whether a text has 1 to `most` characters and none that is a control character."""
    return 0 < len(text) <= most and not _CONTROL.search(text)


class Members:
    """The members of one object. `found` collects (pointer, what is wrong) pairs, shared with objects inside."""

    def __init__(self, value: Any, pointer: str = "", found: list[tuple[str, str]] | None = None) -> None:
        """Raises BadRequest if the value is no object."""
        if not isinstance(value, Mapping):
            raise BadRequest("an object is expected", fields=((pointer, "an object is expected"),))
        self._value = value
        self._pointer = pointer
        self.found = [] if found is None else found

    def __contains__(self, name: str) -> bool:
        return self._value.get(name) is not None

    def wrong(self, name: str, detail: str) -> None:
        """Note that the member is wrong."""
        escaped = name.replace("~", "~0").replace("/", "~1")
        self.found.append((f"{self._pointer}/{escaped}", detail))

    def check(self) -> None:
        """Raise BadRequest with everything that was noted; return if there was nothing."""
        if self.found:
            raise BadRequest("; ".join(f"{pointer}: {detail}" for pointer, detail in self.found), fields=self.found)

    def text(self, name: str, *, required: bool = False, most: int = 256) -> str | None:
        """A text of 1 to `most` characters without control characters."""
        value = self._taken(name, required)
        if value is None:
            return None
        if isinstance(value, str) and is_plain(value, most):
            return value
        self.wrong(name, f"a text of 1 to {most} characters without control characters is expected")
        return None

    def integer(self, name: str, least: int, most: int) -> int | None:
        """An integer within bounds; a float is none, even a round one."""
        value = self._taken(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.wrong(name, f"an integer from {least} to {most} is expected")
        return None

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number within bounds."""
        value = self._taken(name)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        self.wrong(name, f"a number from {least:g} to {most:g} is expected")
        return None

    def flag(self, name: str) -> bool | None:
        """true or false."""
        value = self._taken(name)
        if value is None or isinstance(value, bool):
            return value
        self.wrong(name, "true or false is expected")
        return None

    def choice(self, name: str, kind: type[E], *, required: bool = False) -> E | None:
        """One of an enumeration's values."""
        value = self._taken(name, required)
        if value is None:
            return None
        for member in kind:
            if member.value == value and isinstance(value, str):
                return member
        self.wrong(name, "one of these is expected: " + ", ".join(str(member.value) for member in kind))
        return None

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """An object, as it is."""
        value = self._taken(name)
        if value is None or isinstance(value, Mapping):
            return value
        self.wrong(name, "an object is expected")
        return None

    def texts(self, name: str, most: int, longest: int = 256) -> dict[str, str] | None:
        """An object of texts by name, at most `most`."""
        value = self.mapping(name)
        if value is None:
            return None
        if len(value) <= most and all(
            is_plain(key, longest) and isinstance(text, str) and is_plain(text, longest) for key, text in value.items()
        ):
            return dict(value)
        self.wrong(name, f"an object of at most {most} texts of 1 to {longest} characters is expected")
        return None

    def members(self, name: str) -> Members | None:
        """The members of an object inside this one."""
        value = self.mapping(name)
        return None if value is None else Members(value, f"{self._pointer}/{name}", self.found)

    def base64(self, name: str) -> bytes | None:
        """The bytes of a text in standard, padded base64; nothing else is let pass."""
        value = self._taken(name)
        if value is None:
            return None
        try:
            if isinstance(value, str):
                return base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            pass
        self.wrong(name, "standard base64 with padding is expected")
        return None

    def binary(self, name: str) -> bytes | None:
        """Bytes as they are (MessagePack)."""
        value = self._taken(name)
        if value is None or isinstance(value, bytes):
            return value
        self.wrong(name, "binary data is expected")
        return None

    def _taken(self, name: str, required: bool = False) -> Any:
        value = self._value.get(name)
        if value is None and required:
            self.wrong(name, "is missing")
        return value
