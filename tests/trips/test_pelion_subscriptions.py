"""Subscriptions and presubscriptions of the Connect dialect over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.model.device import Device, Presence, Registration, Resource
from hub.model.event import EventKind
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from hub.ports.adapter import Delivery, DeviceResponse, NotConnected, ObserveSpec
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import FOREIGN, PATIENCE, Front
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


async def test_what_is_wanted_of_a_device_that_sleeps_is_observed_when_it_wakes(rig: Rig) -> None:
    front, observed = rig

    def asleep(spec: ObserveSpec) -> DeviceResponse:
        raise NotConnected(delivery=Delivery.NOT_SENT)

    first, observed.answer = observed.answer, asleep
    front.core.adapter.away["lamp"] = Presence.ASLEEP
    await observed.heard(Heard.ASLEEP)
    answer = await front.ask("PUT", TEMPERATURE)
    await observed.until(observed.news.is_set)
    del front.core.adapter.away["lamp"]
    observed.answer = first
    await observed.heard(Heard.AWAKE)

    assert answer.status == 200
    assert await observed.values() == [("/3303/0/5700", b"first /3303/0/5700")]


# -- presubscriptions ---------------------------------------------------------------------------------------


async def test_rules_are_told_back_as_they_were_put(rig: Rig) -> None:
    front, _ = rig
    none = await front.ask("GET", RULES)
    rules = [
        {"endpoint-name": "015f2fa3*", "resource-path": ["/3303/*", "/3304/0/5700"]},
        {"endpoint-type": "climate"},
        {"resource-path": []},
    ]
    put = await front.ask("PUT", RULES, rules, headers={"Accept": "text/plain"})
    got = await front.ask("GET", RULES)
    foreign = await front.ask("GET", RULES, key=FOREIGN)
    deleted = await front.ask("DELETE", RULES)

    assert (none.status, none.json) == (200, [])
    assert (put.status, put.body, got.json, foreign.json) == (204, b"", rules, [])
    assert (deleted.status, (await front.ask("GET", RULES)).json) == (204, [])


@pytest.mark.parametrize(
    "rules",
    [
        b"{",
        b"{}",
        [[]],
        [{}],
        [{"endpoint-name": None}],
        [{"endpoint-name": "a*b"}],
        [{"endpoint-name": "x" * 65}],
        [{"endpoint-type": 5}],
        [{"endpoint-type": ""}],
        [{"resource-path": "/3303"}],
        [{"resource-path": ["/33*/0"]}],
        [{"resource-path": ["/" + "3" * 128]}],
        [{"resource-path": [f"/{n}" for n in range(257)]}],
        [{"resource-path": ["/1"] * 129}] * 127 + [{"endpoint-name": "a", "resource-path": ["/1"]}] * 2,
        [{"endpoint-type": "t"}] * 1025,
    ],
    ids=lambda rules: str(rules)[:60],
)
async def test_a_malformed_rule_is_refused_and_the_old_ones_stay(rig: Rig, rules: object) -> None:
    front, _ = rig
    await front.ask("PUT", RULES, [{"endpoint-type": "t"}])
    answer = await front.ask("PUT", RULES, rules)

    assert answer.status == 400
    assert (await front.ask("GET", RULES)).json == [{"endpoint-type": "t"}]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"endpoint-name": "lamp"}, ["/3303/0/5700", "/3303/0/5701", "/3304/0/5700"]),
        ({"endpoint-name": "la*", "resource-path": ["/3303/*"]}, ["/3303/0/5700", "/3303/0/5701"]),
        ({"endpoint-name": "l"}, []),
        ({"endpoint-type": "light", "resource-path": ["/3304/0/5700"]}, ["/3304/0/5700"]),
        ({"endpoint-type": "lig"}, []),
        ({"endpoint-name": "lamp", "endpoint-type": "other"}, []),
        ({"resource-path": ["*"]}, ["/3303/0/5700", "/3303/0/5701", "/3304/0/5700"]),
        ({"resource-path": ["/3303/0/5605", "/9/9/9"]}, []),
        ({"resource-path": ["3303/0/5701"]}, ["/3303/0/5701"]),
        ({"resource-path": []}, ["/3303/0/5700", "/3303/0/5701", "/3304/0/5700"]),
    ],
    ids=str,
)
async def test_a_rule_subscribes_what_it_names_when_the_device_registers(
    rig: Rig, rule: dict[str, object], wanted: list[str]
) -> None:
    front, observed = rig
    await front.ask("PUT", RULES, [rule])
    before = await front.ask("GET", LAMP)
    await observed.register(type="light")

    assert before.status == 404
    assert (await front.ask("GET", LAMP)).text.split("\n") == (wanted or ["SUBSCRIPTION_NOT_FOUND"])
    assert sorted(path for path, _ in await observed.values(len(wanted))) == wanted


async def test_a_rule_applies_at_an_update_too_and_holds_over_the_next_registration(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", RULES, [{"resource-path": ["/3303/0/5700"]}])
    await observed.heard(Heard.UPDATED)
    await observed.values()
    await observed.register()

    assert len(await observed.values(2)) == 2
    assert (await front.ask("GET", LAMP)).text == "/3303/0/5700"


async def test_removed_rules_end_what_only_they_wanted(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", TEMPERATURE)
    await front.ask("PUT", RULES, [{"resource-path": ["/3303/*"]}, {"resource-path": ["/3304/*"]}])
    await observed.heard(Heard.UPDATED)
    await observed.values(3)
    await front.ask("PUT", RULES, [{"resource-path": ["/3304/*"]}])
    await observed.until(lambda: observed.running == ["/3303/0/5700", "/3304/0/5700"])
    listed = (await front.ask("GET", LAMP)).text
    await front.ask("PUT", RULES, [])

    assert listed == "/3303/0/5700\n/3304/0/5700"
    assert (await front.ask("GET", LAMP)).text == "/3303/0/5700"


async def test_a_rule_that_was_removed_does_not_come_back_with_the_hub(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, observed):
        await front.ask("PUT", RULES, [{"resource-path": ["/3303/0/5700"]}])
        await observed.heard(Heard.UPDATED)
        await observed.values()
        await front.ask("DELETE", RULES)
    async with running_observed(tmp_path, again=True) as (front, _):
        assert (await front.ask("GET", LAMP)).status == 404


async def test_an_application_that_unsubscribes_is_not_told_though_its_rule_stands(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", RULES, [{"resource-path": ["/3303/0/5700"]}])
    await observed.register()
    await observed.values()
    await front.ask("DELETE", TEMPERATURE)
    await observed.value(b"22")
    told = await observed.values()
    await observed.heard(Heard.UPDATED)

    assert [payload for _, payload in told] == [b"first /3303/0/5700"]
    assert (await front.ask("GET", TEMPERATURE)).status == 200


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
