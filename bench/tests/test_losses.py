"""A benchmark that cannot see a loss is worth nothing: servers that lose, double and refuse, and what the loads say."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from bench import closed_loop
from bench.listener import Refused
from bench.reference import Loop
from bench.row import Lap, Load, Size, Target
from bench.rows import post
from bench.rows.fanout import FanoutLoad
from bench.rows.idle import IdleLoad
from bench.rows.post import PelionPostLoad, PostLoad
from bench.rows.unicast import UnicastLoad
from tests.prompt_server import serving

pytestmark = pytest.mark.anyio
KEY = "ak_test_0000"
SMALL = Size(calls=40, window=4, listeners=8, channels=5)


class Losing(Loop):
    """Forgets one completion."""

    async def push(self, channel: str, ref: str, payload: str, device: str) -> None:
        if not ref.endswith("7"):
            await super().push(channel, ref, payload, device)


class Doubling(Loop):
    """Tells one completion twice."""

    async def push(self, channel: str, ref: str, payload: str, device: str) -> None:
        await super().push(channel, ref, payload, device)
        if ref.endswith("7"):
            await super().push(channel, ref, payload, device)


class Swapping(Loop):
    """One listener gets a completion twice and another never: the number per call is still right."""

    async def push(self, channel: str, ref: str, payload: str, device: str) -> None:
        everybody = self._channels[channel]
        first, second = sorted(everybody, key=id)[:2]
        if ref.endswith("7"):
            await self._push_to(everybody - {second}, channel, ref, payload, device)
            await self._push_to({first}, channel, ref, payload, device)
        else:
            await self._push_to(everybody, channel, ref, payload, device)
        self._channels[channel] = everybody

    async def _push_to(self, some: set[WebSocket], channel: str, ref: str, payload: str, device: str) -> None:
        self._channels[channel] = some
        await super().push(channel, ref, payload, device)


class Busy(Loop):
    """Refuses every fourth POST."""

    posts = 0

    async def native(self, request: Request) -> Response:
        self.posts += 1
        return Response(status_code=429) if self.posts % 4 == 0 else await super().native(request)


class Hanging(Loop):
    """Closes every socket at the third completion."""

    pushes = 0

    async def push(self, channel: str, ref: str, payload: str, device: str) -> None:
        self.pushes += 1
        if self.pushes == 3:
            for listener in list(self._channels[channel]):
                await listener.close(1011)
            return
        await super().push(channel, ref, payload, device)


class Failing(Loop):
    """Accepts, then says that the device failed."""

    async def native(self, request: Request) -> Response:
        answer = await super().native(request)
        answer.background = BackgroundTask(self._fail, (await request.json()))
        return answer

    async def _fail(self, asked: dict[str, str]) -> None:
        text = '{"type":"message","async-responses":[{"id":"' + asked["ref"] + '","status":503}]}'
        for listener in list(self._channels[asked["channel"]]):
            await listener.send_text(text)


@contextlib.asynccontextmanager
async def served(loop: Loop, load: type, size: Size = SMALL, replays: bool = False) -> AsyncIterator[Load]:
    """The server on a free port, and a load that is prepared against it."""
    config = uvicorn.Config(
        Starlette(routes=loop.routes()), ws="websockets-sansio", log_level="critical", ws_per_message_deflate=False
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = Target("test", "127.0.0.1", listening.getsockname()[1], KEY, 1000, "sim-load-", replays)
        async with serving(config, listening):
            made: Load = load(target, size)
            try:
                await made.prepare()
                yield made
            finally:
                await made.close()


async def lap(loop: Loop, load: type, size: Size = SMALL, replays: bool = False) -> Lap:
    async with served(loop, load, size, replays) as made:
        return await made.verify(await made.lap())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_loop, "PATIENCE", 0.2)
    monkeypatch.setattr(post, "PATIENCE", 0.2)


@pytest.mark.parametrize(
    ("load", "units"), [(PostLoad, 40), (PelionPostLoad, 40), (UnicastLoad, 40), (FanoutLoad, 320), (IdleLoad, 8)]
)
async def test_a_server_that_does_its_work_is_clean(load: type, units: int) -> None:
    done = await lap(Loop(KEY), load)

    assert done.clean, done
    assert done.units == units


async def test_laps_follow_each_other_on_the_same_sockets() -> None:
    async with served(Loop(KEY), FanoutLoad) as load:
        for _ in range(3):
            done = await load.verify(await load.lap())
            assert (done.clean, done.units) == (True, 320)


async def test_a_connection_that_ended_while_idle_is_opened_again() -> None:
    async with served(Loop(KEY), PostLoad) as load:
        await load.lap()
        await load.close()
        assert (await load.lap()).clean


async def test_a_completion_that_never_comes_is_lost() -> None:
    assert (await lap(Losing(KEY), UnicastLoad, Size(calls=40, window=8, channels=5))).lost == 4


async def test_a_fanout_that_never_comes_is_lost_for_every_listener() -> None:
    assert (await lap(Losing(KEY), FanoutLoad, Size(calls=8, window=4, listeners=8))).lost == 8


async def test_a_completion_that_comes_twice_is_doubled() -> None:
    assert (await lap(Doubling(KEY), UnicastLoad, Size(calls=10, channels=1))).doubled == 1


async def test_one_listeners_double_does_not_hide_anothers_loss() -> None:
    done = await lap(Swapping(KEY), FanoutLoad, Size(calls=10, window=1, listeners=8))

    assert (done.lost, done.doubled) == (1, 1)


async def test_a_refused_post_is_a_failure() -> None:
    done = await lap(Busy(KEY), PostLoad)

    assert done.failed == {"POST answered 429": 10}
    assert done.units == 30


async def test_an_answer_that_is_no_success_is_a_failure() -> None:
    assert (await lap(Failing(KEY), UnicastLoad)).failed == {"answer not 200": 40}


async def test_a_listener_that_is_closed_is_a_failure_and_what_it_was_due_is_lost() -> None:
    done = await lap(Hanging(KEY), FanoutLoad, Size(calls=5, window=1, listeners=8))

    assert done.failed == {"listener: closed 1011": 8}
    assert done.lost > 0


async def test_a_wrong_key_is_refused_before_the_first_lap() -> None:
    with pytest.raises((Refused, ExceptionGroup)) as error:
        await lap(Loop("ak_other_0000"), FanoutLoad)
    assert error.group_contains(Refused) if isinstance(error.value, ExceptionGroup) else True


async def test_202s_whose_completions_are_not_on_the_channel_are_lost() -> None:
    # The reference gives no position and cannot read a channel again; said of a server that should, that is a fault.
    assert (await lap(Loop(KEY), PostLoad, replays=True)).failed == {"202 without a position": 1}
