"""The vendor's Python SDK is told values of one resource only in each message, on the kinds of channel that it uses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hub.core.channels import DEFAULT
from hub.model.event import EventDraft, EventKind
from tests.trips.front_rig import PATIENCE, Answer, Front, running_front
from tests.trips.pelion_callback_rig import CALLBACK, failed, taken
from tests.trips.pelion_pull_rig import PULL, completed, over
from tests.trips.receiver import Got, Receiver

pytestmark = pytest.mark.anyio

SDK = {"User-Agent": "mbed-cloud-sdk-python/2.2.0 (Linux) Python/3.11"}
ANOTHER = {"User-Agent": "mbed-cloud-sdk-javascript / 1.0.0+dev"}


async def values(front: Front, *paths: str) -> None:
    """Values of these resources, in one commit."""
    body = {"device": "lamp", "name": None, "payload": b"1", "content_type": None, "max_age": None, "seq": None}
    drafts = [EventDraft(f"shop/{DEFAULT}", EventKind.NOTIFICATION, {**body, "path": path}) for path in paths]
    await front.core.hub.engine.log.append(drafts, {f"shop/{DEFAULT}": "acme"})


async def poll(front: Front, headers: dict[str, str]) -> list[str]:
    async with asyncio.timeout(PATIENCE):
        answer = await front.ask("GET", PULL, headers=headers)
    await over(front)
    return paths_of(answer)


def paths_of(message: Answer | Got) -> list[str]:
    return [item["path"] for item in message.json.get("notifications", ())]


async def put(front: Front, receiver: Receiver, headers: dict[str, str]) -> None:
    assert (await front.ask("PUT", CALLBACK, {"url": receiver.url}, headers=headers)).status == 204
    assert (await receiver.next()).body == b"{}"


async def test_polls_of_the_python_sdk_get_resources_apart_and_other_polls_get_all_at_once(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        await completed(front, "first")
        await poll(front, SDK)
        await values(front, "/1", "/1", "/2", "/1", "/2", "/3")

        assert [await poll(front, SDK) for _ in range(3)] == [["/1", "/1"], ["/2"], ["/1"]]
        assert await poll(front, ANOTHER) == ["/2", "/3"]


async def test_a_restart_in_the_midst_loses_nothing_and_tells_nothing_twice(tmp_path: Path) -> None:
    told: list[Any] = []
    async with running_front(tmp_path) as front:
        await completed(front, "first")
        await poll(front, SDK)
        await values(front, "/1", "/2", "/3", "/3", "/4")
        told += [await poll(front, SDK) for _ in range(2)]
    async with running_front(tmp_path) as front:
        told += [await poll(front, SDK) for _ in range(2)]
        await completed(front, "last")
        assert await poll(front, SDK) == []

    assert told == [["/1"], ["/2"], ["/3", "/3"], ["/4"]]


async def test_a_callback_keeps_the_form_that_it_was_registered_in(tmp_path: Path, receiver: Receiver) -> None:
    async with running_front(tmp_path) as front:
        await put(front, receiver, SDK)
        await values(front, "/1", "/2")
        assert [paths_of(await receiver.next()) for _ in range(2)] == [["/1"], ["/2"]]
        await taken(front, 2)
    async with running_front(tmp_path) as front:
        await values(front, "/3", "/4")
        assert [paths_of(await receiver.next()) for _ in range(2)] == [["/3"], ["/4"]]

        await put(front, receiver, ANOTHER)
        await values(front, "/5", "/6")
        assert paths_of(await receiver.next()) == ["/5", "/6"]


async def test_a_batch_that_failed_is_repeated_as_it_was_over_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    async with running_front(tmp_path) as front:
        await put(front, receiver, SDK)
        receiver.status = 500
        await values(front, "/1", "/2")
        first = await receiver.next()
        await failed(front, 1)
    receiver.status = 200
    async with running_front(tmp_path) as front:
        front.core.clock.advance(120)
        assert (await receiver.next()).body == first.body
        assert paths_of(await receiver.next()) == ["/2"]
