"""Tables of one broker beside each other: each of their connections has a name of its own there."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from adapters.mqtt.broker.settings import read
from hub.settings import Settings
from hub.settings.contradictions import contradictions

TOLD = 'telemetry = [{topic = "p/{device}/t"}]'


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    [
        ("", "", "client_id: is also that"),
        ('url = "mqtt://h"', 'url = "mqtt://H:1883/"', "client_id: is also that"),
        ('url = "mqtts://h"', 'url = "mqtt://h:8883"', "client_id: is also that"),
        ('url = "mqtt://localhost"', "", "client_id: is also that"),
        ('url = "mqtt://h"', 'url = "mqtt://h:1884"', None), ('url = "mqtt://h"', "", None),
        (TOLD, 'client_id = "x-intake"', "client_id: one of its connections would have the name x-intake"),
        ('client_id = "x-intake"', TOLD, "client_id: one of its connections would have the name x-intake"),
        ('speak = "enos"', 'client_id = "x-intake"', "client_id: one of its connections would have the name x-intake"),
        ("", 'client_id = "x-intake"', None), (TOLD, 'client_id = "y"', None),
        ('client_id = ""', 'client_id = ""', None), ('url = "mqtt://h:x"', "", None), ("url = 1", "", None),
    ],
)  # fmt: skip
def test_two_tables_of_one_broker_have_no_name_there_in_common(one: str, other: str, wrong: str | None) -> None:
    tables = {}
    for id, more in (("a", one), ("b", other)):
        tables[id] = {"kind": "mqtt-broker", "client_id": "x", **tomllib.loads(more)}
    found = contradictions(msgspec.convert({"adapters": tables}, Settings), {})

    assert found == [] if wrong is None else len(found) == 1 and found[0].startswith(f"adapters.b.{wrong}")


def test_a_table_without_a_url_is_at_the_broker_that_the_adapter_takes() -> None:
    host, port = read({}).place
    tables = {"a": {"kind": "mqtt-broker", "client_id": "x"},
              "b": {"kind": "mqtt-broker", "client_id": "x", "url": f"mqtt://{host}:{port}"}}  # fmt: skip

    assert len(contradictions(msgspec.convert({"adapters": tables}, Settings), {})) == 1
