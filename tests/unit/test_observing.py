"""The first value of an observation beside those that are told while it begins: what is newest stays it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hub.core.hub import Hub
from hub.model.device import Device
from hub.model.event import EventKind
from hub.model.record import Kind, Record
from hub.ports.adapter import Delivery as Sent
from hub.ports.adapter import DeviceEvent, DeviceResponse, ObserveSpec, Unreachable
from hub.ports.adapter import EventKind as Heard
from tests.core_rig import Core, running_core

pytestmark = pytest.mark.anyio

PATH = "/3303/0/5700"
OLD = DeviceResponse(200, b"old", "text/plain", 60)


class Watched:
    """A running observation that does nothing. Implements `Observation`."""

    def __init__(self, spec: ObserveSpec) -> None:
        self.spec, self.active = spec, True

    async def cancel(self) -> None: ...


class DatedWatched(Watched):
    """One that knows when its first answer came."""

    began = 0.0


async def tell(core: Core, payload: bytes, ago: float = 0.0) -> None:
    """The lamp tells a value by itself; it came so many seconds `ago`."""
    assert core.adapter.ctx is not None
    now, attrs = core.clock.monotonic() - ago, {"observed": True, "max_age": 60}
    event = DeviceEvent(Heard.NOTIFICATION, "lamp", now, PATH, payload, "text/plain", attrs=attrs)
    await core.adapter.ctx.accept(event)


def observing(
    core: Core, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Awaitable[Any]], made: type[Watched] = Watched
) -> None:
    """Have the lamp answer the observe with the old value, and `meanwhile` happen before the hub has that."""

    async def observe(spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Watched]:
        await meanwhile()
        return OLD, made(spec)

    monkeypatch.setattr(core.adapter, "observe", observe)


def lamp(hub: Hub) -> Device:
    found = hub.directory.device("acme", "lamp")
    assert found is not None
    return found


async def told(core: Core, application: str = "shop") -> list[tuple[EventKind, bytes]]:
    await core.settle()
    return [(event.kind, event.body["payload"]) for event in await core.events(f"{application}/default")]


def cached(core: Core) -> bytes | None:
    found = core.hub.cache.look(("scripted", "lamp"), PATH, None)
    return None if found is None else found[0].payload


NEW, FIRST = (EventKind.NOTIFICATION, b"new"), (EventKind.NOTIFICATION, b"old")


async def test_a_value_told_behind_the_first_answer_stays_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_core(tmp_path, observe="native") as core:
        await core.hub.directory.put(Record(Kind.APPLICATION, "stand", "acme", {"name": "S", "account": "acme"}))
        observing(core, monkeypatch, lambda: tell(core, b"new"))
        await core.hub.observe.want("shop", lamp(core.hub), PATH)
        assert await told(core) == [NEW]
        assert cached(core) == b"new"

        await core.hub.observe.want("stand", lamp(core.hub), PATH)
        assert await told(core, "stand") == [NEW]


async def test_who_is_owed_an_outcome_gets_the_newest_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_core(tmp_path, observe="native") as core:
        observing(core, monkeypatch, lambda: tell(core, b"new"))
        await core.hub.observe.want("shop", lamp(core.hub), PATH, ref="a")
        assert await told(core) == [NEW, (EventKind.COMPLETION, b"new")]


async def test_a_value_told_while_an_outcome_is_paid_stays_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_core(tmp_path, observe="native") as core:
        pay = core.hub.observe._owed.pay

        async def paying(*args: Any) -> set[str]:
            await tell(core, b"new")
            return await pay(*args)

        monkeypatch.setattr(core.hub.observe._owed, "pay", paying)

        async def nothing() -> None: ...

        observing(core, monkeypatch, nothing)
        await core.hub.observe.want("shop", lamp(core.hub), PATH)
        assert (await told(core), cached(core)) == ([NEW], b"new")


@pytest.mark.parametrize(("began", "events"), [(1.0, [NEW, FIRST]), (0.0, [NEW])])
async def test_an_answer_that_came_behind_a_value_is_told_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: float, events: list[Any]
) -> None:
    async with running_core(tmp_path, observe="native") as core:
        monkeypatch.setattr(DatedWatched, "began", core.clock.monotonic() + began)
        observing(core, monkeypatch, lambda: tell(core, b"new"), DatedWatched)
        await core.hub.observe.want("shop", lamp(core.hub), PATH)
        assert await told(core) == events
        assert cached(core) == events[-1][1]


@pytest.mark.parametrize("made", [Watched, DatedWatched])
async def test_a_value_that_was_long_on_its_way_does_not_replace_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: type[Watched]
) -> None:
    async with running_core(tmp_path, observe="native") as core:
        monkeypatch.setattr(DatedWatched, "began", core.clock.monotonic())

        async def nothing() -> None: ...

        observing(core, monkeypatch, nothing, made)
        await core.hub.observe.want("shop", lamp(core.hub), PATH)
        await core.settle()
        if made is Watched:
            await tell(core, b"new")
        await tell(core, b"late", ago=1.0)

        newest = b"new" if made is Watched else b"old"
        assert [payload for _, payload in await told(core)] == [*([b"old"] if made is Watched else []), newest, b"late"]
        assert cached(core) == newest


async def test_what_was_told_before_the_device_was_asked_again_is_older_than_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_core(tmp_path, observe="native") as core:
        tries = 0

        async def fails_first() -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                await tell(core, b"new")
                raise Unreachable("not now", delivery=Sent.NOT_SENT)

        observing(core, monkeypatch, fails_first)
        await core.hub.observe.want("shop", lamp(core.hub), PATH)
        await core.settle()
        core.clock.advance(60)
        assert await told(core) == [NEW, FIRST]
