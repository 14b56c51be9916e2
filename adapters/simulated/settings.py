"""The settings of the simulated adapter, read strictly: an unknown key or a wrong type is named, never ignored.

    inflight = 1                       # calls that a device takes at a time
    execution_log = "executions.jsonl" # one line per executed call; off when absent
    count = 1000                       # that many echo devices, `sim-load-0` to `sim-load-999`
    prefix = "sim-load-"
    [[devices]]
    address = "sim-slow"
    model = "slow"                     # see model.py; `points` when only resources are given, else `echo`
    behaviour = "answer"               # see behaviour.py; with delay, late, hold, away (seconds), status
    awake_for = 10                     # seconds; with asleep_for the device sleeps
    asleep_for = 30
    [[devices.resources]]
    path = "/1/0/0"
    methods = ["GET", "PUT"]
    value = "text"
    content_type = "text/plain"
    max_age = 60
    observable = true
    drift = 5                          # seconds between steps, with amplitude
    behaviour = "never"                # this point's own, as above
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adapters.simulated.behaviour import AT_ONCE, Behaviour, Manner, Sleep
from adapters.simulated.model import MODELS, Model
from adapters.simulated.point import Drift, Point

_BEHAVIOUR = ("behaviour", "delay", "late", "hold", "away", "status")
_TOP = {"inflight", "execution_log", "count", "prefix", "devices"}
_DEVICE = {"address", "model", "name", "type", "resources", "awake_for", "asleep_for", *_BEHAVIOUR}
_POINT = {
    "path", "methods", "value", "content_type", "max_age", "resource_type", "observable", "drift", "amplitude",
    *_BEHAVIOUR,
}


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """One declared device."""

    address: str
    model: Model
    name: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """Everything that can be set."""

    devices: tuple[DeviceSettings, ...] = ()
    inflight: int = 1
    execution_log: Path | None = None
    count: int = 0
    prefix: str = "sim-load-"


def read(settings: Mapping[str, Any]) -> SimulatedSettings:
    """The settings as values. Raises ValueError that names the key and what is wrong with it."""
    _known(settings, _TOP, "")
    log = _text(settings, "execution_log", "")
    devices = tuple(
        _device(entry, f"devices[{index}].") for index, entry in enumerate(_tables(settings, "devices", ""))
    )
    seen: set[str] = set()
    for device in devices:
        if device.address in seen:
            raise ValueError(f"devices: the address {device.address!r} is there twice")
        seen.add(device.address)
    return SimulatedSettings(
        devices=devices,
        inflight=_whole(settings, "inflight", "", 1, least=1),
        execution_log=Path(log) if log else None,
        count=_whole(settings, "count", "", 0),
        prefix=_text(settings, "prefix", "") or "sim-load-",
    )


def _device(entry: Mapping[str, Any], at: str) -> DeviceSettings:
    _known(entry, _DEVICE, at)
    address = _text(entry, "address", at)
    if not address:
        raise ValueError(f"{at}address: is needed")
    points = [_point(point, f"{at}resources[{i}].") for i, point in enumerate(_tables(entry, "resources", at))]
    named = _text(entry, "model", at) or ("points" if points else "echo")
    model = MODELS.get(named)
    if model is None:
        raise ValueError(f"{at}model: is one of {', '.join(sorted(MODELS))}, not {named!r}")
    behaviour = _behaviour(entry, at, model.behaviour)
    sleep = model.sleep
    if "awake_for" in entry or "asleep_for" in entry:
        sleep = Sleep(_seconds(entry, "awake_for", at, 10), _seconds(entry, "asleep_for", at, 30))
    if points or behaviour is not model.behaviour or sleep is not model.sleep:
        merged = {**model.points, **{point.path: point for point in points}}
        model = replace(model, points=MappingProxyType(merged), behaviour=behaviour, sleep=sleep)
    return DeviceSettings(address, model, _text(entry, "name", at), _text(entry, "type", at))


def _point(entry: Mapping[str, Any], at: str) -> Point:
    _known(entry, _POINT, at)
    path = _text(entry, "path", at)
    if not path or not path.startswith("/"):
        raise ValueError(f"{at}path: begins with a slash")
    methods = entry.get("methods", ("GET", "PUT"))
    if not isinstance(methods, Sequence) or isinstance(methods, str) or not all(isinstance(m, str) for m in methods):
        raise ValueError(f"{at}methods: is a list of words")
    drift = None
    if "drift" in entry:
        amplitude = entry.get("amplitude", 1.0)
        if not isinstance(amplitude, int | float) or isinstance(amplitude, bool):
            raise ValueError(f"{at}amplitude: is a number")
        drift = Drift(_seconds(entry, "drift", at, 5, above=0), float(amplitude))
    return Point(
        path=path,
        methods=frozenset(methods),
        value=(_text(entry, "value", at) or "").encode(),
        content_type=_text(entry, "content_type", at) or "text/plain",
        max_age=_whole(entry, "max_age", at, 0) if "max_age" in entry else None,
        resource_type=_text(entry, "resource_type", at),
        observable=_flag(entry, "observable", at),
        drift=drift,
        behaviour=_behaviour(entry, at, AT_ONCE) if any(key in entry for key in _BEHAVIOUR) else None,
    )


def _behaviour(entry: Mapping[str, Any], at: str, base: Behaviour) -> Behaviour:
    if not any(key in entry for key in _BEHAVIOUR):
        return base
    word = _text(entry, "behaviour", at) or base.manner.value
    if word not in {manner.value for manner in Manner}:
        raise ValueError(f"{at}behaviour: is one of {', '.join(m.value for m in Manner)}, not {word!r}")
    status = _whole(entry, "status", at, 0, least=400, most=599) if "status" in entry else base.status
    return Behaviour(
        manner=Manner(word),
        delay=_seconds(entry, "delay", at, base.delay.total_seconds()),
        late=_seconds(entry, "late", at, base.late.total_seconds()),
        hold=_seconds(entry, "hold", at, base.hold.total_seconds()),
        away=_seconds(entry, "away", at, base.away.total_seconds()),
        status=status,
    )


def _known(entry: Mapping[str, Any], known: set[str], at: str) -> None:
    for key in entry:
        if key not in known:
            raise ValueError(f"{at}{key}: no such setting; there are {', '.join(sorted(known))}")


def _tables(entry: Mapping[str, Any], key: str, at: str) -> Sequence[Mapping[str, Any]]:
    value = entry.get(key, ())
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"{at}{key}: is a list of tables")
    return value


def _text(entry: Mapping[str, Any], key: str, at: str) -> str | None:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{at}{key}: is text")
    return value


def _flag(entry: Mapping[str, Any], key: str, at: str) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{at}{key}: is true or false")
    return value


def _whole(
    entry: Mapping[str, Any], key: str, at: str, default: int, *, least: int = 0, most: int = 10_000_000
) -> int:
    value = entry.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or (key in entry and not least <= value <= most):
        raise ValueError(f"{at}{key}: is a whole number from {least} to {most}")
    return value


def _seconds(entry: Mapping[str, Any], key: str, at: str, default: float, *, above: float = -1) -> timedelta:
    value = entry.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not max(0, above) <= value <= 10_000_000:
        raise ValueError(f"{at}{key}: is a number of seconds")
    if value <= above:
        raise ValueError(f"{at}{key}: is more than {above:g} seconds")
    return timedelta(seconds=value)
