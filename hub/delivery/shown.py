"""The view that a socket shows, which may be exchanged while the socket is open."""

from __future__ import annotations

from collections.abc import Callable

from hub.delivery.view import View


class Shown:
    """One socket's view. `on_change` is called with the new one; before it is set, `view` alone tells."""

    __slots__ = ("on_change", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.on_change: Callable[[View], None] | None = None

    def change(self, view: View) -> None:
        """Show what comes from now on in this view; an equal one changes nothing."""
        if view.key == self.view.key:
            return
        self.view = view
        if self.on_change is not None:
            self.on_change(view)
