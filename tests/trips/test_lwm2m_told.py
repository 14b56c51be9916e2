"""What LwM2M devices tell of their values, on a whole hub: the newest stays it, all of it is told, with its time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import CON, NON, Message
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.option import CONTENT_FORMAT, OBSERVE, uint
from tests.trips.lwm2m_rig import OTHER, Served, call, messages, observe, serving, until_told

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hub")) as made:
        yield made


class Quick(DeviceDouble):
    """Its value changes right behind its answer to an observe."""

    def _observe(self, message: Message, path: str, observe: int) -> None:
        super()._observe(message, path, observe)
        if observe == 0:
            self._value, self._order = b"new", self._order + 1
            self.transmit(Message(NON, codec.CONTENT, 9000, message.token, [(OBSERVE, uint(self._order))], b"new"))


async def test_a_change_right_behind_the_first_value_stays_the_newest_for_everybody(served: Served) -> None:
    with served.device("quick", Quick) as device:
        await device.register()
        await observe(served, "quick")
        told = await until_told(served, "quick", b"new")
        asked = device.received
        now = await call(served.hub, "quick", method="GET", uri="/observable")
        await observe(served, "quick", OTHER)
        theirs = await until_told(served, "quick", b"new", OTHER)

    assert told[-1] == theirs[-1] == base64.b64decode(now["payload-b64"]) == b"new"
    assert device.received == asked  # it was told from what the hub keeps


async def test_a_burst_of_confirmed_and_unconfirmed_values_is_told_whole_and_in_order(served: Served) -> None:
    with served.device("burst") as device:
        await device.register()
        await observe(served, "burst")
        await until_told(served, "burst", b"0")
        (token,) = device.observing
        for n in range(10, 60):
            options = [(OBSERVE, uint(n))]
            device.transmit(Message(CON if n % 6 == 0 else NON, codec.CONTENT, 9000 + n, token, options, b"%d" % n))
        told = await until_told(served, "burst", b"59")
    assert told == [b"0", *(b"%d" % n for n in range(10, 60))]


async def test_the_token_of_an_observation_is_honoured_after_a_kill(served: Served) -> None:
    with served.device("kept") as device:
        await device.register()
        await observe(served, "kept")
        await until_told(served, "kept", b"0")
        (token,) = device.observing
        await asyncio.to_thread(served.hub.kill)
        device._asked_for = lambda message: None  # type: ignore[method-assign]  # so nothing is observed anew
        await asyncio.to_thread(served.hub.start)
        device.confirms = True
        await device.notify([b"after the kill"])
        told = await until_told(served, "kept", b"after the kill")
        assert (told, list(device.observing)) == ([b"0", b"after the kill"], [token])


@pytest.mark.parametrize("values", [b'"bt":1767225600.25,"n":"/observable"', b'"n":"/observable","t":-60'])
async def test_a_send_says_when_its_value_was_measured(served: Served, values: bytes) -> None:
    name = f"timed-{len(values)}"
    with served.device(name) as device:
        await device.register()
        await observe(served, name)
        await until_told(served, name, b"0")
        before = datetime.now(UTC).replace(microsecond=0)
        reply = await device.request(codec.POST, ("dp",), (), b'[{%b,"v":21.5}]' % values, content.SENML_JSON)
        after = datetime.now(UTC)
        told = await asyncio.to_thread(messages, served.hub)

    notes = [item for message in told for item in message.get("notifications", ()) if item["ep"] == name]
    said = datetime.fromisoformat(notes[-1]["device-time"])
    assert (reply.code, base64.b64decode(notes[-1]["payload"])) == (codec.CHANGED, b"21.5")
    if b"bt" in values:
        assert said == datetime(2026, 1, 1, microsecond=250_000, tzinfo=UTC)
    else:
        assert before <= said + timedelta(seconds=60) <= after


class Battery(DeviceDouble):
    """It knows no format but TLV, whatever it is asked."""

    def _reply(self, to: Message, reply: Message) -> None:
        options = [option for option in reply.options if option[0] != CONTENT_FORMAT]
        tlv = [*options, (CONTENT_FORMAT, uint(content.TLV))]
        super()._reply(to, Message(reply.kind, codec.CONTENT, reply.mid, reply.token, tlv, bytes.fromhex("c10964")))


async def test_what_a_device_says_in_tlv_is_decoded_beside_its_bytes_wherever_the_native_front_tells_it(
    served: Served,
) -> None:
    raw, said = base64.b64encode(bytes.fromhex("c10964")).decode(), [{"n": "/3/0/9", "v": 100}]
    with served.device("battery", Battery, links="</3/0>;obs") as device:
        await device.register()
        answer = await call(served.hub, "battery", method="GET", uri="/3/0")
        await asyncio.to_thread(served.hub.ask, "PUT", "v1/devices/battery/observations/3/0")
        await until_told(served, "battery", bytes.fromhex("c10964"))
        asked = device.received
        kept = await call(served.hub, "battery", method="GET", uri="/3/0")
        assert device.received == asked
        told = await asyncio.to_thread(messages, served.hub)

    found = [item for message in told for item in message.get("notifications", ()) if item["ep"] == "battery"]
    found += [item for message in told for item in message.get("async-responses", ()) if item["device"] == "battery"]
    for view in (answer, kept):
        assert (view["payload-b64"], view["values"]) == (raw, said)
    assert len(found) == 3
    assert all((item["payload"], item["values"]) == (raw, said) for item in found), found
