"""Devices on the WebSocket adapter, over real sockets: the way in, the limits, the ways out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol as Offered

from adapters.websocket.double import DeviceDouble
from adapters.websocket.frame import Event, Hello, Notify, Ping, Result, Unknown, Welcome
from adapters.websocket.rig import KEY, Rig, create_rig
from adapters.websocket.settings import read
from hub.model.device import Presence
from hub.ports.abilities import Dated
from hub.ports.adapter import Delivery, EventKind, ObserveSpec
from tests.contracts.adapter_case import Case, refused, within
from tests.contracts.context import ContextDouble

pytestmark = pytest.mark.anyio


@pytest.fixture
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    rig = create_rig(tmp_path, **getattr(request, "param", {}))
    ctx = ContextDouble()
    await rig.open(ctx)
    try:
        yield Case(rig, ctx, tmp_path)
    finally:
        ctx.release_accept()
        await within(rig.close(), 10)
    assert ctx.tasks == 0


def rig_of(case: Case) -> Rig:
    assert isinstance(case.rig, Rig)
    return case.rig


async def closed(double: DeviceDouble) -> int | None:
    await within(double.closed.wait())
    return double.close_code


async def upgrade(case: Case, **more: Any) -> InvalidStatus:
    more.setdefault("subprotocols", [Offered("hubdev.v1.json")])
    with pytest.raises(InvalidStatus) as caught:
        await connect(more.pop("uri", rig_of(case).uri), proxy=None, **more)
    return caught.value


# -- the way in ---------------------------------------------------------------------------------


async def test_the_welcome_follows_the_hub_knowing_of_the_device(case: Case) -> None:
    case.ctx.hold_accept()
    double = rig_of(case).double()
    dialling = asyncio.create_task(double.connect())
    await case.ctx.blocked()
    call = case.begin(case.request(double, payload=b"early"))
    await asyncio.sleep(0)
    assert double.received == 0

    case.ctx.release_accept()

    welcome = await within(dialling)
    assert (welcome.win, welcome.resumed) == (1, False)
    assert (await within(call)).payload == b"early"  # what the hub sent meanwhile follows the welcome


async def test_a_key_in_the_hello_admits(case: Case) -> None:
    double = rig_of(case).double(key=None)
    double._secret = None
    await double.dial()
    await double.send(Hello("dev-0", "b", {"key": KEY}))
    await case.ctx.seen(EventKind.REGISTERED, "at/dev-0")
    assert case.ctx.asked_to_admit == [("key", "dev-0")]


async def test_a_device_secret_admits(case: Case) -> None:
    case.ctx.secrets["secret", "lamp"] = "s3cret-of-a-device"
    double = rig_of(case).double("lamp", key=None, secret="s3cret-of-a-device")
    await double.connect()
    await case.barrier(double)
    assert case.ctx.asked_to_admit == [("secret", "lamp")]


@pytest.mark.parametrize("shown", [{"key": "ak_wrong_0000"}, {"key": None}, {"key": None, "secret": "wrong"}], ids=str)
async def test_a_stranger_is_sent_away_without_a_reason(case: Case, shown: dict[str, Any]) -> None:
    double = rig_of(case).double(**shown)
    with pytest.raises(ConnectionError):
        await double.connect()
    assert await closed(double) == 1008
    assert double.bye is not None and double.bye.text == "not admitted"
    assert case.ctx.events == []


async def test_a_device_that_says_nothing_is_closed_after_five_seconds(case: Case) -> None:
    double = rig_of(case).double()
    await double.dial()
    case.clock.advance(4.9)
    assert not double.closed.is_set()
    case.clock.advance(0.2)
    assert await closed(double) == 1002


@pytest.mark.parametrize(
    ("data", "text", "code"),
    [(b"[10,1]", True, 1002), (b"not json", True, 1007), (b"[0,{}]", True, 1002), (b"[10,1]", False, 1003)],
)
@pytest.mark.parametrize("case", [{"variant": "json"}], indirect=True)
async def test_a_first_frame_that_is_no_hello_is_refused(case: Case, data: bytes, text: bool, code: int) -> None:
    double = rig_of(case).double()
    await double.dial()
    await double.send_raw(data, text=text)
    assert await closed(double) == code


async def test_upgrades_are_refused_before_they_happen(case: Case) -> None:
    uri = rig_of(case).uri
    twice = [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")]
    for status, more in (
        (400, {"subprotocols": [Offered("mqtt")]}),
        (400, {"subprotocols": None}),
        (400, {"uri": f"{uri}?key={KEY}"}),
        (400, {"additional_headers": twice}),
        (403, {"origin": "https://evil.example"}),
        (404, {"uri": f"{uri}/elsewhere"}),
    ):
        assert (await upgrade(case, **more)).response.status_code == status, more
    assert case.ctx.asked_to_admit == []


async def test_a_page_of_the_hub_itself_may_dial(case: Case) -> None:
    rig = rig_of(case)
    own: Any = f"http://127.0.0.1:{rig.port}"
    async with connect(rig.uri, subprotocols=[Offered("hubdev.v1.json")], origin=own, proxy=None) as socket:
        assert socket.subprotocol == "hubdev.v1.json"


@pytest.mark.parametrize("case", [{"devices": 2}], indirect=True)
async def test_connections_beyond_the_limit_are_refused(case: Case) -> None:
    rig = rig_of(case)
    first, _ = await rig.device(), await rig.device()
    error = await upgrade(case)
    assert (error.response.status_code, error.response.headers["Retry-After"]) == (503, "5")

    await first.close()
    await case.ctx.seen(EventKind.OFFLINE, first.address)
    await rig.device()


# -- staying ------------------------------------------------------------------------------------


async def test_a_newer_connection_of_a_device_replaces_the_older(case: Case) -> None:
    rig = rig_of(case)
    older = await rig.device()
    _, task, _ = await case.holding(older)
    newer = rig.double(older.identity)
    await newer.connect()

    assert await closed(older) == 4501
    await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
    await case.barrier(newer)
    assert case.ctx.of(EventKind.OFFLINE) == []
    assert case.adapter.presence(newer.address) is Presence.ONLINE


async def test_the_same_boot_is_an_update_and_a_new_one_a_registration(case: Case) -> None:
    double = await rig_of(case).device()
    await double.drop()
    await case.ctx.seen(EventKind.OFFLINE)
    await double.reconnect()
    await case.ctx.seen(EventKind.AWAKE)
    await double.restart()
    await case.ctx.seen(EventKind.REGISTERED, n=2)

    kinds = [event.kind.value for event in case.ctx.events]
    assert kinds == ["registered", "offline", "updated", "awake", "offline", "registered"]
    assert {event.attrs["boot"] for event in case.ctx.of(EventKind.REGISTERED)} == {"boot-0", "boot-1"}
    assert {event.attrs["lifetime"] for event in case.ctx.of(EventKind.REGISTERED)} == {86_400.0}


async def test_a_restarted_device_ends_its_observations(case: Case) -> None:
    double = await rig_of(case).device()
    _, observation = await case.observe(double)
    await double.restart()
    await case.ctx.seen(EventKind.REGISTERED, n=2)

    (ended,) = case.ctx.of(EventKind.OBSERVE_ENDED)
    assert ended.target == "/observable"
    assert not observation.active
    kinds = [event.kind for event in case.ctx.events]
    assert kinds.index(EventKind.OBSERVE_ENDED) < len(kinds) - 1 - kinds[::-1].index(EventKind.REGISTERED)


async def test_a_device_without_its_session_does_not_keep_observations(case: Case) -> None:
    double = await rig_of(case).device()
    _, observation = await case.observe(double)
    await double.drop()
    double.welcome = None  # the same boot, but it names no session to go on with
    await double.reconnect()
    await case.ctx.seen(EventKind.OBSERVE_ENDED)
    assert double.welcome is not None and not double.welcome.resumed
    assert not observation.active


async def test_a_notification_that_nobody_wants_is_called_off(case: Case) -> None:
    double = await rig_of(case).device()
    await double.send(Notify("o.from-before", 5, b"x"))
    await double.until(lambda: double.cancelled == ["o.from-before"])
    assert case.ctx.of(EventKind.NOTIFICATION) == []


async def test_an_observation_that_the_device_ends_is_told(case: Case) -> None:
    double = await rig_of(case).device()
    _, observation = await case.observe(double)
    (token,) = double.observing
    await double.send(Notify(token, 9, b"last", last=True))
    await case.ctx.seen(EventKind.OBSERVE_ENDED)
    assert [event.payload for event in case.ctx.of(EventKind.NOTIFICATION)] == [b"last"]
    assert not observation.active


async def test_observing_a_mute_device_times_out_and_leaves_nothing(case: Case) -> None:
    double = await rig_of(case).device()
    double.refused_targets.clear()
    spec = ObserveSpec(double.address, "/observable")
    double._observe = _nothing  # type: ignore[method-assign]
    task = asyncio.create_task(case.adapter.observe(spec, case.clock.monotonic() + 5))
    before = double.received
    await double.until(lambda: double.received > before)
    case.clock.advance(5)
    await refused(task, "TIMEOUT", Delivery.MAYBE)
    await case.barrier(double)


async def test_the_answer_that_begins_an_observation_is_dated_when_it_is_read(case: Case) -> None:
    double = await rig_of(case).device()
    asked: list[Any] = []

    async def hold(frame: Any) -> None:
        asked.append(frame)

    double._observe = hold  # type: ignore[method-assign]
    spec = ObserveSpec(double.address, "/observable")
    task = asyncio.create_task(case.adapter.observe(spec, case.clock.monotonic() + 5))
    await double.until(lambda: bool(asked))
    await double.send(Notify(asked[0].id, 1, b"before"))
    await case.ctx.seen(EventKind.NOTIFICATION)
    case.clock.advance(1)
    await double.send(Result(asked[0].id, 200, b"answer"))
    _, observation = await within(task)
    case.clock.advance(1)
    await double.send(Notify(asked[0].id, 2, b"behind"))
    await case.ctx.seen(EventKind.NOTIFICATION, n=2)

    assert isinstance(observation, Dated)
    before, behind = (event.at for event in case.ctx.of(EventKind.NOTIFICATION))
    assert before < observation.began < behind


async def _nothing(frame: Any) -> None:
    """A device that does not answer an OBSERVE."""


async def test_a_call_carries_everything_that_was_asked(case: Case) -> None:
    double = await rig_of(case).device()
    double.hold()
    request = case.request(
        double, "INVOKE", "add", payload=b"p", content_type="a/b", accept="c/d", args={"x": [1, None]}, idempotent=True,
        query=(("k", "v&="),), attempt=3,
    )
    task = case.begin(request)
    asked = await double.asked()
    assert dict(asked.frame.options) == {
        "ttl": 30_000, "ct": "a/b", "accept": "c/d", "idem": True, "args": {"x": [1, None]}, "query": [["k", "v&="]],
        "try": 3,
    }
    await asked.answer()
    await within(task)


async def test_arguments_that_the_protocol_cannot_carry_are_refused(case: Case) -> None:
    double = await rig_of(case).device()
    request = case.request(double, "INVOKE", "add", args={"x": object()})
    await refused(case.adapter.call(request), "BAD_REQUEST", Delivery.NOT_SENT)
    await case.barrier(double)


async def test_a_cancelled_call_is_called_off_on_the_device(case: Case) -> None:
    double = await rig_of(case).device()
    request, task, _ = await case.holding(double)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await double.until(lambda: [token.rpartition(".")[0] for token in double.cancelled] == [request.call_id])


async def test_a_device_may_ask_for_patience(case: Case) -> None:
    double = await rig_of(case).device()
    _, task, asked = await case.holding(double)
    await double.send(Result(asked.frame.id, 503, b"", retry_after=2.5))
    response = await within(task)
    assert (response.status, response.native["retry_after"]) == (503, 2.5)


@pytest.mark.parametrize("case", [{"inflight": 4}], indirect=True)
async def test_a_device_may_take_fewer_calls_than_the_hub_allows(case: Case) -> None:
    for asked, given in ((None, 4), (2, 2), (9, 4)):
        double = rig_of(case).double(win=asked)
        welcome: Welcome = await double.connect()
        assert welcome.win == given == case.adapter.window(double.address)


async def test_events_are_told_by_their_kind(case: Case) -> None:
    double = await rig_of(case).device()
    await double.send(Event(1, "notify", b"21.5", "/3303/0/5700", "text/plain", 60))
    await double.send(Event(2, "door open", b""))
    first, second = await case.ctx.seen(EventKind.NOTIFICATION, n=2)
    assert (first.target, first.payload, first.content_type) == ("/3303/0/5700", b"21.5", "text/plain")
    assert first.attrs == {"observed": False, "max_age": 60}
    assert second.target == "/event/door open"
    await double.until(lambda: double.acked == [1, 2])


async def test_an_event_that_is_told_again_is_acknowledged_again_and_heard_once(case: Case) -> None:
    double = await rig_of(case).device()
    await double.send(Event(1, "k", b""))
    await double.until(lambda: double.acked == [1])
    await double.drop()
    await double.reconnect()
    await double.send(Event(1, "k", b""))
    await double.until(lambda: double.acked == [1, 1])
    assert len(case.ctx.of(EventKind.NOTIFICATION)) == 1


@pytest.mark.parametrize("case", [{"heartbeat": timedelta(seconds=20)}], indirect=True)
async def test_a_silent_device_is_asked_and_then_given_up(case: Case) -> None:
    double = await rig_of(case).device()
    before = double.received
    case.clock.advance(20)
    await double.until(lambda: double.received == before + 1)  # a PING; it answers
    await case.barrier(double)
    double.mute = True
    case.clock.advance(20)
    await double.until(lambda: double.received > before + 2)
    case.clock.advance(20)
    assert await closed(double) == 4008
    await case.ctx.seen(EventKind.OFFLINE)


async def test_the_hub_answers_a_ping(case: Case) -> None:
    double = await rig_of(case).device()
    before = double.received
    await double.send(Ping(7))
    await double.until(lambda: double.received == before + 1)


@pytest.mark.parametrize("case", [{"frames_per_second": 10}], indirect=True)
async def test_a_flood_of_frames_is_read_at_the_allowed_rate(case: Case) -> None:
    double = await rig_of(case).device()
    for seq in range(1, 36):
        await double.send(Event(seq, "k", b""))
    await double.until(lambda: len(double.acked) == 10)
    for allowed in (20, 30, 35):
        case.clock.advance(1.0)
        await double.until(lambda allowed=allowed: len(double.acked) == allowed)  # type: ignore[misc]


async def test_the_adapter_has_a_limit_of_its_own_behind_a_server_that_takes_more(case: Case) -> None:
    rig = rig_of(case)
    await rig.unserve()
    rig.server_takes = 2 * rig.too_big
    await rig.serve(case.clock)
    double = await rig.device()
    await double.send_raw(bytes(rig.too_big))
    assert await closed(double) == 1009
    assert double.bye is not None and double.bye.code == 1009


async def test_a_frame_that_only_the_hub_sends_ends_the_connection(case: Case) -> None:
    double = await rig_of(case).device()
    await double.send(Unknown(77))
    await case.barrier(double)  # a type of the future is ignored
    await double.send(Welcome("s", 1, 1, 1, False))
    assert await closed(double) == 1002


# -- the way out --------------------------------------------------------------------------------


async def test_a_device_that_signed_off_registers_anew_in_the_same_life(case: Case) -> None:
    double = await rig_of(case).device()
    await double.leave()
    assert double.close_code == 1000
    await double.reconnect()
    assert [event.kind.value for event in case.ctx.events] == ["registered", "deregistered", "registered"]


async def test_a_stopping_hub_tells_devices_to_come_back_and_says_nothing_of_them(case: Case) -> None:
    double = await rig_of(case).device()
    await case.adapter.stop(1.0)
    assert await closed(double) == 1012
    assert double.bye is not None and double.bye.code == 1012
    assert case.ctx.of(EventKind.OFFLINE) == []


async def test_a_connection_that_sleeps_may_be_lost_and_the_device_still_sleeps(case: Case) -> None:
    double = await rig_of(case).device()
    await double.sleep()
    await case.ctx.seen(EventKind.ASLEEP)
    await double.drop()
    await double.reconnect()
    await case.ctx.seen(EventKind.AWAKE)
    assert case.ctx.of(EventKind.OFFLINE) == []
    await case.barrier(double)


async def test_a_registration_is_renewed_while_its_device_stays(case: Case) -> None:
    await rig_of(case).device()
    for hours in (6, 12):
        case.clock.advance(6 * 3600)
        renewed = await case.ctx.seen(EventKind.UPDATED, n=hours // 6)
        assert renewed[-1].attrs == {"lifetime": 86_400.0}


async def test_a_registration_that_cannot_be_stored_sends_the_device_away_for_later(case: Case) -> None:
    case.ctx.fail_accept = True
    double = rig_of(case).double()
    with pytest.raises(ConnectionError):
        await double.connect()
    assert await closed(double) == 1013
    case.ctx.fail_accept = False
    await double.connect()
    await case.barrier(double)


async def test_an_event_of_a_device_that_the_hub_forgot_is_not_acknowledged_and_ends_the_connection(
    case: Case,
) -> None:
    double = rig_of(case).double()
    await double.connect()
    held = await double.event()
    await double.settle()
    case.ctx.forgotten = True

    await double.event()

    assert (await closed(double), double.acked) == (1008, [held])
    assert rig_of(case).adapter.presence(double.address) is Presence.OFFLINE


async def test_a_device_that_the_hub_does_not_take_is_sent_away_without_a_welcome(case: Case) -> None:
    case.ctx.forgotten = True
    double = rig_of(case).double()

    with pytest.raises(ConnectionError):
        await double.connect()

    assert await closed(double) == 1008
    case.ctx.forgotten = False
    await double.connect()
    await case.barrier(double)


async def test_a_device_that_is_expelled_is_gone_at_once_and_its_call_fails(case: Case) -> None:
    double = rig_of(case).double()
    await double.connect()
    double.hold()
    call = case.begin(case.request(double))
    await double.asked()
    adapter = rig_of(case).adapter

    adapter.expel(double.address)
    adapter.expel(double.address)
    adapter.expel("at/nobody")

    await refused(call, "NOT_CONNECTED", Delivery.MAYBE)
    assert await closed(double) == 1008
    # Nothing is reported: the hub knows, and has no such device.
    assert case.ctx.of(EventKind.OFFLINE, double.address) == []
    await double.connect()
    await case.barrier(double)


async def test_a_device_that_is_sent_away_is_the_same_one_when_it_comes_again(case: Case) -> None:
    double = rig_of(case).double()
    await double.connect()
    double.hold()
    call = case.begin(case.request(double))
    await double.asked()
    adapter = rig_of(case).adapter

    adapter.send_away(double.address)
    adapter.send_away(double.address)
    adapter.send_away("at/nobody")

    await refused(call, "NOT_CONNECTED", Delivery.MAYBE)
    assert await closed(double) == 1008
    assert case.ctx.of(EventKind.OFFLINE, double.address) == []
    await double.connect()
    await case.barrier(double)
    assert len(case.ctx.of(EventKind.REGISTERED, double.address)) == 1


def test_the_settings_name_what_is_wrong() -> None:
    for bad in ({"windows": 2}, {"window": 0}, {"window": True}, {"mount": "x"}, {"hello": "5"}, {"origins": "x"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            read(bad)
    assert read({"window": 3, "hello": 2.5, "origins": ["https://a"]}).hello == timedelta(seconds=2.5)
