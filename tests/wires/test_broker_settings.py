"""The settings of the broker mode and its topic patterns: a mistake is named, and no hub hears what it says itself."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.broker.adapter import create
from adapters.mqtt.broker.packet import publish
from adapters.mqtt.broker.pattern import Pattern, covers, overlap, widest
from adapters.mqtt.broker.sessions import command_topics
from adapters.mqtt.broker.settings import read
from hub.ports.abilities import JudgesAddresses

TEMPLATE = {"speak": "template", "version": 4}


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"port": 1883}, "port: no such setting"),
        ({"url": "http://x"}, "url: is mqtt://"), ({"url": "mqtt://u:p@x"}, "url"), ({"url": "mqtt://x:0"}, "url"),
        ({"version": 3}, "version"), ({"version": True}, "version"), ({"version": 4}, "needs version 5"),
        ({"speak": "esperanto"}, "speak"), ({"window": 0}, "window"), ({"window": "1"}, "window"),
        ({"client_id": "a/b"}, "client_id"), ({"group": "a+b"}, "group"), ({"password": "x"}, "needs a username"),
        ({"ca": "x.pem"}, "not mqtts"), ({"url": "mqtts://x", "key": "k"}, "go together"),
        ({"request": "devices/request"}, "request"), ({"request": "a/#/{device}"}, "request"),
        ({"request": "{device}/{device}"}, "request"), ({"replies": "hubs/replies"}, "replies"),
        ({"presence": {"words": 1}}, "presence.words"), ({"presence": {"required": True}}, "needs a topic"),
        ({"presence": {"topic": "{device}/s", "online": "x", "offline": "x"}}, "presence.online"),
        ({"presence": {"topic": "devices/{device}/request"}}, "hear what it says itself"),
        ({"telemetry": [{"topic": "devices/{device}/{path}"}]}, "hear what it says itself"),
        ({"telemetry": [{"topic": "devices/{device}/{path...}"}]}, "hear what it says itself"),
        ({"telemetry": [{"topic": "hubs/{device}/{path...}"}]}, "telemetry hubs/"),
        ({"replies": ""}, "replies: "), ({"replies": "x/{client}/{client}"}, "replies: "),
        ({"status": "a/{client}/{client}"}, "status: "), ({"request": "$share/{device}"}, "request: "),
        ({"status": "$SYS/{client}"}, "status: "),
        ({"telemetry": [{"topic": "$share/{device}/{path}"}]}, "telemetry.0.topic: "),
        ({**TEMPLATE, "template": {"request": "$share/{device}/{id}"}}, "template.request: "),
        ({"presence": {"topic": "hubs/{device}/replies"}}, "presence.topic: "),
        ({**TEMPLATE, "presence": {"topic": "a/{device}"}, "template": {"request": "q/{device}", "reply": "a/{device}",
          "id": "id", "body": {"id": "{id}"}}}, "template.reply: "),
        ({"status": "plant/{client}", "telemetry": [{"topic": "plant/{device}", "path": "/x"}]}, "hear what it says"),
        ({"telemetry": [{"topic": "a/{device}/x", "path": "/x"}, {"topic": "a/y/{path}", "device": "d"}]}, "twice"),
        ({"telemetry": [{"topic": "a/{path}"}]}, "telemetry.0.device"), ({"telemetry": [{}]}, "telemetry.0.topic"),
        ({"telemetry": [{"topic": "a/{device}"}]}, "telemetry.0.path"), ({"telemetry": {}}, "telemetry"),
        ({"telemetry": [{"topic": "a/{path...}/b"}]}, "whole end"),
        ({"template": {}}, 'speak = "template"'),
        ({**TEMPLATE, "template": {"request": "q/{device}", "reply": "a/{device}"}}, "need an {id}"),
        ({**TEMPLATE, "template": {"reply": "a/{device}", "id": "id", "body": {"i": "{who}"}}}, "{who}"),
        ({**TEMPLATE, "template": {"request": "x/{device}/{id}", "reply": "x/{device}/{id}"}}, "hear what it says"),
        ({**TEMPLATE, "template": {"request": "x/{device}/{id}/{target...}", "reply": "x/{device}/{id}/re"}}, "hear"),
        ({**TEMPLATE, "template": {"status": "code"}}, "template.body"),
        ({"sessions": {"a/b": "c"}}, "speak"), ({"speak": "enos", "sessions": {"b": "c"}}, "sessions"),
        ({"speak": "enos", "telemetry": [{"topic": "/sys/{device}/thing/service/{path}"}]}, "hear what it says"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(table: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named.replace("{", r"\{").replace("(", r"\(")):
        read(table)


def test_settings_without_a_mistake_are_read_whole() -> None:
    made = read({
        "url": "mqtts://broker.example:8884", "username": "hub", "password": "env:X", "client_id": "hub-1",
        "group": "hubs", "status": "hubs/{client}/status", "presence": {"topic": "devices/{device}/status"},
        "telemetry": [{"topic": "plant/{device}/{path...}"}, {"topic": "plant/a/b", "device": "d", "path": "/b"}],
    })  # fmt: skip

    assert (made.place, made.tls, made.levels) == (("broker.example", 8884), True, 1)
    assert "env:X" not in repr(made)


@pytest.mark.parametrize(
    ("table", "address", "right"),
    [
        ({}, "pump", True), ({}, "acme/pump", False), ({}, "p\uffff", False), ({"speak": "enos"}, "pk/dk", True),
        ({"speak": "enos"}, "dk", False),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_known_before_the_hub_starts(
    table: dict[str, Any], address: str, right: bool
) -> None:
    adapter = create(table)
    assert isinstance(adapter, JudgesAddresses)
    with nullcontext() if right else pytest.raises(ValueError, match="is not"):
        adapter.judge_address(address)


@pytest.mark.parametrize(
    ("text", "levels", "topic", "places"),
    [
        ("a/{device}/b", 1, "a/x/b", {"device": "x"}), ("a/{device}/b", 1, "a/x/y/b", None),
        ("a/{device}/b", 2, "a/x/y/b", {"device": "x/y"}), ("a/{device}/b", 2, "a/x/b", None),
        ("{device}-{path}/x.y", 1, "d-p/x.y", {"device": "d", "path": "p"}), ("a/{path}.c", 1, "a/bxc", None),
        ("a/{path...}", 1, "a/b/c", {"path": "b/c"}), ("a/{path...}", 1, "a/", None), ("a/{path}", 1, "a/", None),
    ],
)  # fmt: skip
def test_a_pattern_reads_what_stands_in_its_places(
    text: str, levels: int, topic: str, places: dict[str, str] | None
) -> None:
    assert Pattern(text, levels).read(topic) == places


LEVELS = st.lists(st.sampled_from(["a", "b", "+"]), min_size=1, max_size=4)


def matches(filter: list[str], topic: list[str]) -> bool:
    if filter[-1:] == ["#"]:
        begin = filter[:-1]
        return len(topic) >= len(begin) and all(f in ("+", t) for f, t in zip(begin, topic, strict=False))
    return len(filter) == len(topic) and all(f in ("+", t) for f, t in zip(filter, topic, strict=True))


TOPICS = [[x] for x in "abc"] + [[x, y] for x in "abc" for y in "abc"]
TOPICS += [[*two, z] for two in TOPICS[3:] for z in "abc"]
TOPICS += [[*three, z] for three in TOPICS[12:] for z in "abc"]


@given(LEVELS, LEVELS, st.booleans(), st.booleans())
def test_what_filters_share_and_cover_is_what_their_topics_say(
    one: list[str], other: list[str], rest: bool, more: bool
) -> None:
    one, other = one + ["#"] * (rest and len(one) < 4), other + ["#"] * (more and len(other) < 4)
    ones = [topic for topic in TOPICS if matches(one, topic)]
    others = [topic for topic in TOPICS if matches(other, topic)]

    assert overlap("/".join(one), "/".join(other)) == any(topic in others for topic in ones)
    if covers("/".join(one), "/".join(other)):
        assert all(topic in ones for topic in others)
    assert len(widest(["/".join(one), "/".join(other)])) >= 1


def test_command_topics_of_a_session_are_exact() -> None:
    assert command_topics("pk/dk", ["add", "a/b", "x_reply"]) == [
        "/sys/pk/dk/thing/service/measurepoint/get", "/sys/pk/dk/thing/service/measurepoint/set",
        "/sys/pk/dk/thing/service/add",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [0, 100, 127, 128, 20_000, 3_000_000])
def test_a_packet_says_how_long_it_is(size: int) -> None:
    data = publish("a/b", bytes(size), {"correlation_data": b"c", "user_property": [("n", "v")]})
    size_of_length = next(number for number, byte in enumerate(data[1:5], 1) if byte < 128)
    value = sum((byte & 127) << 7 * place for place, byte in enumerate(data[1 : 1 + size_of_length]))

    assert (data[0], len(data)) == (0x30, 1 + size_of_length + value)


def test_what_does_not_fit_into_a_packet_is_refused() -> None:
    for topic, properties in (("a" * 70_000, None), ("a", {"content_type": "x" * 70_000})):
        with pytest.raises(ValueError, match="too long"):
            publish(topic, b"", properties)
