"""`/v1/callback-secret` and `/v1/dead-letters`: what signs callbacks, and those that could not be delivered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.hub import Hub
from hub.delivery.outgoing.outgoing import Outgoing
from hub.delivery.outgoing.secret import SecretState
from hub.delivery.outgoing.signing import message_id
from hub.delivery.request_members import Members
from hub.dialects.native import wire
from hub.dialects.native.exchange import Exchange
from hub.model.delivery import Delivery
from hub.model.errors import BadRequest, NotFound
from hub.model.principal import Scope
from hub.ports.engine import LetterSearch

MOST_LISTED = 1000
MOST_ID = 2**63 - 1

audit = logging.getLogger("hub.audit")


class DeliveryRoutes:
    """Handlers of one hub's outgoing deliveries; all of them ask for the scope `admin`."""

    def __init__(self, hub: Hub, outgoing: Outgoing) -> None:
        self._hub = hub
        self._outgoing = outgoing

    async def get_secret(self, request: Request) -> Response:
        """`GET /v1/callback-secret`: how the secret stands, never itself."""
        exchange = Exchange(self._hub, request, Scope.ADMIN)
        state = self._outgoing.secrets.state(exchange.principal.application)
        if state is None:
            raise NotFound("there was no need for a secret yet", code="callback-secret-not-found")
        return exchange.answer(secret_view(state), headers=_NOT_KEPT)

    async def tell_secret(self, request: Request) -> Response:
        """`POST /v1/callback-secret`: a secret that nobody has seen; the one before signs as well for 24 hours."""
        exchange = Exchange(self._hub, request, Scope.ADMIN)
        application = exchange.principal.application
        secret = await self._outgoing.secrets.tell(application)
        audit.info("callback secret told", extra={"key": exchange.principal.key_id, "application": application})
        state = self._outgoing.secrets.state(application)
        told = {} if state is None else secret_view(state)
        return exchange.answer({"secret": secret, **told}, 201, _NOT_KEPT)

    async def letters(self, request: Request) -> Response:
        """`GET /v1/dead-letters`: the one that died last first; `next` goes into `after` of the next page."""
        exchange = Exchange(self._hub, request, Scope.ADMIN)
        query, principal = exchange.query, exchange.principal
        limit = wire.whole_number(query, "limit", 100, 1, MOST_LISTED)
        search = LetterSearch(
            application=principal.application,
            since=wire.moment_parameter(query, "since"),
            until=wire.moment_parameter(query, "until"),
            after=_after(query),
        )
        found = await self._outgoing.letters(principal.account, search, query.get("endpoint"), limit)
        answer: dict[str, Any] = {"dead-letters": [letter_view(letter) for letter in found]}
        if len(found) == limit:
            answer["next"] = _page_mark(found[-1])
        return exchange.answer(answer)

    async def replay(self, request: Request) -> Response:
        """`POST /v1/dead-letters/replay`: by `ids`, by range (`from`, `to`), by time (`since`, `until`), by `endpoint`
        or a mixture; due at once, with the ids that they had."""
        exchange = Exchange(self._hub, request, Scope.ADMIN)
        value, _ = await exchange.value()
        search, endpoint = replay_search(value, exchange.principal.application)
        count = await self._outgoing.replay(exchange.principal.account, search, endpoint)
        audit.info("dead letters replayed", extra={"key": exchange.principal.key_id, "count": count})
        return exchange.answer({"replayed": count})


def secret_view(state: SecretState) -> dict[str, Any]:
    """What may be told of a secret."""
    view = {
        "made-at": wire.moment(state.made_at),
        "shown": state.shown,
        "declared": state.declared,
        "previous-until": wire.moment(state.previous_until),
    }
    return {name: value for name, value in view.items() if value is not None}


def letter_view(letter: Delivery) -> dict[str, Any]:
    """A dead letter."""
    attrs = letter.attrs or {}
    view = {
        "id": letter.id,
        "webhook-id": message_id(letter.epoch, letter.offset),
        "endpoint": letter.endpoint,
        "url": letter.url,
        "channel": letter.channel,
        "epoch": letter.epoch,
        "offset": letter.offset,
        "call-id": attrs.get("call"),
        "ref": attrs.get("ref"),
        "attempts": letter.attempts,
        "error": letter.last_error,
        "died-at": wire.moment(letter.dead_at),
    }
    return {name: value for name, value in view.items() if value is not None}


def replay_search(value: Any, application: str) -> tuple[LetterSearch, str | None]:
    """Which dead letters a request is about, and of which endpoint. Raises BadRequest, also for none of them named:
    everything is asked for by a time, not by silence."""
    members = Members(value)
    first, last = members.integer("from", 0, MOST_ID), members.integer("to", 0, MOST_ID)
    since, until = _moment(members, "since"), _moment(members, "until")
    endpoint = members.text("endpoint", most=4096)
    ids = value.get("ids")
    if ids is not None and not (
        isinstance(ids, list)
        and 0 < len(ids) <= MOST_LISTED
        and all(isinstance(id, int) and not isinstance(id, bool) and 0 <= id <= MOST_ID for id in ids)
    ):
        members.wrong("ids", f"a list of 1 to {MOST_LISTED} ids is expected")
    members.check()
    if all(asked is None for asked in (ids, first, last, since, until, endpoint)):
        raise BadRequest("give ids, from and to, since and until, or endpoint")
    chosen = None if ids is None else tuple(ids)
    return LetterSearch(application, chosen, first, last, since, until), endpoint


def _moment(members: Members, name: str) -> datetime | None:
    text = members.text(name, most=64)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    members.wrong(name, "a moment as in 2026-01-31T12:00:00.000Z is expected")
    return None


def _page_mark(letter: Delivery) -> str:
    assert letter.dead_at is not None
    return f"{letter.dead_at.isoformat()}_{letter.id}".replace("+00:00", "Z")


def _after(query: Mapping[str, str]) -> tuple[datetime, int] | None:
    if "after" not in query:
        return None
    moment, _, id = query["after"].rpartition("_")
    at = wire.moment_parameter({"after": moment}, "after")
    return (at or datetime.min.replace(tzinfo=UTC), wire.whole_number({"after": id}, "after", 0, 0, MOST_ID))


_NOT_KEPT = {"cache-control": "no-store"}
