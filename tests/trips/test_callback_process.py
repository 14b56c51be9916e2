"""Callbacks of a hub as its user starts it: killed in the middle of one, and told to call where it must not."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import orjson
import pytest
from anyio.to_thread import run_sync

from tests.hub_process import HubProcess
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio

SERVED = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.ops]
application = "shop"
scopes = ["admin"]
key = "ak_hub_process_0123456789"
[adapters.simulated]
kind = "simulated"
account = "acme"
[[adapters.simulated.devices]]
address = "echo"
model = "echo"
[devices.sim-echo]
account = "acme"
adapter = "simulated"
address = "echo"
"""


def call(hub: HubProcess, url: str, ref: str) -> Any:
    body = {"method": "GET", "uri": "/3/0/0", "ref": ref, "callback": url}
    return hub.ask("POST", "v1/devices/sim-echo/calls", body)


def refused(hub: HubProcess, url: str) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        call(hub, url, "refused")
    with refusal.value as error:
        return error.code, orjson.loads(error.read())["type"]


async def test_a_callback_under_way_when_the_hub_is_killed_comes_again_with_its_id(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        async with receiving() as receiver:
            receiver.let_go.clear()
            accepted = await run_sync(call, hub, f"{receiver.url}/done", "cut-off")
            cut_off = await receiver.next()
            hub.kill()
            receiver.let_go.set()
            await run_sync(hub.start)
            again = await receiver.next()

    assert (again.id, again.body) == (cut_off.id, cut_off.body)
    [response] = again.json["async-responses"]
    assert (response["id"], response["call-id"], response["status"]) == ("cut-off", accepted["id"], 200)


async def test_a_hub_with_a_hanging_receiver_ends_in_time_and_delivers_after_the_restart(tmp_path: Path) -> None:
    with HubProcess(tmp_path, environ={"HUB__LIMITS__DRAIN": "0.5"}) as hub:
        async with receiving() as receiver:
            receiver.let_go.clear()
            await run_sync(call, hub, receiver.url, "slow")
            first = await receiver.next()
            assert await run_sync(hub.terminate) == 0
            receiver.let_go.set()
            await run_sync(hub.start)
            assert (await receiver.next()).id == first.id


def test_hub_dev_calls_this_machine_but_never_itself(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        for url in (hub.url, f"http://localhost:{hub.port}/", f"http://[::1]:{hub.port}/", "http://10.0.0.1/"):
            assert refused(hub, url) == (422, "urn:hub:problem:callback-address")
        assert call(hub, "http://127.0.0.1:9/", "taken")["ref"] == "taken"


def test_hub_serve_calls_no_inner_address_that_was_not_configured(tmp_path: Path) -> None:
    with HubProcess(tmp_path, config=SERVED) as hub:
        for url in ("http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/"):
            assert refused(hub, url) == (422, "urn:hub:problem:callback-address")


async def test_hub_serve_calls_what_the_operator_allowed_and_signs_with_the_declared_secret(tmp_path: Path) -> None:
    from standardwebhooks.webhooks import Webhook

    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    declared = SERVED.replace('account = "acme"\n[keys', f'account = "acme"\ncallback_secret = "{secret}"\n[keys')
    with HubProcess(tmp_path, config='[callbacks]\nallow = ["127.0.0.1"]\n' + declared) as hub:
        async with receiving() as receiver:
            await run_sync(call, hub, receiver.url, "mine")
            got = await receiver.next()
            with pytest.raises(urllib.error.HTTPError) as conflict:
                await run_sync(hub.ask, "POST", "v1/callback-secret")
            conflict.value.close()

    assert Webhook(secret).verify(got.body, dict(got.headers)) == got.json
    assert conflict.value.code == 409
    assert secret not in hub.complaints
