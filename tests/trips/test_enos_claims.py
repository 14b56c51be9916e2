"""Names that mean one device in the whole hub: which of them an account may give by API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.trips.enos_rig import KEY, OTHER_KEY, WORLD, Served, serving

pytestmark = pytest.mark.anyio

ONE_ACCOUNT = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "ak_enos_of_the_shop"
[adapters.simulated]
kind = "simulated"
"""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    shared = '[adapters.simulated]\nkind = "simulated"\n'  # an adapter of no account: everybody may use it
    world = WORLD.replace(f'{shared}account = "acme"\n', shared)
    async with serving(tmp_path, world=world) as served:
        yield served


async def put(served: Served, aliases: dict[str, str], *, key: str = KEY, id: str = "new") -> Any:
    body = {"adapter": "simulated", "aliases": aliases}
    answer = await served.sent("PUT", f"/v1/devices/{id}", body, key=key, org=None)
    return answer.status, answer.json.get("type", "").rpartition(":")[2].rpartition("/")[2]


@pytest.mark.parametrize("named", ["pkPump/future", "pkUnheardOf/x", "pkPump", "/x"])
async def test_a_device_of_a_product_is_named_by_who_has_the_product(served: Served, named: str) -> None:
    assert await put(served, {"product-device": named}, key=OTHER_KEY) == (409, "alias-not-yours")

    await served.sent("PUT", "/v1/products/pkOwn", {}, key=OTHER_KEY, org=None)
    assert await put(served, {"product-device": "pkOwn/x"}, key=OTHER_KEY) == (201, "")
    assert await put(served, {"product-device": "pkPump/future"}) == (201, "")


async def test_an_identity_for_a_key_begins_with_its_account(served: Served) -> None:
    for identity, answer in (("pump-1", (409, "alias-not-yours")), ("acme/pump-1", (409, "alias-not-yours")),
                             ("other/pump-1", (201, ""))):  # fmt: skip
        assert await put(served, {"psk-identity": identity}, key=OTHER_KEY) == answer


async def test_what_the_configuration_said_stays_when_the_device_is_put(served: Served) -> None:
    aliases = {"product-device": "pkOther/foreign", "asset": "foreign-asset"}

    assert await put(served, aliases, key=OTHER_KEY, id="foreign") == (200, "")
    assert await put(served, {"product-device": "pkOther/else"}, key=OTHER_KEY, id="foreign") == (
        409, "alias-not-yours",
    )  # fmt: skip


async def test_in_a_hub_of_one_account_nothing_is_anybody_elses(tmp_path: Path) -> None:
    async with serving(tmp_path, world=ONE_ACCOUNT) as served:
        assert await put(served, {"product-device": "pkAny/x", "psk-identity": "urn:x"}) == (201, "")
