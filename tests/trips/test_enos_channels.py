"""Control channels: made, listed, described, removed, and listened to in every way; products; a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.settings import SettingsError, load
from tests.clock import ManualClock
from tests.trips.enos_rig import CHANNEL, OTHER_KEY, STALL_KEY, WORLD, Served, call, read, serving

pytestmark = pytest.mark.anyio

PATH = "/dataService/controlChannels"
MADE = "DATASVC.CONTROL.made"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A hub for tests that neither count what there is nor move the clock."""
    async with serving(tmp_path_factory.mktemp("shared")) as served:
        yield served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


async def make(served: Served, id: str = MADE, **options: Any) -> Any:
    return await served.ask("POST", PATH, {"controlChannelId": id, "desc": "for pumps"}, **options)


async def test_a_channel_is_made_shown_described_and_removed(served: Served) -> None:
    made = (await make(served))["data"]
    assert made == {"id": made["id"], "controlChannelId": MADE, "desc": "for pumps"} and made["id"]

    assert (await served.ask("GET", f"{PATH}/{MADE}"))["data"] == made
    assert (await served.ask("GET", f"{PATH}/{made['id']}"))["data"] == made
    put = await served.ask("PUT", f"{PATH}/{MADE}", {"desc": "for valves"})
    assert put["data"] == {"controlChannelId": MADE, "desc": "for valves"}
    assert (await served.ask("GET", f"{PATH}/{MADE}"))["data"]["desc"] == "for valves"
    gone = await served.ask("DELETE", f"{PATH}/{MADE}")
    assert (gone["status"], gone["data"]) == (0, None)
    assert (await served.ask("GET", f"{PATH}/{MADE}"))["status"] == 1000103


async def test_a_channel_is_made_once(served: Served) -> None:
    answers = await asyncio.gather(*(make(served) for _ in range(5)))

    assert sorted(answer["status"] for answer in answers) == [0] + [1000101] * 4


@pytest.mark.parametrize("id", ["pumps", "DATASVC.CONTROL.", "DATASVC.CONTROL.a b", "DATASVC.SET.a", None, 5])
async def test_an_illegal_id_is_refused(shared: Served, id: Any) -> None:
    assert (await make(shared, id))["status"] == 1000102


async def test_an_id_stays_what_it_is(served: Served) -> None:
    await make(served)

    assert (await served.ask("PUT", f"{PATH}/{MADE}", {"controlChannelId": MADE + "x"}))["status"] == 1000104


async def test_more_channels_than_an_application_may_have_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, channels_per_application=2) as served:
        await served.hub.channels.open("shop/default", "acme")  # always there, and one of the two
        answers = [await make(served, f"{MADE}{n}") for n in range(2)]

    assert [answer["status"] for answer in answers] == [0, 1000108]


async def test_channels_are_listed_by_pages(served: Served) -> None:
    for n in range(3):
        await make(served, f"{MADE}{n}")

    whole = (await served.ask("GET", PATH))["data"]
    second = (await served.ask("GET", f"{PATH}?pageSize=3&pageToken=2"))["data"]
    assert (whole["pageToken"], whole["pageSize"], whole["totalSize"], len(whole["data"])) == (1, 0, 4, 4)
    assert (second["pageToken"], second["pageSize"], second["totalSize"]) == (2, 3, 4)
    assert [channel["controlChannelId"] for channel in second["data"]] == [CHANNEL]
    assert (await served.ask("GET", "/dataService/subscribeGroups"))["data"]["totalSize"] == 4


async def test_later_editions_spell_it_otherwise(served: Served) -> None:
    path = "/edge-service/v1/control-channel"

    made = await served.ask("POST", f"{path}?action=create", {"controlChannelId": MADE})
    gone = await served.ask("POST", f"{path}?action=delete&controlChannelId={MADE}")
    other = await served.ask("POST", f"{path}?action=else", {})

    assert (made["status"], gone["status"], other["status"]) == (0, 0, 400)


async def test_channels_of_points_have_codes_of_their_own(served: Served) -> None:
    path, body = "/dataService/setMeasurepointChannels", {"setMeasurepointChannelId": "DATASVC.SET.a"}

    first, second = [await served.ask("POST", path, body) for _ in range(2)]

    assert (first["status"], second["status"]) == (0, 1000301)
    assert (await served.ask("GET", f"{PATH}/DATASVC.SET.a"))["status"] == 1000103


@pytest.mark.parametrize(("key", "status"), [(STALL_KEY, 1000103), (OTHER_KEY, 400)])
async def test_a_channel_of_somebody_else_is_not_there(served: Served, key: str, status: int) -> None:
    await make(served)

    assert (await served.ask("GET", f"{PATH}/{MADE}", key=key))["status"] == status
    assert (await served.ask("DELETE", f"{PATH}/{MADE}", key=key))["status"] == status


# Listening.


async def test_the_socket_gets_bare_messages_of_outcomes(served: Served) -> None:
    async with served.stream() as one, served.stream() as two:
        await served.invoke(call(), call(requestId="r-2"))
        for socket in (one, two):
            first, second = await read(socket), await read(socket)
            assert set(first) == set(second) == {"data"}
            assert [first["data"][0]["requestId"], second["data"][0]["requestId"]] == ["r-1", "r-2"]


async def test_a_socket_may_begin_with_what_was_before(served: Served) -> None:
    await served.invoke(call())
    await served.told(1)

    async with served.stream(query="&from=first") as socket:
        assert (await read(socket))["data"][0]["requestId"] == "r-1"


async def test_a_named_socket_goes_on_where_it_was(served: Served) -> None:
    async with served.stream(query="&name=default") as socket:
        await served.invoke(call())
        assert (await read(socket))["data"][0]["requestId"] == "r-1"
        channel = await served.hub.channels.open(f"shop/enos.{CHANNEL}", "acme")
        async with asyncio.timeout(5):
            while (await served.hub.engine.log.position(channel.name, "shop/default")).offset < 1:  # type: ignore[union-attr]
                served.clock.advance(0.5)
                await asyncio.sleep(0.01)
    await served.invoke(call(requestId="r-2"))
    await served.told(2)

    async with served.stream(query="&name=default") as socket:
        assert (await read(socket))["data"][0]["requestId"] == "r-2"


async def test_a_gap_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.stream(query="&epoch=another&offset=5") as socket:
        first = await read(socket)

    assert first["data"] == [] and first["gap"]


async def test_deletion_closes_the_socket(served: Served) -> None:
    await make(served)
    async with served.stream(MADE) as socket:
        await served.ask("DELETE", f"{PATH}/{MADE}")
        with pytest.raises(ConnectionClosed) as closed:
            await read(socket)

    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000


async def test_a_socket_of_no_channel_or_without_a_key_is_refused(shared: Served) -> None:
    for channel, key, status in ((MADE, STALL_KEY, 404), (CHANNEL, None, 401), (CHANNEL, "ak_of_nobody_here", 401)):
        with pytest.raises(InvalidStatus) as refused:
            async with shared.stream(channel, key=key):
                pass
        assert refused.value.response.status_code == status


async def test_a_page_of_another_origin_may_not_listen(shared: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with shared.stream(headers={"Origin": "https://elsewhere.example"}):
            pass

    assert refused.value.response.status_code == 403


async def test_long_poll_and_events_carry_the_same_reply_beside_the_native_item(served: Served) -> None:
    await served.invoke(call())
    await served.told(1)
    name = f"/v1/channels/enos.{CHANNEL}"

    (message,) = (await served.sent("GET", f"{name}/messages?from=first", org=None)).json["messages"]
    headers = {"Authorization": "Bearer ak_enos_of_the_shop"}
    async with served.http.get(f"{served.url}{name}/events?from=first", headers=headers) as answer:
        lines = b""
        while b"event: message" not in lines or not lines.endswith(b"\n\n"):
            lines += await answer.content.readany()
        answer.close()

    assert message["data"][0]["requestId"] == message["async-responses"][0]["id"] == "r-1"
    assert message["data"][0]["status"] == 0
    assert b'"data":[{"requestId":"r-1"' in lines


async def test_the_native_stream_carries_it_too(served: Served) -> None:
    headers = {"Authorization": "Bearer ak_enos_of_the_shop"}
    url = f"ws://127.0.0.1:{served.port}/v1/stream?channel=enos.{CHANNEL}"
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        assert (await read(socket))["type"] == "welcome"
        assert (await read(socket))["type"] == "subscribed"
        await served.invoke(call())
        message = await read(socket)

    assert (message["type"], message["data"][0]["requestId"]) == ("message", "r-1")


# Over a restart.


async def test_channels_and_their_messages_outlive_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, clock) as served:
        await make(served)
        await served.invoke(call(controlChannelId=MADE))
        await served.told(1, f"shop/enos.{MADE}")
    async with serving(tmp_path, clock) as served, served.stream(MADE, query="&from=first") as socket:
        assert (await served.ask("GET", f"{PATH}/{MADE}"))["data"]["desc"] == "for pumps"
        assert (await read(socket))["data"][0]["requestId"] == "r-1"


async def test_a_call_under_way_at_a_restart_ends_once(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, clock) as served:
        await served.invoke(call("never", timeout=3000))
        await served.until("sent")
    async with serving(tmp_path, clock) as served:
        clock.advance(3)
        await served.told(1)
        assert [event.body["ending"] for event in await served.events(f"shop/enos.{CHANNEL}")] == ["unknown"]
        assert len([e for e in await served.events("shop/default") if e.kind.value == "completion"]) == 1


async def test_a_declared_channel_that_vanished_is_gone_and_comes_back(tmp_path: Path) -> None:
    without = WORLD.replace(f'channels = ["{CHANNEL}"]', "")
    for world, status in ((WORLD, 0), (without, 1000103), (WORLD, 0)):
        async with serving(tmp_path, world=world) as served:
            assert (await served.ask("GET", f"{PATH}/{CHANNEL}"))["status"] == status


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ('[enos.orgs.x]\naccount = "acme"\napplication = "elsewhere"', "enos.orgs.x.application"),
        ('[enos.orgs.x]\naccount = "none"\napplication = "shop"', "enos.orgs.x.account"),
        ('[enos.orgs.x]\naccount = "acme"\napplication = "shop"\nopaque_from = ["all"]', "enos.orgs.x.opaque_from"),
        ('[enos.orgs.x]\naccount = "acme"\napplication = "shop"\nchannels = ["x"]', "enos.orgs.x.channels"),
        ('[enos.apps.x]\napplication = "shop"', "enos.apps.x.secret"),
        ('[products.x]\naccount = "none"', "products.x.account"),
        ('[products.x]\naccount = "acme"\nservices = { a = { input = { b = "text" } } }', "products.x.services.a"),
    ],
)
def test_mistakes_of_the_configuration_are_told(wrong: str, path: str) -> None:
    with pytest.raises(SettingsError) as told:
        load(None, {}, text=f"{WORLD}\n{wrong}\n")

    assert [line.partition(":")[0] for line in told.value.lines] == [path]


# Products.


async def test_products_are_put_shown_and_removed(served: Served) -> None:
    body = {
        "name": "Valve", "secret": "not to be seen", "activation": True,
        "services": {"open": {"name": "Open", "input": {"by": "number"}, "idempotent": True}},
    }  # fmt: skip

    made = await served.sent("PUT", "/v1/products/pkValve", body, org=None)
    changed = await served.sent("PUT", "/v1/products/pkValve", {"name": "Valves"}, org=None)
    shown = await served.sent("GET", "/v1/products/pkValve", org=None)
    listed = await served.sent("GET", "/v1/products", org=None)

    assert (made.status, changed.status) == (201, 200)
    assert shown.json == changed.json and shown.json["name"] == "Valves"
    assert shown.json["services"]["open"] == {
        "name": "Open", "input": {"by": "number"}, "output": {}, "idempotent": True,
    }  # fmt: skip
    assert shown.json["secret-set"] and "not to be seen" not in listed.text
    assert [product["key"] for product in listed.json["products"]] == ["pkPump", "pkValve"]
    assert (await served.sent("DELETE", "/v1/products/pkValve", org=None)).status == 204
    assert (await served.sent("GET", "/v1/products/pkValve", org=None)).status == 404


@pytest.mark.parametrize(
    "body", [7, {"services": {"a": 5}}, {"services": {"a": {"input": {"b": "text"}}}}, {"activation": 1}]
)
async def test_a_product_that_makes_no_sense_is_refused(shared: Served, body: Any) -> None:
    assert (await shared.sent("PUT", "/v1/products/pkValve", body, org=None)).status == 400


async def test_a_product_of_another_account_is_neither_seen_nor_taken(shared: Served) -> None:
    assert (await shared.sent("GET", "/v1/products/pkPump", key=OTHER_KEY, org=None)).status == 404
    assert (await shared.sent("PUT", "/v1/products/pkPump", {}, key=OTHER_KEY, org=None)).status == 409
    assert (await shared.sent("PUT", "/v1/products/pkValve", {}, key=STALL_KEY, org=None)).status == 403


async def test_a_product_put_by_api_says_which_services_may_be_repeated(served: Served) -> None:
    body = {"services": {"setSpeed": {"idempotent": True}}}
    await served.sent("PUT", "/v1/products/pkPump", body, org=None)
    async with served.stream() as socket:
        await served.invoke(call("never", timeout=3000))
        await served.until("sent")
        served.clock.advance(3)
        assert (await read(socket))["data"][0]["status"] == 1000203
