"""Names of callbacks are looked up for the account whose callback it is, at the registration and at each connection."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from hub.core.channels import DEFAULT
from hub.core.on_behalf import ACCOUNT
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.lookup import Answers, LookUps
from hub.model.event import EventDraft, EventKind
from hub.ports.adapter import DeviceResponse
from tests.clock import ManualClock
from tests.trips.front_rig import FOREIGN, LOOPBACK, running_front
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio


def here(host: str, port: int, family: int) -> list[tuple[Any, ...]]:
    """Every name is this machine."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


class Noting(LookUps):
    """Remembers who asked for which name."""

    def __init__(self) -> None:
        super().__init__(here)
        self.asked: list[tuple[str, str]] = []

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Answers:
        self.asked.append((ACCOUNT.get(), host))
        return await super().addresses(host, port, family)


async def test_each_look_up_counts_for_the_account_that_wants_it(tmp_path: Path) -> None:
    clock, look_ups = ManualClock(), Noting()
    guard = Guard(clock, LOOPBACK, look_ups=look_ups)
    async with running_front(tmp_path, clock, guard=guard) as front, receiving() as receiver:
        front.core.adapter.on_call = lambda request: DeviceResponse(200)
        url = f"http://{{}}.test:{receiver.port}/"
        body = {"method": "GET", "uri": "/5/0/1", "callback": url.format("call")}
        assert (await front.ask("POST", "/v1/devices/lamp/calls", body)).status == 202
        await receiver.next()
        assert look_ups.asked == [("acme", "call.test")] * 2, "as it was given, and as it was called"
        look_ups.asked.clear()
        body = {"url": url.format("channel")}
        assert (await front.ask("PUT", "/v2/notification/callback", body, key=FOREIGN)).status == 204
        await receiver.next()
        # So that the second delivery needs a connection of its own.
        receiver.headers = {"Connection": "close"}
        outcome = {"ref": "a", "call_id": "c", "device": "d", "status": 200, "payload": b""}
        draft = EventDraft(f"stall/{DEFAULT}", EventKind.COMPLETION, outcome)
        for _ in range(2):
            await front.core.hub.engine.log.append([draft], {draft.channel: "other"})
            await receiver.next()

    assert set(look_ups.asked) == {("other", "channel.test")}
    assert len(look_ups.asked) == 3, "vetted, tried, and called on a new connection"
