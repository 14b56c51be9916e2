"""Long poll: a request that is held until its channel has something to say."""

from __future__ import annotations

from datetime import timedelta

import anyio
from starlette.requests import Request

from hub.core.channels import Channel
from hub.core.stats import Stats
from hub.delivery.listening import Listening
from hub.model.errors import NotFound
from hub.model.event import Page, Position
from hub.model.principal import Principal

_SECOND = timedelta(seconds=1)


async def poll(
    request: Request,
    listening: Listening,
    principal: Principal,
    channel: Channel,
    after: Position,
    limit: int,
    hold: timedelta,
) -> Page | None:
    """The channel's events after a position: at once if there are any, otherwise when there are, at most `hold` later.

    None (204) when the hold is over, the hub drains, the key is revoked or the client has gone. Raises NotFound
    when the channel is deleted meanwhile, BadRequest for a position beyond the head, TooMany, Unavailable.
    """
    channels, clock, stats = listening.channels, listening.clock, listening.stats
    with listening.openings.open(principal.key_id, poll=True) as opening:
        stats.polls += 1
        found = await channels.read(channel, after, limit)
        if found.events or found.gap is not None:
            return _counted(found, stats)
        page: Page | None = None
        until = clock.monotonic() + min(hold, listening.limits.poll_hold) / _SECOND
        channel.listeners += 1
        try:
            async with anyio.create_task_group() as group:
                opening.on_end = lambda code, reason: group.cancel_scope.cancel()
                group.start_soon(_until_gone, request, group.cancel_scope)
                while page is None and await channels.wait(channel, after.offset, until):
                    found = await channels.read(channel, after, limit)
                    page = found if found.events or found.gap is not None else None
                group.cancel_scope.cancel()
        finally:
            channel.listeners -= 1
    if page is None and channel.deleted:
        raise NotFound("the channel was deleted", code="channel-not-found")
    return None if page is None else _counted(page, stats)


def _counted(page: Page, stats: Stats) -> Page:
    stats.deliveries += len(page.events)
    stats.gaps += page.gap is not None
    return page


async def _until_gone(request: Request, scope: anyio.CancelScope) -> None:
    """End the hold when the client has gone: its successor must not be told that it is still here."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            scope.cancel()
            return
