"""Frames as a server makes them, held against the parser of an independent library."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from hub.delivery import frames


def read(data: bytes) -> list[Frame]:
    """What a client's parser makes of the bytes."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    return [event for event in client.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_a_frame_of_every_length_form_is_read_back(size: int) -> None:
    (found,) = read(frames.data(b"x" * size, binary=True))

    assert (found.opcode, found.fin, bytes(found.data)) == (Opcode.BINARY, True, b"x" * size)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_joined_frames_come_apart_as_they_were(payloads: list[bytes]) -> None:
    joined = b"".join(frames.data(payload, binary=True) for payload in payloads)

    assert [bytes(found.data) for found in read(joined)] == payloads
    assert [found.payload for found in frames.parse(joined)] == payloads


def test_text_is_a_text_frame() -> None:
    (found,) = read(frames.data("hä".encode(), binary=False))

    assert (found.opcode, bytes(found.data).decode()) == (Opcode.TEXT, "hä")


@given(st.text(max_size=200))
def test_a_close_reason_is_cut_to_what_a_close_frame_holds(reason: str) -> None:
    (found,) = read(frames.close(4008, reason))

    close = Close.parse(bytes(found.data))
    assert close.code == 4008
    assert reason.startswith(close.reason)


def test_a_control_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="125"):
        frames.ping(b"x" * 126)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_frame_that_is_cut_off_is_not_taken_for_a_whole_one(payload: bytes, data: st.DataObject) -> None:
    whole = frames.data(payload, binary=True)
    cut = data.draw(st.integers(1, len(whole) - 1))

    with pytest.raises((ValueError, IndexError)):
        list(frames.parse(whole[:cut]))
