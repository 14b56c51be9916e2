"""The long poll of the Connect dialect on real sockets: what it is answered, and how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.model.event import EventDraft, EventKind
from hub.model.principal import Scope
from tests.hub_process import HubProcess
from tests.trips.front_rig import KEY, PATIENCE, Front, running_front
from tests.trips.pelion_pull_rig import (
    CHANNEL,
    PULL,
    completed,
    departed,
    held,
    mechanism,
    open_poll,
    over,
    polling,
    refs,
)

pytestmark = pytest.mark.anyio


# What a poll is answered.


async def test_an_answer_that_came_before_the_first_poll_is_kept_for_it(front: Front) -> None:
    answer = await front.ask("POST", "/v2/device-requests/lamp?async-id=early", {"method": "GET", "uri": "/5/0/1"})
    (await front.core.adapter.next()).reply(200, b"value1\n")
    await front.ended(answer.headers["hub-call-id"])

    poll = await front.ask("GET", PULL)

    assert poll.headers["content-type"] == "application/json"
    assert poll.json["async-responses"] == [{"id": "early", "status": 200, "payload": "dmFsdWUxCg==", "max-age": 0}]
    assert await mechanism(front) == "LONG_POLLING"


async def test_a_held_poll_is_answered_as_soon_as_something_comes(front: Front) -> None:
    poll = await open_poll(front)

    await completed(front, "a")

    assert refs(await poll) == ["a"]


async def test_a_poll_without_news_ends_with_204_after_its_hold(front: Front) -> None:
    poll = await open_poll(front)
    front.core.clock.advance(29.9)
    await front.ask("GET", CHANNEL)
    assert not poll.done()

    front.core.clock.advance(0.2)

    answer = await poll
    assert (answer.status, answer.body) == (204, b"")


async def test_what_was_told_is_not_told_again_even_after_a_restart(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        await completed(front, "a", "b")
        first = refs(await front.ask("GET", PULL))
        await completed(front, "c")
    async with running_front(tmp_path) as front:
        second = refs(await front.ask("GET", PULL))

    assert (first, second) == (["a", "b"], ["c"])


async def test_a_failed_outcome_of_500_and_above_comes_in_an_answer_of_its_own(front: Front) -> None:
    await completed(front, "a")
    await completed(front, "b", status=504)
    await completed(front, "c")

    told = [refs(await front.ask("GET", PULL)) for _ in range(3)]

    assert told == [["a"], ["b"], ["c"]]


async def test_what_is_not_told_does_not_end_the_hold(front: Front) -> None:
    poll = await open_poll(front)
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.PROGRESS, {"call_id": "x"})
    await front.core.hub.engine.log.append([draft], {})

    await completed(front, "a")

    assert refs(await poll) == ["a"]


async def test_events_that_retention_took_are_told_as_a_gap_in_the_next_message(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(retention_events=2)) as front:
        await front.ask("DELETE", PULL)
        front.core.clock.advance(1)
        first = polling(front)
        await held(front)
        await completed(front, "a")
        await first
        await completed(front, *"bcdef")
        await front.core.hub.sweep.tidy()
        # Memory still has what the log has not: after a restart nothing hides the gap.
    async with running_front(tmp_path, limits=Limits(retention_events=2)) as front:
        answer = await front.ask("GET", PULL)

    assert refs(answer) == ["e", "f"]
    assert answer.json["gap"] == {"from": 2, "to": 4, "next": 4, "reason": "retention"}


async def test_what_came_between_two_polls_waits(front: Front) -> None:
    (await open_poll(front)).cancel()
    await over(front)
    await departed(front, "d1")

    answer = await front.ask("GET", PULL)

    assert answer.json["de-registrations"] == ["d1"]


async def test_a_drain_answers_the_open_poll_and_sends_its_client_to_the_next_process(front: Front) -> None:
    poll = await open_poll(front)

    front.listening.openings.drain()

    ended = await poll
    later = await front.ask("GET", PULL)
    assert [(answer.status, answer.headers["connection"]) for answer in (ended, later)] == [(204, "close")] * 2


async def test_a_revoked_key_ends_its_poll(front: Front) -> None:
    key = await front.key(Scope.LISTEN)
    poll = polling(front, key)
    await held(front)
    [made] = [known for known in front.core.hub.access.keys("shop") if known.scopes == frozenset({Scope.LISTEN})]

    await front.core.hub.access.revoke_key(made.id)

    assert (await poll).status == 401


async def test_who_may_poll(front: Front) -> None:
    caller = await front.key(Scope.CALL)

    for method, key, status in [
        ("GET", None, 401),
        ("DELETE", None, 401),
        ("GET", "ak_nobody_knows_this", 401),
        ("GET", caller, 403),
        ("DELETE", caller, 403),
        ("HEAD", KEY, 405),
        ("PUT", KEY, 405),
    ]:
        assert (await front.ask(method, PULL, key=key)).status == status
    assert await mechanism(front) is None


async def test_idle_connections_outlive_a_minute() -> None:
    # A POST that meets a connection just closed is raised at the SDK's user.
    assert Limits().keep_alive >= timedelta(seconds=60)


async def test_payloads_are_standard_padded_base64(front: Front) -> None:
    # Anything else kills the polling thread of a vendor's SDK.
    await completed(front, "a", payload=b"\xff\xfe\xfd\xfc")

    answer = await front.ask("GET", PULL)

    assert json.loads(answer.body)["async-responses"][0]["payload"] == "//79/A=="


async def test_a_hub_that_is_told_to_end_answers_the_open_poll_first(tmp_path: Path) -> None:
    # Without devices: the first poll would be answered at once with the news that they registered.
    config = (
        '[accounts.acme]\n[applications.shop]\naccount = "acme"\n'
        '[keys.test]\napplication = "shop"\nscopes = ["listen"]\nkey = "ak_hub_process_0123456789"\n'
    )
    with HubProcess(tmp_path, config=config) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        request = f"GET {PULL} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {hub.key}\r\n\r\n"
        writer.write(request.encode())
        # A second poll is refused once the first is open.
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(refused, hub) != 409:
                pass
        ended = await asyncio.to_thread(hub.terminate)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 204 ") and b"connection: close" in answer.lower()
    assert ended == 0


def refused(hub: HubProcess) -> int | None:
    """What a poll is told that gives up after a moment."""
    with socket.create_connection(("127.0.0.1", hub.port)) as connection:
        connection.settimeout(1)
        request = f"GET {PULL} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {hub.key}\r\n\r\n"
        connection.sendall(request.encode())
        try:
            return int(connection.recv(100).split()[1])
        except TimeoutError:
            return None
