"""The order in which a call is judged: of two faults the earlier one is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import combinations
from typing import Any

import pytest

from tests.trips.enos_rig import Served, call, serving

pytestmark = pytest.mark.anyio

DEVICE = {"assetId", "productKey", "deviceKey"}
# In their order: the members that make the fault, the code, and words of `submsg`.
FAULTS: list[tuple[str, dict[str, Any], int, str]] = [
    ("no-request-id", {"requestId": ""}, 1000, "requestId"),
    ("no-service", {"serviceId": None}, 1000, "serviceId"),
    ("no-channel", {"controlChannelId": None}, 1000, "controlChannelId is missing"),
    ("bad-timeout", {"timeout": 0}, 1000, "timeout"),
    ("no-device", {"productKey": None, "deviceKey": None}, 1000, "assetId, or productKey and deviceKey"),
    ("unknown-device", {"deviceKey": "nobody"}, 1000201, ""),
    ("bad-input", {"inputData": {"rpm": "fast"}}, 1000, "inputData.rpm"),
    ("unknown-channel", {"controlChannelId": "DATASVC.CONTROL.none"}, 1000103, ""),
    ("away", {"deviceKey": "gone"}, 1000204, "NOT_CONNECTED"),
    ("denied-callback", {"callbackUrl": "http://10.0.0.1/"}, 1000, "callbackUrl not allowed"),
    ("no-room", {"deviceKey": "queued"}, 1000207, ""),
    ("no-words", {"assetId": "array"}, 1000204, "INVOKE is not offered"),
]


def together(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one call can have both faults."""
    device = bool(DEVICE & one.keys()) and bool(DEVICE & other.keys())
    # A callback is enough without a channel, and only devices of the product have declared inputs.
    both = {**one, **other}
    callback = "callbackUrl" in both and both.get("controlChannelId", "") is None
    undeclared = {"inputData", "assetId"} <= both.keys()
    return not (device or callback or undeclared or one.keys() & other.keys())


PAIRS = [
    pytest.param({**first, **second}, code, words, id=f"{name}-before-{behind}")
    for (name, first, code, words), (behind, second, _, _) in combinations(FAULTS, 2)
    if together(first, second)
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def trouble(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A hub whose device `gone` is away, and that takes no further call for `queued`."""
    async with serving(tmp_path_factory.mktemp("trouble"), waiting=2) as served:
        served.clock.advance(91)  # devices seen before had their time to come back
        await served.lost()
        while (await served.invoke(call("queued", timeout=300_000)))[0]["status"] == 0:
            pass
        yield served


@pytest.mark.parametrize(("members", "code", "words"), [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS])
async def test_each_fault_has_its_code(trouble: Served, members: dict[str, Any], code: int, words: str) -> None:
    (reply,) = await trouble.invoke(call(**members))

    assert reply["status"] == code and words in reply["submsg"], reply


@pytest.mark.parametrize(("members", "code", "words"), PAIRS)
async def test_of_two_faults_the_earlier_one_is_told(
    trouble: Served, members: dict[str, Any], code: int, words: str
) -> None:
    (reply,) = await trouble.invoke(call(**members))

    assert reply["status"] == code and words in reply["submsg"], reply
