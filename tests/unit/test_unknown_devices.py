"""Events of devices that the hub does not know (any more), and the end of their connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.model.device import Presence
from hub.model.errors import NotTaken, UnknownDevice
from hub.ports.abilities import Remembers
from hub.ports.adapter import DeviceEvent, EventKind
from tests.core_rig import Core, ScriptedAdapter, running_core

pytestmark = pytest.mark.anyio


class Expelling(ScriptedAdapter):
    """Notes whom it is told to send away."""

    def __init__(self, expelled: list[str]) -> None:
        super().__init__()
        self.expelled = expelled

    def expel(self, device: str) -> None:
        self.expelled.append(device)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as core:
        yield core


def event(core: Core, kind: EventKind, device: str) -> DeviceEvent:
    return DeviceEvent(kind, device, core.clock.monotonic())


@pytest.mark.parametrize("kind", [EventKind.UPDATED, EventKind.AWAKE, EventKind.OFFLINE, EventKind.NOTIFICATION])
async def test_an_event_of_an_unknown_device_may_not_be_acknowledged(core: Core, kind: EventKind) -> None:
    assert core.adapter.ctx is not None

    with pytest.raises(UnknownDevice):
        await core.adapter.ctx.accept(event(core, kind, "nobody"))
    await core.adapter.ctx.accept(event(core, EventKind.AWAKE, "lamp"))
    assert core.adapter.ctx.emit(event(core, kind, "nobody"))
    await core.settle()


async def test_a_registration_that_is_refused_is_not_mistaken_for_a_disk_that_fails(core: Core) -> None:
    assert core.adapter.ctx is not None
    name = "n" * 300
    registered = DeviceEvent(EventKind.REGISTERED, name, core.clock.monotonic(), attrs={"id": name})

    with pytest.raises(NotTaken):
        await core.adapter.ctx.accept(registered)


async def test_an_event_of_a_deleted_device_may_not_be_acknowledged(core: Core) -> None:
    lamp = core.hub.directory.device("acme", "lamp")
    assert core.adapter.ctx is not None and lamp is not None
    await core.hub.presence.remove(lamp)

    with pytest.raises(UnknownDevice):
        await core.adapter.ctx.accept(event(core, EventKind.NOTIFICATION, "lamp"))


async def test_the_adapter_sends_away_devices_that_are_deleted_disabled_moved_or_given_another_key(core: Core) -> None:
    directory, expelled = core.hub.directory, list[str]()
    core.hub.adapters["scripted"] = Expelling(expelled)
    devices = [await core.device(id) for id in ("deleted", "disabled", "moved", "renamed", "keyed")]

    await core.hub.presence.remove(devices[0])
    await directory.put_device(replace(devices[1], disabled=True))
    await directory.put_device(replace(devices[2], address="acme/elsewhere"))
    await directory.put_device(replace(devices[3], name="blue"))
    for identity in ("first", "first", "second"):
        await directory.put_device(replace(devices[4], aliases={"psk-identity": identity}))

    assert expelled == ["deleted", "disabled", "moved", "keyed", "keyed"]
    assert [directory.device("acme", id).presence for id in ("renamed", "keyed")] == [  # type: ignore[union-attr]
        Presence.ONLINE, Presence.OFFLINE,
    ]


async def test_what_was_kept_of_a_device_is_forgotten_when_it_is_given_a_key(core: Core) -> None:
    ctx = core.adapter.ctx
    assert isinstance(ctx, Remembers)
    for id in ("keyed", "renamed"):
        device = await core.device(id)
        await ctx.remember(id, b"how it came")
        more = {"aliases": {"psk-identity": "k"}} if id == "keyed" else {"name": "blue"}
        await core.hub.directory.put_device(replace(device, **more))

    assert dict(ctx.memories()) == {"renamed": b"how it came"}
