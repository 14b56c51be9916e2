"""Repeated slashes are one, wherever they stand in a path of the Connect dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.trips.front_rig import Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

PATHS = (
    "/v2/endpoints", "/v2/endpoints/lamp", "/v2/subscriptions", "/v2/notification/channel", "/v3/devices/",
    "/v3/devices/lamp/", "/v3/devices/lamp",
)  # fmt: skip


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[tuple[Front, Observed]]:
    async with running_observed(tmp_path) as rig:
        yield rig


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_with_repeated_slashes_is_the_path(rig: tuple[Front, Observed], path: str) -> None:
    front, _ = rig
    plain = await front.ask("GET", path)
    for at in [index for index, letter in enumerate(path) if letter == "/"]:
        for slashes in ("//", "///"):
            answer = await front.ask("GET", path[:at] + slashes + path[at + 1 :])
            assert (answer.status, answer.body) == (plain.status, plain.body), (at, slashes)


async def test_subscribing_works_with_slashes_anywhere(rig: tuple[Front, Observed]) -> None:
    front, observed = rig
    assert (await front.ask("PUT", "//v2/subscriptions//lamp///3303//0/5700")).status == 200
    await observed.values()

    assert (await front.ask("GET", "/v2/subscriptions/lamp/3303/0/5700")).status == 200
    assert (await front.ask("DELETE", "/v2//subscriptions//lamp//3303/0/5700")).status == 204
    assert (await front.ask("GET", "/v2/subscriptions/lamp")).status == 404


async def test_a_call_keeps_its_query_and_its_escaped_slashes(rig: tuple[Front, Observed]) -> None:
    front, _ = rig
    answer = await front.ask("PUT", "/v2//endpoints//lamp/3303%2F%2F0/5700?pmin=5&a=b//c", b"x")
    request = await front.core.adapter.next()

    assert answer.status == 202
    assert (request.request.target, request.request.query) == ("/3303%2F%2F0/5700", (("pmin", "5"), ("a", "b//c")))


async def test_the_socket_is_found_too(rig: tuple[Front, Observed]) -> None:
    front, _ = rig
    await front.ask("PUT", "/v2/notification//websocket")

    async with front.socket("/v2//notification/websocket-connect") as socket:
        await socket.ping()


async def test_an_unknown_path_with_repeated_slashes_is_told_in_the_dialects_shape(rig: tuple[Front, Observed]) -> None:
    front, _ = rig

    assert (await front.ask("GET", "/v2//nothing")).text == "URI_PATH_DOES_NOT_EXISTS"
    assert (await front.ask("GET", "//v3//nothing")).json["object"] == "error"
