"""Subscriptions in their older form: 202 with an id, and one outcome with that id, whatever becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hub.core.observe import Observing
from hub.dialects.pelion import routes as pelion
from hub.dialects.pelion.subscriptions import Subscriptions
from hub.model.device import Presence
from hub.model.event import EventKind
from hub.model.record import Kind
from hub.ports.adapter import Delivery, DeviceResponse, NotConnected, ObserveSpec
from hub.ports.adapter import EventKind as Heard
from tests.hub_process import HubProcess
from tests.trips.front_rig import Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

LAMP = "/v2/subscriptions/lamp"
TEMPERATURE = f"{LAMP}/3303/0/5700"

Rig = tuple[Front, Observed]


@pytest.fixture(autouse=True)
def asynchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rig makes the routes as they are by default; here they are made as the setting says."""
    made = partial(Subscriptions, asynchronous=True)
    monkeypatch.setattr(pelion, "Subscriptions", lambda hub, channels, asynchronous: made(hub, channels))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_observed(tmp_path) as rig:
        yield rig


def refusing(error: Any) -> Any:
    def answer(spec: ObserveSpec) -> DeviceResponse:
        raise error

    return answer


async def subscribed(front: Front) -> str:
    answer = await front.ask("PUT", TEMPERATURE)
    assert answer.status == 202, answer
    assert list(answer.json) == ["async-response-id"]
    return str(answer.json["async-response-id"])


async def outcomes(observed: Observed, count: int = 1) -> list[tuple[str, int, bytes, str | None]]:
    events = await observed.told(EventKind.COMPLETION, count)
    return [(event.body["ref"], event.body["status"], event.body["payload"], event.body["error"]) for event in events]


def owed(front: Front) -> list[str]:
    return [record.id for record in front.core.hub.directory.records(Kind.OWED)]


async def test_the_outcome_brings_the_present_value_and_later_values_are_notifications(rig: Rig) -> None:
    front, observed = rig
    ref = await subscribed(front)
    told = await outcomes(observed)
    await observed.value(b"22")
    page = (await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=0")).json["messages"]

    assert told == [(ref, 200, b"first /3303/0/5700", None)]
    assert await observed.values() == [("/3303/0/5700", b"22")]
    assert [item["id"] for message in page for item in message.get("async-responses", ())] == [ref]
    assert owed(front) == []


async def test_a_resource_that_is_observed_already_is_told_at_once_under_each_id(rig: Rig) -> None:
    front, observed = rig
    first = await subscribed(front)
    await outcomes(observed)
    await observed.value(b"22")
    second = await subscribed(front)

    assert await outcomes(observed, 2) == [
        (first, 200, b"first /3303/0/5700", None), (second, 200, b"22", None)
    ]  # fmt: skip


async def test_an_observation_that_begins_without_a_value_is_confirmed_without_one(rig: Rig) -> None:
    front, observed = rig
    observed.answer = lambda spec: DeviceResponse(204)
    ref = await subscribed(front)

    assert await outcomes(observed) == [(ref, 200, b"", None)]


async def test_a_refusal_by_the_device_is_told_under_the_id_and_nowhere_else(rig: Rig) -> None:
    front, observed = rig
    observed.answer = lambda spec: DeviceResponse(412, b"no")
    ref = await subscribed(front)
    await outcomes(observed)
    await front.core.settle()

    assert await outcomes(observed) == [(ref, 412, b"no", "DEVICE_ERROR")]


async def asleep(rig: Rig) -> None:
    front, observed = rig
    observed.answer = refusing(NotConnected("asleep", delivery=Delivery.NOT_SENT))
    front.core.adapter.away["lamp"] = Presence.ASLEEP


async def test_of_a_device_that_is_not_connected_the_outcome_comes_when_it_is_back(rig: Rig) -> None:
    # The vendor's 502 of a device that is not connected is not given: the hub waits for it.
    front, observed = rig
    first = observed.answer
    await asleep(rig)
    front.core.adapter.away["lamp"] = Presence.OFFLINE
    await observed.heard(Heard.OFFLINE)
    ref = await subscribed(front)
    await observed.until(observed.news.is_set)
    del front.core.adapter.away["lamp"]
    observed.answer = first
    await observed.heard(Heard.AWAKE)

    assert await outcomes(observed) == [(ref, 200, b"first /3303/0/5700", None)]


async def test_who_unsubscribes_before_is_told_that_it_was_cancelled(rig: Rig) -> None:
    front, observed = rig
    await asleep(rig)
    ref = await subscribed(front)
    await front.ask("DELETE", TEMPERATURE)

    assert await outcomes(observed) == [(ref, 409, b"", "CANCELLED")]
    assert owed(front) == []


@pytest.mark.parametrize("how", [Heard.DEREGISTERED, Heard.REGISTERED])
async def test_an_end_of_the_registration_before_is_told(rig: Rig, how: Heard) -> None:
    front, observed = rig
    await asleep(rig)
    ref = await subscribed(front)
    if how is Heard.REGISTERED:
        await observed.register()
    else:
        await observed.heard(how)

    assert await outcomes(observed) == [(ref, 429, b"", "DEVICE_REMOVED_REGISTRATION")]


async def test_what_is_owed_outlives_the_hub(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as rig:
        await asleep(rig)
        ref = await subscribed(rig[0])
    async with running_observed(tmp_path, again=True) as (front, observed):
        await observed.heard(Heard.UPDATED)

        assert await outcomes(observed) == [(ref, 200, b"first /3303/0/5700", None)]
        assert owed(front) == []


async def test_what_a_crash_left_owed_to_nobody_who_wants_it_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_observed(tmp_path) as rig:
        front, _ = rig
        await asleep(rig)
        ref = await subscribed(front)

        async def died(*args: Any) -> None:
            """The process ends between the one commit and the other."""

        with monkeypatch.context() as patch:
            patch.setattr(Observing, "_unwanted", died)
            await front.ask("DELETE", TEMPERATURE)
    async with running_observed(tmp_path, again=True) as (front, observed):
        assert await outcomes(observed) == [(ref, 409, b"", "CANCELLED")]


@pytest.mark.parametrize("said", ["true", "false"])
def test_the_setting_chooses_the_form(tmp_path: Path, said: str) -> None:
    with HubProcess(tmp_path, environ={"HUB__PELION__ASYNCHRONOUS_SUBSCRIPTIONS": said}) as hub:
        answer = hub.ask("PUT", "v2/subscriptions/015f2fa34d310000000000010030036c/3303/0/5700")
        page = hub.ask("GET", "v1/channels/default/messages?offset=0&wait=10")["messages"]

    assert (answer is not None) == (said == "true")
    told = [item["id"] for message in page for item in message.get("async-responses", ())]
    assert told == ([] if answer is None else [answer["async-response-id"]])
