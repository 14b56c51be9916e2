"""Everything that is the array's own: changes become calls, asynchronous or waited for; reads go through."""

from __future__ import annotations

from starlette.responses import Response

from hub.core.channels import DEFAULT, full_name
from hub.core.intake import Idempotency, Submission
from hub.delivery.request import call_headers, callback_url, header, repetition
from hub.dialects.powerstore import wire
from hub.dialects.powerstore.exchange import Exchange
from hub.model.call import CallSpec, Order, Stage
from hub.model.errors import BadRequest, MethodNotAllowed, NotFound, Refusal
from hub.model.job import USER, status_of
from hub.model.principal import Scope

VERIFIED_WITHIN = 2.0
"""Seconds that an array has to say whether there is an instance."""

_CHANGES = frozenset({"POST", "PATCH", "DELETE"})
_SEGMENTS = {"POST": (1, 2, 3), "PATCH": (2,), "DELETE": (2,), "GET": (1, 2)}


async def respond(exchange: Exchange) -> Response:
    """A request of a type that the hub does not answer itself."""
    method = "GET" if exchange.request.method == "HEAD" else exchange.request.method
    lengths = _SEGMENTS.get(method)
    if lengths is None or len(exchange.segments) not in lengths:
        if 1 <= len(exchange.segments) <= 3:
            raise MethodNotAllowed(f"{method} is not offered on {'/'.join(exchange.segments)}.")
        raise NotFound(f"The resource {'/'.join(exchange.segments)} is not known.", code="unknown-type")
    return await (change(exchange) if method in _CHANGES else read(exchange))


async def change(exchange: Exchange) -> Response:
    """202 with the id of the job, or the answer of the array once it is there."""
    exchange.need(Scope.CALL)
    as_job = wire.wants_job(exchange.parameters)
    raw, value = await exchange.body()
    if exchange.request.method == "PATCH" and not value:
        raise BadRequest("The body of a change names what is to change.", code="bad-json")
    spec = _spec(exchange, wire.target(exchange.segments), raw)
    mark, verifies, seat = repetition(exchange.request.scope, raw), _verifies(exchange), exchange.front.waiting.seat
    known: Submission | None = None
    if verifies:
        # What a repetition is about may be gone by now, through what was taken the first time.
        known = await _recalled(exchange, mark)
        verifies = known is None
    if as_job:
        if verifies:
            with seat(spec.account):
                known = await _verified(exchange, mark)
        return await _submitted(exchange, spec, mark, known, waits=False)
    with seat(spec.account):
        if verifies:
            known = await _verified(exchange, mark)
        return await _submitted(exchange, spec, mark, known, waits=True)


async def read(exchange: Exchange) -> Response:
    """What the array answers to a query."""
    exchange.need(Scope.CALL, Scope.LISTEN)
    front, scope = exchange.front, exchange.request.scope
    asked = header(scope, b"range") if len(exchange.segments) == 1 else ""
    parameters = wire.read_parameters(exchange.parameters, asked)
    spec = _spec(exchange, wire.target(exchange.segments, parameters), b"")
    with front.waiting.seat(spec.account):
        outcome = await front.hub.reads.read(exchange.holder.principal, spec, front.waiting.until)
    told = wire.answer(outcome)
    return exchange.answer(told.status, told.value, told.headers)


async def _submitted(
    exchange: Exchange, spec: CallSpec, mark: Idempotency | None, known: Submission | None, *, waits: bool
) -> Response:
    front, request = exchange.front, exchange.request
    submission = known or await front.hub.intake.submit(exchange.holder.principal, [spec], mark)
    verdict = submission.verdicts[0]
    if isinstance(verdict, Refusal):
        raise _new(exchange, mark, verdict)
    call = verdict.call
    headers = call_headers(call.id, call.spec.channel, verdict.position, replayed=submission.replayed)
    if waits:
        state = await front.waiting.ended(request, call.id)
        if state is not None and state.stage is Stage.DONE and state.outcome is not None:
            told = wire.answer(state.outcome)
            return exchange.answer(told.status, told.value, {**headers, **(told.headers or {})})
    return exchange.answer(202, {"id": call.id}, headers)


def _verifies(exchange: Exchange) -> bool:
    """Whether the array is asked for the instance first: where it is set so, and the change names one."""
    least = 3 if exchange.request.method == "POST" else 2
    return bool(exchange.array.attrs.get("verify_instances")) and len(exchange.segments) >= least


async def _verified(exchange: Exchange, mark: Idempotency | None) -> Submission | None:
    """Ask for the instance of a change that is new. What became of it after all, where it is not: of two that came
    together, the one may have taken away what the other asks for."""
    try:
        await _verify(exchange)
    except NotFound as refusal:
        known = await _recalled(exchange, mark)
        if known is None:
            raise _new(exchange, mark, refusal) from None
        return known
    return None


async def _recalled(exchange: Exchange, mark: Idempotency | None) -> Submission | None:
    return await exchange.front.hub.intake.recalled(exchange.holder.principal, mark)


def _new(exchange: Exchange, mark: Idempotency | None, refusal: Refusal) -> Refusal:
    """A refusal of a request whose key was looked up, and is not known: who repeats it has not been taken before."""
    exchange.request.state.looked_up = mark is not None
    return refusal


async def _verify(exchange: Exchange) -> None:
    """Ask for the instance: one that there is not is refused at once. An array that does not say so soon is given the
    change, and the job fails."""
    kind, *rest = exchange.segments
    spec = _spec(exchange, wire.target((kind, rest[0]), [("select", "id")]), b"", method="GET")
    front = exchange.front
    until = front.hub.clock.monotonic() + VERIFIED_WITHIN
    outcome = await front.hub.reads.read(exchange.holder.principal, spec, until)
    if status_of(outcome) == 404:
        raise NotFound(f"Instance with id {rest[0]} was not found.", code="unknown-instance")


def _spec(exchange: Exchange, target: str, payload: bytes, *, method: str | None = None) -> CallSpec:
    principal, request = exchange.holder.principal, exchange.request
    method = method or ("GET" if request.method == "HEAD" else request.method)
    return CallSpec(
        account=principal.account,
        application=principal.application,
        ref="",
        device=exchange.array.id,
        method=method,
        target=target,
        channel=full_name(principal.application, DEFAULT),
        dialect=wire.DIALECT,
        payload=payload,
        content_type="application/json" if payload else None,
        accept="application/json",
        callback=None if method == "GET" else callback_url(request.scope),
        order=Order.SERIAL,
        echo={USER: exchange.holder.name},
    )
