"""The ports of `hub dev`: those of its last start are tried first, so that devices and bookmarks find it again."""

from __future__ import annotations

import socket

from hub.model.errors import CannotListen
from hub.serving import bind, bind_next


def bind_kept(host: str, kept: int | None, first: int) -> socket.socket:
    """A listening socket at the port of the last start, else at the first free one from `first` on. Raises
    CannotListen when there is none."""
    if kept is not None:
        try:
            return bind(host, kept)
        except CannotListen:
            pass  # somebody else has it now
    return bind_next(host, first)


def free_for_datagrams(host: str, port: int | None) -> int | None:
    """The UDP port of the last start if nobody has it now, None otherwise."""
    if port is None:
        return None
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return None
    return port
