"""What goes beyond the adapter contract, each by its own name: what some contexts offer, and what some adapters can do.

Whoever needs one asks by `isinstance`; an adapter or a context without it is none the worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from hub.ports.adapter import DeviceRequest, DeviceResponse

__all__ = [
    "Checks", "Dated", "Expels", "FindsDevices", "HoldsKeys", "JudgesAddresses", "KnowsServices", "Recovers",
    "Remembers", "Resumes", "SendsAway", "ServesAsgi", "TellsGateways", "WatchesKeys",
]

# What a context may offer.


@runtime_checkable
class Remembers(Protocol):
    """What a context offers beside `AdapterContext` to adapters whose registrations outlive the process (E3)."""

    async def remember(self, device: str, memory: bytes) -> None:
        """Keep what the adapter needs to go on with a registered device after a restart; returns once it is on disk.

        It replaces what was kept, also by `attrs["memory"]` of REGISTERED and UPDATED, which is kept in the commit of
        the event. It goes with the registration (DEREGISTERED, EXPIRED, deletion). Raises StorageFailed, and
        UnknownDevice where there is no registration: nothing was kept then.
        """
        ...

    def memories(self, *, disabled: bool = False) -> Mapping[str, bytes]:
        """What is kept of the devices of this adapter that are registered, by address; asked for at `start`. With
        `disabled` also of those that are disabled now: they may be enabled again."""
        ...


@runtime_checkable
class HoldsKeys(Protocol):
    """What a context offers to adapters whose devices prove themselves by pre-shared keys, beside `AdapterContext`."""

    def psk(self, identity: str) -> bytes | None:
        """The pre-shared key of a device that is known by this identity (alias `psk-identity`), None for no such.

        From memory: a handshake waits for no database.
        """
        ...


@runtime_checkable
class WatchesKeys(Protocol):
    """What a context offers to adapters whose devices come with an API key and stay, beside `AdapterContext`."""

    def watch_key(self, key_id: str, revoked: Callable[[], None]) -> Callable[[], None]:
        """Call `revoked` once, when the key that admitted a device lets nobody in any more (at once if it does not
        now): its connection is then to be closed. Returns the unwatch, to be called when the connection ends."""
        ...


@runtime_checkable
class KnowsServices(Protocol):
    """What a context offers to adapters whose devices are of declared products, beside `AdapterContext`."""

    def services(self, device: str) -> Mapping[str, Mapping[str, Any]] | None:
        """The services that the product of a device (by address) declares, by id: `name`, `input` and `output` (types
        by parameter), `idempotent`. None for a device of no product. From memory."""
        ...


@runtime_checkable
class FindsDevices(Protocol):
    """What a context offers to adapters whose devices are spoken of by others before they are there themselves."""

    def address_of(self, identity: str) -> str | None:
        """The address of this adapter's device that is `<product key>/<device key>`; None for no such, and for a
        disabled one. From memory."""
        ...

    def has_device(self, identity: str) -> bool:
        """Whether this adapter has a device, disabled or not, that is `<product key>/<device key>`. From memory."""
        ...


# What an adapter may offer.


@runtime_checkable
class Checks(Protocol):
    """Optional: refuses before the 202 what can be known at once."""

    def check(self, req: DeviceRequest) -> None:
        """Raise CallError (NOT_SENT) when the request can never succeed; otherwise return."""
        ...


@runtime_checkable
class JudgesAddresses(Protocol):
    """Optional: says of a declared device, before the hub starts, that none can have such an address here."""

    def judge_address(self, address: str) -> None:
        """Raise ValueError that says what the address is not; otherwise return."""
        ...


@runtime_checkable
class Dated(Protocol):
    """Optional, of an observation: says when its first answer came. A notification that is older (`DeviceEvent.at`) is
    older than that answer; without it, all that come while the observation begins are taken for newer."""

    began: float


@runtime_checkable
class Resumes(Protocol):
    """Optional: carries on with a checkpointed call after a restart instead of sending it again."""

    async def resume(self, req: DeviceRequest, note: bytes) -> DeviceResponse:
        """As `call`, from the note on."""
        ...


@runtime_checkable
class Recovers(Protocol):
    """Optional: finds out what became of a call that was sent before a restart, left no note, may not be repeated."""

    async def recover(self, req: DeviceRequest, sent_at: datetime) -> DeviceResponse:
        """As `call`, but nothing that could happen twice is sent. It may checkpoint what it finds. Raises CallError
        where nobody can tell: DeviceTimeout when that will not change."""
        ...


@runtime_checkable
class Expels(Protocol):
    """Optional: sends away a device that the hub no longer has at this address (deleted, moved), or no longer takes for
    who it was (another PSK identity); where it does not `SendsAway`, also one that may come again."""

    def expel(self, device: str) -> None:
        """End its connection and forget its registration, without a report; harmless when it is not there. It may
        dial in again and is then judged anew."""
        ...


@runtime_checkable
class SendsAway(Protocol):
    """Optional: sends away a device that the hub has still, and that may come again: it was disabled, or has to prove
    who it is by another secret."""

    def send_away(self, device: str) -> None:
        """End its connection, without a report; what was stored for it stays. Harmless when it is not there."""
        ...


@runtime_checkable
class TellsGateways(Protocol):
    """Optional: devices come by gateways, which are told what becomes of them."""

    def order(self, identity: str, verb: str) -> None:
        """The device that is `<product key>/<device key>` was disabled (`disable`), enabled again (`enable`), or is no
        device of this adapter any more (`delete`: nothing that is kept speaks of it then). Harmless where no gateway
        has it. `send_away` follows the first, `expel` the last."""
        ...


@runtime_checkable
class ServesAsgi(Protocol):
    """Optional: devices dial in over HTTP or WebSocket; `asgi` is mounted at `mount`."""

    mount: str

    @property
    def asgi(self) -> Any:
        """An ASGI 3 application."""
        ...
