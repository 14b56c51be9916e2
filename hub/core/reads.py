"""Reads whose answer goes to the asker alone: not journaled, not told on a channel, gone with the asker.

For devices that are read as one reads a web page (an array): each answer is large, worth nothing a moment later, and
asking again does no harm. Everything else is a call.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anyio

from hub.core.attempt import GRACE, request_of
from hub.core.ending import after_error, answered, made
from hub.core.intake import Intake
from hub.model.call import CallSpec
from hub.model.errors import MethodNotAllowed
from hub.model.outcome import Ending, Outcome
from hub.model.principal import Principal
from hub.ports.adapter import Adapter, Busy, CallError, Delivery, DeviceRequest, DeviceResponse, DeviceTimeout
from hub.ports.clock import Clock

LEAST_PAUSE, MOST_PAUSE = 0.05, 1.0

log = logging.getLogger("hub.reads")


class Reads:
    """The way to a device for a question that nobody but its asker cares about."""

    def __init__(self, intake: Intake, adapters: Mapping[str, Adapter], clock: Clock) -> None:
        self._intake = intake
        self._adapters = adapters
        self._clock = clock

    async def read(self, principal: Principal, spec: CallSpec, until: float) -> Outcome:
        """Ask, and return the answer, or why there is none, by monotonic time `until` and a little.

        A device that is busy is asked again until then. Raises what `Intake.submit` gives as verdicts.
        """
        if spec.method != "GET":
            raise MethodNotAllowed("only a GET is a read")
        call = self._intake.judge(principal, spec)
        adapter = self._adapters.get(call.adapter)
        if adapter is None:
            return made(Ending.UNREACHABLE, "NOT_CONNECTED", 503)
        attempt, pause = 1, LEAST_PAUSE
        while True:
            told = await self._one(adapter, request_of(call, attempt, until))
            if isinstance(told, DeviceResponse):
                return answered(told, self._clock.now())
            again = self._clock.monotonic() + (told.retry_after or pause)
            if not isinstance(told, Busy) or told.delivery is not Delivery.NOT_SENT or again >= until:
                outcome = after_error(call, told, call.spec.retries).outcome
                return outcome or Outcome(Ending.UNREACHABLE, told.status, error=told.code)
            await self._clock.sleep_until(again)
            attempt, pause = attempt + 1, min(MOST_PAUSE, pause * 2)

    async def _one(self, adapter: Adapter, request: DeviceRequest) -> DeviceResponse | CallError:
        with anyio.CancelScope() as scope:
            guard = self._clock.call_at(request.deadline + GRACE, scope.cancel)
            try:
                return await adapter.call(request)
            except CallError as error:
                return error
            except Exception:
                # A bug of an adapter is no reason to leave the asker without an answer.
                log.exception("an adapter failed on a read")
                return CallError("adapter fault", delivery=Delivery.MAYBE)
            finally:
                guard.cancel()
        return DeviceTimeout("no answer", delivery=Delivery.MAYBE)
