"""Asking devices: many calls in one request, answered at once, or one call whose request waits for its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.channels import DEFAULT
from hub.core.control_channels import CONTROL_ID, MEMBER
from hub.core.ending import completion
from hub.core.submission import Idempotency, Submission, Taken, Verdicts
from hub.delivery.control_reply import INVOKE_FAILED, WRITE_FAILED, milliseconds, reply_of
from hub.delivery.request import repetition
from hub.dialects.enos import wire
from hub.dialects.enos.addressed import device_of, is_away
from hub.dialects.enos.exchange import Exchange, Front, exchange_of
from hub.dialects.enos.failure import INTERNAL, NO_CHANNEL, NO_DEVICE, Failure, failure_of_call, of_channels, success
from hub.model.call import Call, CallSpec, Stage
from hub.model.errors import Refusal
from hub.model.principal import Scope

CONTROLS, POINTS = 1_000_000, 1_000_200
_NUMBER = "n"


class InvokeRoutes:
    """Handlers of the calls of one hub."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def invoke(self, request: Request) -> Response:
        """`PUT /dataService/devices/multiInvoke`."""
        return await self._many(request, setting=False)

    async def set(self, request: Request) -> Response:
        """`PUT /dataService/devices/multiSet`."""
        return await self._many(request, setting=True)

    async def commands(self, request: Request) -> Response:
        """`PUT /edge-service/v1/commands`, as later editions spell it."""
        action = request.query_params.get("action")
        if action == "setMeasurepointAsync":
            return await self._many(request, setting=True)
        await exchange_of(self._front, request)
        raise Failure(400, "there is no such action", "Invalid Argument action")

    async def one(self, request: Request) -> Response:
        """`PUT .../services/{service}/invoke`: answered when the device did."""
        front, hub = self._front, self._front.hub
        exchange = await exchange_of(front, request)
        exchange.need(Scope.CALL)
        with front.waiting.seat(exchange.principal.account):
            asked = self._single(exchange, request)
            now = milliseconds(hub.clock.now())
            taken = (await self._taken(exchange, [asked], repetition(request.scope, exchange.body))).get(0)
            if taken is None:
                return success(asked.reply(now))
            state = await front.waiting.ended(request, taken)
        if state is None or state.stage is not Stage.DONE or state.outcome is None:
            raise Failure(INTERNAL, "the hub is going down; the outcome comes on the default channel")
        ended = state.ended_at or hub.clock.now()
        return success(reply_of(completion(state.call, state.outcome, ended).body))

    async def _many(self, request: Request, *, setting: bool) -> Response:
        front = self._front
        exchange = await exchange_of(front, request)
        exchange.need(Scope.CALL)
        now = milliseconds(front.hub.clock.now())
        limits, body = front.hub.limits, exchange.parts()
        calls = [
            wire.asked_of(
                value, exchange.organisation.id, now, setting=setting, most_payload=limits.payload,
                fault=body.fault(wire.input_of(value), wire.OUTSIDE),
            )
            for value in wire.calls_of(body.value, limits.batch_calls)
        ]
        await self._taken(exchange, calls, repetition(request.scope, exchange.body))
        replied = milliseconds(front.hub.clock.now())
        return success([asked.reply(replied) for asked in calls])

    async def _taken(
        self, exchange: Exchange, calls: Sequence[wire.Asked], mark: Idempotency | None
    ) -> dict[int, Call]:
        """Take on what can be, in one commit; the others get their failure. Which became calls, by their place.

        A request that is repeated is told again as it was, whatever has become of its devices and channels since.
        """
        intake = self._front.hub.intake
        before = await intake.recalled(exchange.principal, mark)
        if before is not None:
            return _told_again(calls, before)
        specs: list[CallSpec] = []
        places: list[int] = []
        for place, asked in enumerate(calls):
            if asked.failure is not None:
                continue
            try:
                specs.append(self._spec(exchange, asked, place))
                places.append(place)
            except Failure as failure:
                asked.failure = failure
        taken: dict[int, Call] = {}
        if not specs:
            return taken

        def memo(verdicts: Verdicts) -> dict[str, Any]:
            for place, verdict in zip(places, verdicts, strict=True):
                if isinstance(verdict, Refusal):
                    calls[place].failure = failure_of_call(verdict, setting=calls[place].setting)
            return {str(place): asked.memo() for place, asked in enumerate(calls) if asked.failure is not None}

        submission = await intake.submit(exchange.principal, specs, mark, memo=memo)
        if submission.replayed:
            return _told_again(calls, submission)  # the same request came twice at once
        memo(submission.verdicts)
        for place, verdict in zip(places, submission.verdicts, strict=True):
            if isinstance(verdict, Taken):
                taken[place] = verdict.call
        return taken

    def _spec(self, exchange: Exchange, asked: wire.Asked, place: int) -> CallSpec:
        """Raises Failure for a device or a channel that there is not, and for a device that is known to be away."""
        front, principal = self._front, exchange.principal
        echo = asked.echo
        device = device_of(front, principal.account, echo["asset"], echo["product"], echo["key"])
        if device is None:
            raise Failure(NO_DEVICE)
        wire.fill(asked, device, front.hub.products.service(device, str(asked.echo["service"])))
        named = asked.echo[MEMBER]
        if named:
            channel = front.controls.find(principal.application, named)
            if channel is None:
                raise of_channels(POINTS if asked.setting else CONTROLS, NO_CHANNEL)
            asked.echo[CONTROL_ID] = channel.internal
        if is_away(front, device):
            raise Failure(WRITE_FAILED if asked.setting else INVOKE_FAILED, "NOT_CONNECTED")
        asked.echo[_NUMBER] = place
        return wire.spec_of(
            asked, principal.account, principal.application, f"{principal.application}/{DEFAULT}"
        )

    def _single(self, exchange: Exchange, request: Request) -> wire.Asked:
        query, parts = exchange.query, request.path_params
        body = exchange.object()
        timeout: Any = query.get("timeout")
        if isinstance(timeout, str) and timeout.isascii() and timeout.isdigit() and len(timeout) < 10:
            timeout = int(timeout)
        elif timeout == "":
            timeout = None
        members = {
            "requestId": query.get("requestId"),
            "assetId": parts.get("asset"),
            "productKey": parts.get("product"),
            "deviceKey": parts.get("device"),
            "serviceId": parts.get("service"),
            "inputData": body,
            "timeout": timeout,
            # One that waits needs nobody else to be told; the rule about channels is for those that do not.
            "callbackUrl": query.get("callbackUrl") or None,
        }
        now = milliseconds(self._front.hub.clock.now())
        asked = wire.asked_of(
            members, exchange.organisation.id, now, most_payload=self._front.hub.limits.payload, waits=True
        )
        asked.echo["type"] = "SYNC"
        return asked


def _told_again(calls: Sequence[wire.Asked], before: Submission) -> dict[int, Call]:
    """Give calls the verdicts of the first time."""
    taken = {
        int(verdict.call.spec.echo[_NUMBER]): verdict.call
        for verdict in before.verdicts
        if isinstance(verdict, Taken)
    }
    for place, asked in enumerate(calls):
        if place in taken:
            asked.again(taken[place])
        else:
            asked.refused_again(before.memo.get(str(place)))
    return taken
