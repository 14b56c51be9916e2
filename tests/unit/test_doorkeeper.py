"""Devices that only say who they are, at an adapter that lets everybody in: what a name may claim."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.core.access import Access
from hub.core.records import account_record
from hub.model.device import Device, Registration
from hub.model.errors import UnknownDevice
from hub.model.tenant import Account
from hub.ports.adapter import Admission, AdmissionRefused, DeviceEvent, EventKind
from tests.core_rig import Core, running_core

pytestmark = pytest.mark.anyio

KEYED = {"psk-identity": "meter"}


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as core:
        core.hub.access.homes = {"udp": "acme"}
        yield core


@pytest.fixture
def access(core: Core) -> Access:
    return core.hub.access


@pytest.mark.parametrize("name", ["meter8", "acme/meter8", "urn:meter:8", "Meter 8", "meter"])
async def test_a_device_with_a_key_is_not_let_in_by_any_of_its_names(core: Core, name: str) -> None:
    directory, access = core.hub.directory, core.hub.access
    for address in ("", "urn:meter:8"):
        known = await directory.put_device(Device("meter8", "acme", "udp", address, name="Meter 8", aliases=KEYED))
        if name == "urn:meter:8" and not address:
            continue
        for open_to_names in (frozenset[str](), frozenset({"udp"})):
            access.open_to_names = open_to_names
            assert isinstance(access.admit("open", name, None, "udp"), AdmissionRefused), known.address
        await directory.delete_device(known)


@pytest.mark.parametrize("kind", ["open", "name"])
async def test_a_device_with_a_secret_is_not_let_in_by_its_name_alone(core: Core, access: Access, kind: str) -> None:
    access.open_to_names = frozenset({"udp"})
    for id, secret in (("plain", None), ("secret", b"something")):
        await core.hub.directory.put_device(Device(id, "acme", "udp", ""), secret=secret)

    assert isinstance(access.admit(kind, "plain", None, "udp"), Admission)
    assert isinstance(access.admit(kind, "secret", None, "udp"), AdmissionRefused)


async def test_an_unknown_name_is_let_in_where_everybody_is(access: Access) -> None:
    assert access.admit("open", "new", None, "udp") == Admission("new", "acme", "new")


async def test_whoever_was_let_in_so_comes_back(core: Core, access: Access) -> None:
    await core.hub.directory.put_device(Device("new", "acme", "udp", "new"))

    assert access.admit("open", "new", None, "udp") == Admission("new", "acme", "new")


async def test_a_device_of_another_account_is_not_let_in_by_its_address(core: Core, access: Access) -> None:
    directory = core.hub.directory
    await directory.put(account_record(Account("other")))
    await directory.put_device(Device("lamp9", "other", "udp", "urn:lamp:9"))

    assert isinstance(access.admit("open", "urn:lamp:9", None, "udp"), AdmissionRefused)
    access.open_to_names = frozenset({"udp"})
    assert access.admit("open", "urn:lamp:9", None, "udp") == Admission("lamp9", "other", "urn:lamp:9")


async def test_a_name_takes_the_place_of_no_device_that_is_elsewhere(core: Core, access: Access) -> None:
    await core.hub.directory.put_device(Device("elsewhere", "acme", "ws", "x1"))

    assert isinstance(access.admit("open", "elsewhere", None, "udp"), AdmissionRefused)


@pytest.mark.parametrize("name", ["a/b", "acme/nobody"])
async def test_a_name_that_can_be_no_device_id_is_refused(access: Access, name: str) -> None:
    assert isinstance(access.admit("open", name, None, "udp"), AdmissionRefused)


async def test_without_an_account_to_take_it_into_no_unknown_name_is_let_in(access: Access) -> None:
    access.homes = {}

    assert isinstance(access.admit("open", "new", None, "udp"), AdmissionRefused)


async def test_a_value_that_nobody_proved_is_none_of_a_device_with_a_key(core: Core) -> None:
    lamp, ctx = core.hub.directory.device("acme", "lamp"), core.adapter.ctx
    assert lamp is not None and ctx is not None
    await core.hub.directory.put_device(replace(lamp, aliases=KEYED))

    def value(proved: bool) -> DeviceEvent:
        attrs = {"observed": False, "max_age": None, "proved": proved}
        return DeviceEvent(EventKind.NOTIFICATION, lamp.address, core.clock.monotonic(), "/1", b"1", attrs=attrs)

    with pytest.raises(UnknownDevice):
        await ctx.accept(value(False))
    await ctx.accept(value(True))


@pytest.mark.parametrize("kind", [EventKind.REGISTERED, EventKind.UPDATED])
async def test_a_report_that_nobody_proved_moves_no_device_with_a_key(core: Core, kind: EventKind) -> None:
    lamp = core.hub.directory.device("acme", "lamp")
    assert lamp is not None and core.adapter.ctx is not None
    keyed = replace(lamp, aliases=KEYED, registration=Registration.DEREGISTERED)
    await core.hub.directory.put_device(keyed)

    def report(**attrs: object) -> DeviceEvent:
        return DeviceEvent(kind, lamp.address, core.clock.monotonic(), attrs={"links": (), **attrs})

    with pytest.raises(UnknownDevice):
        await core.adapter.ctx.accept(report(proved=False))
    now = core.hub.directory.device("acme", "lamp")
    assert now is not None and now.registration is Registration.DEREGISTERED
    await core.adapter.ctx.accept(report(proved=True))
    now = core.hub.directory.device("acme", "lamp")
    assert now is not None and now.registration is Registration.REGISTERED


async def test_whoever_is_let_in_is_not_said_to_be_refused(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hub")
    ctx = core.adapter.ctx
    assert ctx is not None
    core.hub.access.homes = {ctx.name: "acme"}

    assert isinstance(await ctx.admit("open", "new", None), Admission)
    assert caplog.messages == []
    assert isinstance(await ctx.admit("open", "a/b", None), AdmissionRefused)
    assert len(caplog.messages) == 1
