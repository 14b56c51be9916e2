"""A call: what was asked (CallSpec), what the hub took responsibility for (Call), how it stands (CallState).

Inside the hub a payload is bytes, a duration a timedelta, a moment an aware datetime. Wire words
stay in the dialects; `echo` carries what a dialect wants back untouched when the call has ended.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hub.model.ids import CallId, Incarnation
from hub.model.outcome import Outcome

if TYPE_CHECKING:
    from hub.model.command import CommandFacets
    from hub.model.job import JobFacets


class Stage(enum.Enum):
    """Where a call stands. The moves between stages are the table of `lifecycle.py`."""

    ACCEPTED = "accepted"
    PARKED = "parked"
    SENT = "sent"
    WAITING = "waiting"
    DONE = "done"


class Order(enum.Enum):
    """How a call stands to the others for its device.

    SERIAL: sent in order of acceptance. PARALLEL: may overtake, as far as the adapter's window
    allows. LATEST: replaces earlier unsent LATEST calls for the same device, method and target. STRICT: as
    SERIAL, and no other call is under way at the device meanwhile, whatever its window. EXCLUSIVE: as STRICT, and its
    turn lasts until it has ended: also while only a late answer is waited for, or the far side holds it, and over a
    restart; never longer than its timeout after it was sent.
    """

    SERIAL = "serial"
    PARALLEL = "parallel"
    LATEST = "latest"
    STRICT = "strict"
    EXCLUSIVE = "exclusive"

    @property
    def alone(self) -> bool:
        """Whether no other call may be under way at the device meanwhile."""
        return self is Order.STRICT or self is Order.EXCLUSIVE


class OnUncertain(enum.Enum):
    """What to do when a call that is not idempotent may have happened: say so, or send it again."""

    REPORT = "report"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class CallSpec:
    """What was asked, unjudged. `channel` is the full name `<application>/<name>`; an empty `ref`
    becomes the id of the call. `within` bounds the whole from acceptance to the end, in place of expiry and timeout; it
    is in the call's deadline then and not read back. `command` puts the call into the collection of commands of its
    device; it is written with the call and not read back."""

    account: str
    application: str
    ref: str
    device: str
    method: str
    target: str
    channel: str
    dialect: str
    payload: bytes = b""
    content_type: str | None = None
    accept: str | None = None
    args: Mapping[str, Any] | None = None
    callback: str | None = None
    timeout: timedelta | None = None
    expiry: timedelta | None = None
    retries: int = 0
    order: Order = Order.SERIAL
    on_uncertain: OnUncertain = OnUncertain.REPORT
    echo: Mapping[str, Any] = field(default_factory=dict)
    within: timedelta | None = None
    command: CommandFacets | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A call the hub answers for: it ends exactly once, whatever happens.

    `expires_at` bounds the wait before sending, `timeout` one attempt, `deadline` the whole:
    accepted + expiry + timeout (decisions B1). `address` and `lane` are the adapter's words. `job` puts the call into
    the collection of jobs of its device; it is written with the call and not read back.
    """

    id: CallId
    spec: CallSpec
    adapter: str
    address: str
    lane: str
    idempotent: bool
    accepted_at: datetime
    expires_at: datetime
    timeout: timedelta
    deadline: datetime
    stage: Stage = Stage.ACCEPTED
    job: JobFacets | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CallState:
    """How a call stands in the journal now.

    `attempt` counts claims, `retries_used` only those that the caller's `retries` pays for; `maybe_sent`: one that was
    given back may have reached the device. `note` is the adapter's checkpoint. `offset` is the completion's place on
    the call's channel.
    """

    call: Call
    stage: Stage
    attempt: int = 0
    retries_used: int = 0
    incarnation: Incarnation | None = None
    note: bytes | None = None
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    epoch: str | None = None
    offset: int | None = None
    maybe_sent: bool = False
