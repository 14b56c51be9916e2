"""A device that dials in to a hub process, for tests that are not coroutines themselves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from anyio.from_thread import BlockingPortal

from adapters.websocket.coding import Subprotocol
from adapters.websocket.double import Asked, DeviceDouble
from hub.ports.clock import SystemClock

TEMPERATURE = "/3303/0/5700"
HUMIDITY = "/3304/0/5700"
REBOOT = "/3/0/4"
LINKS = (
    {"path": TEMPERATURE, "rt": "temperature", "ct": "text/plain", "obs": True},
    {"path": HUMIDITY, "rt": "humidity", "ct": "text/plain", "obs": True},
    {"path": REBOOT},
)


class DialledDevice:
    """One device, its coroutines run by the portal. It answers a GET with the target's text, the rest with the payload
    that came, and tells `0` first where it is observed."""

    def __init__(self, portal: BlockingPortal, port: int, key: str, identity: str) -> None:
        self.id = identity
        self._portal = portal
        self._key = key
        self._uri = f"ws://127.0.0.1:{port}/devices/v1"
        self._double = portal.call(self._made)

    async def _made(self) -> DeviceDouble:
        return DeviceDouble(
            self._uri, self.id, Subprotocol("hubdev.v1.json"), SystemClock(), key=self._key, links=LINKS
        )

    @property
    def executed(self) -> list[str]:
        """The calls that it carried out."""
        return self._double.executed

    def connect(self) -> None:
        """Dial in: registered from here on."""
        self._portal.call(self._double.connect)

    def update(self) -> None:
        """Renew the registration."""
        self._portal.call(self._double.update)

    def restart(self) -> None:
        """Begin another life: a full registration."""
        self._portal.call(self._double.restart)

    def reconnect(self) -> None:
        """Dial in again in the same life, after `drop`."""
        self._portal.call(self._double.reconnect)

    def leave(self) -> None:
        """Sign off."""
        self._portal.call(self._double.leave)

    def drop(self) -> None:
        """Be gone without a word."""
        self._portal.call(self._double.drop)

    def close(self) -> None:
        """Hang up."""
        self._portal.call(self._double.close)

    def hold(self) -> None:
        """Answer nothing by itself from now on."""
        self._double.hold()

    def go(self) -> None:
        """Answer by itself again."""
        self._double.go()

    def asked(self) -> Asked:
        """The next call that reached it while it holds."""
        return self._portal.call(self._double.asked)

    def answer(self, asked: Asked, payload: bytes, status: int = 200) -> None:
        """Answer such a call."""
        self._portal.call(asked.answer, payload, status)

    def observed(self, *targets: str) -> None:
        """Return once exactly these targets are observed."""
        wanted = sorted(targets)
        self._portal.call(self._double.until, lambda: self._targets() == wanted)

    def notify(self, values: Sequence[bytes]) -> None:
        """Report values of everything that is observed."""
        self._portal.call(self._double.notify, values)

    def _targets(self) -> list[str]:
        return sorted(target for target, _ in self._double.observing.values())


class Devices:
    """Makes devices with names of their own, and hangs up for all of them."""

    _numbers = itertools.count(1)

    def __init__(self, portal: BlockingPortal, port: int, key: str) -> None:
        self._portal = portal
        self._port = port
        self._key = key
        self._made: list[DialledDevice] = []

    def __call__(self, *, connect: bool = True) -> DialledDevice:
        """A device that nobody used yet; registered, unless told otherwise."""
        device = DialledDevice(self._portal, self._port, self._key, f"dialled-{next(self._numbers)}")
        self._made.append(device)
        if connect:
            device.connect()
        return device

    def close(self) -> None:
        """Hang up for all."""
        for device in self._made:
            device.close()
