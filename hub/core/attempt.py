"""One attempt at one call: claimed before it starts, over by its deadline, judged by `ending.after_error`."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING

import anyio

from hub.core.ending import Next, after_error, answered, backoff, enough_time, made, may_repeat, unanswered, unsent
from hub.core.ticket import Ticket, Turn
from hub.model.call import Call, Order
from hub.model.errors import StorageFailed
from hub.model.outcome import Ending, Outcome
from hub.model.target import parse_target
from hub.ports.abilities import Recovers, Resumes
from hub.ports.adapter import (
    Adapter,
    CallError,
    Delivery,
    DeviceEvent,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
)
from hub.ports.clock import monotonic_at

if TYPE_CHECKING:
    from hub.core.dispatch import Dispatch

# An adapter ends its attempts by the deadline itself; this is how long the core waits before it does so for it.
GRACE = 0.5
STORAGE_PAUSE = 1.0

log = logging.getLogger("hub.attempt")
audit = logging.getLogger("hub.audit")


def request_of(call: Call, attempt: int, deadline: float) -> DeviceRequest:
    """The call in the adapter's terms."""
    target = parse_target(call.spec.target) if call.spec.method != "INVOKE" else None
    return DeviceRequest(
        call_id=call.id,
        device=call.address,
        method=call.spec.method,
        target=call.spec.target if target is None else target.path,
        deadline=deadline,
        payload=call.spec.payload,
        content_type=call.spec.content_type,
        accept=call.spec.accept,
        args=call.spec.args,
        query=() if target is None else target.query,
        idempotent=call.idempotent,
        attempt=attempt,
        options={"ref": call.spec.ref, "on_uncertain": call.spec.on_uncertain.value},
    )


class Attempts:
    """Runs attempts for the dispatcher and brings their results back to it."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def start(self, ticket: Ticket) -> None:
        """Begin the claimed attempt of a ticket."""
        ticket.quiet()
        self._dispatch.stats.attempts += 1
        self._dispatch.spawn(self._run(ticket, None), "attempt")

    def resume(self, ticket: Ticket, note: bytes) -> None:
        """Carry on with a job that the far side holds, after a restart."""
        ticket.turn = Turn.HELD
        self._dispatch.spawn(self._run(ticket, note), "resume")

    def recover(self, ticket: Ticket, sent_at: datetime) -> None:
        """Find out what became of a call that was sent before a restart, left no note and may not be repeated."""
        ticket.turn = Turn.HELD
        self._dispatch.spawn(self._run(ticket, None, sent_at), "recover")

    def linger(self, ticket: Ticket, until: float) -> None:
        """Wait for a late answer; without one the call was not answered in its time."""
        ticket.turn = Turn.LINGERING
        ticket.guard = self._dispatch.clock.call_at(until, self._lingered, ticket)

    def _lingered(self, ticket: Ticket) -> None:
        ticket.guard = None
        if ticket.turn is Turn.LINGERING:
            self._dispatch.ends.soon(ticket, unanswered(ticket.call))

    async def _run(self, ticket: Ticket, note: bytes | None, sent_at: datetime | None = None) -> None:
        if ticket.turn is Turn.ENDING:
            return
        clock, late = self._dispatch.clock, False
        if sent_at is not None:
            over = min(ticket.call.deadline, sent_at + ticket.call.timeout)
            ticket.attempt_deadline = monotonic_at(clock, over)
        elif note is None:
            late = not enough_time(ticket.deadline - clock.monotonic(), ticket.call.timeout)
            self._dispatch.queues.handed_over(ticket)
            self._dispatch.under_way += 1
            ticket.running = True
            ticket.attempt_deadline = min(ticket.deadline, clock.monotonic() + ticket.call.timeout.total_seconds())
        try:
            if late:
                await self._dispatch.ends.end(ticket, unsent(ticket.call, ticket.before))
                return
            result = await self._bounded(ticket, note, sent_at)
            if isinstance(result, DeviceResponse):
                await self._answer(ticket, result)
            else:
                await self._no_answer(ticket, result)
        except Exception:
            # Whatever went wrong here, a late answer may still end the call, and its deadline surely will.
            log.exception("the attempt at call %s could not be judged", ticket.call.id)
            if not _ending(ticket):
                self._wait_on(ticket)
        finally:
            self._over(ticket)

    def _over(self, ticket: Ticket) -> None:
        if ticket.running:
            ticket.running = False
            self._dispatch.attempt_over()

    async def _bounded(
        self, ticket: Ticket, note: bytes | None, sent_at: datetime | None
    ) -> DeviceResponse | CallError:
        """The adapter's answer, or why there is none; never later than the deadline and a little."""
        call = ticket.call
        with anyio.CancelScope() as scope:
            ticket.scope = scope
            ticket.guard = self._dispatch.clock.call_at(ticket.attempt_deadline + GRACE, scope.cancel)
            try:
                request = request_of(call, ticket.attempt, ticket.attempt_deadline)
                return await self._one(self._dispatch.adapters[call.adapter], request, note, sent_at)
            except CallError as error:
                return error
            except asyncio.CancelledError:
                if scope.cancel_called or _cancelled():
                    raise
                # Nobody cancelled this attempt: something inside the adapter was, and it let that out.
                return CallError("adapter fault", delivery=Delivery.MAYBE)
            except Exception:
                # A bug of an adapter must not take the hub down, nor leave its caller without an answer.
                log.exception("adapter %s failed on call %s", call.adapter, call.id)
                return CallError("adapter fault", delivery=Delivery.MAYBE)
            finally:
                ticket.scope = None
        if not _ending(ticket):
            log.error("adapter %s overran the deadline of call %s", call.adapter, call.id)
        return DeviceTimeout("no answer", delivery=Delivery.MAYBE)

    async def _one(
        self, adapter: Adapter, request: DeviceRequest, note: bytes | None, sent_at: datetime | None
    ) -> DeviceResponse:
        if sent_at is not None and isinstance(adapter, Recovers):
            return await adapter.recover(request, sent_at)
        if note is None:
            return await adapter.call(request)
        if isinstance(adapter, Resumes):
            return await adapter.resume(request, note)
        raise NotConnected("the adapter cannot resume", delivery=Delivery.MAYBE)

    async def _answer(self, ticket: Ticket, response: DeviceResponse) -> None:
        dispatch = self._dispatch
        outcome, pause = answered(response, dispatch.clock.now()), self._patience(ticket, response)
        if pause is None:
            await dispatch.ends.end(ticket, outcome)
        else:
            await self.release(ticket, pause, before=outcome)
            if _ending(ticket):
                await dispatch.ends.written(ticket)
        if response.held is not None:
            response.held()

    def _patience(self, ticket: Ticket, response: DeviceResponse) -> float | None:
        """How long to wait because the device asked for it: that is no outcome while the call may still wait."""
        retry_after = response.native.get("retry_after") if response.status in (429, 503) else None
        if retry_after is None or ticket.turn is not Turn.SENT or not self._dispatch.sending:
            return None
        # It is asked ever more seldom, whatever it says: each time costs two commits and an attempt.
        pause = max(float(retry_after), backoff(ticket.attempt - 1))
        return pause if self._dispatch.clock.monotonic() + pause < ticket.expires else None

    async def _no_answer(self, ticket: Ticket, error: CallError) -> None:
        dispatch = self._dispatch
        if ticket.turn is Turn.ENDING:
            return
        held = ticket.turn is Turn.HELD
        adapter = dispatch.adapters.get(ticket.call.adapter)
        step = after_error(
            ticket.call, error, ticket.retries_used, held=held, before=ticket.before,
            late_answers=adapter is not None and adapter.capabilities.late_answers,
        )  # fmt: skip
        # A device that sleeps between contacts and does not answer is asleep again: nothing more goes to it now.
        mute = isinstance(error, DeviceTimeout) and error.delivery is not Delivery.NOT_SENT
        asleep = mute and dispatch.silent(ticket.call.adapter, ticket.call.address)
        if not dispatch.sending:
            # The hub is going down: what was certainly not sent waits for the next start, the rest is judged then.
            if error.delivery is Delivery.NOT_SENT and step.next is not Next.END:
                await dispatch.journal.release([ticket.call.id], dispatch.incarnation)
            return
        if step.outcome is not None:
            await dispatch.ends.end(ticket, step.outcome)
        elif held or step.next is Next.LINGER:
            # A held job is never sent again: nobody but the far side knows how it stands.
            self._wait_on(ticket)
        else:
            # Sent again after this, it may be repeated; not sent again, it simply was not answered.
            before = None if error.delivery is Delivery.NOT_SENT else made(Ending.TIMED_OUT)
            pause, park = 0.0 if asleep else step.pause, asleep or step.next is Next.PARK
            await self.release(ticket, pause, retry_used=step.next is Next.RETRY, park=park, before=before)

    def _wait_on(self, ticket: Ticket) -> None:
        ticket.quiet()
        self._dispatch.queues.let_pass(ticket)
        self.linger(ticket, ticket.attempt_deadline)

    async def release(
        self,
        ticket: Ticket,
        pause: float,
        *,
        retry_used: bool = False,
        park: bool = False,
        before: Outcome | None = None,
    ) -> None:
        """Take the claim back on disk, then let the call wait for another attempt. `before`: how it ends without one,
        if it may have been sent. One whose device was deleted meanwhile ends so at once.

        While that cannot be written the call keeps its slot: memory must not run ahead of the journal.
        """
        dispatch = self._dispatch
        while not _ending(ticket):
            try:
                moved = await dispatch.journal.release(
                    [ticket.call.id], dispatch.incarnation,
                    park=park, retry_used=retry_used, maybe_sent=before is not None,
                )  # fmt: skip
                break
            except StorageFailed as failure:
                log.warning("release failed, trying again: %s", failure)
                dispatch.stats.storage_failures += 1
                await dispatch.clock.sleep_until(dispatch.clock.monotonic() + STORAGE_PAUSE)
        if _ending(ticket) or ticket.call.id not in moved:
            return
        ticket.before = before or ticket.before
        ticket.retries_used += retry_used
        dispatch.stats.retries += retry_used
        if dispatch.outlived(ticket):
            await dispatch.ends.end(ticket, ticket.before or made(Ending.REMOVED))
            return
        dispatch.again(ticket, pause, parked=park)

    async def checkpoint(self, ticket: Ticket, note: bytes) -> float:
        """Write the note down, then let the lane go on: the far side holds the call now."""
        dispatch = self._dispatch
        if not await dispatch.journal.checkpoint(ticket.call.id, dispatch.incarnation, note):
            raise NotConnected("the call has ended", delivery=Delivery.MAYBE)
        ticket.note = note
        self._over(ticket)
        if ticket.turn in (Turn.SENT, Turn.HELD):
            ticket.quiet()
            dispatch.queues.let_pass(ticket)
            ticket.turn = Turn.HELD
            if ticket.call.spec.order is not Order.EXCLUSIVE:
                ticket.attempt_deadline = ticket.deadline
            if ticket.scope is not None:
                ticket.guard = dispatch.clock.call_at(ticket.attempt_deadline + GRACE, ticket.scope.cancel)
        return ticket.attempt_deadline

    async def late(self, adapter: str, event: DeviceEvent) -> bool:
        """An answer outside its attempt: it ends the call if that is still open, else it is only noted (B2)."""
        dispatch = self._dispatch
        call_id = event.attrs.get("call_id")
        response = event.attrs.get("response")
        ticket = dispatch.tickets.get(call_id) if isinstance(call_id, str) else None  # type: ignore[call-overload]
        if not isinstance(response, DeviceResponse):
            return False
        if ticket is None or (ticket.lane.adapter, ticket.call.address) != (adapter, event.device):
            self._too_late(adapter, call_id, response)
            return False
        scope = ticket.scope
        ended = await dispatch.ends.end(ticket, answered(response, dispatch.clock.now()))
        if scope is not None:
            scope.cancel()
        if not ended:
            self._too_late(adapter, ticket.call.id, response)
        return ended

    def _too_late(self, adapter: str, call_id: object, response: DeviceResponse) -> None:
        self._dispatch.stats.late_responses += 1
        audit.info("late-response", extra={"call_id": call_id, "adapter": adapter, "status": response.status})


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _ending(ticket: Ticket) -> bool:
    """Whether something else has ended the call meanwhile, asked anew after an await."""
    return ticket.turn is Turn.ENDING


def needs_answer(call: Call) -> bool:
    """Whether a call found SENT after a restart may only be answered, not repeated."""
    return not may_repeat(call)
