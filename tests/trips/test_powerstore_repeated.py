"""A change that is repeated under its key: told as the first, or that nothing was taken under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.http.double import Heard, Server
from tests.trips.powerstore_rig import WORLD, serving

pytestmark = pytest.mark.anyio

REMOVING = """
[adapters.removing]
kind = "http"
jobs = "powerstore"
[adapters.removing.upstreams.a1]
url = "{url}"
[devices.removing]
account = "acme"
adapter = "removing"
address = "a1"
type = "array"
verify_instances = true
"""


@pytest.mark.parametrize("query", ["?is_async=true", ""])
async def test_a_repeated_removal_is_told_as_the_first_although_the_instance_is_gone(
    tmp_path: Path, query: str
) -> None:
    server = Server("a1")
    await server.open()
    gone = False

    async def remove(heard: Heard) -> bool:
        nonlocal gone
        if heard.path.startswith("/api/job"):
            return False
        if heard.method == "DELETE":
            gone = True
            await heard.answer(204)
        else:
            await heard.json(404 if gone else 200, {"messages": []} if gone else {"id": "1"})
        return True

    server.script = remove
    try:
        async with serving(tmp_path, world=WORLD + REMOVING.format(url=server.url)) as hub:
            server.clock = hub.clock
            path, key = f"/arrays/removing/api/rest/volume/1{query}", {"Idempotency-Key": "k1"}
            first = await hub.ask("DELETE", path, headers=key)
            await server.until(lambda: gone)
            again = await hub.ask("DELETE", path, headers=key)
            other = await hub.ask("DELETE", path, headers={"Idempotency-Key": "k2"})

            assert (again.status, again.body) == (first.status, first.body)
            assert again.headers["Hub-Call-Id"] == first.headers["Hub-Call-Id"]
            assert (other.status, other.headers["Idempotent-Replayed"]) == (404, "false")
            assert [heard.method for heard in server.heard] == ["GET", "DELETE", "GET"]
    finally:
        await server.close()


async def test_a_refusal_says_whether_its_key_was_looked_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        key = {"Idempotency-Key": "once"}
        await hub.ask("POST", "volume_group?is_async=true", {"name": "once"}, key)
        told = [
            await hub.ask("PATCH", "volume_group/nowhere?is_async=true", {"description": "x"}, headers)
            for headers in ({"Idempotency-Key": "new"}, None, key)
        ]
        unread = await hub.ask("POST", "volume_group?is_async=true", b"{", {"Idempotency-Key": "new"})

        # The last of them meets a key that came with another request: it does not say that nothing was taken under it.
        assert [answer.headers.get("Idempotent-Replayed") for answer in told] == ["false", None, None]
        assert [answer.status for answer in told] == [404, 404, 422]
        assert (unread.status, unread.headers.get("Idempotent-Replayed")) == (400, None)
