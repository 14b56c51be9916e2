"""The vendor's Python REST client, unmodified, in front of a hub as its user starts it; simulated devices behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.hub_process import HubProcess
from tests.interop.peer import SCRIPTS, Peer, environment_of

NAME = "enos-poseidon"
KEY = "ak_enos_poseidon_0123456789"
ORG, STRICT = "o1", "o2"
CHANNEL = "DATASVC.CONTROL.pumps"
CONFIG = f"""
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{KEY}"
[callbacks]
allow = ["127.0.0.0/8"]
[enos.orgs.{ORG}]
account = "acme"
application = "shop"
opaque_from = ["127.0.0.0/8"]
[enos.orgs.{STRICT}]
account = "acme"
application = "shop"
[products.pkPump]
account = "acme"
[products.pkPump.services.add]
[products.pkPump.services.setSpeed]
name = "Set the speed"
[adapters.simulated]
kind = "simulated"
account = "acme"
[[adapters.simulated.devices]]
address = "pump7"
model = "enos"
[[adapters.simulated.devices]]
address = "pump8"
model = "enos"
behaviour = "never"
[[adapters.simulated.devices]]
address = "pump9"
model = "enos"
behaviour = "disconnect"
[devices.pump7]
account = "acme"
adapter = "simulated"
address = "pump7"
aliases = {{ product-device = "pkPump/pump7", asset = "asset-7" }}
[devices.pump8]
account = "acme"
adapter = "simulated"
address = "pump8"
aliases = {{ product-device = "pkPump/pump8" }}
[devices.pump9]
account = "acme"
adapter = "simulated"
address = "pump9"
aliases = {{ product-device = "pkPump/pump9" }}
"""
CONTROLS = "/dataService/controlChannels"
INVOKE = "/dataService/devices/multiInvoke"


def call(request: str, device: str = "pump7", service: str = "setSpeed", **members: Any) -> dict[str, Any]:
    return {
        "requestId": request, "orgId": None, "callType": "ASYNC", "controlChannelId": CHANNEL, "productKey": "pkPump",
        "deviceKey": device, "serviceId": service, "inputData": {"rpm": 900}, "timeout": 5000, **members,
    }  # fmt: skip


class Client:
    """The client as somebody uses it; `headers` are those that the caller adds."""

    def __init__(self, peer: Peer, org: str, headers: dict[str, str] | None = None) -> None:
        self.peer = peer
        self.org = org
        self.headers = headers

    def __call__(self, method: str, path: str, data: Any = None, *, org: str | None = None) -> Any:
        path += ("&" if "?" in path else "?") + f"orgId={self.org if org is None else org}"
        return self.peer(f"ask({method!r}, {path!r}, {data!r}, headers={self.headers!r})")

    def invoke(self, *calls: Any) -> list[Any]:
        answer = self("PUT", INVOKE, {"data": list(calls)})
        assert (answer["status"], answer["msg"]) == (0, "Success"), answer
        replies: list[Any] = answer["data"]
        return replies


class Hub(HubProcess):
    """A hub with pumps."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, config=CONFIG, key=KEY)
        self._position = "from=first"

    def outcomes(self, count: int) -> list[Any]:
        """The next replies on the control channel."""
        found: list[Any] = []
        while len(found) < count:
            page = self.ask("GET", f"v1/channels/enos.{CHANNEL}/messages?{self._position}&wait=15")
            assert page is not None, found
            found += [reply for message in page["messages"] for reply in message["data"]]
            self._position = f"epoch={page['epoch']}&offset={page['offset']}"
        return found

    def await_sent(self) -> None:
        """Return once a call is under way."""
        while not self.ask("GET", "v1/calls?state=sent")["calls"]:
            pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    environment_of(NAME)
    folder = tmp_path / "hub"
    folder.mkdir()
    with Hub(folder) as hub:
        yield hub


@pytest.fixture
def dial(hub: Hub, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    program = [str(environment_of(NAME) / "bin" / "python"), str(SCRIPTS / NAME / "prompt.py")]
    with Peer([*program, hub.url.rstrip("/")], tmp_path / "client", python=True) as peer:
        yield lambda org=ORG, headers=None: Client(peer, org, headers)


@pytest.fixture(params=["opaque", "bearer"])
def client(request: pytest.FixtureRequest, dial: Callable[..., Client]) -> Client:
    """By its own token alone, and by a key beside it where no opaque token is let in; its channel is made."""
    strict = request.param == "bearer"
    client = dial(STRICT, {"Authorization": f"Bearer {KEY}"}) if strict else dial(ORG)
    assert client("POST", CONTROLS, {"controlChannelId": CHANNEL, "desc": "pumps"})["status"] == 0
    return client


def test_a_service_call_goes_all_the_way(hub: Hub, client: Client) -> None:
    (reply,) = client.invoke(call("r-1"))

    assert (reply["status"], reply["msg"], reply["serviceName"]) == (0, "SUCCESS", "Set the speed")
    (outcome,) = hub.outcomes(1)
    assert (outcome["requestId"], outcome["status"], outcome["outputData"]) == ("r-1", 0, {"rpm": 900})


def test_its_own_token_is_worth_nothing_where_none_is_let_in(hub: Hub, dial: Callable[..., Client]) -> None:
    answer = dial(STRICT)("PUT", INVOKE, {"data": [call("r-1")]})

    # Told with 200: of anything else the client would return None.
    assert answer["status"] == 401
    assert not hub.ask("GET", "v1/calls")["calls"]


def test_a_wrong_key_beside_the_token_is_not_overlooked(dial: Callable[..., Client]) -> None:
    wrong = dial(ORG, {"Authorization": "Bearer ak_of_nobody_here"})

    assert wrong("PUT", INVOKE, {"data": []})["status"] == 401


def test_channels_are_made_listed_changed_and_removed(client: Client) -> None:
    shown = client("GET", f"{CONTROLS}/{CHANNEL}")["data"]
    assert (shown["controlChannelId"], shown["desc"]) == (CHANNEL, "pumps")
    assert client("POST", CONTROLS, {"controlChannelId": CHANNEL})["status"] == 1000101
    assert client("PUT", f"{CONTROLS}/{CHANNEL}", {"desc": "ä"})["data"]["desc"] == "ä"
    assert client("GET", f"{CONTROLS}?pageSize=10&pageToken=1")["data"]["totalSize"] == 1
    gone = client("DELETE", f"{CONTROLS}/{CHANNEL}")
    assert (gone["status"], gone["data"]) == (0, None)
    assert client("DELETE", f"{CONTROLS}/{CHANNEL}")["status"] == 1000103


def test_a_mixed_batch_is_answered_call_by_call(hub: Hub, client: Client) -> None:
    replies = client.invoke(
        call("good"), {"requestId": "bare"}, call("lost", "nobody"), call("hasty", timeout=0),
        call("endless", timeout=300_001), call("nowhere", controlChannelId="DATASVC.CONTROL.none"), call("last"),
    )  # fmt: skip

    assert [(reply["requestId"], reply["status"]) for reply in replies] == [
        ("good", 0), ("bare", 1000), ("lost", 1000201), ("hasty", 1000), ("endless", 1000), ("nowhere", 1000103),
        ("last", 0),
    ]  # fmt: skip
    assert [outcome["requestId"] for outcome in hub.outcomes(2)] == ["good", "last"]


def test_errors_of_the_whole_request_come_back_as_bodies(client: Client) -> None:
    assert client("PUT", INVOKE, {"data": {}})["status"] == 400
    assert client("PUT", INVOKE, "{")["status"] == 400
    assert client("PUT", INVOKE, {"data": []}, org="none") == {
        "status": 400, "msg": "Invalid Argument orgId", "submsg": "orgId does not exist",
    }  # fmt: skip
    assert client("GET", "/dataService/nothing")["status"] == 404


def test_a_point_is_set_and_a_single_call_waits(client: Client) -> None:
    point = {
        "requestId": "p-1", "assetId": "asset-7", "measurepointId": "speed", "inputData": {"speed": 5},
        "callbackUrl": "http://127.0.0.1:9/",
    }  # fmt: skip

    assert client("PUT", "/dataService/devices/multiSet", {"data": [point]})["data"][0]["status"] == 0
    single = client("PUT", "/dataService/devices/asset-7/services/add/invoke?requestId=s-1", {"a": 1, "b": 2})["data"]
    assert (single["status"], single["outputData"], single["callType"]) == (0, {"sum": 3}, "SYNC")


def test_the_callback_is_called(client: Client) -> None:
    got: Queue[Any] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/done"
        client.invoke(call("r-1", controlChannelId=None, callbackUrl=url))
        (reply,) = got.get(timeout=15)["data"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert (reply["requestId"], reply["status"], reply["callbackUrl"]) == ("r-1", 0, url)


def test_a_device_that_does_not_answer_or_goes_away_ends_the_call(hub: Hub, client: Client) -> None:
    client.invoke(call("silent", "pump8", timeout=700), call("left", "pump9", timeout=700))

    outcomes = {outcome["requestId"]: outcome for outcome in hub.outcomes(2)}
    assert {name: (o["status"], o["submsg"]) for name, o in outcomes.items()} == {
        "silent": (1000204, "OUTCOME_UNKNOWN"), "left": (1000204, "OUTCOME_UNKNOWN"),
    }  # fmt: skip


def test_a_restart_in_the_middle_of_a_call_ends_it_once(hub: Hub, client: Client) -> None:
    client.invoke(call("r-1", "pump8", timeout=3000))
    hub.await_sent()
    hub.kill()
    hub.start()
    client.invoke(call("r-2"))

    refs = [outcome["requestId"] for outcome in hub.outcomes(2)]

    assert sorted(refs) == ["r-1", "r-2"]
    assert len(hub.ask("GET", "v1/calls?state=done")["calls"]) == 2
