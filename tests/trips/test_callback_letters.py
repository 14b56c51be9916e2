"""What stays of callbacks: dead letters, seen and replayed by admins, and the secrets that sign deliveries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from hub.model.principal import Scope
from tests.trips.callback_rig import HOUR, at_once, call, dead, taken
from tests.trips.front_rig import FOREIGN, Front, running_front
from tests.trips.receiver import Receiver

pytestmark = pytest.mark.anyio


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with running_front(tmp_path) as front:
        front.core.adapter.on_call = at_once
        yield front


# Dead letters.


async def test_a_dead_letter_is_replayed_with_its_old_id(front: Front, receiver: Receiver) -> None:
    receiver.status = 410
    accepted = await call(front, receiver.url, "lost")
    first = await receiver.next()
    [letter] = await dead(front, 1)
    receiver.status = 200

    answer = await front.ask("POST", "/v1/dead-letters/replay", {"ids": [letter["id"]]})
    again = await receiver.next()
    await taken(front.core, 1)

    assert answer.json == {"replayed": 1}
    assert (again.id, again.body) == (first.id, first.body)
    assert (letter["ref"], letter["call-id"], letter["url"]) == ("lost", accepted["id"], receiver.url)
    assert await dead(front, 0) == []


@pytest.mark.parametrize("by", ["range", "time", "endpoint"])
async def test_letters_are_replayed_by_range_by_time_and_by_endpoint(
    front: Front, receiver: Receiver, by: str
) -> None:
    receiver.status = 410
    for count in range(1, 4):
        await call(front, f"{receiver.url}/{count}")
        await receiver.next()
        await dead(front, count)
        front.core.clock.advance(10)
    letters = (await dead(front, 3))[::-1]
    receiver.status = 200
    asked, expected = {
        "range": ({"from": letters[1]["id"], "to": letters[2]["id"]}, {"/2", "/3"}),
        "time": ({"since": letters[0]["died-at"], "until": letters[1]["died-at"]}, {"/1"}),
        "endpoint": ({"endpoint": letters[0]["endpoint"]}, {"/1", "/2", "/3"}),
    }[by]

    answer = await front.ask("POST", "/v1/dead-letters/replay", asked)
    assert answer.json == {"replayed": len(expected)}
    assert {(await receiver.next()).path for _ in expected} == expected
    await taken(front.core, len(expected))
    assert receiver.got.empty()


async def test_letters_come_page_by_page_the_last_dead_first(front: Front, receiver: Receiver) -> None:
    receiver.status = 410
    for count in range(1, 6):
        await call(front, f"{receiver.url}/{count}")
        await receiver.next()
        await dead(front, count)
    seen: list[str] = []
    path = "/v1/dead-letters?limit=2"
    while True:
        page = (await front.ask("GET", path)).json
        seen += [letter["url"].rpartition("/")[2] for letter in page["dead-letters"]]
        if "next" not in page:
            break
        path = f"/v1/dead-letters?limit=2&after={page['next']}"
    assert seen == ["5", "4", "3", "2", "1"]


async def test_foreign_letters_look_like_none(front: Front, receiver: Receiver) -> None:
    receiver.status = 410
    await call(front, receiver.url)
    [letter] = await dead(front, 1)
    assert (await front.ask("GET", "/v1/dead-letters", key=FOREIGN)).json == {"dead-letters": []}
    replay = await front.ask("POST", "/v1/dead-letters/replay", {"ids": [letter["id"]]}, key=FOREIGN)
    assert replay.json == {"replayed": 0}


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": ["1"]}, {"ids": [-1]}, {"since": "today"}, {"from": 1.5}])
async def test_a_replay_of_nothing_named_is_refused(front: Front, body: Any) -> None:
    assert (await front.ask("POST", "/v1/dead-letters/replay", body)).status == 400


async def test_only_an_admin_sees_letters_and_secrets(front: Front) -> None:
    key = await front.key(Scope.CALL, Scope.LISTEN)
    for method, path in (
        ("GET", "/v1/dead-letters"), ("POST", "/v1/dead-letters/replay"), ("GET", "/v1/callback-secret"),
        ("POST", "/v1/callback-secret"),
    ):  # fmt: skip
        assert (await front.ask(method, path, {} if "replay" in path else None, key=key)).status == 403


# The secret.


async def test_the_old_secret_signs_beside_the_new_one_for_a_day(front: Front, receiver: Receiver) -> None:
    old = (await front.ask("POST", "/v1/callback-secret")).json["secret"]
    new = (await front.ask("POST", "/v1/callback-secret")).json["secret"]
    await call(front, receiver.url)
    both = await receiver.next()
    front.core.clock.advance(24 * HOUR)
    await call(front, receiver.url)
    alone = await receiver.next()

    assert [_signs(secret, both) for secret in (new, old)] == [True, True]
    assert [_signs(secret, alone) for secret in (new, old)] == [True, False]


async def test_a_secret_that_was_made_at_first_need_is_told_once(front: Front, receiver: Receiver) -> None:
    assert (await front.ask("GET", "/v1/callback-secret")).status == 404
    await call(front, receiver.url)
    got = await receiver.next()
    before = (await front.ask("GET", "/v1/callback-secret")).json
    told = (await front.ask("POST", "/v1/callback-secret")).json
    after = (await front.ask("GET", "/v1/callback-secret")).json
    other = (await front.ask("POST", "/v1/callback-secret")).json

    assert (before["shown"], after["shown"]) == (False, True)
    assert "secret" not in before | after
    assert _signs(told["secret"], got)
    assert other["secret"] != told["secret"]


async def test_a_secret_outlives_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    async with running_front(tmp_path) as front:
        secret = (await front.ask("POST", "/v1/callback-secret")).json["secret"]
    async with running_front(tmp_path) as front:
        front.core.adapter.on_call = at_once
        await call(front, receiver.url)
        assert _signs(secret, await receiver.next())


def _signs(secret: str, got: Any) -> bool:
    from datetime import UTC, datetime

    signer = Webhook(secret)
    at = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    return signer.sign(got.id, at, got.body.decode()) in got.headers["webhook-signature"].split()
