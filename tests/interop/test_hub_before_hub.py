"""A hub in front of a hub: the HTTP adapter of one drives the PowerStore front of the other, and either is killed in
the middle. No job is submitted twice, and every call has one completion."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.crash.load import completions
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"
KEY = "ak_hub_before_hub_0123456789"
GROUP = "e436abe3-d78e-4d1d-a349-349368803c59"
TENANT = f"""
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{KEY}"
[limits]
calls_per_second = 100000
burst = 100000
"""
BACK = (
    TENANT
    + """
[users.admin]
application = "shop"
password = "{password}"
[adapters.simulated]
kind = "simulated"
account = "acme"
inflight = 50
execution_log = "{log}"
[[adapters.simulated.devices]]
address = "array-1"
model = "array"
behaviour = "{behaviour}"
hold = {hold}
[devices.array-1]
account = "acme"
adapter = "simulated"
address = "array-1"
type = "array"
"""
)
FRONT = (
    TENANT
    + """
[adapters.arrays]
kind = "http"
jobs = "hub"
inflight = 10
answer = 5
interval = 0.3
interval_most = 1
[adapters.arrays.upstreams.back]
url = "{url}arrays/array-1/api/rest"
user = "admin"
password = "{password}"
sign_in = "login_session"
[devices.array]
account = "acme"
adapter = "arrays"
address = "back"
type = "array"
"""
)


class Pair:
    """Two hubs in processes of their own, the one behind the other."""

    def __init__(self, folder: Path, hold: float = 1.0, behaviour: str = "job") -> None:
        self.log = folder / "executions.jsonl"
        for name in ("front", "back"):
            (folder / name).mkdir()
        back = BACK.format(password=PASSWORD, log=self.log, hold=hold, behaviour=behaviour)
        self.back = HubProcess(folder / "back", config=back, key=KEY)
        self.front = HubProcess(
            folder / "front", config=FRONT.format(password=PASSWORD, url=self.back.url), key=KEY
        )

    def __enter__(self) -> Pair:
        self.back.start()
        self.front.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.front.kill()
        self.back.kill()

    def change(self, number: int) -> str:
        """Hand a change in at the front, patiently where its queue is full; the id of its call."""
        value = base64.b64encode(json.dumps({"description": f"n{number}"}).encode()).decode()
        body = {"method": "PATCH", "uri": f"/volume_group/{GROUP}", "payload-b64": value}
        for _ in range(120):
            try:
                call: str = self.front.ask("POST", "v1/devices/array/calls", body)["id"]
                return call
            except HTTPError as refused:
                if refused.code != 429:
                    raise
                refused.close()
                self.front.ask("GET", "v1/channels/default/messages?wait=1")
        raise AssertionError("the queue stays full")

    def ended(self, call: str) -> dict[str, Any]:
        """The call once it has ended."""
        for _ in range(80):
            view: dict[str, Any] = self.front.ask("GET", f"v1/calls/{call}")
            if view["state"] == "done":
                return view
            # A long poll behind the head ends with the next completion, or after a second.
            self.front.ask("GET", "v1/channels/default/messages?wait=1")
        raise AssertionError(f"the call did not end: {view}")

    def executed(self) -> Counter[str]:
        """How often the array carried out each job."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(json.loads(line)["call_id"] for line in lines)

    def waiting(self) -> int:
        """How many jobs the array behind the back has begun and noted."""
        return len(self.back.ask("GET", "v1/calls?state=waiting&limit=100")["calls"])

    def jobs(self) -> int:
        """How many jobs the back has taken."""
        rows = self.back.ask("GET", "arrays/array-1/api/rest/job?select=id&limit=2000")
        return len(rows)


async def account_for(pair: Pair, calls: list[str]) -> list[dict[str, Any]]:
    """Every call ended once, every job is one call's, and none was carried out twice."""
    views = [await asyncio.to_thread(pair.ended, call) for call in calls]
    told = Counter(item["call-id"] for item in await completions(pair.front.url, KEY))
    assert told == Counter(calls)
    assert await asyncio.to_thread(pair.jobs) == len(calls)
    assert {job: n for job, n in pair.executed().items() if n > 1} == {}
    return views


async def test_a_change_goes_through_both_and_its_end_is_pushed(tmp_path: Path) -> None:
    with Pair(tmp_path, hold=0.2) as pair:
        call = await asyncio.to_thread(pair.change, 1)
        (view,) = await account_for(pair, [call])

        assert (view["status"], view.get("error")) == (200, None)
        group = await asyncio.to_thread(
            pair.back.ask, "GET", f"arrays/array-1/api/rest/volume_group/{GROUP}?select=description"
        )
        assert group == {"description": "n1"}


@pytest.mark.parametrize("who", ["front", "back"])
async def test_jobs_outlive_a_kill_of_either_hub(tmp_path: Path, who: str) -> None:
    with Pair(tmp_path, hold=2.0) as pair:
        calls = [await asyncio.to_thread(pair.change, n) for n in range(8)]
        # Killed before that, an array that carried a change out and did not note it could not say what became of it.
        while await asyncio.to_thread(pair.waiting) < len(calls):  # noqa: ASYNC110 (each look is a request)
            await asyncio.sleep(0)
        hub: HubProcess = getattr(pair, who)
        await asyncio.to_thread(hub.kill)
        await asyncio.to_thread(hub.start)

        views = await account_for(pair, calls)

        assert {(view["status"], view.get("error")) for view in views} == {(200, None)}


async def test_kills_of_either_while_changes_come_in_submit_nothing_twice(tmp_path: Path) -> None:
    await kill_and_count(tmp_path, kills=6, seed=6, per_round=12)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_many_kills_of_either_while_changes_come_in_submit_nothing_twice(tmp_path: Path) -> None:
    await kill_and_count(tmp_path, kills=40, seed=40, per_round=40)


async def kill_and_count(folder: Path, kills: int, seed: int, per_round: int) -> None:
    """Kill the one or the other `kills` times, each in the middle of submits and of jobs, then count."""
    choose = random.Random(seed)
    with Pair(folder, hold=0.5) as pair:
        calls: list[str] = []
        for round_ in range(kills):
            hub = (pair.front, pair.back)[round_ % 2]
            moment = choose.randrange(per_round)
            for n in range(per_round):
                calls.append(await asyncio.to_thread(pair.change, len(calls)))
                if n == moment:
                    await asyncio.to_thread(hub.kill)
                    await asyncio.to_thread(hub.start)

        views = await account_for(pair, calls)

    unknown = [view for view in views if view.get("error") is not None]
    # An array that was killed between carrying a change out and noting it cannot say what became of it.
    assert {view.get("error") for view in unknown} <= {"OUTCOME_UNKNOWN"}
    assert len(unknown) <= kills * 10
    assert len(views) - len(unknown) > kills


async def test_the_front_of_the_one_shows_what_the_array_behind_the_other_says(tmp_path: Path) -> None:
    with Pair(tmp_path, hold=0.2) as pair:
        ask, base = pair.front.ask, "arrays/array/api/rest"

        def steps() -> None:
            made = ask("POST", f"{base}/volume", {"name": "new", "size": 1048576})
            assert ask("GET", f"{base}/volume/{made['id']}?select=name,size") == {"name": "new", "size": 1048576}
            job = ask("POST", f"{base}/volume?is_async=true", {"name": "newer", "size": 1048576})["id"]
            pair.ended(job)
            told = ask("GET", f"{base}/job/{job}?select=state,response_status,response_body")
            assert (told["state"], told["response_status"]) == ("COMPLETED", "201")
            assert told["response_body"]["response_type"] == "job_create_response"
            clash = ask("POST", f"{base}/volume?is_async=true", {"name": "newer", "size": 1048576})["id"]
            pair.ended(clash)
            told = ask("GET", f"{base}/job/{clash}?select=state,response_status,response_body")
            assert (told["state"], told["response_status"]) == ("FAILED", "422")
            assert "newer" in told["response_body"]["messages"][0]["message_l10n"]
            rows = ask("GET", f"{base}/volume?select=name&name=ilike.new*&order=name&limit=1")
            assert rows == [{"name": "new"}]

        await asyncio.to_thread(steps)


async def test_what_the_back_does_not_know_the_front_does_not_know_either(tmp_path: Path) -> None:
    with Pair(tmp_path, behaviour="never") as pair:

        def steps() -> None:
            call = pair.change(1)
            while not (sent := pair.back.ask("GET", "v1/calls?state=sent")["calls"]):
                pass
            # Called off after it was sent: it may have happened.
            pair.back.ask("DELETE", f"v1/calls/{sent[0]['id']}")
            view = pair.ended(call)
            assert (view["status"], view["error"]) == (504, "OUTCOME_UNKNOWN")
            told = pair.front.ask("GET", f"arrays/array/api/rest/job/{call}?select=state,response_status")
            assert told == {"state": "UNRECOVERABLE_FAILED", "response_status": "500"}

        await asyncio.to_thread(steps)


async def test_a_session_at_the_back_survives_its_restart_or_is_begun_anew(tmp_path: Path) -> None:
    with Pair(tmp_path, hold=0.2) as pair:
        for number in range(3):
            call = await asyncio.to_thread(pair.change, number)
            assert (await asyncio.to_thread(pair.ended, call))["status"] == 200
            await asyncio.to_thread(pair.back.kill)
            await asyncio.to_thread(pair.back.start)
