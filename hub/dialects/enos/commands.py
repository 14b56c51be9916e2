"""Cloud commands: `/connect-service/v2.1/commands`, one path whose `action` says what is wanted.

A command waits for its turn at its device, one after the other; with a `pendingTtl` the answer comes at once and the
command waits for the device as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from hub.core.channels import DEFAULT
from hub.core.submission import Idempotency, Submission
from hub.delivery.request import repetition
from hub.dialects.enos import commands_wire as wire
from hub.dialects.enos.addressed import device_of, is_away
from hub.dialects.enos.commands_expression import condition_of
from hub.dialects.enos.commands_failure import (
    ARGUMENT,
    INTERNAL,
    NO_COMMAND,
    NO_PRODUCT,
    NOT_ACTIVATED,
    NOT_FOUND,
    OFFLINE,
    fail,
    failure_of,
    refused,
    success,
    told,
)
from hub.dialects.enos.exchange import Exchange, Front, exchange_of
from hub.model.call import Call, CallState, Stage
from hub.model.command import CommandKind
from hub.model.device import Device, Registration
from hub.model.errors import NotFound, OutOfRange, Refusal
from hub.model.ids import CallId
from hub.model.principal import Scope

Action = Callable[[Request, Exchange], Awaitable[Response]]


class CommandRoutes:
    """Handlers of the commands of one hub."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._read: dict[str, Action] = {"get": self._get}
        self._written: dict[str, Action] = {
            "invokeService": self._invoke,
            "setMeasurepoint": self._set,
            "search": self._search,
            "cancel": self._cancel,
        }

    async def read(self, request: Request) -> Response:
        """`GET /connect-service/v2.1/commands`."""
        return await self._act(request, self._read, "GET")

    async def write(self, request: Request) -> Response:
        """`POST /connect-service/v2.1/commands`."""
        return await self._act(request, self._written, "POST")

    async def _act(self, request: Request, actions: dict[str, Action], method: str) -> Response:
        exchange = await exchange_of(self._front, request)
        action = actions.get(exchange.query.get("action", ""))
        if action is None:
            raise fail(ARGUMENT, f"action is missing or none of those by {method}: {', '.join(actions)}")
        return await action(request, exchange)

    # -- giving commands ------------------------------------------------------------------------

    async def _invoke(self, request: Request, exchange: Exchange) -> Response:
        return await self._command(request, exchange, CommandKind.SERVICE)

    async def _set(self, request: Request, exchange: Exchange) -> Response:
        return await self._command(request, exchange, CommandKind.SET_POINT)

    async def _command(self, request: Request, exchange: Exchange, kind: CommandKind) -> Response:
        exchange.need(Scope.CALL)
        front, principal = self._front, exchange.principal
        named = wire.named_of(exchange.query)
        asked = wire.asked_of(exchange.query, exchange.object(), kind, front.hub.limits.payload)
        if asked.pending:
            return success({"commandId": (await self._taken(exchange, asked, named)).id})
        with front.waiting.seat(principal.account):
            call = await self._taken(exchange, asked, named)
            state = await front.waiting.ended(request, call)
        if state is None or state.stage is not Stage.DONE:
            found = fail(INTERNAL, "the hub is going down; the command goes on")
            return told(found, {"commandId": call.id})
        failure = failure_of(state)
        if failure is not None:
            return told(failure, {"commandId": call.id})
        if kind is CommandKind.SET_POINT:
            return success({"commandId": call.id})
        return success({"commandId": call.id, "outputData": wire.output_data(state)})

    async def _taken(self, exchange: Exchange, asked: wire.Asked, named: wire.Named) -> Call:
        """The command once the hub answers for it. Raises Failure."""
        hub, principal = self._front.hub, exchange.principal
        mark = repetition(exchange.request.scope, exchange.body)
        # One that was taken on before is told as it went, whatever has become of its device.
        submission = await hub.intake.recalled(principal, mark)
        if submission is None:
            submission = await self._submitted(exchange, asked, named, mark)
        (verdict,) = submission.verdicts
        if isinstance(verdict, Refusal):
            raise refused(verdict)
        return verdict.call

    async def _submitted(
        self, exchange: Exchange, asked: wire.Asked, named: wire.Named, mark: Idempotency | None
    ) -> Submission:
        hub, principal = self._front.hub, exchange.principal
        device = self._device(exchange, named)
        if not asked.pending:
            self._there(device)
        service = hub.products.service(device, asked.target)
        channel = f"{principal.application}/{DEFAULT}"
        spec = wire.spec_of(asked, named, device, service, exchange.organisation.id, principal.application, channel)
        return await hub.intake.submit(principal, [spec], mark, queue_limit=hub.limits.enos_waiting)

    def _there(self, device: Device) -> None:
        """Raises Failure for a device that is known to be away."""
        if is_away(self._front, device):
            never = device.registration is Registration.DECLARED
            raise fail(NOT_ACTIVATED if never else OFFLINE, "with a pendingTtl the command would wait for the device")

    # -- looking at commands ----------------------------------------------------------------------

    async def _get(self, request: Request, exchange: Exchange) -> Response:
        exchange.need(Scope.CALL, Scope.LISTEN)
        return success(wire.command(await self._found(exchange)))

    async def _search(self, request: Request, exchange: Exchange) -> Response:
        exchange.need(Scope.CALL, Scope.LISTEN)
        device = self._device(exchange, wire.named_of(exchange.query))
        body = exchange.object()
        expression = body.get("expression")
        if not isinstance(expression, str | None):
            raise fail(ARGUMENT, "expression is a text")
        search = wire.search_of(body, condition_of(expression or ""))
        calls, organisation = self._front.hub.calls, exchange.organisation.id
        application, query = exchange.principal.application, search.query
        try:
            found = await calls.commands(application, organisation, device.id, query)
            states, total = found.states, found.place.total
        except OutOfRange:
            nothing = await calls.commands(application, organisation, device.id, replace(query, offset=0, limit=0))
            states, total = (), nothing.place.total
        return success(
            [wire.cropped(wire.command(state), search.projection) for state in states],
            pagination={
                "sortedBy": [{"field": "createTime", "order": "DESC"}],
                "pageNo": search.page,
                "pageSize": search.size,
                "totalSize": total,
            },
        )

    # -- calling off --------------------------------------------------------------------------------

    async def _cancel(self, request: Request, exchange: Exchange) -> Response:
        exchange.need(Scope.CALL)
        hub = self._front.hub
        if exchange.query.get("commandId"):
            state = await self._found(exchange)
            gone = await hub.calls.withdraw([state.call.id])
            if not gone:
                now = wire.command(await self._found(exchange))["state"]
                raise fail(ARGUMENT, f"only a created command can be cancelled; the state of this one is {now}")
        else:
            device = self._device(exchange, wire.named_of(exchange.query))
            waiting = hub.dispatch.queues.of_device(device.adapter, device.address)
            mine = [ticket.call for ticket in waiting if self._is_mine(exchange, ticket.call)]
            gone = await hub.calls.withdraw([call.id for call in mine])
        return success([wire.command(state) for state in gone])

    async def _found(self, exchange: Exchange) -> CallState:
        """The command that the query names. Raises Failure for none, another's, and another device's alike."""
        id = wire.text(exchange.query, "commandId", needed=True)
        named = wire.named_of(exchange.query, needed=False)
        device = self._device(exchange, named) if named else None
        try:
            state = await self._front.hub.calls.get(exchange.principal, CallId(id or ""))
        except NotFound:
            raise fail(NO_COMMAND) from None
        if not self._is_mine(exchange, state.call) or (device is not None and state.call.spec.device != device.id):
            raise fail(NO_COMMAND)
        return state

    def _is_mine(self, exchange: Exchange, call: Call) -> bool:
        spec = call.spec
        mine = spec.application == exchange.principal.application and spec.dialect == wire.DIALECT
        return mine and spec.echo.get(wire.ORGANISATION) == exchange.organisation.id

    def _device(self, exchange: Exchange, named: wire.Named) -> Device:
        """Raises Failure."""
        front, account = self._front, exchange.principal.account
        device = device_of(front, account, named.asset, named.product, named.key)
        if device is not None:
            return device
        product = None if named.asset or named.product is None else front.hub.products.get(named.product)
        if not named.asset and (product is None or product.account != account):
            raise fail(NO_PRODUCT)
        raise fail(NOT_FOUND, "there is no such device")
