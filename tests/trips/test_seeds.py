"""The requests that the three vendors' own pages print, sent as printed to `hub dev`, and their three answers read."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.hub_process import HubProcess

DEVICE = "015f2fa34d310000000000010030036c"
ASYNC_ID = "123e4567-e89b-12d3-a456-426655440000"
GET = r'{ "method": "GET", "uri": "/5/0/1" }'
PUT = (
    r'{ "method": "PUT", "uri": "/5/0/1%20?k1=v1&k2=v2%22", "accept": "text/plain", "content-type": "text/plain", '
    r'"payload-b64": "dmFsdWUxCg==" }'
)
GROUP = "e436abe3-d78e-4d1d-a349-349368803c59"
INVOKE = """{
   "data":[
      {
         "requestId":"dfsadfdsafdsaf",
         "orgId":null,
         "callType":"ASYNC",
         "controlChannelId":"DATASVC.CONTROL.afdasfasdf",
         "productKey":"dfasdf",
         "deviceKey":"dsfa",
         "assetId":"aaa",
         "serviceId":"bbb",
         "callbackUrl":null,
         "inputData":{
            "arg":10
         },
         "timeout":30000,
         "gmtServiceRequest":132132465464
      },
      {
         "requestId":"erwerwradf",
         "orgId":null,
         "callType":"ASYNC",
         "controlChannelId":"DATASVC.CONTROL.afdasfasdf",
         "productKey":"dfasdf",
         "deviceKey":"dsfa",
         "assetId":"aaa",
         "serviceId":"ccc",
         "callbackUrl":null,
         "inputData":{
            "arg":10
         },
         "timeout":30000,
         "gmtServiceRequest":132132465464
      }
   ]
}"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder: Path = tmp_path_factory.mktemp("hub")
    with HubProcess(folder) as hub:
        yield hub


def send(hub: HubProcess, method: str, path: str, body: str | None, **headers: str) -> tuple[HTTPResponse, Any]:
    """One request as it is given."""
    data = None if body is None else body.encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(hub.url.rstrip("/") + path, data, sent, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=15) as answer:
        content = answer.read()
    return answer, json.loads(content) if content else None


def messages(hub: HubProcess, channel: str, member: str, count: int) -> list[Any]:
    """The first items of a channel, once it has so many."""
    found: list[Any] = []
    query = "from=first"
    while len(found) < count:
        page = hub.ask("GET", f"v1/channels/{channel}/messages?{query}&wait=10")
        assert page is not None, found
        found += [item for message in page["messages"] for item in message.get(member, [])]
        query = f"epoch={page['epoch']}&offset={page['offset']}"
    return found


def test_the_three_printed_requests_bring_their_three_answers(hub: HubProcess) -> None:
    # Connect: a call of a device, answered on the notification channel.
    for number, body in enumerate((GET, PUT)):
        path = f"/v2/device-requests/{DEVICE}?async-id={ASYNC_ID if not number else 'second'}"
        answer, _ = send(hub, "POST", path, body, Authorization=hub.key, Content_Type="application/json")
        assert answer.status == 202

    first, second = messages(hub, "default", "async-responses", 2)

    printed = {"id": ASYNC_ID, "status": 200, "payload": "dmFsdWUxCg==", "ct": "text/plain", "max-age": 600}
    assert {name: first[name] for name in printed} == printed
    assert (second["id"], second["status"]) == ("second", 200)

    # PowerStore: a change as a job, shown by the session that the page prints as Authorization.
    basic = "Basic " + base64.b64encode(f"admin:{hub.key}".encode()).decode()
    signed, _ = send(hub, "GET", "/api/rest/login_session", None, Authorization=basic)
    session = signed.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    change = '{ "description": "Storage resources for the Finance department" }'
    sent = {"Accept": "application/json", "Content_Type": "application/json", "Authorization": session}
    answer, begun = send(hub, "PATCH", f"/api/rest/volume_group/{GROUP}?is_async=true", change, **sent)
    assert (answer.status, set(begun)) == (202, {"id"})
    query = "select=id,description_l10n,state,response_body"
    _, shown = send(hub, "GET", "/api/rest/job/1b6df699-7083-4440-912c-22e2ed89c530?" + query, None, **sent)
    assert shown["id"] == "1b6df699-7083-4440-912c-22e2ed89c530" and shown["state"] == "COMPLETED"
    _, mine = send(hub, "GET", f"/api/rest/job/{begun['id']}?{query}", None, **sent)
    assert mine["id"] == begun["id"]

    # EnOS: two services of a device, answered on the control channel.
    path = "/dataService/devices/multiInvoke?orgId=o15434988531231"
    answer, taken = send(hub, "PUT", path, INVOKE, Apim_accesstoken="x" * 344)
    assert (answer.status, taken["status"], taken["msg"], taken["submsg"]) == (200, 0, "Success", None)
    assert [(reply["requestId"], reply["status"]) for reply in taken["data"]] == [
        ("dfsadfdsafdsaf", 0), ("erwerwradf", 0),
    ]  # fmt: skip
    outcomes = messages(hub, "enos.DATASVC.CONTROL.afdasfasdf", "data", 2)
    assert [(reply["requestId"], reply["serviceId"], reply["status"], reply["outputData"]) for reply in outcomes] == [
        ("dfsadfdsafdsaf", "bbb", 0, {"arg": 10}), ("erwerwradf", "ccc", 0, {"arg": 10}),
    ]  # fmt: skip
    assert {reply["gmtServiceRequest"] for reply in outcomes} == {132132465464}


def test_the_asset_of_the_printed_answer_is_there(hub: HubProcess) -> None:
    path = "/dataService/devices/YCdyvNmc/services/d/invoke?orgId=o15434988531231&requestId=testRequestId1"

    _, answer = send(hub, "PUT", path, '{"testArg":1.0}', Authorization=f"Bearer {hub.key}")

    reply = answer["data"]
    assert (reply["serviceName"], reply["productKey"], reply["deviceKey"]) == ("testService", "6Bt59ySj", "zBAofs6D4s")
    assert (reply["status"], reply["outputData"]) == (0, {"testArg": 1.0})
