"""Calls that nobody waits for: sent once, not journaled, without an outcome (decisions D4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import anyio

from hub.core.attempt import request_of
from hub.core.cache import Cache
from hub.core.directory import Directory
from hub.core.intake import Intake, refusal_of
from hub.model.call import CallSpec
from hub.model.errors import Conflict, TooMany, Unavailable
from hub.model.principal import Principal
from hub.ports.adapter import Adapter, Busy, CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from hub.ports.clock import Clock

SENDING_TIME = timedelta(seconds=5)


class Unanswered:
    """The way to a device without an answer."""

    def __init__(
        self, intake: Intake, directory: Directory, adapters: Mapping[str, Adapter], cache: Cache, clock: Clock
    ) -> None:
        self._intake = intake
        self._directory = directory
        self._adapters = adapters
        self._cache = cache
        self._clock = clock

    async def send(self, principal: Principal, spec: CallSpec) -> None:
        """Send it now; whether it arrives is never told.

        Raises what `Intake.submit` gives as verdicts, Conflict (`no-response-impossible`) for a device that sleeps
        between contacts or whose protocol knows no such message, TooMany (`queue-full`) when it takes nothing more
        now, Unavailable (`not-connected`; `timeout` when it is not known whether it was sent in time).
        """
        call = self._intake.judge(principal, spec, declared_ok=False)
        device = self._directory.device(spec.account, spec.device)
        adapter = self._adapters.get(call.adapter)
        if device is None or device.queue_mode or adapter is None or not adapter.capabilities.no_response:
            raise Conflict("this device takes no message that it need not answer", code="no-response-impossible")
        request = request_of(call, 1, self._clock.monotonic() + SENDING_TIME.total_seconds())
        request = replace(request, options={**request.options, "no_response": True})
        place = (call.adapter, call.address)
        if spec.method != "GET":
            self._cache.drop(place)
        try:
            with anyio.fail_after(SENDING_TIME.total_seconds()):
                await adapter.call(request)
        except Busy:
            raise TooMany("the device takes nothing more now", code="queue-full", retry_after=1) from None
        except TimeoutError:
            raise _unfinished() from None
        except (NotConnected, Unreachable, DeviceTimeout) as error:
            if error.delivery is Delivery.NOT_SENT:
                raise Unavailable("the device has no connection now", code="not-connected") from None
            if isinstance(error, DeviceTimeout) and error.delivery is Delivery.MAYBE:
                raise _unfinished() from None
        except CallError as error:
            raise refusal_of(error) from None
        finally:
            if spec.method != "GET":
                self._cache.drop(place)


def _unfinished() -> Unavailable:
    return Unavailable("the message could not be sent in time, or not whole", code="timeout")
