"""Every bound of the hub as one frozen value, and the token bucket that measures rates against it.

The figures are those of `delivery-guarantees.md` J and the decisions; the configuration's section
`[limits]` sets each by its name here. Durations are timedeltas, sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from hub.ports.clock import Clock

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What the hub takes, holds and keeps at most. Two hubs with equal Limits refuse the same things."""

    # HTTP requests
    body: int = MIB
    batch_body: int = 16 * MIB
    head: int = 16 * KIB
    head_lines: int = 100
    head_time: timedelta = timedelta(seconds=10)
    body_time: timedelta = timedelta(seconds=30)
    keep_alive: timedelta = timedelta(seconds=75)

    # Calls
    payload: int = 64 * KIB
    waiting: int = 1000
    pelion_waiting: int = 20
    enos_waiting: int = 50
    pelion_queue: int = 50_000_000
    running_per_application: int = 100_000
    waits_per_account: int = 1000
    calls_per_second: float = 5000.0
    burst: int = 10_000
    batch_calls: int = 1000
    timeout: timedelta = timedelta(seconds=30)
    max_timeout: timedelta = timedelta(days=1)
    max_expiry: timedelta = timedelta(days=30)
    idempotency: timedelta = timedelta(hours=24)

    # Listeners
    sockets_per_key: int = 10_000
    sockets: int = 20_000
    message: int = 256 * KIB
    fragments: int = 1024
    subscribes_per_second: int = 50
    subscriptions: int = 1000
    poll_hold: timedelta = timedelta(seconds=30)
    polls: int = 10_000
    page: int = 1000
    listener_events: int = 256
    listener_bytes: int = MIB
    write_buffer: int = 256 * KIB
    slow_listener: timedelta = timedelta(seconds=30)
    ping: timedelta = timedelta(seconds=20)
    pong: timedelta = timedelta(seconds=20)

    # Devices and tenants
    devices_per_account: int = 200_000
    keys_per_application: int = 1000
    channels_per_application: int = 1000
    readers_per_application: int = 1000
    callbacks_per_endpoint: int = 8
    callbacks_per_tenant: int = 128
    callbacks_per_account: int = 256
    callbacks_at_once: int = 1024
    callback_time: timedelta = timedelta(seconds=15)
    trials_at_once: int = 64
    trials_per_account: int = 8

    # What is kept, and for how long
    retention: timedelta = timedelta(hours=24)
    retention_events: int = 100_000
    retention_bytes: int = 256 * MIB
    ended: timedelta = timedelta(days=7)
    ended_calls: int = 1_000_000
    trim_rows: int = 500
    cache_entries: int = 100_000
    cache_bytes: int = 64 * MIB
    disk_floor: int = 64 * MIB

    # Life cycle
    drain: timedelta = timedelta(seconds=7)
    presence_grace: timedelta = timedelta(seconds=90)


class TokenBucket:
    """A rate with a burst: `burst` at once, then `rate` per second. No queue: the caller is told how long to wait."""

    __slots__ = ("_clock", "_filled_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock.monotonic()

    def take(self, n: float = 1) -> float:
        """Take `n` tokens: 0.0 when allowed, otherwise the seconds until it would be, and nothing is taken.

        More than the burst is allowed once the bucket is full and is owed afterwards; refusing it for
        ever would make a lawful batch impossible.
        """
        now = self._clock.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        needed = min(n, self.burst)
        if self._tokens >= needed:
            self._tokens -= n
            return 0.0
        return (needed - self._tokens) / self.rate
