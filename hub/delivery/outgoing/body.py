"""What a delivery says: bodies by the name of the view that its row carries, one registered by each dialect.

A dialect that registers none is told in the native form, so that a row can always be sent.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from hub.delivery.envelope import message
from hub.model.event import Event

Render = Callable[[Event], bytes]

CONTENT_TYPE = "application/json"
NATIVE = "native"


def native_body(event: Event) -> bytes:
    """The native Message of the event as JSON."""
    return orjson.dumps(message(event))


class Bodies:
    """The forms of bodies by name."""

    def __init__(self) -> None:
        self._renders: dict[str, Render] = {NATIVE: native_body}

    def register(self, view: str, render: Render) -> None:
        """Let rows of this view be told by `render`, a pure function to JSON."""
        self._renders[view] = render

    def render(self, view: str, event: Event) -> bytes:
        """The body of a delivery."""
        return self._renders.get(view, native_body)(event)
