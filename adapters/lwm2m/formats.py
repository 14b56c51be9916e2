"""Requests in the format that the device takes: SenML where it knows that, else what says the same.

A caller who asks for SenML JSON gets it from every device, and one who writes SenML need not know what the device
knows. Nothing that may have been carried out is sent again in another format, unless it may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import Message
from adapters.lwm2m.exchange import Owner
from adapters.lwm2m.operation import Operation
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.transfer import Transfers
from adapters.lwm2m.writing import Form, other_forms
from hub.ports.adapter import CallError, Delivery, DeviceTimeout
from hub.ports.clock import Clock

# What a device answers that does not know a format, or the option that asks for one.
_OTHER_FORMAT = (codec.NOT_ACCEPTABLE, codec.BAD_OPTION, codec.UNSUPPORTED_FORMAT, codec.BAD_REQUEST)


class UnsupportedFormat(CallError):
    """The device does not know the format, and what it was to be told cannot be said otherwise."""

    status = 415
    code = "UNSUPPORTED_FORMAT"


class Formats:
    """Runs those requests for which the first format need not be the last."""

    def __init__(self, clock: Clock, transfers: Transfers) -> None:
        self._clock = clock
        self._transfers = transfers

    async def read(self, to: Registration, wanted: Operation, deadline: float, owner: Owner) -> Message:
        """The answer to a request for SenML JSON, by a device that may have never heard of it."""
        run = self._transfers.run
        if _knows_no_senml(to):
            # What it answers is translated.
            return await run(to, wanted.code, wanted.without_accept(), wanted.payload, deadline, owner)
        refusal: Message | None = None
        try:
            refusal = await run(to, wanted.code, wanted.options, wanted.payload, self._half(deadline), owner)
            if refusal.code not in _OTHER_FORMAT:
                return refusal
        except DeviceTimeout as silence:
            # Some say nothing to a format that they do not know. Reading once more does no harm.
            if silence.delivery is Delivery.DELIVERED:
                raise
        answer = await run(to, wanted.code, wanted.without_accept(), wanted.payload, deadline, owner)
        if refusal is not None and refusal.code == codec.BAD_REQUEST and answer.code >> 5 != 2:
            return refusal
        return answer

    async def write(
        self, to: Registration, wanted: Operation, deadline: float, owner: Owner
    ) -> tuple[Message, Mapping[str, str]]:
        """The answer to a write of SenML, and what the caller is to know of the format: `sent_as`, where the device
        took another one, or `translation`, why it was not offered one. Of refusals the first is told.

        Raises UnsupportedFormat (NOT_SENT) where neither is possible, beside what a request raises.
        """
        assert wanted.senml is not None
        offered: list[Form] = [] if _knows_no_senml(to) else [(wanted.senml, wanted.payload)]
        told: Mapping[str, str] = {}
        try:
            offered += other_forms(wanted.path, wanted.senml, wanted.payload)
        except ValueError as error:
            if not offered:
                raise UnsupportedFormat(str(error), delivery=Delivery.NOT_SENT) from None
            told = {"translation": str(error)}
        again = wanted.code == codec.PUT
        refusal: Message | None = None
        for number, (form, payload) in enumerate(offered, 1):
            last = number == len(offered)
            until = self._half(deadline) if again and not last else deadline
            try:
                answer = await self._transfers.run(to, wanted.code, wanted.in_format(form), payload, until, owner)
            except DeviceTimeout as silence:
                if last or not again or silence.delivery is Delivery.DELIVERED:
                    raise
                continue
            if answer.code not in _OTHER_FORMAT:
                return answer, {} if form == wanted.senml else {"sent_as": content.media_type(form) or ""}
            refusal = refusal or answer
        assert refusal is not None, "the last one was answered or raised"
        return refusal, told

    def unanswered(self, to: Registration, wanted: Operation) -> tuple[Sequence[tuple[int, bytes]], bytes]:
        """Options and payload of a request that nobody answers: there is one try only, so it is the likeliest form.

        Raises UnsupportedFormat (NOT_SENT).
        """
        if wanted.senml is None or not _knows_no_senml(to):
            return wanted.options, wanted.payload
        try:
            form, payload = other_forms(wanted.path, wanted.senml, wanted.payload)[0]
        except ValueError as error:
            raise UnsupportedFormat(str(error), delivery=Delivery.NOT_SENT) from None
        return wanted.in_format(form), payload

    def _half(self, deadline: float) -> float:
        now = self._clock.monotonic()
        return now + (deadline - now) / 2


def _knows_no_senml(to: Registration) -> bool:
    return to.version.startswith("1.0")
