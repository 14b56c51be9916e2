"""The benchmark of the MQTT listener, small: every call is answered, and a device that does not answer is found out."""

from __future__ import annotations

import pytest

from bench.row import Faulty, accounts
from bench.rows import mqtt


def test_every_call_is_answered_and_what_it_cost_is_told() -> None:
    told = mqtt.measure(devices=20, calls=100)
    said = "\n".join(accounts()["mqtt"].lines(told))

    assert told["cpu_us"] > 0 and told["per_second"] > 0 and told["devices"] == 20
    assert "CPU per round trip" in said and "memory per idle device" in said


def test_an_answer_that_does_not_come_is_found_out() -> None:
    with pytest.raises(Faulty):
        mqtt.measure(devices=5, calls=10, mute=1, patience=0.2)
