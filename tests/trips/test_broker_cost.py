"""What a call to a device behind a broker costs the hub, beside a bare client of the broker."""

from __future__ import annotations

import pytest

from adapters.mqtt.broker.mosquitto import PROGRAM
from bench.rows.broker import measure
from tests.require import require


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_round_trip_to_a_thousand_devices_costs_at_most_two_and_a_half_times_that_of_a_bare_client() -> None:
    require(PROGRAM)
    figures = measure(devices=1000, calls=20_000, rounds=5)

    assert figures["ratio"] <= 2.5, figures
