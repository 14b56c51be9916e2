"""5,000 concurrent calls to 1,000 simulated devices, through a real hub process over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.crash.load import completions
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio

CONFIG = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.load]
application = "shop"
scopes = ["call", "listen", "device"]
key = "ak_load_test_0123456789"
[adapters.many]
kind = "simulated"
account = "acme"
execution_log = "{log}"
count = 1000
"""


async def test_five_thousand_concurrent_calls_to_a_thousand_devices_all_end_in_order_per_device(tmp_path: Path) -> None:
    log = tmp_path / "executions.jsonl"
    with HubProcess(tmp_path, config=CONFIG.format(log=log), key="ak_load_test_0123456789") as hub:
        headers = {"Authorization": f"Bearer {hub.key}"}
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            await _registered(session, hub.url, 1000)

            async def call(n: int) -> str:
                body = {"method": "POST", "uri": "/x", "ref": f"r{n}"}
                async with session.post(f"{hub.url}v1/devices/sim-load-{n % 1000}/calls", json=body) as answer:
                    assert answer.status == 202, await answer.text()
                    return str((await answer.json())["id"])

            async with asyncio.timeout(90):
                calls = set(await asyncio.gather(*(call(n) for n in range(5000))))
                told: Counter[str] = Counter()
                while sum(told.values()) < 5000:
                    found = await completions(hub.url, hub.key)
                    told = Counter(item["call-id"] for item in found)
                    assert {item["status"] for item in found} <= {200}
    assert set(told) == calls
    assert set(told.values()) == {1}
    ran: dict[str, list[str]] = {}
    for line in map(json.loads, log.read_text().splitlines()):
        ran.setdefault(line["device"], []).append(line["call_id"])
    assert sum(map(len, ran.values())) == 5000
    # Ids are ordered by time of acceptance.
    assert all(ids == sorted(ids) for ids in ran.values())


async def _registered(session: aiohttp.ClientSession, url: str, count: int) -> None:
    """Wait until the simulated devices are known; each look waits for news on the channel."""
    for _ in range(200):
        async with session.get(f"{url}v1/devices", params={"limit": count}) as answer:
            if len((await answer.json())["devices"]) == count:
                return
        async with session.get(f"{url}v1/channels/default/messages", params={"wait": 1}) as answer:
            await answer.read()
    raise AssertionError("the simulated devices did not register")
