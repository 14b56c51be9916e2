"""Arrays behind any adapter: checked by a schema of the configuration, instances asked for where it is set so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hub.model.outcome import Outcome
from hub.settings import SettingsError, load
from tests.trips.front_rig import PATIENCE
from tests.trips.powerstore_rig import GROUP, KEY, WORLD, Served, serving

pytestmark = pytest.mark.anyio


class NoticedReads:
    """Tells when the hub has begun to read something of an array."""

    def __init__(self, hub: Served) -> None:
        self.begun = asyncio.Event()
        self._read = hub.hub.reads.read
        hub.hub.reads.read = self._noticed  # type: ignore[method-assign]

    async def _noticed(self, *asked: Any) -> Outcome:
        reading = asyncio.ensure_future(self._read(*asked))
        await asyncio.sleep(0)  # its timer runs now
        self.begun.set()
        return await reading


SIZED = {"properties": {"size": {"type": "integer"}}}
SCHEMA: dict[str, Any] = {
    "swagger": "2.0",
    "paths": {
        "/thing": {"post": {"parameters": [{"in": "body", "schema": {"properties": {"name": {"type": "string"}}}}]}},
        "/thing/{id}": {"patch": {"parameters": [{"in": "body", "schema": SIZED}]}},
    },
}  # fmt: skip

FURTHER = """
[schemas.things]
file = "{file}"
[[adapters.simulated.devices]]
address = "echo"
model = "echo"
[devices.echo]
account = "acme"
adapter = "simulated"
address = "echo"
type = "array"
schema = "things"
"""


def world(folder: Path) -> str:
    file = folder / "things.json"
    file.write_text(json.dumps(SCHEMA), encoding="utf-8")
    return WORLD + FURTHER.format(file=file)


async def test_an_array_with_a_schema_is_asked_only_for_what_it_has(tmp_path: Path) -> None:
    at = "/arrays/echo/api/rest/"
    cases = [
        ("PATCH", "thing/1", {"size": 1}, 202), ("PATCH", "thing/1", {"size": "x"}, 400),
        ("PATCH", "thing/1", {"sise": 1}, 400), ("PATCH", "thong/1", {"size": 1}, 404),
        ("DELETE", "thing/1", None, 405), ("POST", "thing", {"name": "x"}, 202),
    ]  # fmt: skip
    async with serving(tmp_path, world=world(tmp_path)) as hub:
        for method, path, body, status in cases:
            answer = await hub.ask(method, f"{at}{path}?is_async=true", body)
            assert answer.status == status, (method, path, body)
        assert len((await hub.ask("GET", f"{at}job")).json) == 2


async def test_the_schema_holds_for_every_dialect(tmp_path: Path) -> None:
    async with serving(tmp_path, world=world(tmp_path)) as hub:
        for payload, status in (("eyJzaXplIjogMX0=", 202), ("eyJzaXNlIjogMX0=", 400)):
            body = {"method": "PATCH", "uri": "/thing/1", "payload-b64": payload}
            headers = {"Authorization": f"Bearer {KEY}"}
            async with hub.http.post(f"{hub.url}/v1/devices/echo/calls", json=body, headers=headers) as answer:
                assert answer.status == status, await answer.text()


async def test_an_instance_is_asked_for_before_a_change_of_it_is_taken(tmp_path: Path) -> None:
    verifying = WORLD.replace(
        'address = "array-1"\ntype = "array"', 'address = "array-1"\ntype = "array"\nverify_instances = true'
    )
    async with serving(tmp_path, world=verifying) as hub:
        seen: list[str] = []
        hub.hub.adapters["simulated"].device("array-1").tap = lambda asked: seen.append(asked.method)  # type: ignore[attr-defined]
        await hub.ask("PATCH", GROUP, {"description": "x"})
        await hub.ask("POST", "volume_group", {"name": "x"})

        assert seen == ["GET", "PATCH", "POST"]


SLOW = WORLD.replace(
    'address = "array-3"\ntype = "array"', 'address = "array-3"\ntype = "array"\nverify_instances = true'
)


async def test_an_array_that_does_not_say_whether_there_is_an_instance_is_given_the_change(tmp_path: Path) -> None:
    async with serving(tmp_path, world=SLOW) as hub:
        waits = NoticedReads(hub)
        asked = asyncio.create_task(
            hub.ask("PATCH", f"/arrays/array-3/api/rest/{GROUP}?is_async=true", {"description": "x"})
        )
        await asyncio.wait_for(waits.begun.wait(), PATIENCE)
        hub.clock.advance(3)

        assert (await asked).status == 202


async def test_who_waits_for_an_instance_sits_where_all_do_who_wait(tmp_path: Path) -> None:
    async with serving(tmp_path, world=f"{SLOW}\n[powerstore]\nwaiting = 1\n") as hub:
        waits = NoticedReads(hub)
        path = f"/arrays/array-3/api/rest/{GROUP}?is_async=true"
        asked = asyncio.create_task(hub.ask("PATCH", path, {"description": "x"}))
        await asyncio.wait_for(waits.begun.wait(), PATIENCE)
        refused = await hub.ask("PATCH", path, {"description": "y"})
        hub.clock.advance(3)

        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert (await asked).status == 202
        hub.clock.advance(30)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('[schemas.x]\nfile = "nowhere.json"', "schemas.x.file: nowhere.json cannot be read"),
        ('[users.x]\napplication = "nobody"', "users.x.application: there is no [applications.nobody]"),
        ('[users.x]\napplication = "shop"\nname = "a:b"', "users.x.name"),
        ('[users.x]\napplication = "shop"\npassword = "env:NOWHERE"', "users.x.password"),
        ("[powerstore]\nwait = 0", "powerstore.wait"),
        ("[powerstore]\nsession = 1", "powerstore.session"),
        ('[tls]\ncertificate = "a.pem"', "tls: certificate and key belong together"),
        ("[tls]\nport = 70000", "tls.port"),
    ],
)
async def test_a_configuration_that_cannot_be_is_said_so(change: str, said: str) -> None:
    with pytest.raises(SettingsError) as told:
        load(None, {}, text=f"{WORLD}\n{change}\n")

    assert any(said in line for line in told.value.lines), told.value.lines


async def test_a_schema_that_is_none_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    for content in ("{", "[]", '{"paths": 1}'):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(SettingsError, match=r"schemas\.x\.file"):
            load(None, {}, text=f'[schemas.x]\nfile = "{file}"\n')
