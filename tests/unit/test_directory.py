"""The directory: memory and store in step, whatever happens in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hub.core.directory import Directory
from hub.core.limits import Limits
from hub.core.records import account_record, application_record
from hub.model.device import Device, Presence, Registration, Resource
from hub.model.errors import BadRequest, Conflict, NotFound, RevisionConflict, StorageFailed, TooMany
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind, Record
from hub.model.tenant import Account, Application
from tests.clock import ManualClock
from tests.doubles_directory import StoreInMemory

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> StoreInMemory:
    return StoreInMemory()


@pytest.fixture
def directory(store: StoreInMemory, clock: ManualClock) -> Directory:
    return Directory(store, clock)


def lamp(account: str = "acme", id: str = "lamp", **more: object) -> Device:
    return replace(Device(id, account, "websocket", ""), **more)  # type: ignore[arg-type]


async def reloaded(store: StoreInMemory, clock: ManualClock) -> Directory:
    again = Directory(store, clock)
    await again.load()
    return again


async def test_a_device_comes_back_whole_after_a_restart(
    directory: Directory, store: StoreInMemory, clock: ManualClock
) -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    whole = Device(
        id="lamp", account="acme", adapter="websocket", address="a/1", name="Lamp", type="light",
        aliases={"asset": "A1"}, queue_mode=True, registration=Registration.REGISTERED, presence=Presence.ASLEEP,
        resources=(Resource("/3/0", "t", "i", "text/plain", True),), created_at=moment, last_seen=moment,
        expires_at=moment, boot="b7", attrs={"location": "/rd/1", "n": [1, b"x"]},
    )  # fmt: skip

    stored = await directory.put_device(whole)

    assert stored == replace(whole, updated_at=clock.now())
    assert (await reloaded(store, clock)).device("acme", "lamp") == stored


async def test_a_device_of_another_account_is_missing(directory: Directory) -> None:
    await directory.put_device(lamp("acme"))

    assert directory.device("other", "lamp") is None
    assert directory.devices("other") == []


async def test_two_accounts_may_have_a_device_of_the_same_id(directory: Directory) -> None:
    await directory.put_device(lamp("acme"))
    await directory.put_device(lamp("other", name="theirs"))

    assert directory.at("websocket", "acme/lamp") == directory.device("acme", "lamp")
    assert [device.account for device in directory.everywhere("lamp")] == ["acme", "other"]


async def test_an_address_belongs_to_one_device_of_the_hub(directory: Directory) -> None:
    await directory.put_device(lamp("acme", address="x"))

    with pytest.raises(Conflict) as refused:
        await directory.put_device(lamp("other", address="x"))

    assert refused.value.code == "address-taken"
    assert directory.device("other", "lamp") is None


async def test_of_two_at_once_only_one_gets_the_address(directory: Directory) -> None:
    both = await asyncio.gather(
        directory.put_device(lamp(id="one", address="x")),
        directory.put_device(lamp(id="two", address="x")),
        return_exceptions=True,
    )

    assert sorted(type(result).__name__ for result in both) == ["Conflict", "Device"]


async def test_an_address_that_could_not_be_written_is_free_again(directory: Directory, store: StoreInMemory) -> None:
    store.failing = True
    with pytest.raises(StorageFailed):
        await directory.put_device(lamp(id="one", address="x", aliases={"asset": "A"}))
    store.failing = False

    await directory.put_device(lamp(id="two", address="x", aliases={"asset": "A"}))

    assert directory.device("acme", "one") is None


async def test_the_default_address_of_another_account_cannot_be_taken(directory: Directory) -> None:
    await directory.put(account_record(Account("other")))

    with pytest.raises(Conflict):
        await directory.put_device(lamp("acme", address="other/door"))


async def test_a_moved_device_is_found_at_its_new_address_only(directory: Directory) -> None:
    await directory.put_device(lamp(address="old"))
    await directory.put_device(lamp(address="new"))

    assert directory.at("websocket", "old") is None
    assert directory.at("websocket", "new") is not None


async def test_aliases_are_looked_at_after_ids_and_only_those_of_the_kinds_named(directory: Directory) -> None:
    await directory.put_device(lamp(id="a", aliases={"asset": "b", "array": "z"}))
    await directory.put_device(lamp(id="b"))

    assert directory.device("acme", "b", ["asset"]) == directory.device("acme", "b")
    assert directory.device("acme", "z", ["asset"]) is None
    assert directory.device("acme", "z", ["array"]) == directory.device("acme", "a")
    assert directory.device("other", "z", ["array"]) is None


async def test_an_alias_is_unique_in_its_account_only(directory: Directory) -> None:
    await directory.put_device(lamp("acme", aliases={"asset": "A"}))
    await directory.put_device(lamp("other", aliases={"asset": "A"}))

    with pytest.raises(Conflict):
        await directory.put_device(lamp("acme", "second", aliases={"asset": "A"}))


async def test_a_product_device_alias_is_unique_in_the_hub(directory: Directory) -> None:
    await directory.put_device(lamp("acme", aliases={"product-device": "p/d"}))

    with pytest.raises(Conflict):
        await directory.put_device(lamp("other", aliases={"product-device": "p/d"}))


async def test_a_name_finds_a_device_only_while_it_is_the_only_one(directory: Directory) -> None:
    await directory.put_device(lamp(id="a", name="n"))
    assert directory.by_name("acme", "n") == directory.device("acme", "a")

    await directory.put_device(lamp(id="b", name="n"))
    assert directory.by_name("acme", "n") is None

    await directory.delete_device(lamp(id="a"))
    assert directory.by_name("acme", "n") == directory.device("acme", "b")


@pytest.mark.parametrize("successor", ["a", "new"])  # what is read again is read by id
async def test_a_disabled_device_looks_missing_and_gives_up_its_place(
    directory: Directory, store: StoreInMemory, clock: ManualClock, successor: str
) -> None:
    first = await directory.put_device(lamp(address="x"))
    await directory.put_device(replace(first, disabled=True))

    assert directory.device("acme", "lamp") is None
    assert directory.at("websocket", "x") is None
    assert directory.devices("acme") == []
    await directory.put_device(lamp(id=successor, address="x"))
    assert directory.at("websocket", "x") == directory.device("acme", successor)
    with pytest.raises(Conflict):
        await directory.put_device(first)
    again = await reloaded(store, clock)
    assert again.at("websocket", "x") == again.device("acme", successor) is not None


async def test_an_enabled_device_is_found_at_its_address_again(directory: Directory) -> None:
    first = await directory.put_device(lamp(address="x"))
    await directory.put_device(replace(first, disabled=True))

    await directory.put_device(first)

    assert directory.at("websocket", "x") == directory.device("acme", "lamp")


async def test_devices_are_listed_by_id(directory: Directory) -> None:
    for id in ("c", "a", "b"):
        await directory.put_device(lamp(id=id))
    assert [device.id for device in directory.devices("acme")] == ["a", "b", "c"]

    await directory.delete_device(lamp(id="b"))
    assert [device.id for device in directory.devices("acme")] == ["a", "c"]


async def test_events_go_into_the_commit_of_the_device_they_tell_of(directory: Directory, store: StoreInMemory) -> None:
    draft = EventDraft("app/default", EventKind.REGISTERED, {"device": "lamp"})

    await directory.put_device(lamp(), [draft])
    await directory.delete_device(lamp(), [draft])

    assert store.drafts == [draft, draft]
    assert store.accounts == {"app/default": "acme"}


async def test_a_failed_write_changes_nothing_in_memory(directory: Directory, store: StoreInMemory) -> None:
    before = await directory.put_device(lamp())
    store.failing = True

    with pytest.raises(StorageFailed):
        await directory.put_device(lamp(name="changed"))
    with pytest.raises(StorageFailed):
        await directory.delete_device(lamp())

    assert directory.device("acme", "lamp") == before


async def test_a_writer_that_is_cancelled_leaves_memory_and_store_in_step(
    directory: Directory, store: StoreInMemory
) -> None:
    store.gate = asyncio.Event()
    task = asyncio.ensure_future(directory.put_device(lamp(name="first")))
    await store.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.gate.set()
    await directory.settle()

    found = directory.device("acme", "lamp")
    assert found is not None and found.name == "first"
    await directory.put_device(lamp(name="second"))
    assert store.records[Kind.DEVICE, "acme/lamp"].body["name"] == "second"


async def test_writes_of_one_device_stand_in_line_and_none_conflicts(
    directory: Directory, store: StoreInMemory
) -> None:
    await asyncio.gather(*(directory.put_device(lamp(name=str(n))) for n in range(50)))

    assert [commit[0].revision for commit in store.commits] == list(range(1, 51))
    found = directory.device("acme", "lamp")
    assert found is not None and found.name == "49"


async def test_edits_at_the_same_time_build_on_each_other(directory: Directory, store: StoreInMemory) -> None:
    await directory.put_device(lamp())

    def named(before: Device | None) -> Device:
        assert before is not None
        return replace(before, name=f"{before.name or ''}x")

    await asyncio.gather(*(directory.edit_device("acme", "lamp", named) for _ in range(5)))

    device = directory.device("acme", "lamp")
    assert device is not None and device.name == "xxxxx"


async def test_an_edit_that_changes_nothing_costs_no_commit(directory: Directory, store: StoreInMemory) -> None:
    await directory.put_device(lamp())
    commits = len(store.commits)

    await directory.edit_device("acme", "lamp", lambda before: before or lamp())
    assert len(store.commits) == commits

    await directory.edit_device("acme", "lamp", lambda before: before or lamp(), secret=b"s")
    assert len(store.commits) == commits + 1


async def test_an_edit_that_is_refused_writes_nothing(directory: Directory, store: StoreInMemory) -> None:
    def refused(before: Device | None) -> Device:
        raise NotFound("no such device")

    with pytest.raises(NotFound):
        await directory.edit_device("acme", "lamp", refused)
    assert store.commits == [] and directory._writes._lines == {}


async def test_events_of_an_edit_are_told_of_the_device_as_written(directory: Directory, store: StoreInMemory) -> None:
    def tell(after: Device) -> list[EventDraft]:
        return [EventDraft("app/default", EventKind.UPDATED, {"device": after.id, "name": after.name})]

    await directory.edit_device("acme", "lamp", lambda before: lamp(name="blue"), tell)

    assert [draft.body for draft in store.drafts] == [{"device": "lamp", "name": "blue"}]


async def test_a_device_is_told_to_have_left_when_it_is_deleted_disabled_or_moved(directory: Directory) -> None:
    left: list[tuple[str, str]] = []
    directory.on_left = lambda device: left.append((device.adapter, device.address))
    await directory.put_device(lamp())
    directory.revise(lamp(address="acme/lamp", presence=Presence.ONLINE))
    await directory.put_device(lamp(name="blue"))
    assert left == []

    await directory.put_device(lamp(address="acme/elsewhere"))
    await directory.put_device(lamp(address="acme/elsewhere", disabled=True))
    await directory.put_device(lamp())  # what was kept at the place that it had while it was disabled is nobody's now
    await directory.put_device(lamp(disabled=True))
    await directory.delete_device(lamp())

    places = ("acme/lamp", "acme/elsewhere", "acme/elsewhere", "acme/lamp", "acme/lamp")
    assert left == [("websocket", place) for place in places]


async def test_a_crowd_of_new_devices_cannot_run_past_the_limit(store: StoreInMemory, clock: ManualClock) -> None:
    directory = Directory(store, clock, Limits(devices_per_account=3))

    told = await asyncio.gather(
        *(directory.put_device(lamp(id=f"d{n}")) for n in range(10)), return_exceptions=True
    )

    assert sum(isinstance(outcome, TooMany) for outcome in told) == 7
    assert len(directory.devices("acme")) == 3


async def test_lines_of_waiting_writers_are_not_kept(directory: Directory) -> None:
    await asyncio.gather(*(directory.put_device(lamp(id=str(n % 7))) for n in range(50)))

    assert directory._writes._lines == {}


async def test_presence_that_changed_during_a_write_stays_changed(directory: Directory, store: StoreInMemory) -> None:
    known = await directory.put_device(lamp(presence=Presence.ONLINE))
    store.gate = asyncio.Event()
    store.waiting.clear()
    task = asyncio.ensure_future(directory.put_device(replace(known, name="renamed")))
    await store.waiting.wait()
    directory.revise(replace(known, presence=Presence.OFFLINE))
    store.gate.set()

    stored = await task

    assert (stored.name, stored.presence) == ("renamed", Presence.OFFLINE)


async def test_a_revision_is_not_written(directory: Directory, store: StoreInMemory) -> None:
    known = await directory.put_device(lamp())

    directory.revise(replace(known, presence=Presence.ONLINE))

    found = directory.at("websocket", "acme/lamp")
    assert found is not None and found.presence is Presence.ONLINE
    assert len(store.commits) == 1


async def test_a_deleted_device_is_not_revived_by_a_late_revision(directory: Directory) -> None:
    known = await directory.put_device(lamp())
    await directory.delete_device(known)

    directory.revise(replace(known, presence=Presence.ONLINE))

    assert directory.device("acme", "lamp") is None
    with pytest.raises(NotFound):
        await directory.delete_device(known)


async def test_a_credential_lives_and_dies_with_its_device(directory: Directory, store: StoreInMemory) -> None:
    await directory.put_device(lamp(), secret=b"psk")
    await directory.put_device(lamp(name="renamed"))

    held = directory.record(Kind.CREDENTIAL, "acme/lamp")
    assert held is not None and held.secret == b"psk"
    await directory.delete_device(lamp())
    assert directory.record(Kind.CREDENTIAL, "acme/lamp") is None
    assert store.records == {}


async def test_a_device_made_in_passing_is_known_at_once_and_stored_behind(
    directory: Directory, store: StoreInMemory
) -> None:
    device = directory.put_device_soon(lamp())
    assert directory.at("websocket", "acme/lamp") == device
    assert store.records == {}

    await directory.put_device(replace(device, name="registered"))

    assert [commit[0].body["name"] for commit in store.commits] == [None, "registered"]


async def test_a_device_made_in_passing_is_forgotten_when_it_cannot_be_stored(
    directory: Directory, store: StoreInMemory
) -> None:
    store.failing = True
    directory.put_device_soon(lamp())

    await directory.settle()

    assert directory.device("acme", "lamp") is None
    assert directory.at("websocket", "acme/lamp") is None


@pytest.mark.parametrize("id", ["", "a/b", "x" * 257, "a\nb", "a\x00"])
async def test_an_impossible_id_is_refused(directory: Directory, id: str) -> None:
    with pytest.raises(BadRequest):
        await directory.put_device(lamp(id=id))


async def test_an_account_has_no_more_devices_than_it_may(store: StoreInMemory, clock: ManualClock) -> None:
    directory = Directory(store, clock, Limits(devices_per_account=2))
    await directory.put_device(lamp(id="a"))
    await directory.put_device(lamp(id="b"))

    with pytest.raises(TooMany):
        await directory.put_device(lamp(id="c"))

    await directory.put_device(lamp(id="b", name="changed"))
    await directory.put_device(lamp("other", id="c"))


async def test_records_are_written_with_the_revision_that_memory_knows(
    directory: Directory, store: StoreInMemory, clock: ManualClock
) -> None:
    first = await directory.put(Record(Kind.WEBHOOK, "w", "acme", {"url": "a"}, b"secret"))
    second = await directory.put(Record(Kind.WEBHOOK, "w", "acme", {"url": "b"}, b"secret"))

    assert (first.revision, second.revision) == (1, 2)
    again = await reloaded(store, clock)
    assert again.records(Kind.WEBHOOK, "acme") == [second]
    assert again.records(Kind.WEBHOOK, "other") == []
    await again.delete(Kind.WEBHOOK, "w")
    await again.delete(Kind.WEBHOOK, "w")
    assert again.record(Kind.WEBHOOK, "w") is None


async def test_after_a_foreign_write_the_next_try_is_an_honest_one(directory: Directory, store: StoreInMemory) -> None:
    mine = await directory.put(Record(Kind.RULE, "r", "acme", {"n": 1}))
    store.records[Kind.RULE, "r"] = replace(mine, body={"n": 2}, revision=7)

    with pytest.raises(RevisionConflict):
        await directory.put(Record(Kind.RULE, "r", "acme", {"n": 3}))

    assert (await directory.put(Record(Kind.RULE, "r", "acme", {"n": 3}))).revision == 8


async def test_the_records_of_devices_can_be_read_and_deleted_like_others(directory: Directory) -> None:
    await directory.put_device(lamp())

    assert [record.id for record in directory.records(Kind.DEVICE)] == ["acme/lamp"]
    await directory.delete(Kind.DEVICE, "acme/lamp")
    assert directory.records(Kind.DEVICE) == []


async def test_applications_of_an_account_are_told_but_not_the_disabled_ones(directory: Directory) -> None:
    await directory.put(application_record(Application("one", "acme", "One", b"s")))
    await directory.put(application_record(Application("two", "acme", disabled=True)))
    await directory.put(application_record(Application("three", "other")))

    assert directory.applications("acme") == [Application("one", "acme", "One", b"s")]


async def test_a_follower_hears_of_what_is_there_and_of_each_change(directory: Directory) -> None:
    await directory.put(Record(Kind.KEY, "a", "acme", {}))
    heard: list[tuple[str, bool]] = []

    directory.follow(Kind.KEY, lambda id, record: heard.append((id, record is not None)))
    await directory.put(Record(Kind.KEY, "b", "acme", {}))
    await directory.put(Record(Kind.RULE, "c", "acme", {}))
    await directory.delete(Kind.KEY, "a")

    assert heard == [("a", True), ("b", True), ("a", False)]
