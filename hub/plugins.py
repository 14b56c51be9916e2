"""Makes the configured adapters, found by entry point, so that a new protocol touches no line of the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from hub.ports.abilities import JudgesAddresses
from hub.ports.adapter import API_VERSION, Adapter
from hub.settings.schema import DeviceTable, SettingsError

GROUP = "hub.adapters"

# What the hub itself reads of an adapter's table: the kind of adapter, and the account of devices that it brings.
_OF_THE_HUB = frozenset({"kind", "account"})
_NONE: Mapping[str, DeviceTable] = {}
_log = logging.getLogger("hub.adapters")


@dataclass(slots=True)
class Plugins:
    """The adapters that could be made, with their tables, and why the others could not, in words."""

    adapters: dict[str, tuple[Adapter, Mapping[str, Any]]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def make(tables: Mapping[str, Mapping[str, Any]], devices: Mapping[str, DeviceTable] = _NONE) -> Plugins:
    """An adapter for each `[adapters.<name>]`; its library is imported here, and only if it is configured. Those that
    can judge the addresses of the declared devices do.

    One whose library cannot be imported, or that speaks another version of the contract, is logged and told
    in `broken`: it stops nobody else. Raises SettingsError for a kind that nobody offers and for settings
    that the adapter refuses, since those are mistakes in the configuration.
    """
    made = Plugins()
    wrong: list[str] = []
    points = {point.name: point for point in entry_points(group=GROUP)}
    for name, table in tables.items():
        point = points.get(table["kind"])
        if point is None:
            wrong.append(f"adapters.{name}.kind: there is no {table['kind']!r}, only {', '.join(sorted(points))}")
            continue
        try:
            factory = point.load()
        except Exception as error:
            # Whatever a library does when it is imported: the other adapters shall not suffer for it.
            _log.exception("adapter %s cannot be imported", name)
            made.broken[name] = f"cannot be imported ({type(error).__name__})"
            continue
        try:
            adapter = factory({key: value for key, value in table.items() if key not in _OF_THE_HUB})
        except (ValueError, TypeError) as error:
            wrong.append(f"adapters.{name}.{error}")
            continue
        if adapter.api_version != API_VERSION:
            made.broken[name] = f"speaks version {adapter.api_version} of the adapter contract, not {API_VERSION}"
            _log.error("adapter %s %s", name, made.broken[name])
        else:
            made.adapters[name] = (adapter, table)
    for key, device in devices.items():
        judge = made.adapters.get(device.adapter, (None,))[0]
        if isinstance(judge, JudgesAddresses):
            address = device.address or f"{device.account}/{device.id or key}"
            try:
                judge.judge_address(address)
            except ValueError as error:
                wrong.append(f"devices.{key}.address: {address!r} {error}")
    if wrong:
        raise SettingsError(*wrong)
    return made
