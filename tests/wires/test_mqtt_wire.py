"""EnOS words, pure: signatures, topics, what a call becomes and what an answer means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.mqtt import topics, wire
from adapters.mqtt.listener.settings import MqttSettings, read
from hub.ports.adapter import CallError, Delivery, DeviceRequest

VECTOR = "edbdc401b6c447844c10706b488eb50c90c00f3f4a2cfda62f0ab4e639bfdcc6"


def request(method: str, target: str, **more: Any) -> DeviceRequest:
    return DeviceRequest("c", "d", method, target, 0.0, **more)


def test_a_sign_in_says_what_was_signed() -> None:
    client_id = "dK987654|securemode=2, signmethod=hmacsha256,timestamp=1234567890|"
    sign = wire.sign_in(client_id, "dK987654&pK11111", VECTOR.upper())

    assert sign is not None
    assert (sign.device, sign.kind, sign.identity) == (("pK11111", "dK987654"), "product-device", "pK11111/dK987654")
    told = json.loads(sign.proof)
    assert told["sign"] == VECTOR
    text = "clientIddK987654deviceKeydK987654productKeypK11111timestamp1234567890"
    assert (told["algorithm"], told["texts"]) == ("sha256", [text])


@pytest.mark.parametrize(
    ("client_id", "username"),
    [
        ("plain", "d&p"),
        ("d|securemode=2,signmethod=crc32,timestamp=1|", "d&p"),
        ("d|securemode=4,signmethod=sha256,timestamp=1|", "d&p"),
        ("d|securemode=2,signmethod=sha256,timestamp=1|", "d"),
        ("d|securemode=2,signmethod=sha256,timestamp=1|", "d&p/q"),
        ("d|securemode=2,signmethod=sha256,timestamp=1|", "+&p"),
        ("x" * 65 + "|securemode=2,signmethod=sha256,timestamp=1|", "d&p"),
    ],
)
def test_what_is_no_sign_in_is_none(client_id: str, username: str) -> None:
    assert wire.sign_in(client_id, username, "00") is None


def test_a_sub_device_may_sign_with_and_without_its_clean_session() -> None:
    params = {
        "productKey": "p", "deviceKey": "d", "clientId": "c", "timestamp": "1.5", "signMethod": "sha256",
        "sign": "AB", "cleanSession": "False",
    }  # fmt: skip
    sign = wire.sub_sign_in(params)

    assert sign is not None
    plain = "clientIdcdeviceKeydproductKeyptimestamp1.5"
    assert sign.texts == (plain, f"cleanSessionFalse{plain}")


def test_a_clean_session_that_is_a_truth_of_json_may_be_signed_as_json_writes_it() -> None:
    params = {
        "productKey": "p", "deviceKey": "d", "clientId": "c", "timestamp": "1.5", "signMethod": "sha256",
        "sign": "AB", "cleanSession": True,
    }  # fmt: skip
    sign = wire.sub_sign_in(params)

    assert sign is not None
    plain = "clientIdcdeviceKeydproductKeyptimestamp1.5"
    assert sign.texts == (plain, f"cleanSessionTrue{plain}", f"cleanSessiontrue{plain}")


def test_a_topic_says_whose_it_is_and_what_for() -> None:
    assert topics.parse("/sys/p/d/thing/service/add_reply") == (("p", "d"), "thing/service/add", False, True)
    assert topics.parse("/ext/session/p/d/combine/login") == (("p", "d"), "combine/login", True, False)
    for no in ("/sys/p/d", "sys/p/d/x", "/sys//d/x", "/other/p/d/x", ""):
        assert topics.parse(no) is None


@pytest.mark.parametrize(
    ("asked", "purpose", "params"),
    [
        (request("INVOKE", "add", args={"a": 1}), "thing/service/add", {"a": 1}),
        (request("INVOKE", "add"), "thing/service/add", {}),
        (request("POST", "/service/add", payload=b'{"a":1}'), "thing/service/add", {"a": 1}),
        (request("POST", "/service/add", payload=b"{}", content_type="application/json"), "thing/service/add", {}),
        (request("POST", "/service/x", payload=b"\0", content_type="a/b"), "thing/service/x",
         {"$payload": "AA==", "$type": "a/b"}),
        (request("GET", "/measurepoint/t"), "thing/service/measurepoint/get", ["t"]),
        (request("PUT", "/measurepoint/t", payload=b"2.5"), "thing/service/measurepoint/set", {"t": 2.5}),
        (request("PUT", "/measurepoint/t", payload=b"7", content_type="text/plain"),
         "thing/service/measurepoint/set", {"t": 7}),
        (request("PUT", "/measurepoint/t", payload=b"auto", content_type="text/plain;charset=utf-8"),
         "thing/service/measurepoint/set", {"t": "auto"}),
    ],
)  # fmt: skip
def test_a_call_becomes_a_command(asked: DeviceRequest, purpose: str, params: Any) -> None:
    command = wire.command(asked)

    assert (command.purpose, command.params) == (purpose, params)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("DELETE", "/service/x"), 405),
        (request("GET", "/service/x"), 405),
        (request("POST", "/measurepoint/x"), 405),
        (request("GET", "/5/0/1"), 404),
        (request("POST", "/service/"), 400),
        (request("POST", "/service/a/b"), 400),
        (request("INVOKE", "a/b"), 400),
        (request("INVOKE", "add_reply"), 400),
        (request("INVOKE", "+"), 400),
        (request("POST", "/service/x", payload=b"[1]", content_type="application/json"), 400),
        (request("POST", "/service/x", payload=b"{", content_type="application/json"), 400),
        (request("PUT", "/measurepoint/x", payload=b"{"), 400),
        (request("PUT", "/measurepoint/x", payload=b"NaN"), 400),
        (request("PUT", "/measurepoint/x", payload=b"\xff", content_type="text/plain"), 400),
        (request("GET", "/measurepoint/x", query=(("a", "b"),)), 400),
    ],
)
def test_what_has_no_words_is_refused_unsent(asked: DeviceRequest, status: int) -> None:
    with pytest.raises(CallError) as refused:
        wire.command(asked)

    assert (refused.value.status, refused.value.delivery) == (status, Delivery.NOT_SENT)


@pytest.mark.parametrize(
    ("body", "status", "payload"),
    [
        ({"id": "1", "code": 200, "data": {"a": 1}}, 200, b'{"a":1}'),
        ({"id": "1", "code": "200", "data": None}, 200, b"{}"),
        ({"id": "1", "code": 0, "data": {}}, 200, b"{}"),
        ({"id": "1", "code": 200.0, "data": {}}, 200, b"{}"),
        ({"id": "1", "code": 200.5, "data": {}}, 502, b"the code is no number"),
        ({"id": "1", "code": 1e300, "data": {}}, 502, b"the code is no number"),
        ({"id": "1", "code": 2e19, "data": {}}, 502, b"the code is no number"),
        ({"id": "1", "code": 10**18, "data": {}}, 502, b"the code is no number"),
        ({"id": "1", "code": -(10**9), "data": {}}, 502, b"the code is no number"),
        ({"id": "1", "code": 999_999_999, "message": "m"}, 500, b"m"),
        ({"id": "1", "code": 200.5, "data": {}}, 502, b"the code is no number"),
        ({"id": "1", "code": "0"}, 200, b"{}"),
        ({"id": "1", "code": "500", "message": "broke"}, 500, b"broke"),
        ({"id": "1", "code": "1101", "message": "no handler"}, 404, b"no handler"),
        ({"id": "1", "code": 460, "message": "bad"}, 400, b"bad"),
        ({"id": "1", "code": 100001, "message": 5}, 500, b""),
        ({"id": "1", "code": True}, 502, b"the code is no number"),
        ({"id": "1", "code": "x"}, 502, b"the code is no number"),
        ({"id": "1"}, 502, b"the code is no number"),
        ({"id": "1", "code": 200, "data": {"$payload": "AAE=", "$type": "a/b"}}, 200, b"\0\1"),
        ({"id": "1", "code": 200, "data": {"$payload": "?", "$type": "a/b"}}, 502, b"no base64"),
        (None, 502, b"the answer is no JSON object"),
    ],
)
def test_an_answer_means_what_the_device_said(body: dict[str, Any] | None, status: int, payload: bytes) -> None:
    response = wire.response(wire.Command("thing/service/x", {}), body)

    assert (response.status, response.payload) == (status, payload)


def test_a_read_answers_with_the_value_of_its_point() -> None:
    command = wire.command(request("GET", "/measurepoint/t"))

    assert wire.response(command, {"code": 200, "data": {"t": {"value": 1}}}).payload == b'{"value":1}'
    assert wire.response(command, {"code": 200, "data": {"u": 1}}).status == 404
    assert wire.asked(topics.GET, {"data": {"t": 1}}).point == "t"


def test_a_message_id_belongs_to_one_command_of_one_device() -> None:
    id = wire.message_id("call-1", "acme/a", "thing/service/s")

    assert wire.call_of(id, "acme/a", "thing/service/s") == "call-1"
    assert wire.call_of(id, "acme/b", "thing/service/s") is None
    assert wire.call_of(id, "acme/a", "thing/service/t") is None
    assert wire.call_of("call-1.000000000000", "acme/a", "thing/service/s") is None
    assert wire.call_of("", "acme/a", "thing/service/s") is None


def test_settings_are_read_strictly() -> None:
    assert read({}) == MqttSettings()
    for wrong in ({"prot": 1}, {"port": "1"}, {"port": 65536}, {"window": 0}, {"keep_alive": True}, {"tls_port": 1},
                  {"port": -1}, {"host": 1}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            read(wrong)
