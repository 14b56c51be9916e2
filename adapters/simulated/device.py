"""A simulated device: what it holds, and what it does with a call that reached it.

It executes whatever is sent to it, every time: that is how the tests prove that the hub does not send twice. It does
no I/O; when the answer comes, and whether at all, is arranged by `link.py` between this side and the adapter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.simulated.behaviour import Behaviour
from adapters.simulated.model import Model
from adapters.simulated.point import Point
from hub.model.device import Presence, Resource
from hub.ports.adapter import Delivery, DeviceRequest, DeviceResponse, NoSuchResource, ObserveSpec

if TYPE_CHECKING:
    from adapters.simulated.observation import SimulatedObservation

_OK = {"code": "2.05"}
_CHANGED = {"code": "2.04"}


@dataclass(slots=True)
class Held:
    """What a point holds now: the bytes as written, and since which step of its drift."""

    value: bytes
    content_type: str | None
    since: int


@dataclass(slots=True, eq=False)
class SimulatedDevice:
    """One device. `open` counts the calls that it works on, `executions` all that it ever executed; `tap` sees
    what reaches it, for the rig."""

    address: str
    model: Model
    name: str | None = None
    type: str | None = None
    presence: Presence = Presence.ONLINE
    restarts: int = 0
    open: int = 0
    executions: int = 0
    awake_until: float = 0.0
    held: dict[str, Held] = field(default_factory=dict)
    observations: dict[str, SimulatedObservation] = field(default_factory=dict)
    tap: Callable[[DeviceRequest | ObserveSpec], None] | None = None

    @property
    def boot(self) -> str:
        """The name of this life of the device: the same after a restart of the hub, another after its own."""
        return f"sim-{self.restarts}"

    @property
    def links(self) -> tuple[Resource, ...]:
        """What it offers, as its registration says."""
        return tuple(
            Resource(p.path, resource_type=p.resource_type, content_type=p.content_type, observable=p.observable)
            for p in self.model.points.values()
        )

    def point(self, target: str) -> Point | None:
        """The point at a target, whose query is not looked at."""
        return self.model.points.get(_path(target))

    def knows(self, target: str) -> bool:
        """Whether anything answers at a target."""
        return self.model.echo or _path(target) in self.model.points

    def check(self, request: DeviceRequest) -> None:
        """Refuse what there is not. Raises CallError (NOT_SENT)."""
        if not self.knows(request.target):
            raise NoSuchResource(f"nothing at {request.target}", delivery=Delivery.NOT_SENT)

    def behaviour(self, target: str) -> Behaviour:
        """The behaviour of the point, or else of the device."""
        point = self.point(target)
        return self.model.behaviour if point is None or point.behaviour is None else point.behaviour

    def execute(self, request: DeviceRequest, now: float) -> DeviceResponse:
        """Do what is asked at monotonic time `now`, and say what came of it."""
        status = self.behaviour(request.target).status
        if status is not None:
            return _refusal(status, "simulated refusal")
        point = self.point(request.target)
        if point is None:
            return _echo(request) if self.model.echo else _refusal(404, "no such resource")
        if request.method not in point.methods:
            return _refusal(405, "method not allowed here")
        if request.method == "GET":
            return self.read(point, now)
        if request.method == "PUT":
            if request.payload or not (request.query or "?" in request.target):
                self._write(point, request.payload, request.content_type, now)
            # Without a payload but with a query it is Write-Attributes: they are taken, and change no value.
            return self.read(point, now, _CHANGED)
        if request.method == "DELETE":
            self.held.pop(point.path, None)
        return DeviceResponse(200, native=_CHANGED)

    def read(self, point: Point, now: float, native: dict[str, str] = _OK) -> DeviceResponse:
        """What a point holds at monotonic time `now`."""
        held = self.held.get(point.path)
        value = point.value if held is None else held.value
        content_type = point.content_type if held is None else held.content_type
        drift = point.drift
        if drift is not None:
            step = drift.step(now)
            if held is None or held.since != step:
                # What was just written is read back exactly as it was; it drifts from there with the next step.
                start = 0.0 if held is None else drift.offset(self.address + point.path, held.since)
                value = _moved(value, drift.offset(self.address + point.path, step) - start)
        return DeviceResponse(200, value, content_type, point.max_age, native=native)

    def restart(self) -> None:
        """Begin another life: nothing written is left."""
        self.restarts += 1
        self.held.clear()
        self.presence = Presence.ONLINE

    def _write(self, point: Point, payload: bytes, content_type: str | None, now: float) -> None:
        since = point.drift.step(now) if point.drift is not None else 0
        self.held[point.path] = Held(payload, content_type or point.content_type, since)


def _path(target: str) -> str:
    return target.partition("?")[0]


def _moved(value: bytes, by: float) -> bytes:
    try:
        return b"%.2f" % (float(value) + by)
    except ValueError:
        return value  # something was written that is no number: it stays as it is


def _echo(request: DeviceRequest) -> DeviceResponse:
    if request.method == "GET":
        return DeviceResponse(200, request.target.encode(), "text/plain", native=_OK)
    if not request.payload and request.args is not None:
        body = json.dumps(dict(request.args), separators=(",", ":"), ensure_ascii=False).encode()
        return DeviceResponse(200, body, "application/json", native=_CHANGED)
    return DeviceResponse(200, request.payload, request.content_type, native=_CHANGED)


def _refusal(status: int, text: str) -> DeviceResponse:
    return DeviceResponse(
        status, text.encode(), "text/plain", native={"code": f"{status // 100}.{status % 100:02d}"}
    )
