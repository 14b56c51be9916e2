"""Keys, their scopes, rates and revocation; and which devices may dial in."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import replace

import pytest

from hub.core.access import Access
from hub.core.directory import Directory
from hub.core.limits import Limits
from hub.core.records import account_record, application_record
from hub.core.stats import Stats
from hub.model.device import Device
from hub.model.errors import BadRequest, Conflict, NotAuthenticated, NotFound, StorageFailed, TooMany
from hub.model.principal import Principal, Scope
from hub.model.record import Kind
from hub.model.tenant import Account, Application
from hub.ports.adapter import Admission, AdmissionRefused
from tests.clock import ManualClock
from tests.doubles_directory import StoreInMemory

pytestmark = pytest.mark.anyio

CALL = frozenset({Scope.CALL})
DEVICE = frozenset({Scope.DEVICE})


@pytest.fixture
def store() -> StoreInMemory:
    return StoreInMemory()


@pytest.fixture
async def directory(store: StoreInMemory, clock: ManualClock) -> Directory:
    directory = Directory(store, clock)
    for account, application in (("acme", "app"), ("acme", "second"), ("other", "theirs")):
        await directory.put(account_record(Account(account)))
        await directory.put(application_record(Application(application, account)))
    return directory


@pytest.fixture
def access(directory: Directory, clock: ManualClock) -> Access:
    return Access(directory, clock, Limits(calls_per_second=10, burst=20, keys_per_application=3), Stats())


class Heard:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


# Keys.


async def test_a_key_authenticates_its_application(access: Access) -> None:
    key, secret = await access.create_key("app", CALL, "label")

    assert access.authenticate(secret) == Principal("acme", "app", key.id, CALL)
    assert re.fullmatch(rf"ak_{key.id}_[0-9A-Za-z]{{43}}", secret)


async def test_a_key_survives_a_restart(access: Access, store: StoreInMemory, clock: ManualClock) -> None:
    key, secret = await access.create_key("app", CALL)

    again = Directory(store, clock)
    after = Access(again, clock)
    await again.load()

    assert after.authenticate(secret).key_id == key.id


@pytest.mark.parametrize("wrong", ["", "ak_", "ak_unknown_0123456789", "ü", "\ud800", "x" * 100_000])
async def test_anything_else_is_not_authenticated(access: Access, wrong: str) -> None:
    _, secret = await access.create_key("app", CALL)

    for shown in (wrong, secret[:-1], secret + "x", secret.upper()):
        with pytest.raises(NotAuthenticated):
            access.authenticate(shown)


async def test_only_the_digest_of_a_key_is_stored(access: Access, store: StoreInMemory) -> None:
    _, secret = await access.create_key("app", CALL)

    stored = next(record for (kind, _), record in store.records.items() if kind is Kind.KEY)
    assert secret not in repr(stored)
    assert stored.body["sha256"] == hashlib.sha256(secret.encode()).hexdigest()


async def test_a_given_key_is_taken_if_it_has_the_form_of_one(access: Access) -> None:
    _, secret = await access.create_key("app", CALL, secret="ak_01234567")
    assert access.authenticate("ak_01234567").application == "app"
    assert secret == "ak_01234567"

    for bad in ("ak_0123456", "key_0123456789", "ak_0123456789\n", "ak_ümlaut_0123", "ak_with-hyphen"):
        with pytest.raises(BadRequest):
            await access.create_key("app", CALL, secret=bad)


async def test_the_same_secret_cannot_be_two_keys(access: Access) -> None:
    await access.create_key("app", CALL, secret="ak_01234567")

    with pytest.raises(Conflict):
        await access.create_key("theirs", CALL, secret="ak_01234567")
    assert access.authenticate("ak_01234567").application == "app"


async def test_a_key_needs_an_application_a_scope_and_room(access: Access) -> None:
    with pytest.raises(NotFound):
        await access.create_key("nobody", CALL)
    with pytest.raises(BadRequest):
        await access.create_key("app", frozenset())
    for _ in range(3):
        await access.create_key("app", CALL)
    with pytest.raises(TooMany):
        await access.create_key("app", CALL)
    assert len(access.keys("app")) == 3


async def test_of_two_keys_with_one_id_or_one_secret_at_once_only_one_is_made(access: Access) -> None:
    for same in ({"id": "ops"}, {"secret": "ak_01234567"}):
        told = await asyncio.gather(
            access.create_key("app", CALL, **same), access.create_key("app", CALL, **same), return_exceptions=True
        )
        assert sorted(type(outcome) for outcome in told if isinstance(outcome, Exception)) == [Conflict]
        [(key, secret)] = [outcome for outcome in told if not isinstance(outcome, BaseException)]
        assert access.authenticate(secret).key_id == key.id


async def test_a_crowd_of_new_keys_cannot_run_past_the_limit(access: Access) -> None:
    told = await asyncio.gather(*(access.create_key("app", CALL) for _ in range(10)), return_exceptions=True)

    assert sum(isinstance(outcome, TooMany) for outcome in told) == 7
    assert len(access.keys("app")) == 3


async def test_a_key_that_could_not_be_stored_leaves_its_place_free(access: Access, store: StoreInMemory) -> None:
    store.failing = True
    with pytest.raises(StorageFailed):
        await access.create_key("app", CALL, secret="ak_01234567", id="ops")
    store.failing = False

    assert (await access.create_key("app", CALL, secret="ak_01234567", id="ops"))[0].id == "ops"


async def test_a_revoked_key_is_refused_and_its_watchers_are_told_once(access: Access) -> None:
    key, secret = await access.create_key("app", CALL)
    heard, left = Heard(), Heard()
    access.watch(key.id, heard)
    access.watch(key.id, left)()

    assert await access.revoke_key(key.id)

    assert (heard.times, left.times) == (1, 0)
    with pytest.raises(NotAuthenticated):
        access.authenticate(secret)
    assert access.keys("app") == []
    assert not await access.revoke_key(key.id)


async def test_watchers_are_told_before_the_disk_answers(access: Access, store: StoreInMemory) -> None:
    key, secret = await access.create_key("app", CALL)
    heard = Heard()
    access.watch(key.id, heard)
    store.gate = asyncio.Event()
    store.waiting.clear()

    revoking = asyncio.ensure_future(access.revoke_key(key.id))
    await store.waiting.wait()

    assert heard.times == 1
    with pytest.raises(NotAuthenticated):
        access.authenticate(secret)
    store.gate.set()
    assert await revoking


async def test_a_revocation_that_cannot_be_stored_still_holds_and_can_be_repeated(
    access: Access, store: StoreInMemory
) -> None:
    key, secret = await access.create_key("app", CALL)
    store.failing = True
    with pytest.raises(StorageFailed):
        await access.revoke_key(key.id)
    with pytest.raises(NotAuthenticated):
        access.authenticate(secret)
    store.failing = False

    assert await access.revoke_key(key.id)
    assert (Kind.KEY, key.id) not in store.records


async def test_who_watches_a_key_that_is_gone_is_told_at_once(access: Access) -> None:
    heard = Heard()
    access.watch("gone", heard)()
    assert heard.times == 1


async def test_a_watcher_that_left_leaves_nothing_behind(access: Access) -> None:
    key, _ = await access.create_key("app", CALL)
    for _ in range(100):
        unwatch = access.watch(key.id, Heard())
        unwatch()
        unwatch()
    assert access._watchers == {}


async def test_a_declared_key_that_was_revoked_leaves_a_mark(access: Access, store: StoreInMemory) -> None:
    _, secret = await access.create_key("app", CALL, secret="ak_01234567", id="ops", declared=True)

    await access.revoke_key("ops")

    assert store.records[Kind.KEY, "ops"].body["revoked"] is True
    assert access.keys("app") == []
    assert not await access.revoke_key("ops")
    with pytest.raises(NotAuthenticated):
        access.authenticate(secret)


async def test_a_key_of_a_disabled_application_or_account_is_refused(access: Access, directory: Directory) -> None:
    key, secret = await access.create_key("app", CALL)
    heard = Heard()
    access.watch(key.id, heard)

    await directory.put(application_record(Application("app", "acme", disabled=True)))
    with pytest.raises(NotAuthenticated):
        access.authenticate(secret)
    assert heard.times == 1

    await directory.put(application_record(Application("app", "acme")))
    assert access.authenticate(secret)
    await directory.put(account_record(Account("acme", disabled=True)))
    with pytest.raises(NotAuthenticated):
        access.authenticate(secret)


async def test_a_key_that_loses_a_scope_tells_its_watchers(access: Access) -> None:
    key, secret = await access.create_key("app", CALL | DEVICE)
    heard = Heard()
    access.watch(key.id, heard)

    await access.change_key(replace(key, scopes=CALL))

    assert heard.times == 1
    assert access.authenticate(secret).scopes == CALL


async def test_a_replaced_secret_no_longer_opens(access: Access) -> None:
    key, secret = await access.create_key("app", CALL)

    await access.change_key(replace(key, sha256=hashlib.sha256(b"ak_fresh_one").hexdigest()))

    assert access.authenticate("ak_fresh_one").key_id == key.id
    with pytest.raises(NotAuthenticated):
        access.authenticate(secret)


# Rates.


async def test_calls_beyond_the_burst_wait_for_the_rate(access: Access, clock: ManualClock) -> None:
    _, secret = await access.create_key("app", CALL)
    principal = access.authenticate(secret)
    access.take_call(principal, 20)

    with pytest.raises(TooMany) as refused:
        access.take_call(principal)
    assert refused.value.code == "too-many-calls"
    assert refused.value.retry_after == pytest.approx(0.1)

    clock.advance(0.1)
    access.take_call(principal)


async def test_one_key_does_not_use_up_the_rate_of_another(access: Access) -> None:
    first = access.authenticate((await access.create_key("app", CALL))[1])
    second = access.authenticate((await access.create_key("app", CALL))[1])
    access.take_call(first, 20)

    access.take_call(second, 20)


# Devices that dial in.


async def device_key(access: Access, application: str = "app", scopes: frozenset[Scope] = DEVICE) -> str:
    return (await access.create_key(application, scopes))[1]


async def test_a_key_with_the_scope_admits_a_known_device(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", "x1"))

    assert access.admit("key", "lamp", await device_key(access), "ws") == Admission("lamp", "acme", "x1")


async def test_a_device_may_dial_in_by_its_name(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", "x1", name="Lamp 1"))

    assert access.admit("key", "Lamp 1", await device_key(access), "ws") == Admission("lamp", "acme", "x1", "Lamp 1")


async def test_an_unknown_device_is_taken_into_the_account_of_the_key(
    access: Access, directory: Directory, store: StoreInMemory
) -> None:
    verdict = access.admit("key", "new", await device_key(access), "ws")

    assert verdict == Admission("new", "acme", "acme/new")
    assert directory.device("acme", "new") is not None
    await directory.settle()
    assert (Kind.DEVICE, "acme/new") in store.records


async def test_a_device_is_admitted_with_the_key_that_let_it_in(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", "x1"), secret=b"psk")
    key, secret = await access.create_key("app", DEVICE)

    by_key = access.admit("key", "lamp", secret, "ws")
    by_secret = access.admit("secret", "lamp", b"psk", "ws")

    assert isinstance(by_key, Admission) and by_key.key_id == key.id
    assert isinstance(by_secret, Admission) and by_secret.key_id is None


async def test_an_unknown_device_is_not_taken_in_at_the_adapter_of_another_account(
    access: Access, directory: Directory
) -> None:
    access.homes = {"ws": "acme"}
    theirs = await device_key(access, "theirs")

    assert isinstance(access.admit("key", "new", theirs, "ws"), AdmissionRefused)
    assert directory.devices("other") == []
    assert isinstance(access.admit("key", "new", theirs, "mqtt"), Admission)
    assert isinstance(access.admit("key", "new", await device_key(access), "ws"), Admission)


async def test_a_key_does_not_reach_the_device_of_another_account(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("door", "other", "ws", "x1"))

    verdict = access.admit("key", "door", await device_key(access), "ws")

    assert verdict == Admission("door", "acme", "acme/door")


async def test_a_key_is_not_enough_where_something_is_wrong(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("sim", "acme", "simulated", "s"))
    await directory.put_device(Device("off", "acme", "ws", "o", disabled=True))
    good = await device_key(access)
    only_calls = await device_key(access, scopes=CALL)

    for identity, proof in (("lamp", only_calls), ("lamp", "ak_unknown_key"), ("lamp", None), ("sim", good),
                            ("off", good), ("a/b", good), ("", good), ("lamp", b"\xff")):  # fmt: skip
        assert isinstance(access.admit("key", identity, proof, "ws"), AdmissionRefused), (identity, proof)
    assert directory.device("acme", "lamp") is None


async def test_a_device_is_admitted_by_its_own_secret(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", "x1"), secret=b"psk")

    for proof in (b"psk", "psk"):
        assert access.admit("secret", "lamp", proof, "ws") == Admission("lamp", "acme", "x1")
    for proof in (b"PSK", b"", None, "psk ", "\ud800"):
        assert isinstance(access.admit("secret", "lamp", proof, "ws"), AdmissionRefused)


async def test_a_device_without_a_secret_is_not_admitted_by_an_empty_one(
    access: Access, directory: Directory
) -> None:
    await directory.put_device(Device("bare", "acme", "ws", "x1"))
    await directory.put_device(Device("empty", "acme", "ws", "x2"), secret=b"")

    assert isinstance(access.admit("secret", "bare", b"", "ws"), AdmissionRefused)
    assert isinstance(access.admit("secret", "empty", b"", "ws"), AdmissionRefused)


async def test_the_secret_tells_two_devices_of_one_id_apart(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", ""), secret=b"one")
    await directory.put_device(Device("lamp", "other", "ws", ""), secret=b"two")

    assert access.admit("secret", "lamp", b"two", "ws") == Admission("lamp", "other", "other/lamp")
    assert access.admit("secret", "acme/lamp", b"one", "ws") == Admission("lamp", "acme", "acme/lamp")
    assert isinstance(access.admit("secret", "acme/lamp", b"two", "ws"), AdmissionRefused)


async def test_two_devices_of_one_id_and_one_secret_must_say_their_account(
    access: Access, directory: Directory
) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", ""), secret=b"same")
    await directory.put_device(Device("lamp", "other", "ws", ""), secret=b"same")

    assert isinstance(access.admit("secret", "lamp", b"same", "ws"), AdmissionRefused)
    assert isinstance(access.admit("secret", "other/lamp", b"same", "ws"), Admission)


async def test_a_name_alone_admits_only_where_the_configuration_opens_the_adapter(
    access: Access, directory: Directory
) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", "x1"))
    assert isinstance(access.admit("name", "lamp", None, "ws"), AdmissionRefused)

    access.open_to_names = frozenset({"ws"})

    assert access.admit("name", "lamp", None, "ws") == Admission("lamp", "acme", "x1")
    assert isinstance(access.admit("name", "unknown", None, "ws"), AdmissionRefused)
    assert isinstance(access.admit("name", "lamp", None, "mqtt"), AdmissionRefused)


async def test_the_device_of_a_disabled_account_is_not_admitted(access: Access, directory: Directory) -> None:
    await directory.put_device(Device("lamp", "acme", "ws", "x1"), secret=b"psk")
    await directory.put(account_record(Account("acme", disabled=True)))
    access.open_to_names = frozenset({"ws"})

    assert isinstance(access.admit("secret", "lamp", b"psk", "ws"), AdmissionRefused)
    assert isinstance(access.admit("name", "lamp", None, "ws"), AdmissionRefused)


async def test_admissions_and_refusals_are_counted(directory: Directory, clock: ManualClock) -> None:
    stats = Stats()
    access = Access(directory, clock, stats=stats)
    await directory.put_device(Device("lamp", "acme", "ws", "x1"), secret=b"psk")

    access.admit("secret", "lamp", b"psk", "ws")
    access.admit("secret", "lamp", b"no", "ws")
    access.admit("password", "lamp", b"psk", "ws")

    assert (stats.admissions, stats.admissions_refused) == (1, 2)
