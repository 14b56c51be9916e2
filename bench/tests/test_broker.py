"""The benchmark of devices behind a broker, small: both servers do all their calls; without a broker that is told."""

from __future__ import annotations

import pytest

from bench.row import accounts
from bench.rows import broker


@pytest.mark.skipif(broker.found() is None, reason="mosquitto is not installed")
def test_both_servers_do_every_call() -> None:
    told = broker.measure(devices=10, calls=100, rounds=1)

    assert told["hub_us"] > 0 and told["bare_us"] > 0
    assert told["ratio"] == pytest.approx(told["hub_us"] / told["bare_us"])
    assert told["per_second"] > 0


def test_a_machine_without_a_broker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "found", lambda: None)

    assert "not installed" in accounts()["broker"].lines(broker.measure(10, 10, 1))[0]
