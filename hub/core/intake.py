"""Intake: each request is judged on its own, the good ones are taken on in one commit (guarantees A1 to A7).

A refused request leaves no trace and never has a completion. What is accepted is on disk before
`submit` returns; a caller that goes away in the middle changes nothing about that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import anyio

from hub.core.access import Access
from hub.core.attempt import request_of
from hub.core.channels import Channels
from hub.core.directory import Directory
from hub.core.dispatch import Dispatch
from hub.core.ending import CALLBACK_KEY
from hub.core.limits import Limits
from hub.core.on_behalf import on_behalf
from hub.core.products import Products
from hub.core.stats import Stats
from hub.core.submission import Idempotency, Marks, Memo, Submission, Taken, Verdicts
from hub.model.call import Call, CallSpec, Stage
from hub.model.device import Device, Presence, Registration
from hub.model.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Refusal,
    TooLarge,
    TooMany,
    Unavailable,
    Unprocessable,
)
from hub.model.event import Position
from hub.model.ids import CallIds, Incarnation
from hub.model.job import facets_of
from hub.model.principal import Principal
from hub.model.schema import SCHEMA, Schema
from hub.model.target import parse_target
from hub.ports.abilities import Checks
from hub.ports.adapter import Adapter, CallError, DeviceRequest
from hub.ports.clock import Clock
from hub.ports.engine import IdempotencyMark, Journal, Remembered

__all__ = ["Idempotency", "Intake", "Submission", "Taken", "refusal_of"]

class Intake:
    """The one door through which calls come in, whatever language they were asked in."""

    def __init__(
        self,
        journal: Journal,
        directory: Directory,
        access: Access,
        channels: Channels,
        dispatch: Dispatch,
        adapters: Mapping[str, Adapter],
        clock: Clock,
        incarnation: Incarnation,
        limits: Limits,
        stats: Stats,
    ) -> None:
        self._journal = journal
        self._directory = directory
        self._access = access
        self._channels = channels
        self._dispatch = dispatch
        self._adapters = adapters
        self._clock = clock
        self._incarnation = incarnation
        self._limits = limits
        self._stats = stats
        self._marks = Marks(journal, clock, limits, stats)
        self._ids = CallIds()
        self._checks: dict[str, Callable[[DeviceRequest], None] | None] = {}
        self.closed: Unavailable | None = Unavailable("the hub is starting", code="starting", retry_after=1)
        self.products: Products | None = None
        """What says which services may be repeated."""
        self.schemas: Mapping[str, Schema] = {}
        """What devices declare of themselves, by the name that their attribute `schema` holds."""
        self.vet_callback: Callable[[str], Awaitable[None]] = _no_callbacks
        """Raises Refusal for a callback address that the hub does not call; set by whoever delivers."""

    async def submit(
        self,
        principal: Principal,
        specs: Sequence[CallSpec],
        idempotency: Idempotency | None = None,
        *,
        declared_ok: bool = True,
        queue_limit: int | None = None,
        alias_kinds: Sequence[str] = (),
        memo: Memo | None = None,
    ) -> Submission:
        """Judge each request and take responsibility for the good ones, in one commit.

        `declared_ok=False` refuses a device that never registered; `queue_limit` bounds the unsent calls of this
        dialect per device; `memo` gives what is to be remembered with the key, beside the calls. Refusals are
        verdicts, in order. Raises IdempotencyConflict, TooMany (rate of the key), Unavailable (starting, draining),
        StorageFailed (nothing was taken on).
        """
        before = await self.recalled(principal, idempotency)
        if before is not None:
            return before
        self._access.take_call(principal, len(specs))
        denied = await self._denied(specs)
        now = self._clock.now()
        queued: Counter[tuple[str, str]] = Counter()
        judged: list[Call | Refusal] = []
        for spec in specs:
            try:
                if spec.callback in denied:
                    raise denied[spec.callback]
                asked = spec
                if spec.callback is not None:
                    asked = replace(spec, echo={**spec.echo, CALLBACK_KEY: principal.key_id})
                judged.append(self._judge(asked, now, declared_ok, queue_limit, alias_kinds, queued))
            except Refusal as refusal:
                self._stats.refused[refusal.code] += 1
                judged.append(refusal)
        calls = [call for call in judged if isinstance(call, Call)]
        if not calls:
            return Submission(tuple(v for v in judged if isinstance(v, Refusal)))
        positions: dict[str, Position] = {}
        for call in calls:
            name = call.spec.channel
            if name not in positions:
                positions[name] = (await self._channels.open(name, call.spec.account)).position
        if len(specs) == 1 or not any(isinstance(v, Refusal) for v in judged):
            verdicts: Verdicts = tuple(Taken(c, positions[c.spec.channel]) for c in calls)
        else:
            verdicts = tuple(v if isinstance(v, Refusal) else Taken(v, positions[v.spec.channel]) for v in judged)
        # From here on a caller that goes away must not tear the commit from what follows it.
        with anyio.CancelScope(shield=True):
            mark = None
            if idempotency is not None:
                told = {} if memo is None else memo(verdicts)
                mark = self._marks.mark(principal.application, idempotency, calls, positions, told, now)
            remembered = await self._take_on(calls, mark)
        if remembered is not None:
            assert idempotency is not None
            return await self._marks.replay(remembered, idempotency)
        return Submission(verdicts)

    async def _denied(self, specs: Sequence[CallSpec]) -> dict[str, Refusal]:
        """Why callback addresses are refused: each of them judged once, all at the same time."""
        denied: dict[str, Refusal] = {}
        asked = {spec.callback for spec in specs if spec.callback is not None}

        async def judge(url: str) -> None:
            try:
                await self.vet_callback(url)
            except Refusal as refusal:
                denied[url] = refusal

        if asked:
            with on_behalf(specs[0].account):
                async with anyio.create_task_group() as group:
                    for url in asked:
                        group.start_soon(judge, url)
        return denied

    async def _take_on(self, calls: Sequence[Call], mark: IdempotencyMark | None) -> IdempotencyMark | None:
        if self.closed is not None:
            raise self.closed
        tickets = [self._dispatch.join(call) for call in calls]
        try:
            result = await self._journal.accept(
                calls, self._incarnation, [t.call.id for t in tickets if t.slot], mark
            )
        except BaseException:
            self._dispatch.forsake(tickets)
            self._stats.storage_failures += 1
            raise
        if isinstance(result, Remembered):
            self._dispatch.forsake(tickets)
            return result.mark
        self._stats.accepted += len(calls)
        self._dispatch.committed(tickets, result.claimed)
        return None

    async def recalled(self, principal: Principal, idempotency: Idempotency | None) -> Submission | None:
        """The first answer to a request that is repeated, before anything about it is judged anew; None for a new one.

        Raises what `submit` raises for it.
        """
        if self.closed is not None:
            raise self.closed
        return None if idempotency is None else await self._marks.recall(principal.application, idempotency)

    def judge(self, principal: Principal, spec: CallSpec, *, declared_ok: bool = True) -> Call:
        """Judge one request as `submit` does and take on nothing. Raises the refusal."""
        if self.closed is not None:
            raise self.closed
        self._access.take_call(principal)
        return self._judge(spec, self._clock.now(), declared_ok, None, (), Counter())

    def _judge(
        self,
        spec: CallSpec,
        now: datetime,
        declared_ok: bool,
        queue_limit: int | None,
        alias_kinds: Sequence[str],
        queued: Counter[tuple[str, str]],
    ) -> Call:
        device = self._directory.device(spec.account, spec.device, alias_kinds)
        if device is None or (not declared_ok and device.registration is not Registration.REGISTERED):
            raise NotFound("no such device", code="device-not-found")
        if device.id != spec.device:
            spec = replace(spec, device=device.id)
        self._within_limits(spec, queue_limit, queued)
        self._match(spec, device)
        call = self._call(spec, device, now)
        adapter = self._adapters.get(device.adapter)
        if adapter is not None:
            self._check(adapter, call)
        queued[spec.device, spec.dialect] += 1
        return call

    def _match(self, spec: CallSpec, device: Device) -> None:
        """Refuse what the schema of the device does not have."""
        schema = self.schemas.get(device.attrs.get(SCHEMA, "")) if self.schemas else None
        if schema is None or spec.method == "INVOKE":
            return
        fault = schema.check(spec.method, parse_target(spec.target).segments, spec.payload)
        if fault is not None:
            raise fault.refusal

    def _within_limits(self, spec: CallSpec, queue_limit: int | None, queued: Counter[tuple[str, str]]) -> None:
        if len(spec.payload) > self._limits.payload:
            raise TooLarge(f"a payload has at most {self._limits.payload} bytes", code="payload-too-large")
        if self._dispatch.running[spec.application] + queued.total() >= self._limits.running_per_application:
            raise TooMany("too many calls are open", code="too-many-calls", retry_after=1)
        most = self._limits.waiting if queue_limit is None else queue_limit
        waiting = self._dispatch.queues.waiting(spec.account, spec.device, spec.dialect)
        if waiting + queued[spec.device, spec.dialect] >= most:
            raise TooMany(f"{most} calls wait for this device already", code="queue-full", retry_after=1)

    def _call(self, spec: CallSpec, device: Device, now: datetime) -> Call:
        adapter = self._adapters.get(device.adapter)
        timeout, idempotent, lane, stage = self._limits.timeout, False, device.address, Stage.PARKED
        if adapter is not None:
            away = adapter.presence(device.address) in (Presence.ASLEEP, Presence.OFFLINE)
            stage = Stage.PARKED if away else Stage.ACCEPTED
            timeout = timedelta(seconds=adapter.capabilities.attempt_timeout)
            idempotent = spec.method in adapter.capabilities.idempotent_methods
            lane = adapter.lane(device.address)
        if self.products is not None and self.products.idempotent(device, spec.method, spec.target):
            idempotent = True
        timeout = spec.timeout if spec.timeout is not None else timeout
        expiry = spec.expiry if spec.expiry is not None else timeout
        deadline = now + expiry + timeout
        if spec.within is not None:
            expiry = timeout = spec.within
            deadline = now + spec.within
        id = self._ids.make(now)
        if not spec.ref:
            spec = replace(spec, ref=id)
        return Call(
            id=id,
            spec=spec,
            adapter=device.adapter,
            address=device.address,
            lane=lane,
            idempotent=idempotent,
            accepted_at=now,
            expires_at=now + expiry,
            timeout=timeout,
            deadline=deadline,
            stage=stage,
            job=facets_of(spec) if device.is_array else None,
        )

    def _check(self, adapter: Adapter, call: Call) -> None:
        caps = adapter.capabilities
        if call.spec.method not in caps.methods:
            raise MethodNotAllowed(f"this device takes no {call.spec.method}")
        if len(call.spec.payload) > caps.max_payload:
            raise TooLarge(f"this device takes payloads of at most {caps.max_payload} bytes", code="payload-too-large")
        check = self._check_of(call.adapter, adapter)
        if check is None:
            return
        try:
            check(request_of(call, 0, self._clock.monotonic() + call.timeout.total_seconds()))
        except CallError as error:
            raise refusal_of(error) from None

    def _check_of(self, name: str, adapter: Adapter) -> Callable[[DeviceRequest], None] | None:
        # Asking a runtime protocol costs more than the check itself, so it is asked once per adapter.
        if name not in self._checks:
            self._checks[name] = adapter.check if isinstance(adapter, Checks) else None
        return self._checks[name]


async def _no_callbacks(url: str) -> None:
    # Taking an address and never calling it would be a silent loss.
    raise Unprocessable("this hub does not call back; listen on the channel", code="callback-address")


def refusal_of(error: CallError) -> Refusal:
    """The refusal of what an adapter would not take."""
    match error.status:
        case 404:
            return NotFound(error.detail or "no such resource", code=error.word or "resource-not-found")
        case 405:
            return MethodNotAllowed(error.detail or "this resource does not take this method")
        case 413:
            return TooLarge(error.detail, code="payload-too-large")
        case _:
            return BadRequest(error.detail or "the device cannot take this request", code=error.word)
