"""The adapter contract, API version 1: what a protocol does for the hub, and what the hub does for it.

The core owns order, queueing, retry, expiry, persistence and wanted observations. An adapter owns
matching, translation and retransmission inside one attempt. `tests/contracts/` runs one suite
on every adapter that ships a `rig.py`. Third parties register a factory `(settings) -> Adapter` under the
entry-point group `hub.adapters`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from hub.model.device import Presence
from hub.ports.clock import Clock

API_VERSION = 1

__all__ = [
    "API_VERSION", "Adapter", "AdapterContext", "Admission", "AdmissionRefused", "BadRequest", "Busy", "CallError",
    "Capabilities", "Delivery", "DeviceEvent", "DeviceRequest", "DeviceResponse", "DeviceTimeout", "EventKind",
    "NoSuchResource", "NotConnected", "Observation", "ObserveSpec", "Presence", "TooLarge", "Unreachable",
    "Unsupported",
]


class Delivery(enum.Enum):
    """How far a call got that has no answer."""

    NOT_SENT = "not_sent"
    MAYBE = "maybe"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One attempt at one call. `device` is the adapter's address; `deadline` is `ctx.clock.monotonic()` time.

    `call_id` and `attempt` are committed before the adapter sees them: a protocol that de-duplicates
    derives its token from the two.
    """

    call_id: str
    device: str
    method: str
    target: str
    deadline: float
    payload: bytes = b""
    content_type: str | None = None
    accept: str | None = None
    args: Mapping[str, Any] | None = None
    query: tuple[tuple[str, str], ...] = ()
    idempotent: bool = False
    attempt: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


LONGEST_AGE = 3 * 24 * 3600
"""Seconds for which a value may be told to be fresh."""


@dataclass(frozen=True, slots=True)
class DeviceResponse:
    """The device answered, whatever it said. `native` keeps its own words (`{"coap": "2.05"}`); `native["values"]` is
    what a payload says that few can read, as a list of plain values.

    `max_age` is in seconds, from 0 to `LONGEST_AGE`: what is beyond is taken as the nearest of them.
    `held` is called once the hub holds the answer, so that a protocol may acknowledge it then and not before.
    """

    status: int
    payload: bytes = b""
    content_type: str | None = None
    max_age: int | None = None
    native: Mapping[str, Any] = field(default_factory=dict)
    held: Callable[[], None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_age is not None and not 0 <= self.max_age <= LONGEST_AGE:
            object.__setattr__(self, "max_age", min(max(0, self.max_age), LONGEST_AGE))


class CallError(Exception):
    """There is no answer. `delivery` says whether the call may have reached the device; `word`, from `check`, is the
    code word of the refusal where the usual one would say too little."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "ADAPTER_FAULT"

    def __init__(
        self, detail: str = "", *, delivery: Delivery, retry_after: float | None = None, word: str | None = None
    ) -> None:
        super().__init__(detail or self.code)
        self.detail = detail
        self.delivery = delivery
        self.retry_after = retry_after
        self.word = word


class NotConnected(CallError):
    """The device has no connection now."""

    status = 503
    code = "NOT_CONNECTED"


class Unreachable(CallError):
    """Connecting to the device failed."""

    status = 502
    code = "UNREACHABLE"


class DeviceTimeout(CallError):
    """The device did not answer by the deadline."""

    status = 504
    code = "TIMEOUT"


class Busy(CallError):
    """The device takes no further call now."""

    status = 429
    code = "QUEUE_IS_FULL"


class Unsupported(CallError):
    """The protocol has no such method."""

    status = 405
    code = "UNSUPPORTED"


class BadRequest(CallError):
    """The request cannot be put into the protocol's words (a malformed target)."""

    status = 400
    code = "BAD_REQUEST"


class NoSuchResource(CallError):
    """The device is known to have nothing at the target."""

    status = 404
    code = "RESOURCE_NOT_FOUND"


class TooLarge(CallError):
    """The payload is over `Capabilities.max_payload`."""

    status = 413
    code = "TOO_LARGE"


class EventKind(enum.Enum):
    """What an adapter reports."""

    REGISTERED = "registered"
    UPDATED = "updated"
    DEREGISTERED = "deregistered"
    EXPIRED = "expired"
    AWAKE = "awake"
    ASLEEP = "asleep"
    OFFLINE = "offline"
    NOTIFICATION = "notification"
    OBSERVE_ENDED = "observe_ended"
    LATE_RESPONSE = "late_response"


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something a device did. `at` is monotonic time of `ctx.clock`.

    `attrs` by kind: REGISTERED and UPDATED: lifetime (seconds or None), links (tuple of model
    Resource), type, name, queue_mode, boot, location, id (for a device that is made by it), memory (bytes, see
    `Remembers`), proved (False: who it is, only the device says; refused for one that has a key).
    LATE_RESPONSE: call_id, response (DeviceResponse).
    NOTIFICATION: native (as that of a response), max_age, observed (True when it answers an observation), values
    (several that came together: path, payload, content type of each), time (aware datetime that the device gave),
    past (True for what was: it is told, and is not what is now).
    """

    kind: EventKind
    device: str
    at: float
    target: str | None = None
    payload: bytes = b""
    content_type: str | None = None
    seq: int | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can do; the contract suite measures that the figures are honest.

    `no_response`: a request with `options["no_response"]` is sent without waiting for the device, which is not
    asked to answer; the response then only says that it was sent.
    `late_answers`: an answer can still come when the connection that its call was sent over has ended.
    """

    role: frozenset[str]
    methods: frozenset[str]
    idempotent_methods: frozenset[str] = frozenset({"GET", "PUT", "DELETE"})
    observe: str = "none"
    presence: str = "inferred"
    per_device_inflight: int = 1
    total_inflight: int = 1024
    retransmits: bool = False
    no_response: bool = False
    late_answers: bool = True
    cancel: str = "local"
    sleepy: bool = False
    max_payload: int = 65536
    attempt_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Admission:
    """A device that dials in may stay: who it is. `address` is what the adapter shall call it by in events, `name` the
    endpoint name that it was declared with, `grant` a secret to hand to it: it may not stay, but come back with it,
    `key_id` the API key that let it in, if one did (see `WatchesKeys`)."""

    device_id: str
    account: str
    address: str
    name: str | None = None
    grant: str | None = field(default=None, repr=False)
    key_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AdmissionRefused:
    """A device that dials in may not stay; `reason` is for the hub's log, never for the device."""

    reason: str


class AdapterContext(Protocol):
    """What the hub gives to an adapter at `start`."""

    name: str
    settings: Mapping[str, Any]
    clock: Clock

    def emit(self, event: DeviceEvent) -> bool:
        """Hand an event over without waiting; False when the hub had to shed it."""
        ...

    async def accept(self, event: DeviceEvent) -> None:
        """Hand an event over; returns once the hub holds it on disk, so it may be acknowledged. Raises StorageFailed
        when it could not be kept now (NotTaken: nor with another try), UnknownDevice when it never will: the hub has no
        such device (any more)."""
        ...

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission | AdmissionRefused:
        """Ask who a dialling device is. Kinds: `key` (identity = device id or name, proof = an API key with scope
        `device`), `secret` (proof = the device's own secret), `name` (no proof; refused unless the configuration
        opens it), `open` (no proof, at an adapter that lets everybody in: as `name`, and an unknown one is admitted
        to become a device of the adapter's account; never a device that has a key), `psk` (identity = one that
        `HoldsKeys.psk` gave a key for, and whose holder has proved it), `product-device` and `product` (identity
        = `<product key>/<device key>`, proof = JSON of `algorithm`, `texts` and `sign`, the hex digest of one of the
        texts with the device's or the product's secret behind it). Raises StorageFailed where an admission has to be
        stored and cannot be now."""
        ...

    async def checkpoint(self, call_id: str, note: bytes) -> float:
        """Store `note` with the attempt before anything else happens; the call is WAITING from then on.

        Its lane slot is free and its attempt timeout is off; returns the call's own deadline (monotonic).
        """
        ...

    def secret(self, ref: str) -> bytes:
        """A secret that the settings name (`env:NAME` or `file:PATH`); KeyError if there is none."""
        ...

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a background task that the hub owns: its failure is logged, it ends with the adapter."""
        ...


@dataclass(frozen=True, slots=True)
class ObserveSpec:
    """A wanted observation of one resource of one device."""

    device: str
    target: str
    params: Mapping[str, str] = field(default_factory=dict)


class Observation(Protocol):
    """A running observation. After it ended by itself the adapter has emitted OBSERVE_ENDED."""

    spec: ObserveSpec
    active: bool

    async def cancel(self) -> None:
        """Stop it; a second cancel is harmless."""
        ...


class Adapter(Protocol):
    """One protocol. `call` is exactly one attempt and ends, answered or not, by its deadline."""

    api_version: ClassVar[int]
    capabilities: Capabilities

    async def start(self, ctx: AdapterContext) -> None:
        """Return when serving; connecting to peers may go on behind. Raises CannotListen where a port of its own cannot
        be had, which ends the hub's start; whatever else is raised leaves the hub without this adapter."""
        ...

    async def stop(self, grace: float) -> None:
        """Fail open calls within `grace` seconds, close sockets, leave no task."""
        ...

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """One attempt. Raises CallError; never queues: what cannot be sent now is NotConnected or Busy, NOT_SENT."""
        ...

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """Start an observation; later values come as NOTIFICATION events. Raises Unsupported where there is none."""
        ...

    def presence(self, device: str) -> Presence:
        """What the adapter knows of the device's presence now."""
        ...

    def window(self, device: str) -> int:
        """How many calls the device takes now; 0 = asleep, offline or full."""
        ...

    def lane(self, device: str) -> str:
        """The concurrency domain of the device; by default the device itself."""
        ...

    def health(self) -> Mapping[str, Any]:
        """`{"state": "up" | "degraded" | "down", ...}`, without secrets; an adapter that listens tells its `ports` by
        scheme (`{"coap": 5683}`)."""
        ...
