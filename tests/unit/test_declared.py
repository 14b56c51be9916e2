"""What the configuration declares comes into the directory, changes there, and is disabled when it vanishes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hub.core.access import Access
from hub.core.directory import Directory
from hub.declared import Declared
from hub.model.device import Device, Registration
from hub.model.errors import NotAuthenticated
from hub.model.principal import Scope
from hub.model.record import Kind
from hub.settings import SettingsError, load
from tests.clock import ManualClock
from tests.doubles_directory import StoreInMemory

pytestmark = pytest.mark.anyio

WHOLE = """
[accounts.acme]
name = "Acme"
[applications.app]
account = "acme"
callback_secret_env = "SECRET"
[keys.ops]
application = "app"
scopes = ["call"]
key = "ak_0123456789"
[adapters.ws]
kind = "websocket"
[devices.lamp]
account = "acme"
adapter = "ws"
aliases = { asset = "A1" }
secret = "psk"
"""
ENVIRON = {"SECRET": "callback"}


class Hub:
    """A directory and its keys over one store; `start` is a start of the process with a configuration."""

    def __init__(self, clock: ManualClock) -> None:
        self.store = StoreInMemory()
        self.clock = clock

    async def start(self, text: str) -> Hub:
        self.directory = Directory(self.store, self.clock)
        self.access = Access(self.directory, self.clock)
        await self.directory.load()
        await Declared(load(None, ENVIRON, text=text), self.directory, self.access, ENVIRON).bring()
        return self


@pytest.fixture
def hub(clock: ManualClock) -> Hub:
    return Hub(clock)


def without(section: str) -> str:
    """The configuration without one of its tables."""
    tables = [f"[{table}" for table in f"\n{WHOLE.strip()}".split("\n[")[1:]]
    kept = [table for table in tables if not table.startswith(f"[{section}]")]
    assert len(kept) == len(tables) - 1
    return "\n".join(kept)


async def test_declared_items_are_there(hub: Hub) -> None:
    await hub.start(WHOLE)

    assert hub.access.authenticate("ak_0123456789").scopes == {Scope.CALL}
    [application] = hub.directory.applications("acme")
    assert (application.id, application.callback_secret) == ("app", b"callback")
    device = hub.directory.device("acme", "A1", ["asset"])
    assert device is not None and device.address == "acme/lamp"
    credential = hub.directory.record(Kind.CREDENTIAL, "acme/lamp")
    assert credential is not None and credential.secret == b"psk"


async def test_a_second_start_writes_nothing(hub: Hub) -> None:
    await hub.start(WHOLE)
    commits = len(hub.store.commits)

    await hub.start(WHOLE)

    assert len(hub.store.commits) == commits


async def test_a_vanished_key_is_disabled_and_enabled_when_it_comes_back(hub: Hub) -> None:
    await hub.start(WHOLE)

    await hub.start(without("keys.ops"))
    with pytest.raises(NotAuthenticated):
        hub.access.authenticate("ak_0123456789")
    assert hub.access.key("ops") is not None

    await hub.start(WHOLE)
    assert hub.access.authenticate("ak_0123456789").key_id == "ops"


async def test_a_vanished_device_is_disabled_and_keeps_what_it_is(hub: Hub) -> None:
    await hub.start(WHOLE)
    known = hub.directory.device("acme", "lamp")
    assert known is not None
    await hub.directory.put_device(replace(known, registration=Registration.REGISTERED, boot="b1"))

    await hub.start(without("devices.lamp"))
    assert hub.directory.device("acme", "lamp") is None
    held = hub.directory.held_device("acme", "lamp")
    assert held is not None and held.boot == "b1"

    await hub.start(WHOLE)
    back = hub.directory.device("acme", "lamp")
    assert back is not None and (back.registration, back.boot) == (Registration.REGISTERED, "b1")


async def test_keys_of_a_vanished_application_open_nothing(hub: Hub) -> None:
    await hub.start(WHOLE)

    await hub.start('[accounts.acme]\nname = "Acme"\n')

    with pytest.raises(NotAuthenticated):
        hub.access.authenticate("ak_0123456789")
    assert hub.directory.applications("acme") == []


async def test_a_changed_secret_replaces_the_old_one(hub: Hub) -> None:
    await hub.start(WHOLE)

    await hub.start(WHOLE.replace("ak_0123456789", "ak_9876543210").replace('"psk"', '"psk2"'))

    assert hub.access.authenticate("ak_9876543210").key_id == "ops"
    with pytest.raises(NotAuthenticated):
        hub.access.authenticate("ak_0123456789")
    credential = hub.directory.record(Kind.CREDENTIAL, "acme/lamp")
    assert credential is not None and credential.secret == b"psk2"


async def test_a_secret_may_move_to_another_id(hub: Hub) -> None:
    await hub.start(WHOLE)

    await hub.start(WHOLE.replace("[keys.ops]", "[keys.renamed]"))

    assert hub.access.authenticate("ak_0123456789").key_id == "renamed"
    await hub.start(WHOLE.replace("[keys.ops]", "[keys.renamed]"))
    assert hub.access.authenticate("ak_0123456789").key_id == "renamed"


async def test_a_revoked_key_stays_revoked_until_it_has_another_secret(hub: Hub) -> None:
    await hub.start(WHOLE)
    await hub.access.revoke_key("ops")

    await hub.start(WHOLE)
    with pytest.raises(NotAuthenticated):
        hub.access.authenticate("ak_0123456789")

    await hub.start(WHOLE.replace("ak_0123456789", "ak_9876543210"))
    assert hub.access.authenticate("ak_9876543210").key_id == "ops"


async def test_a_renamed_device_gets_the_address_of_the_old_one(hub: Hub) -> None:
    fixed = WHOLE.replace('adapter = "ws"', 'adapter = "ws"\naddress = "x"')
    await hub.start(fixed)

    await hub.start(fixed.replace("[devices.lamp]", "[devices.light]"))

    assert hub.directory.at("ws", "x") == hub.directory.device("acme", "light")


async def test_what_was_not_declared_is_left_alone(hub: Hub) -> None:
    await hub.start(WHOLE)
    _, secret = await hub.access.create_key("app", frozenset({Scope.LISTEN}))
    await hub.directory.put_device(Device("own", "acme", "ws", ""))

    await hub.start(without("devices.lamp"))

    assert hub.access.authenticate(secret)
    assert hub.directory.device("acme", "own") is not None


async def test_an_item_that_stands_in_the_way_is_named(hub: Hub) -> None:
    await hub.start(WHOLE)
    await hub.directory.put_device(Device("own", "acme", "ws", "taken"))
    with pytest.raises(SettingsError, match=r"devices\.door: the address is in use"):
        await hub.start(WHOLE + '[devices.door]\naccount = "acme"\nadapter = "ws"\naddress = "taken"\n')

    await hub.access.create_key("app", frozenset({Scope.CALL}), secret="ak_made_by_api")
    with pytest.raises(SettingsError, match=r"keys\.more: the key exists"):
        await hub.start(WHOLE + '[keys.more]\napplication = "app"\nscopes = ["call"]\nkey = "ak_made_by_api"\n')

    with pytest.raises(SettingsError, match=r"applications\.app\.account: the application belongs to 'acme'"):
        await hub.start('[accounts.other]\n[applications.app]\naccount = "other"\n')
