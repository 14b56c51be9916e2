"""Whatever comes in, the EnOS front answers it with 200, a code in the body, and one reply for each call."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.trips.enos_rig import CHANNEL, KEY, serving

pytestmark = pytest.mark.anyio

BODIES = 400
MEMBERS = (
    "requestId", "orgId", "callType", "controlChannelId", "productKey", "deviceKey", "assetId", "serviceId",
    "callbackUrl", "inputData", "timeout", "gmtServiceRequest", "measurepointId", "setMeasurepointChannelId",
    "controlChannelIds", "desc", "data",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, "", "r-1", 0, -1, 1, 5000, 300_001, 2**63, 2**64 - 1, -(2**63), 1.5, 1e300, True, [], {}, [1], {"rpm": 900},
    {"rpm": "x"}, "pkPump", "quick", "never", "refuses", "asset-quick", "nobody", "setSpeed", "add", "3/0/4", "a/b/c",
    "/", "%zz", "\x00", "\ud800", "ä" * 300, "ASYNC", "o1", CHANNEL, "DATASVC.CONTROL.", "DATASVC.SET.x",
    "http://127.0.0.1:9/x", "http://10.0.0.1/", "ftp://x", "http://[", "//", {"value": None}, {"a": {"b": [1, {}]}},
    "x" * 70_000, 2**64, {"a": -(2**70)},
)  # fmt: skip
# JSON of Python writes it, the hub reads it, and cannot write it again.
DEEP: Any = 1
for _ in range(400):
    DEEP = {"a": [DEEP]}
GOOD = {
    "requestId": "r-1", "controlChannelId": CHANNEL, "assetId": "asset-quick", "serviceId": "setSpeed",
    "measurepointId": "speed", "inputData": {"rpm": 1}, "timeout": 5000,
}  # fmt: skip


def a_call(luck: random.Random) -> Any:
    if luck.random() < 0.05:
        return luck.choice((*VALUES, DEEP))
    call: dict[str, Any] = dict(GOOD)
    for _ in range(luck.randrange(4)):
        call[luck.choice(MEMBERS)] = luck.choice((*VALUES, DEEP))
    if luck.random() < 0.2:
        call.pop(luck.choice(list(call)))
    return call


def a_body(luck: random.Random) -> tuple[bytes, int | None]:
    """A body, and how many replies it brings if it can be read."""
    calls = [a_call(luck) for _ in range(luck.randrange(5))]
    try:
        body = json.dumps({"data": calls}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # A lone surrogate can be written escaped only, and is no text.
        return json.dumps({"data": calls}).encode(), None
    if luck.random() < 0.2:
        place = luck.randrange(len(body))
        return body[:place] + bytes([luck.randrange(256)]) + body[place + 1 :], None
    return body, len(calls)


async def test_whatever_is_asked_is_answered(tmp_path: Path) -> None:
    luck = random.Random(20)
    paths = (
        "/dataService/devices/multiInvoke", "/dataService/devices/multiSet", "/dataService/controlChannels",
        "/dataService/devices/asset-quick/services/add/invoke?requestId=r&timeout=500", "/dataService/x",
        "/apim-token-service/v2.0/token/get", "/edge-service/v1/commands?action=setMeasurepointAsync",
    )  # fmt: skip
    async with serving(tmp_path) as served:
        for _ in range(BODIES):
            path, method = luck.choice((*paths[:2], *paths)), luck.choice(("PUT", "PUT", "PUT", "POST", "DELETE"))
            body, count = a_body(luck)
            answer = await served.ask(method, path, body, key=KEY)
            assert isinstance(answer["status"], int) and answer["msg"], (method, path, body, answer)
            assert answer["status"] not in (9998, 9999), (method, path, body, answer)
            if count is not None and method == "PUT" and path in paths[:2]:
                assert answer["status"] == 0 and len(answer["data"]) == count, (body, answer)
        assert not served.hub.stats.storage_failures
        (reply,) = await served.invoke(GOOD)
        assert reply["status"] == 0
