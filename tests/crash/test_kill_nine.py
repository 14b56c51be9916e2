"""kill -9 under load: every call answered 202 ends exactly once, and what must not run twice never does."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.load import Caller, completions
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio

DEVICES = 40

CONFIG = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.load]
application = "shop"
scopes = ["call", "listen", "device"]
key = "ak_crash_test_0123456789"
[adapters.fast]
kind = "simulated"
account = "acme"
execution_log = "{log}"
count = {devices}
prefix = "fast-"
[adapters.slow]
kind = "simulated"
account = "acme"
execution_log = "{log}"
{slow}
[limits]
calls_per_second = 100000
burst = 100000
"""


async def kill_and_count(tmp_path: Path, kills: int, seed: int, per_round: int) -> None:
    """Kill the hub `kills` times under load, let everything end, then count."""
    choose = random.Random(seed)
    log = tmp_path / "executions.jsonl"
    slow = "".join(
        f'[[adapters.slow.devices]]\naddress = "slow-{n}"\ndelay = {choose.choice([0.005, 0.05, 0.2])}\n'
        for n in range(DEVICES)
    )
    config = CONFIG.format(log=log, devices=DEVICES, slow=slow)
    with HubProcess(tmp_path, config=config, key="ak_crash_test_0123456789") as hub:
        devices = [f"{kind}-{n}" for kind in ("fast", "slow") for n in range(DEVICES)]
        await asyncio.to_thread(_known, hub, len(devices))
        caller = Caller(hub.url, hub.key, devices, seed)
        load = asyncio.create_task(caller.run(workers=16))
        try:
            for _ in range(kills):
                await caller.until(len(caller.promised) + per_round + choose.randrange(per_round))
                await asyncio.to_thread(hub.kill)
                await asyncio.to_thread(hub.start)
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
        assert caller.unexpected == []
        await _all_ended(hub, caller)
        told = Counter(item["call-id"] for item in await completions(hub.url, hub.key))
    promised = {call: method for call, method in caller.promised.values()}
    assert {call: told[call] for call in promised if told[call] != 1} == {}
    assert {call: n for call, n in told.items() if n != 1} == {}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    runs = Counter(line["call_id"] for line in lines if line["method"] == "POST")
    assert {call: n for call, n in runs.items() if n > 1} == {}
    assert len(runs) > kills, "the devices were hardly used: the test shows nothing"


def _known(hub: HubProcess, count: int) -> None:
    """Wait until the simulated devices have registered, which they do once in the life of a data folder; each
    look waits for the next registration on the channel."""
    for _ in range(100):
        if len(hub.ask("GET", f"v1/devices?limit={count}")["devices"]) == count:
            return
        hub.ask("GET", "v1/channels/default/messages?wait=1")
    raise AssertionError("the simulated devices did not register")


async def _all_ended(hub: HubProcess, caller: Caller) -> None:
    """Wait for the ending of every promised call (bounded by the calls' own deadlines)."""
    for call, _ in caller.promised.values():
        for _ in range(40):
            view = await asyncio.to_thread(hub.ask, "GET", f"v1/calls/{call}")
            if view["state"] == "done":
                break
            # The API's own bounded wait: a long poll behind the channel's head ends with the next completion.
            await asyncio.to_thread(hub.ask, "GET", "v1/channels/default/messages?wait=1")
        assert view["state"] == "done", view


async def test_eight_kills_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    await kill_and_count(tmp_path, kills=8, seed=8, per_round=60)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_fifty_kills_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    await kill_and_count(tmp_path, kills=50, seed=50, per_round=300)
