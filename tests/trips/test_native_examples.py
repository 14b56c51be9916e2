"""The dialects' printed examples, run as they stand: request, what the device gets, what is told on the channel."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hub.ports.adapter import DeviceResponse
from tests.trips.front_rig import running_front

pytestmark = pytest.mark.anyio

DEVICE = "015f2fa34d310000000000010030036c"
FILES = sorted((Path(__file__).parents[2] / "hub" / "dialects").glob("*/examples/*.json"))
EXAMPLES = {f"{file.parts[-3]}-{file.stem}": json.loads(file.read_text(encoding="utf-8")) for file in FILES}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_does_what_it_prints(name: str, tmp_path: Path) -> None:
    told = EXAMPLES[name]
    asked, device = told["request"], told["device"]
    async with running_front(tmp_path) as front:
        await front.core.device(DEVICE)

        answer = await front.ask(asked["method"], asked["path"], asked["body"])
        attempt = await front.core.adapter.next()
        attempt.answer.set_result(_response(device["answers"]))
        await front.ended(answer.headers["hub-call-id"])
        page = (await front.ask("GET", "/v1/channels/default/messages?offset=0&wait=0")).json

    assert answer.status == told["answer"]["status"]
    assert sorted(answer.json) == told["answer"]["members"] if "members" in told["answer"] else answer.body == b""
    assert (attempt.request.method, attempt.request.target.partition("?")[0]) == (device["method"], device["target"])
    assert attempt.request.payload == base64.b64decode(device.get("payload-b64", ""))
    assert attempt.request.args == asked["body"].get("args")
    [item] = page["messages"][-1]["async-responses"]
    assert {name: item[name] for name in item if name not in ("call-id", "device")} == told["outcome"]


def test_there_are_examples_of_both_dialects() -> None:
    assert {file.parts[-3] for file in FILES} >= {"native", "pelion"}


def _response(answers: dict[str, Any]) -> DeviceResponse:
    payload = base64.b64decode(answers.get("payload-b64", ""))
    return DeviceResponse(answers["status"], payload, answers.get("ct"), answers.get("max-age"))
