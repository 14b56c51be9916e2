"""The generator's own reading of WebSocket frames."""

from __future__ import annotations

import itertools

import pytest

from bench.frames import PING, PONG, TEXT, BadFrame, Frames, masked


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A server's frame, in the shortest form of its length."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def read(frames: Frames, data: bytes) -> list[tuple[int, bytes]]:
    return [(opcode, buffer[start:end]) for opcode, buffer, start, end in frames.feed(data)]


SENT = [b"", b"a", b"x" * 125, b"y" * 126, b"z" * 65535, b"w" * 65536]


def test_frames_of_every_length_joined_in_one_read_are_told_apart() -> None:
    assert read(Frames(), b"".join(map(frame, SENT))) == [(TEXT, payload) for payload in SENT]


def test_frames_cut_at_any_byte_are_put_together() -> None:
    sent = [b"", b"a" * 3, b"b" * 126]
    data = b"".join(map(frame, sent))
    for first, second in itertools.combinations(range(len(data) + 1), 2):
        frames = Frames()
        got = [part for piece in (data[:first], data[first:second], data[second:]) for part in read(frames, piece)]
        assert got == [(TEXT, payload) for payload in sent]


@pytest.mark.parametrize(
    "data", [b"\x81\x80\0\0\0\0", b"\x01\x00", b"\xc1\x00"], ids=["masked", "fragment", "deflated"]
)
def test_what_no_server_may_send_is_told(data: bytes) -> None:
    with pytest.raises(BadFrame):
        read(Frames(), data)


def test_a_pong_carries_the_pings_bytes_under_a_mask() -> None:
    sent = masked(PONG, b"abc")
    mask, covered = sent[2:6], sent[6:]

    assert sent[:2] == bytes((0x80 | PONG, 0x80 | 3))
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(covered)) == b"abc"
    assert read(Frames(), frame(b"abc", PING)) == [(PING, b"abc")]
