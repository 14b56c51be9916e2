"""Long payloads and long answers, block by block (RFC 7959)."""

from __future__ import annotations

import random

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.block import Block, Step, Uploads, block_of
from adapters.lwm2m.codec import ACK, CON, Message, encode
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.option import (
    ACCEPT,
    BLOCK1,
    BLOCK2,
    ETAG,
    MAX_AGE,
    URI_PATH,
    URI_QUERY,
    path_of,
    uint,
)
from hub.ports.adapter import (
    Delivery,
    TooLarge,
    Unreachable,
)
from tests.wires.lwm2m_field import Blocks, Wire, field

pytestmark = pytest.mark.anyio


def test_blocks_have_the_values_of_the_specification() -> None:
    assert block_of(b"") == Block(0, False, 0)
    assert block_of(b"\x1e") == Block(1, True, 6)
    assert Block(1, True, 6).encode() == b"\x1e"
    for bad in (b"\x07", b"\x01\x02\x03\x04"):
        with pytest.raises(ValueError, match="block"):
            block_of(bad)


def test_uploads_are_bounded_in_bytes_and_age_and_none_pushes_another_one_out() -> None:
    uploads = Uploads(most=4 * 2048, limit=6144, age=60)
    began = [uploads.add(n, Block(0, True, 6), bytes(1024), 1000.0)[0] for n in range(10)]
    assert began == [Step.MORE] * 4 + [Step.NO_ROOM] * 6
    assert uploads.add(0, Block(1, False, 6), b"end", 1001.0) == (Step.WHOLE, bytes(1024) + b"end")
    assert uploads.add(1, Block(1, True, 6), bytes(1024), 1002.0)[0] is Step.MORE
    assert uploads.add(1, Block(2, True, 6), bytes(1024), 1003.0)[0] is Step.MORE
    assert uploads.add("new", Block(0, True, 6), bytes(1024), 1061.0)[0] is Step.MORE  # two of them rested too long
    assert len(uploads) == 2


def test_what_uploads_take_is_given_back_however_they_end() -> None:
    uploads = Uploads(most=4096, limit=3000, age=60)
    for n in range(50):
        for number, more, size in ((0, True, 1024), *(((1, True, 1024), (2, True, 1024)), ((2, False, 1),), ())[n % 3]):
            step, _ = uploads.add("one", Block(number, more, 6), bytes(size), 1000.0)
            assert step is not Step.NO_ROOM
    assert len(uploads) <= 1


def begun(uploads: Uploads, peer: str, count: int, size: int = 16, known: bool = True) -> int:
    """How many of so many uploads of a peer there is room for, each of one block so far."""
    first = Block(0, True, (size >> 4).bit_length() - 1)
    return [uploads.add((peer, n), first, bytes(size), 1000.0, peer, known)[0] for n in range(count)].count(Step.MORE)


def test_one_peer_keeps_nobody_out_with_many_uploads() -> None:
    uploads = Uploads()
    assert begun(uploads, "greedy", 20_000) == 64
    assert begun(uploads, "other", 1) == 1


def test_one_peer_holds_a_mebibyte() -> None:
    uploads = Uploads()
    for n in range(40):
        for part in range(60):
            uploads.add(n, Block(part, True, 6), bytes(1024), 1000.0, "greedy")
    assert 15 << 16 <= uploads._taken <= 1 << 20
    assert begun(uploads, "other", 1) == 1


def test_those_who_are_not_registered_hold_a_quarter_and_keep_no_device_out() -> None:
    uploads = Uploads()
    strangers = sum(begun(uploads, f"port {n}", 64, known=False) for n in range(300))
    assert strangers == (4 << 20) // (1024 + 16)
    assert begun(uploads, "device", 64) == 64
    assert begun(uploads, "port 0", 64) == 64  # it registered: what it holds is no stranger's any more
    assert begun(uploads, "new port", 1, known=False) == 1


def test_whatever_becomes_of_uploads_nothing_is_counted_that_is_gone() -> None:
    uploads = Uploads()
    for n in range(200):
        begun(uploads, f"peer {n % 7}", 80, known=n % 3 == 0)
    uploads.add("last", Block(1, True, 6), b"", 2000.0)
    assert (len(uploads), uploads._taken, uploads._unknown, uploads._holders) == (0, 0, 0, {})


async def test_a_stranger_with_many_uploads_does_not_keep_a_device_from_its_own() -> None:
    def first(path: bytes, query: bytes) -> bytes:
        options = [(URI_PATH, path), (URI_QUERY, query), (BLOCK1, Block(0, True, 0).encode())]
        return encode(Message(CON, codec.POST, int(query), b"t", options, bytes(16)))

    async with field() as f:
        stranger, device = Wire(f), await f.device()
        for n in range(70):
            stranger.say(first(b"rd", b"%d" % n))
            await stranger.next(n + 1)
        assert [message.code for message in stranger.heard].count(codec.CONTINUE) == 64
        assert f.adapter._parts is not None
        uploads = f.adapter._parts.inbound._server._uploads
        assert uploads._unknown == uploads._taken
        await device.send_raw(first(b"dp", b"1"))
        await f.turns()
        assert uploads._unknown == uploads._taken - 1024 - 16


async def test_a_hundred_and_fifty_devices_that_upload_at_once_are_all_registered() -> None:
    links = ",".join(f"</3303/{n}>" for n in range(300)).encode()
    chunks = [links[at : at + 1024] for at in range(0, len(links), 1024)]
    async with field() as f:
        wires = [Wire(f) for _ in range(150)]
        for number, chunk in enumerate(chunks):
            block = Block(number, number + 1 < len(chunks), 6).encode()
            for name, wire in enumerate(wires):
                options = [(URI_PATH, b"rd"), (URI_QUERY, b"ep=u%d" % name), (BLOCK1, block)]
                wire.say(encode(Message(CON, codec.POST, number, b"t", options, chunk)))
            for wire in wires:
                await wire.next(number + 1)
        assert {wire.heard[-1].code for wire in wires} == {codec.CREATED}


async def test_uploads_of_two_places_in_the_same_words_are_not_mixed() -> None:
    async with field() as f:
        wires = [Wire(f), Wire(f)]
        for part in range(2):
            for wire in wires:
                options = [(URI_PATH, b"rd"), (URI_QUERY, b"ep=up"), (BLOCK1, Block(part, not part, 0).encode())]
                links = (b"</3303/0>,</3303", b"/1>")[part]
                wire.say(encode(Message(CON, codec.POST, part, b"t", options, links)))
            assert [(await wire.next(part + 1)).code for wire in wires] == [(codec.CONTINUE, codec.CREATED)[part]] * 2


async def test_an_upload_that_there_is_no_room_for_is_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with field() as f:
        assert f.adapter._parts is not None
        monkeypatch.setattr(f.adapter._parts.inbound._server._uploads, "_most", 1)
        wire = Wire(f)
        options = [(URI_PATH, b"rd"), (URI_QUERY, b"ep=up"), (BLOCK1, Block(0, True, 0).encode())]
        wire.say(encode(Message(CON, codec.POST, 1, b"t", options, bytes(16))))
        answer = await wire.next()
        assert (answer.code, answer.first(MAX_AGE)) == (codec.SERVICE_UNAVAILABLE, uint(30))


@pytest.mark.parametrize("exponent", [0, 2, 6])
async def test_a_long_answer_is_read_block_by_block_with_the_same_accept(exponent: int) -> None:
    async with field() as f:
        double, device = await f.device(), Blocks(random.Random(1).randbytes(3000), exponent)
        accepts = set()
        double.answers = lambda m, b: accepts.add(m.first(ACCEPT)) or device(m, b)  # type: ignore[func-returns-value]
        answer = await f.call(double, "GET", "/5/0/0", accept="application/octet-stream")
        assert answer.payload == device.body
        assert accepts == {uint(42)}


async def test_an_answer_that_changes_once_is_read_anew_and_one_that_goes_on_changing_is_given_up() -> None:
    async with field() as f:
        double, device = await f.device(), Blocks(b"a" * 3000)
        count = 0

        def change(message: Message, body: bytes) -> Message:
            nonlocal count
            count += 1
            if count == 2:
                device.etag, device.body = b"2", b"b" * 3000
            return device(message, body)

        double.answers = change
        assert (await f.call(double, "GET", "/5/0/0")).payload == b"b" * 3000

        def restless(message: Message, body: bytes) -> Message:
            device.etag = uint(int.from_bytes(device.etag, "big") + 1)
            return device(message, body)

        double.answers = restless
        with pytest.raises(Unreachable, match="changed"):
            await f.call(double, "GET", "/5/0/0")


@pytest.mark.parametrize("wrong", [Block(1, True, 6), Block(3, True, 6), Block(0, True, 5)])
async def test_an_answer_that_does_not_begin_at_its_beginning_is_read_anew_or_given_up(wrong: Block) -> None:
    async with field() as f:
        double, device = await f.device(), Blocks(bytes(range(250)) * 12)
        wrongs = 1

        def answer(message: Message, body: bytes) -> Message:
            nonlocal wrongs
            wanted = block_of(message.first(BLOCK2))
            if wrongs and (wanted is None or wanted.number == 0):
                wrongs -= 1
                return Message(ACK, codec.CONTENT, 0, b"", [(ETAG, b"1"), (BLOCK2, wrong.encode())], bytes(1024))
            return device(message, body)

        double.answers = answer
        assert (await f.call(double, "GET", "/5/0/0")).payload == device.body
        wrongs = 2
        with pytest.raises(Unreachable, match="changed"):
            await f.call(double, "GET", "/5/0/0")


async def test_an_answer_without_end_is_cut_off() -> None:
    async with field(max_payload=4096) as f:
        double, device = await f.device(), Blocks(bytes(100_000))
        double.answers = device
        with pytest.raises(TooLarge) as caught:
            await f.call(double, "GET", "/5/0/0")
        assert caught.value.delivery is Delivery.DELIVERED
        assert double.received <= 6


class Taker:
    """A device's end of Block1: it takes blocks of at most its size, refusing the first one in the way it is told."""

    def __init__(self, exponent: int, refusal: int | None = None) -> None:
        self.exponent = exponent
        self.refusal = refusal
        self.data = bytearray()
        self.sizes: list[int] = []

    def __call__(self, message: Message) -> Message | None:
        block = block_of(message.first(BLOCK1)) or Block(0, False, 6)
        self.sizes.append(len(message.payload))
        told = [(BLOCK1, Block(block.number, block.more, min(block.exponent, self.exponent)).encode())]
        if self.refusal is not None and (block.number or len(message.payload) > 16 << self.exponent):
            code, self.refusal = self.refusal, None
            self.data.clear()
            return Message(ACK, code, 0, b"", told)
        if block.start != len(self.data):
            return Message(ACK, codec.REQUEST_ENTITY_INCOMPLETE, 0, b"", told)
        self.data += message.payload
        return Message(ACK, codec.CONTINUE if block.more else codec.CHANGED, 0, b"", told)


def taking(double: DeviceDouble, taker: Taker) -> None:
    """Let the double's every block be answered by a taker, past its own blocks."""
    heard = double._asked_for

    def answered(message: Message) -> None:
        if double._seen.get(message.mid) is None and path_of(message) == ("5", "0", "0"):
            double._seen.put(message.mid, b"", double._clock.monotonic())
            reply = taker(message)
            assert reply is not None
            double._reply(message, reply)
        else:
            heard(message)

    double._asked_for = answered  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("exponent", "refusal", "size"),
    [(6, None, 3000), (4, None, 3000), (6, codec.REQUEST_ENTITY_INCOMPLETE, 3000),
     (4, codec.REQUEST_ENTITY_TOO_LARGE, 3000), (4, codec.REQUEST_ENTITY_TOO_LARGE, 900)],
)  # fmt: skip
async def test_a_long_payload_goes_out_in_the_blocks_that_the_device_takes(
    exponent: int, refusal: int | None, size: int
) -> None:
    async with field() as f:
        double, taker = await f.device(), Taker(exponent, refusal)
        taking(double, taker)
        body = random.Random(2).randbytes(size)
        answer = await f.call(double, "PUT", "/5/0/0", payload=body, content_type="application/octet-stream")
        assert answer.status == 200, answer
        assert bytes(taker.data) == body
        assert max(taker.sizes[1:]) <= 16 << exponent or exponent == 6


async def test_a_device_that_takes_no_blocks_at_all_says_so_itself() -> None:
    async with field() as f:
        double = await f.device()

        class Refusing(Taker):
            def __call__(self, message: Message) -> Message:
                return Message(ACK, codec.REQUEST_ENTITY_TOO_LARGE, 0)

        taking(double, Refusing(6))
        assert (await f.call(double, "PUT", "/5/0/0", payload=bytes(5000))).status == 413
