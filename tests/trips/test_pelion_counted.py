"""What operators see of the long polls of the Connect dialect."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.core.channels import DEFAULT
from hub.metrics import Metrics
from hub.model.event import EventDraft, EventKind
from tests.trips.front_rig import PATIENCE, Front, running_front

pytestmark = pytest.mark.anyio

PULL = "/v2/notification/pull"


def counted(front: Front) -> dict[str, float]:
    """The samples whose names begin with `hub_pelion` or `hub_deliveries`."""
    text = Metrics(front.core.hub, lambda: 0).text().decode()
    samples = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(("hub_pelion", "hub_deliveries"))]
    return {name: float(value) for name, value in samples if "_created" not in name}


async def until(front: Front, name: str, value: float) -> None:
    async with asyncio.timeout(PATIENCE):
        while counted(front).get(name) != value:
            await front.core.settle()


async def test_long_polls_are_counted_by_their_answers(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        body = {"call_id": "c", "ref": "a", "device": "lamp", "status": 200, "payload": b"", "content_type": None}
        draft = EventDraft(f"shop/{DEFAULT}", EventKind.COMPLETION, body)
        await front.core.hub.engine.log.append([draft], {draft.channel: "acme"})
        assert (await front.ask("GET", PULL)).status == 200
        await until(front, "hub_pelion_polls_open", 0)
        held = asyncio.ensure_future(front.ask("GET", PULL))
        await until(front, "hub_pelion_polls_open", 1)
        assert (await front.ask("GET", PULL)).status == 409
        await front.ask("DELETE", PULL)
        assert (await held).status == 410
        await until(front, "hub_pelion_polls_open", 0)
        seen = counted(front)

    assert {name: seen[name] for name in seen if name.startswith("hub_pelion_polls_total")} == {
        'hub_pelion_polls_total{status="200"}': 1,
        'hub_pelion_polls_total{status="409"}': 1,
        'hub_pelion_polls_total{status="410"}': 1,
    }
    assert seen["hub_deliveries_total"] == 1
