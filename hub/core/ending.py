"""From what happened to an outcome, and from an outcome to the completion that tells of it. Pure.

The retry rule lives here as one function (`after_error`), because it is the hub's central promise: NOT_SENT may
always go again, MAYBE only where repeating does no harm, and what may have happened is said plainly.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hub.model.call import Call, OnUncertain
from hub.model.delivery import DeliveryDraft, callback_endpoint
from hub.model.event import EventDraft, EventKind
from hub.model.lifecycle import ENDINGS
from hub.model.outcome import Ending, Outcome
from hub.ports.adapter import (
    Busy,
    CallError,
    Delivery,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Unreachable,
)

BACKOFF_FIRST = 1.0
BACKOFF_MOST = 30.0
LEAST_TIME = 0.05
LEAST_PART = 0.1
CALLBACK_KEY = "callback_key"
"""The member of a call's echo that names the key which asked for a callback."""


class Next(enum.Enum):
    """What follows an attempt without an answer.

    PARK and AGAIN cost no retry; RETRY does; LINGER waits for a late answer up to the attempt's deadline.
    """

    PARK = "park"
    AGAIN = "again"
    RETRY = "retry"
    LINGER = "linger"
    END = "end"


@dataclass(frozen=True, slots=True)
class Step:
    """The next step, with the outcome if it is the end and the pause before another attempt."""

    next: Next
    outcome: Outcome | None = None
    pause: float = 0.0


def may_repeat(call: Call) -> bool:
    """Whether sending the call twice does no harm, or the caller said that he takes it."""
    return call.idempotent or call.spec.on_uncertain is OnUncertain.RESEND


def backoff(tries: int) -> float:
    """Seconds before the next attempt after `tries` failed ones: 1, 2, 4 ... 30."""
    return float(min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(tries, 10)))


def enough_time(left: float, timeout: timedelta) -> bool:
    """Whether an answer may still come in what is left (seconds) of a call: what is sent in its last moment can only
    end as unknown."""
    return left >= min(LEAST_TIME, timeout.total_seconds() * LEAST_PART)


def unsent(call: Call, before: Outcome | None, why: str = "") -> Outcome:
    """The outcome of a call that waited for an attempt which was not made. `before`: how it stands since an earlier
    one that may have reached the device; `why`: the adapter's words for that it did not send it."""
    if before is not None:
        return before
    return replace(expired(call), native={"detail": why}) if why else expired(call)


def after_error(
    call: Call,
    error: CallError,
    retries_used: int,
    *,
    held: bool = False,
    before: Outcome | None = None,
    late_answers: bool = True,
) -> Step:
    """What to do when an attempt brought no answer (decisions B2, spec of the adapter contract). `held`: the far side
    has had the call since an earlier attempt; `before` as in `unsent`; `late_answers`: see `Capabilities`."""
    pause = error.retry_after if error.retry_after is not None else backoff(retries_used)
    if error.delivery is Delivery.NOT_SENT:
        if isinstance(error, NotConnected):
            return Step(Next.PARK, pause=pause)
        if isinstance(error, Busy):
            return Step(Next.AGAIN, pause=pause)
        if not isinstance(error, Unreachable | DeviceTimeout):
            return Step(Next.END, _of_error(Ending.REFUSED, error))
    elif not may_repeat(call):
        if isinstance(error, DeviceTimeout):
            return Step(Next.END, made(Ending.UNKNOWN))
        return Step(Next.LINGER)
    if retries_used < call.spec.retries and not (held and isinstance(error, DeviceTimeout)):
        return Step(Next.RETRY, pause=pause)
    if isinstance(error, DeviceTimeout):
        never = error.delivery is Delivery.NOT_SENT and not held
        return Step(Next.END, unsent(call, before, error.detail) if never else made(Ending.TIMED_OUT))
    if isinstance(error, NotConnected) and late_answers and not held:
        # Nobody pays for a repetition, but the device may come back with its answer while there is time.
        return Step(Next.LINGER)
    return Step(Next.END, _of_error(Ending.UNREACHABLE, error))


def _of_error(ending: Ending, error: CallError) -> Outcome:
    native = {name: text for name, text in (("detail", error.detail), ("word", error.word)) if text}
    return Outcome(ending, error.status, error=error.code, native=native)


def made(ending: Ending, word: str | None = None, status: int | None = None) -> Outcome:
    """An outcome that the hub makes by itself, in the words of the table in `model/lifecycle.py`."""
    words = ENDINGS[ending]
    return Outcome(ending, words.status if status is None else status, error=words.word if word is None else word)


def unanswered(call: Call) -> Outcome:
    """The outcome of a call that was sent and whose time ran out without an answer."""
    return made(Ending.TIMED_OUT if may_repeat(call) else Ending.UNKNOWN)


def expired(call: Call) -> Outcome:
    """The outcome of a call that was never sent: told by what the caller asked (decisions C)."""
    if call.spec.echo.get("expiry_set", call.spec.expiry is not None):
        return made(Ending.EXPIRED)
    return made(Ending.EXPIRED, "NOT_CONNECTED", 503)


def answered(response: DeviceResponse, at: datetime) -> Outcome:
    """The outcome of an answer. Every 2xx is told as 200; the device's own figure stays in `native`."""
    good = 200 <= response.status < 300
    native = dict(response.native)
    if good and response.status != 200:
        native.setdefault("status", response.status)
    return Outcome(
        ending=Ending.ANSWERED if good else Ending.DEVICE_ERROR,
        status=200 if good else response.status,
        payload=response.payload,
        content_type=response.content_type,
        max_age=None if response.max_age is None else timedelta(seconds=response.max_age),
        error=None if good else str(native.get("error") or ENDINGS[Ending.DEVICE_ERROR].word),
        device_time=at,
        native=native,
    )


def stripped(outcome: Outcome) -> Outcome:
    """The outcome with nothing of what the device said but its status and payload."""
    error = ENDINGS[outcome.ending].word if "error" in outcome.native else outcome.error
    return replace(outcome, content_type=None, max_age=None, error=error, native={})


def completion(call: Call, outcome: Outcome, at: datetime, name: str | None = None) -> EventDraft:
    """The one event that tells how a call ended; `name` is what the device calls itself."""
    spec = call.spec
    return EventDraft(
        channel=spec.channel,
        kind=EventKind.COMPLETION,
        body={
            "call_id": call.id,
            "ref": spec.ref,
            "device": spec.device,
            "name": name,
            "status": outcome.status,
            "payload": outcome.payload,
            "content_type": outcome.content_type,
            "max_age": None if outcome.max_age is None else int(outcome.max_age.total_seconds()),
            "error": outcome.error,
            "ending": outcome.ending.value,
            "dialect": spec.dialect,
            "echo": dict(spec.echo),
            "ended_at": at.isoformat(timespec="milliseconds"),
            "native": dict(outcome.native),
            "device_time": None if outcome.device_time is None else outcome.device_time.isoformat(
                timespec="milliseconds"
            ),
        },
    )


def callbacks(call: Call, at: datetime) -> tuple[DeliveryDraft, ...]:
    """The delivery of the completion to the call's own callback, if it has one, due at once.

    `key` is the key that asked for it: one that is revoked stops its callbacks (delivery-guarantees G5).
    """
    spec = call.spec
    if spec.callback is None:
        return ()
    return (
        DeliveryDraft(
            endpoint=callback_endpoint(spec.application, spec.callback),
            account=spec.account,
            event=0,
            due_at=at,
            url=spec.callback,
            view=spec.dialect,
            attrs={"call": call.id, "ref": spec.ref, "key": spec.echo.get(CALLBACK_KEY)},
        ),
    )
