"""`/v1/devices/{device}/calls` and `/v1/calls`: ask for a call, look at it, call it off."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.hub import Hub
from hub.core.intake import Taken
from hub.delivery.request import call_headers, header, repetition
from hub.delivery.request_data import Form
from hub.delivery.waiting import Waiting
from hub.dialects.native import wire
from hub.dialects.native.exchange import Exchange
from hub.model.call import Stage
from hub.model.errors import NotAllowed, NotFound, Refusal
from hub.model.ids import CallId
from hub.model.outcome import Ending
from hub.model.principal import Principal, Scope
from hub.ports.engine import CallQuery

MOST_LISTED = 1000


class CallRoutes:
    """Handlers of the calls of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting = Waiting(hub, hub.limits.waits_per_account)

    async def submit(self, request: Request) -> Response:
        """`POST /v1/devices/{device}/calls`: 202 once the call is on disk, or 200 with its view by `Prefer: wait`."""
        exchange = Exchange(self._hub, request, Scope.CALL)
        value, form = await exchange.value()
        spec = wire.call_spec(
            value, exchange.principal, request.path_params["device"], form, self._hub.limits, _fresh_ref
        )
        submission = await self._hub.intake.submit(exchange.principal, [spec], repetition(request.scope, exchange.body))
        taken = accepted(submission.verdicts[0])
        call = taken.call
        headers = call_headers(call.id, call.spec.channel, taken.position, replayed=submission.replayed)
        headers["location"] = f"/v1/calls/{call.id}"
        wait = wire.preferred_wait(header(request.scope, b"prefer"))
        if wait is not None:
            # A preference may be passed over (RFC 7240): who gets no seat is answered as if it had not asked for one.
            with self._waiting.seat(exchange.principal.account) as seated:
                until = self._hub.clock.monotonic() + wait
                state = await self._waiting.ended(request, call.id, until) if seated else None
            if seated:
                headers["preference-applied"] = f"wait={wait}"
            if state is not None and state.stage is Stage.DONE:
                return exchange.answer(wire.call_view(state, exchange.form), 200, headers)
        return exchange.answer(wire.accepted_view(call, taken.position), 202, headers)

    async def get(self, request: Request) -> Response:
        """`GET /v1/calls/{id}`."""
        exchange = Exchange(self._hub, request, Scope.CALL, Scope.LISTEN)
        state = await self._hub.calls.get(exchange.principal, _call_id(request))
        return exchange.answer(wire.call_view(state, exchange.form))

    async def listing(self, request: Request) -> Response:
        """`GET /v1/calls`: newest first; `next` goes into `after` of the next page."""
        exchange = Exchange(self._hub, request, Scope.CALL, Scope.LISTEN)
        query = call_query(exchange.query, exchange.principal)
        states = await self._hub.calls.list(exchange.principal, query)
        answer: dict[str, Any] = {"calls": [wire.call_view(state, exchange.form) for state in states]}
        if len(states) == query.limit:
            answer["next"] = states[-1].call.id
        return exchange.answer(answer)

    async def cancel(self, request: Request) -> Response:
        """`DELETE /v1/calls/{id}`: 200 when it has ended, 202 while it is being called off."""
        exchange = Exchange(self._hub, request, Scope.CALL)
        state = await self._hub.calls.cancel(exchange.principal, _call_id(request))
        return exchange.answer(wire.call_view(state, exchange.form), 200 if state.stage is Stage.DONE else 202)

    async def submit_frame(self, principal: Principal, frame: Mapping[str, Any], form: Form) -> dict[str, Any]:
        """The `call` frame of a stream, its members those of a call plus `device`; returns those of `accepted`.

        Raises Refusal, StorageFailed.
        """
        if not principal.may(Scope.CALL):
            raise NotAllowed("the key needs the scope call")
        # A frame's own `id` and `type` are the stream's business.
        device = frame.get("device")
        if not isinstance(device, str):
            raise NotFound("no such device", code="device-not-found")
        spec = wire.call_spec(frame, principal, device, form, self._hub.limits, _fresh_ref)
        taken = accepted((await self._hub.intake.submit(principal, [spec])).verdicts[0])
        view = wire.accepted_view(taken.call, taken.position)
        view["call-id"] = view.pop("id")
        return view


def accepted(verdict: Taken | Refusal) -> Taken:
    """The verdict if the call was taken on; a refusal is raised."""
    if isinstance(verdict, Refusal):
        raise verdict
    return verdict


def call_query(query: Mapping[str, str], principal: Principal) -> CallQuery:
    """The query of `GET /v1/calls`. Raises BadRequest."""
    ending = query.get("ending")
    if ending is not None and ending not in {known.value for known in Ending}:
        raise wire.bad_parameter("ending", "one of these is expected: " + ", ".join(e.value for e in Ending))
    stage = query.get("state")
    after = query.get("after")
    return CallQuery(
        account=principal.account,
        application=principal.application,
        device=query.get("device"),
        ref=query.get("ref"),
        stages=() if stage is None else tuple(wire.call_query_stage(word) for word in stage.split(",")),
        ending=ending,
        since=wire.moment_parameter(query, "since"),
        until=wire.moment_parameter(query, "until"),
        after=None if after is None else CallId(after),
        limit=wire.whole_number(query, "limit", 100, 1, MOST_LISTED),
    )


def _call_id(request: Request) -> CallId:
    return CallId(request.path_params["call"])


def _fresh_ref() -> str:
    """A name for a call whose caller gave none."""
    return secrets.token_hex(16)
