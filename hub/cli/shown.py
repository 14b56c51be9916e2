"""Messages of a channel as lines for eyes; pure functions of what the hub sent."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

_LISTS = {
    "async-responses": "answer",
    "notifications": "notification",
    "registrations": "registered",
    "reg-updates": "updated",
    "de-registrations": "de-registered",
    "registrations-expired": "expired",
    "progress": "progress",
}
_MOST_PAYLOAD = 400


def payload_of(item: dict[str, Any]) -> bytes:
    """The payload of an item; empty when there is none or it is not base64."""
    try:
        return base64.b64decode(item.get("payload") or "", validate=True)
    except (binascii.Error, ValueError):
        return b""


def readable(payload: bytes, most: int = _MOST_PAYLOAD) -> str:
    """The payload as text on one line if it is text, else how much of what it is. Control characters are shown, not
    obeyed: a device shall not paint on its reader's terminal."""
    if not payload:
        return ""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return f"<{len(payload)} bytes>"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.rstrip("\r\n"))
    return shown if len(shown) <= most else f"{shown[:most]}... ({len(payload)} bytes)"


def items(frame: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(word, item) for each item of a message."""
    for member, word in _LISTS.items():
        for item in frame.get(member) or ():
            yield word, item


def lines(frame: dict[str, Any]) -> Iterator[str]:
    """A frame of the stream as lines."""
    if frame["type"] == "gap":
        lost = f"{frame['from']} to {frame['to']}" if frame.get("from") is not None else "an unknown number of events"
        yield f"-- gap: {lost} cannot be had any more ({frame.get('reason')})"
    at = str(frame.get("at", ""))[11:23]
    for word, item in items(frame):
        yield f"{at}  {frame.get('offset'):>6}  {_line(word, item)}".rstrip()


def _line(word: str, item: Any) -> str:
    if not isinstance(item, dict):
        return f"{word:<14} {readable(str(item).encode())}"
    who = item.get("device") or item.get("ep") or ""
    if word == "answer":
        error = f" {item['error']}" if item.get("error") else ""
        told = readable(payload_of(item))
        return f"{word:<14} {who}  {readable(str(item.get('id')).encode())}  {item.get('status')}{error}  {told}"
    if word == "notification":
        return f"{word:<14} {who}  {item.get('path')}  {readable(payload_of(item))}"
    return f"{word:<14} {who or readable(str(item.get('name') or '').encode())}"
