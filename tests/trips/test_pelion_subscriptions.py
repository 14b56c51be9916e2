"""Single subscriptions of the Connect dialect over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.core.limits import Limits
from hub.model.device import Device, Presence, Registration, Resource
from hub.model.event import EventKind
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from hub.ports.adapter import Delivery, DeviceResponse, NotConnected, ObserveSpec
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

RULES = "/v2/subscriptions"
LAMP = f"{RULES}/lamp"
TEMPERATURE = f"{LAMP}/3303/0/5700"

Rig = tuple[Front, Observed]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_observed(tmp_path) as rig:
        yield rig


# -- single subscriptions -----------------------------------------------------------------------------------


async def test_a_subscription_is_a_plain_200_whose_first_value_comes_as_a_notification(rig: Rig) -> None:
    front, observed = rig
    answer = await front.ask("PUT", TEMPERATURE)
    first = await observed.values()
    await observed.value(b"22")
    message = (await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=0")).json["messages"][-1]

    assert (answer.status, answer.body) == (200, b"")
    assert first == [("/3303/0/5700", b"first /3303/0/5700")]
    assert (await observed.values(2))[1] == ("/3303/0/5700", b"22")
    assert message["notifications"][0]["path"] == "/3303/0/5700"


async def test_repeated_slashes_are_one(rig: Rig) -> None:
    front, observed = rig
    answer = await front.ask("PUT", f"{LAMP}//3303//0/5700")
    await observed.values()

    assert answer.status == 200
    assert (await front.ask("GET", TEMPERATURE)).status == 200
    assert observed.running == ["/3303/0/5700"]


async def test_each_row_of_the_table_of_subscriptions(rig: Rig) -> None:
    front, _ = rig
    await front.core.hub.directory.put_device(Device("declared", "acme", "scripted", "declared"))
    listens = await front.key(Scope.LISTEN)
    calls = await front.key(Scope.CALL)

    for method, path, key, status, word in [
        ("GET", TEMPERATURE, listens, 404, "SUBSCRIPTION_NOT_FOUND"),
        ("GET", LAMP, listens, 404, "SUBSCRIPTION_NOT_FOUND"),
        ("PUT", TEMPERATURE, listens, 200, ""),
        ("PUT", TEMPERATURE, calls, 403, "NOT_ALLOWED"),
        ("GET", TEMPERATURE, listens, 200, ""),
        ("PUT", f"{LAMP}/3303/0/5605", listens, 412, "NOT_OBSERVABLE"),
        ("PUT", f"{LAMP}/9/9/9", listens, 404, "RESOURCE_NOT_FOUND"),
        ("PUT", f"{LAMP}/a%00", listens, 400, "BAD_REQUEST"),
        ("PUT", LAMP, listens, 405, "METHOD_NOT_ALLOWED"),
        ("PUT", f"{LAMP}/", listens, 404, "RESOURCE_NOT_FOUND"),
        ("PUT", f"{RULES}/nobody/3303/0/5700", listens, 404, "DEVICE_NOT_FOUND"),
        ("PUT", f"{RULES}/declared/3303/0/5700", listens, 404, "DEVICE_NOT_FOUND"),
        ("PUT", TEMPERATURE, FOREIGN, 404, "DEVICE_NOT_FOUND"),
        ("GET", f"{RULES}/nobody", listens, 404, "DEVICE_NOT_FOUND"),
        ("PUT", TEMPERATURE, None, 401, "NOT_AUTHENTICATED"),
        ("GET", TEMPERATURE, FOREIGN, 404, "DEVICE_NOT_FOUND"),
        ("DELETE", TEMPERATURE, listens, 204, ""),
        ("DELETE", TEMPERATURE, listens, 204, ""),
        ("GET", TEMPERATURE, listens, 404, "SUBSCRIPTION_NOT_FOUND"),
        ("DELETE", LAMP, listens, 204, ""),
        ("DELETE", f"{RULES}/nobody", listens, 404, "DEVICE_NOT_FOUND"),
    ]:
        answer = await front.ask(method, path, key=key)
        assert (answer.status, answer.text) == (status, word), (method, path)


async def test_the_list_of_subscriptions_has_no_newline_at_its_end(rig: Rig) -> None:
    front, _ = rig
    for path in ("/3304/0/5700", "/3303/0/5700"):
        await front.ask("PUT", LAMP + path)
    answer = await front.ask("GET", LAMP, headers={"Accept": "text/uri-list"})

    assert (answer.status, answer.text) == (200, "/3303/0/5700\n/3304/0/5700")
    assert answer.headers["content-type"].startswith("text/uri-list")


async def test_objects_and_instances_can_be_subscribed(rig: Rig) -> None:
    front, observed = rig
    answers = [(await front.ask("PUT", LAMP + path)).status for path in ("/3303", "/3303/0", "/9", "/3303/1")]
    await observed.values(2)
    await observed.value(b"tlv", "/3303/0")

    assert answers == [200, 200, 404, 404]
    assert (await observed.values(3))[2] == ("/3303/0", b"tlv")


async def test_what_is_inside_an_instance_that_the_device_only_names_is_left_to_the_device(rig: Rig) -> None:
    front, observed = rig
    await observed.register(links=(Resource("/3303/0"),))

    assert (await front.ask("PUT", TEMPERATURE)).status == 200
    assert await observed.values() == [("/3303/0/5700", b"first /3303/0/5700")]


async def test_nobody_is_told_what_he_did_not_subscribe_to(rig: Rig) -> None:
    front, observed = rig
    await front.core.hub.directory.put(Record(Kind.APPLICATION, "desk", "acme", {"name": "Desk"}))
    desk = await front.key(Scope.LISTEN, application="desk")
    await front.ask("PUT", TEMPERATURE, key=desk)
    await observed.values(application="desk")
    await observed.value(b"22")
    await front.ask("PUT", f"{LAMP}/3304/0/5700")
    await observed.value(b"9", "/3304/0/5700")
    await observed.value(b"unasked", "/3303/0/5701")

    assert {path for path, _ in await observed.values(2)} == {"/3304/0/5700"}
    assert {path for path, _ in await observed.values(2, application="desk")} == {"/3303/0/5700"}


async def test_a_later_subscriber_and_a_repeated_subscription_are_told_the_present_value(rig: Rig) -> None:
    front, observed = rig
    await front.core.hub.directory.put(Record(Kind.APPLICATION, "desk", "acme", {"name": "Desk"}))
    desk = await front.key(Scope.LISTEN, application="desk")
    await front.ask("PUT", TEMPERATURE)
    await observed.values()
    await observed.value(b"22")
    await front.ask("PUT", TEMPERATURE, key=desk)
    late = await observed.values(application="desk")
    await front.ask("PUT", TEMPERATURE)

    assert late == [("/3303/0/5700", b"22")]
    assert [payload for _, payload in await observed.values(3)] == [b"first /3303/0/5700", b"22", b"22"]
    assert len(observed.asked) == 1


async def test_the_observation_ends_with_its_last_subscription(rig: Rig) -> None:
    front, observed = rig
    await front.core.hub.directory.put(Record(Kind.APPLICATION, "desk", "acme", {"name": "Desk"}))
    desk = await front.key(Scope.LISTEN, application="desk")
    for key in (desk, None):
        await front.ask("PUT", TEMPERATURE, **({} if key is None else {"key": key}))
    await observed.values()
    await front.ask("DELETE", TEMPERATURE, key=desk)
    still = observed.running
    await observed.value(b"22")
    await front.ask("DELETE", LAMP)
    await observed.until(lambda: not observed.running)
    await observed.value(b"23")

    assert still == ["/3303/0/5700"]
    assert b"22" not in [payload for _, payload in await observed.values(application="desk")]
    assert [payload for _, payload in await observed.values()][-1] == b"22"


async def test_a_refusal_by_the_device_is_an_outcome_with_the_resource_as_its_id(rig: Rig) -> None:
    front, observed = rig
    observed.answer = lambda spec: DeviceResponse(412, b"no")
    answer = await front.ask("PUT", TEMPERATURE)
    [refusal] = await observed.told(EventKind.COMPLETION)
    told = (await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=0")).json["messages"][-1]
    await observed.until(lambda: not observed.running)
    async with asyncio.timeout(PATIENCE):
        while (await front.ask("GET", TEMPERATURE)).status != 404:
            pass

    assert answer.status == 200
    assert refusal.body["ref"] == "lamp/3303/0/5700"
    [item] = told["async-responses"]
    assert (item["id"], item["status"]) == ("lamp/3303/0/5700", 412)


# -- their life ---------------------------------------------------------------------------------------------


async def test_a_registration_ends_single_subscriptions_and_an_update_keeps_them(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", TEMPERATURE)
    await observed.values()
    await observed.heard(Heard.UPDATED)
    kept = await front.ask("GET", TEMPERATURE)
    await observed.register()
    ended = await front.ask("GET", TEMPERATURE)
    await observed.value(b"nobody wants it")

    assert (kept.status, ended.status) == (200, 404)
    assert [payload for _, payload in await observed.values()] == [b"first /3303/0/5700"]


async def test_a_native_observation_is_renewed_when_the_device_registers_anew(rig: Rig) -> None:
    front, observed = rig
    path = "/v1/devices/lamp/observations/3303/0/5700"
    await front.ask("PUT", path)
    await observed.values()
    await observed.register()
    values = await observed.values(2)

    assert (await front.ask("GET", path)).status == 200
    assert values == [("/3303/0/5700", b"first /3303/0/5700")] * 2
    assert len(observed.asked) == 2


async def test_a_subscription_that_answers_a_registration_is_not_ended_by_it(rig: Rig) -> None:
    front, observed = rig
    hub = front.core.hub
    channel = await hub.channels.open("shop/default", "acme")

    def at_once(events: object) -> None:
        tasks.append(asyncio.ensure_future(front.ask("PUT", TEMPERATURE)))

    tasks: list[asyncio.Future[object]] = []
    unfollow = channel.follow(at_once)
    await observed.register()
    unfollow()
    subscribed = [await task for task in tasks]

    assert [answer.status for answer in subscribed] == [200]  # type: ignore[attr-defined]
    assert (await front.ask("GET", TEMPERATURE)).status == 200


async def test_subscriptions_and_rules_outlive_the_hub(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, observed):
        await front.ask("PUT", TEMPERATURE)
        await front.ask("PUT", RULES, [{"resource-path": ["/3304/*"]}])
        await observed.heard(Heard.UPDATED)
        await observed.values(2)
    async with running_observed(tmp_path, again=True) as (front, observed):
        listed = (await front.ask("GET", LAMP)).text
        rules = (await front.ask("GET", RULES)).json
        # The device noticed nothing of the restart and does not register anew.
        await observed.heard(Heard.AWAKE)
        await observed.until(lambda: observed.running == ["/3303/0/5700", "/3304/0/5700"])

    assert listed == "/3303/0/5700\n/3304/0/5700"
    assert rules == [{"resource-path": ["/3304/*"]}]


@pytest.mark.parametrize(("away", "gone"), [(Presence.ASLEEP, Heard.ASLEEP), (Presence.OFFLINE, Heard.OFFLINE)])
async def test_what_is_wanted_of_a_device_that_is_not_there_is_observed_when_it_comes_back(
    rig: Rig, away: Presence, gone: Heard
) -> None:
    # The vendor's 502 of a device that is not connected is not given: the hub waits for it.
    front, observed = rig

    def not_there(spec: ObserveSpec) -> DeviceResponse:
        raise NotConnected(delivery=Delivery.NOT_SENT)

    first, observed.answer = observed.answer, not_there
    front.core.adapter.away["lamp"] = away
    await observed.heard(gone)
    answer = await front.ask("PUT", TEMPERATURE)
    await observed.until(observed.news.is_set)
    del front.core.adapter.away["lamp"]
    observed.answer = first
    await observed.heard(Heard.AWAKE)

    assert answer.status == 200
    assert await observed.values() == [("/3303/0/5700", b"first /3303/0/5700")]


async def test_a_device_that_left_has_no_subscriptions_to_show(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", TEMPERATURE)
    await observed.heard(Heard.DEREGISTERED)

    assert observed.device().registration is Registration.DEREGISTERED
    assert (await front.ask("GET", LAMP)).text == "DEVICE_NOT_FOUND"
    assert (await front.ask("DELETE", LAMP)).status == 204


async def test_an_application_wants_so_much_of_a_device_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    front, _ = rig
    monkeypatch.setattr("hub.core.observe.MOST_WANTS", 2)
    paths = ["/3303/0/5700", "/3303/0/5701", "/3304/0/5700", "/3303/0/5700"]
    answers = [await front.ask("PUT", LAMP + path) for path in paths]

    assert [answer.status for answer in answers] == [200, 200, 429, 200]
    assert answers[2].text == "LIMITS_EXCEEDED"


async def test_the_rate_of_a_key_is_429_on_subscriptions_too(rig: Rig) -> None:
    front, _ = rig
    front.core.hub.access.take_call(front.core.hub.access.authenticate(KEY), Limits().burst)
    answer = await front.ask("PUT", TEMPERATURE)

    assert (answer.status, answer.text) == (429, "LIMITS_EXCEEDED")
    assert (await front.ask("GET", TEMPERATURE)).text == "SUBSCRIPTION_NOT_FOUND"
