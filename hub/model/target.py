"""A target: the resource of a device that a call names, decoded once for every dialect.

Path segments are percent-decoded one by one, then ASCII spaces at their ends are cut (decisions L8). The
normal form is readable text that parses to itself, so that a stored call needs no second rule: what would
change its meaning when read again (`%`, a `/` or `?` inside a segment, a `&` or `=` inside a
parameter) stays escaped, everything else is plain. The names of services (INVOKE) are no targets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hub.model.errors import BadRequest

MAX_TARGET = 2048
"""Longest text that is taken for a target, in characters."""

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Target:
    """A decoded resource path with its query.

    `segments` and `query` are decoded; `path` and `str()` are the normal form without and with the
    query. A parameter without a value has the value "" and is written without `=`.
    """

    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """The path alone, with a leading slash."""
        return "/" + "/".join(_escaped(segment, "%/?") for segment in self.segments)

    def __str__(self) -> str:
        if not self.query:
            return self.path
        parts = (
            f"{_escaped(name, '%&=')}={_escaped(value, '%&')}" if value else _escaped(name, "%&=")
            for name, value in self.query
        )
        return f"{self.path}?{'&'.join(parts)}"


def parse_target(text: str) -> Target:
    """The target that `text` names; a missing leading slash is added and repeated slashes are one.

    A slash at the end is kept, because some devices tell the two apart. Raises BadRequest for a broken
    escape, text that is not UTF-8 when decoded, control characters, `.` and `..` segments, over-long text.
    """
    if len(text) > MAX_TARGET:
        raise BadRequest(f"a target has at most {MAX_TARGET} characters")
    path, _, query = text.partition("?")
    segments = [_decoded(part).strip(" ") for part in path.strip(" ").split("/")]
    if any(segment in (".", "..") for segment in segments):
        # An adapter that joins the path to a base address would leave it.
        raise BadRequest("a target has no . or .. segments")
    kept = [segment for segment in segments if segment]
    if kept and len(segments) > 1 and not segments[-1] and path.rstrip(" ").endswith("/"):
        kept.append("")
    return Target(tuple(kept), tuple(_parameter(part) for part in query.split("&") if part not in ("", "=")))


def _parameter(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return _decoded(name), _decoded(value)


def _decoded(text: str) -> str:
    if "%" in text:
        if _ESCAPE.search(text):
            raise BadRequest("a target has a percent sign that begins no escape")
        try:
            text = _ESCAPES.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), text)
        except UnicodeDecodeError:
            raise BadRequest("a target is UTF-8 when decoded") from None
    if any(
        not char.isprintable() and (char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff")
        for char in text
    ):
        raise BadRequest("a target has no control characters")
    return text


def _escaped(text: str, special: str) -> str:
    for char in special:  # `%` comes first in every list, so that no escape is escaped again
        text = text.replace(char, f"%{ord(char):02X}")
    return text
