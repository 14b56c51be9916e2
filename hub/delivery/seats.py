"""Seats: a named reader of a channel is held by one socket at a time, and the newer one wins."""

from __future__ import annotations

from collections.abc import Callable

# Told with a close code, or with None when a newer holder has come.
Displaced = Callable[[int | None], None]


class Seats:
    """Who holds which (channel, reader) now."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Displaced] = {}

    def take(self, channel: str, reader: str, displaced: Displaced) -> Callable[[], None]:
        """Sit down; whoever sat there is told through its `displaced`. Returns the way to stand up."""
        seat = (channel, reader)
        before = self._held.get(seat)
        self._held[seat] = displaced

        def leave() -> None:
            if self._held.get(seat) is displaced:
                del self._held[seat]

        if before is not None:
            before(None)
        return leave

    def held(self, channel: str, reader: str) -> bool:
        """Whether somebody sits there."""
        return (channel, reader) in self._held

    def unseat(self, channel: str, reader: str, code: int) -> bool:
        """Tell the holder to go, with this close code; False when there is none."""
        before = self._held.pop((channel, reader), None)
        if before is not None:
            before(code)
        return before is not None
