"""Topic patterns: text with `{name}` in place of a level, to fill, to listen by and to read from. Pure.

`{name}` is one level, or a part of one; `{device}` is as many whole levels as an address has; `{name...}` at the end is
all the rest. What a pattern is filled with cannot leave its level, so that no name becomes another device's topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

DEVICE = "device"
_PLACE = re.compile(r"\{([a-z]+)(\.\.\.)?\}")
_LEVEL = re.compile(r"[^/+#\x00-\x1f\x7f]{1,256}")
_MOST_FILTER = 1024
MOST_LEVELS = 100
"""Levels of a topic: brokers end the connection of whoever sends one with more than they take (mosquitto: 200)."""


def is_legal(text: str) -> bool:
    """Whether a text can be sent: brokers end connections for control characters and for what is no character."""
    return text.isprintable() or not any(
        ord(letter) < 32 or 127 <= ord(letter) < 160 or 0xD800 <= ord(letter) <= 0xDFFF
        or 0xFDD0 <= ord(letter) <= 0xFDEF or ord(letter) & 0xFFFE == 0xFFFE
        for letter in text
    )  # fmt: skip


def is_level(text: str) -> bool:
    """Whether a text can be one level of a topic."""
    return _LEVEL.fullmatch(text) is not None and is_legal(text)


def is_filter(text: str) -> bool:
    """Whether a broker takes a text for a filter."""
    levels = text.split("/")
    return (
        0 < len(text) <= _MOST_FILTER and len(levels) <= MOST_LEVELS and is_legal(text)
        and all(level == "+" or "+" not in level for level in levels)
        and "#" not in text.removesuffix("#") and (levels[-1] == "#" or not text.endswith("#"))
    )  # fmt: skip


@lru_cache(maxsize=16_384)
def is_address(text: str, levels: int) -> bool:
    """Whether a text can be a device's address of so many levels."""
    parts = text.split("/")
    return len(parts) == levels and all(is_level(part) for part in parts)


class Pattern:
    """A pattern whose `{device}` has so many levels. Raises ValueError for a text that is none."""

    __slots__ = ("_match", "filter", "names", "rest", "text")

    def __init__(self, text: str, levels: int = 1) -> None:
        self.text = text
        self.names: tuple[str, ...] = tuple(found[1] for found in _PLACE.finditer(text))
        if not text or len(set(self.names)) != len(self.names):
            raise ValueError("is a topic in which each {name} stands once")
        self.rest = ""
        """The name of the place that is the whole end."""
        filters, regexes = [], []
        parts = text.split("/")
        for number, part in enumerate(parts):
            rest, device = _PLACE.fullmatch(part), f"{{{DEVICE}}}" in part
            if rest is not None and rest[2]:
                if number != len(parts) - 1 or number == 0:
                    raise ValueError("{name...} is the whole end of a topic")
                self.rest = rest[1]
                filters.append("#")
                regexes.append(f"(?P<{rest[1]}>.+)")
            elif rest is not None and device:
                filters += ["+"] * levels
                regexes.append(f"(?P<{DEVICE}>" + "/".join(["[^/]+"] * levels) + ")")
            else:
                if _PLACE.search(part) and levels != 1 and device:
                    raise ValueError("{device} has whole levels here")
                plain = _PLACE.sub("", part)
                if any(mark in plain for mark in "{}+#") or any(ord(letter) < 32 for letter in plain) or "..." in part:
                    raise ValueError("has no wildcards, only {name}")
                filters.append("+" if _PLACE.search(part) else part)
                regexes.append(_regex(part))
        self.filter = "/".join(filters)
        self._match = re.compile("/".join(regexes), re.DOTALL)

    def fill(self, **values: str) -> str:
        """The topic with the values in their places. They have been judged by `is_level` or `is_address`."""
        return _PLACE.sub(lambda found: values[found[1]], self.text)

    def read(self, topic: str) -> Mapping[str, str] | None:
        """What stands in the places of a topic; None for one that is not of this pattern."""
        found = self._match.fullmatch(topic)
        return None if found is None else found.groupdict()


def _regex(part: str) -> str:
    made, last = "", 0
    for found in _PLACE.finditer(part):
        made += re.escape(part[last : found.start()]) + f"(?P<{found[1]}>[^/]+)"
        last = found.end()
    return made + re.escape(part[last:])


def overlap(one: str, other: str) -> bool:
    """Whether there is a topic that both filters match."""
    ones, others = one.split("/"), other.split("/")
    for mine, theirs in zip(ones, others, strict=False):
        if "#" in (mine, theirs):
            return True
        if mine != theirs and "+" not in (mine, theirs):
            return False
    # `a/#` matches `a` as well.
    longer = ones if len(ones) > len(others) else others
    short = min(len(ones), len(others))
    return len(ones) == len(others) or longer[short:] == ["#"]


def covers(one: str, other: str) -> bool:
    """Whether every topic that the other filter matches is matched by this one."""
    ones, others = one.split("/"), other.split("/")
    for number, mine in enumerate(ones):
        if mine == "#":
            return True
        theirs = others[number] if number < len(others) else "#"
        if theirs == "#" or (mine not in ("+", theirs)):
            return False
    return len(ones) == len(others)


def widest(filters: Sequence[str]) -> list[str]:
    """The filters without those that another one covers: brokers send a message once for each that matches it."""
    kept: list[str] = []
    for filter in dict.fromkeys(filters):
        if not any(covers(other, filter) for other in filters if other != filter):
            kept.append(filter)
    return kept
