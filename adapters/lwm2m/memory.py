"""What of a registration outlives the process: as bytes that the hub keeps for the adapter, and back (decisions E3)."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from adapters.lwm2m.observe import Observed
from adapters.lwm2m.registration import Registration
from hub.model.errors import HubError
from hub.ports.abilities import Remembers
from hub.ports.adapter import AdapterContext, ObserveSpec
from hub.ports.clock import Clock, monotonic_at

VERSION = 1

log = logging.getLogger("hub.adapter.lwm2m")


async def remember(ctx: AdapterContext, registration: Registration) -> None:
    """Have the hub keep it as it is now, where the hub keeps anything."""
    if not registration.alive or not isinstance(ctx, Remembers):
        return
    try:
        await ctx.remember(registration.address, remembered(registration, ctx.clock))
    except HubError as error:
        # Only a restart before its next Update would know it as it was before.
        log.warning("a change of a registration could not be remembered: %s", error)


def remembered(registration: Registration, clock: Clock) -> bytes:
    """Everything that a restarted hub needs to go on with the registration."""
    left = timedelta(seconds=registration.expires - clock.monotonic())
    return json.dumps(
        [
            VERSION,
            registration.endpoint,
            registration.location,
            registration.peer,
            registration.identity,
            registration.lifetime,
            registration.version,
            registration.queue,
            registration.root,
            round((clock.now() + left).timestamp(), 3),
            [[o.spec.target, dict(o.spec.params), o.token.hex()] for o in registration.observations.values()],
            registration.displaced,
        ],
        separators=(",", ":"),
    ).encode()


def recalled(
    address: str, memory: bytes, clock: Clock, inflight: int, stop: Callable[[Observed], Awaitable[None]]
) -> Registration:
    """The registration of the device at `address` as it was; a sleepy one is asleep until it is heard from, and so is
    one whose DTLS session has ended with the process, or whose place another one took.

    Raises ValueError for a memory of another version or a damaged one.
    """
    try:
        (
            version, endpoint, location, peer, identity, lifetime, lwm2m, queue, root, expires, observations, *more
        ) = json.loads(memory)
        if version != VERSION:
            raise ValueError(f"version {version} of a registration is not known")
        registration = Registration(
            str(endpoint), address, str(location), tuple(peer), identity, inflight, clock.now()
        )
        registration.lifetime = int(lifetime)
        registration.version = str(lwm2m)
        registration.queue = bool(queue)
        registration.displaced = bool(more and more[0])  # was not said by earlier versions of the hub
        # No session outlives the process.
        registration.asleep = registration.queue or identity is not None or registration.displaced
        registration.root = tuple(root)
        registration.expires = monotonic_at(clock, datetime.fromtimestamp(expires, UTC))
        for target, params, token in observations:
            observed = Observed(ObserveSpec(address, target, params), bytes.fromhex(token), stop)
            observed.active = True
            registration.watch(observed)
    except (TypeError, OverflowError, AttributeError) as error:
        raise ValueError("a damaged registration") from error
    return registration
