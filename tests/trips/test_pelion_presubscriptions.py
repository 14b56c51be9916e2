"""Presubscriptions of the Connect dialect over a real server: rules that subscribe by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.model.principal import Scope
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import FOREIGN, Front
from tests.trips.pelion_rig import Observed, running_observed

pytestmark = pytest.mark.anyio

RULES = "/v2/subscriptions"
LAMP = f"{RULES}/lamp"
TEMPERATURE = f"{LAMP}/3303/0/5700"

Rig = tuple[Front, Observed]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_observed(tmp_path) as rig:
        yield rig


async def test_rules_are_told_back_as_they_were_put(rig: Rig) -> None:
    front, _ = rig
    none = await front.ask("GET", RULES)
    rules = [
        {"endpoint-name": "015f2fa3*", "resource-path": ["/3303/*", "/3304/0/5700"]},
        {"endpoint-type": "climate"},
        {"resource-path": []},
    ]
    put = await front.ask("PUT", RULES, rules, headers={"Accept": "text/plain"})
    got = await front.ask("GET", RULES)
    foreign = await front.ask("GET", RULES, key=FOREIGN)
    deleted = await front.ask("DELETE", RULES)

    assert (none.status, none.json) == (200, [])
    assert (put.status, put.body, got.json, foreign.json) == (204, b"", rules, [])
    assert (deleted.status, (await front.ask("GET", RULES)).json) == (204, [])


async def test_who_may_put_look_at_and_remove_rules(rig: Rig) -> None:
    front, _ = rig
    rules = [{"endpoint-type": "t"}]
    await front.ask("PUT", RULES, rules)
    caller = await front.key(Scope.CALL)
    listener = await front.key(Scope.LISTEN)
    for key, status, word in [
        (None, 401, "NOT_AUTHENTICATED"),
        ("ak_nobody_knows_this", 401, "NOT_AUTHENTICATED"),
        (caller, 403, "NOT_ALLOWED"),
    ]:
        for method, body in [("PUT", []), ("GET", None), ("DELETE", None)]:
            answer = await front.ask(method, RULES, body, key=key)
            assert (answer.status, answer.text) == (status, word), (method, key)
    assert (await front.ask("GET", RULES, key=listener)).json == rules
    assert (await front.ask("PUT", RULES, [], key=listener)).status == 204
    assert (await front.ask("DELETE", RULES, key=listener)).status == 204


@pytest.mark.parametrize(
    "rules",
    [
        b"{",
        b"{}",
        [[]],
        [{}],
        [{"endpoint-name": None}],
        [{"endpoint-name": "a*b"}],
        [{"endpoint-name": "x" * 65}],
        [{"endpoint-type": 5}],
        [{"endpoint-type": ""}],
        [{"resource-path": "/3303"}],
        [{"resource-path": ["/33*/0"]}],
        [{"resource-path": ["/" + "3" * 128]}],
        [{"resource-path": [f"/{n}" for n in range(257)]}],
        [{"resource-path": ["/1"] * 129}] * 127 + [{"endpoint-name": "a", "resource-path": ["/1"]}] * 2,
        [{"endpoint-type": "t"}] * 1025,
    ],
    ids=lambda rules: str(rules)[:60],
)
async def test_a_malformed_rule_is_refused_and_the_old_ones_stay(rig: Rig, rules: object) -> None:
    front, _ = rig
    await front.ask("PUT", RULES, [{"endpoint-type": "t"}])
    answer = await front.ask("PUT", RULES, rules)

    assert answer.status == 400
    assert (await front.ask("GET", RULES)).json == [{"endpoint-type": "t"}]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"endpoint-name": "lamp"}, ["/3303/0/5700", "/3303/0/5701", "/3304/0/5700"]),
        ({"endpoint-name": "la*", "resource-path": ["/3303/*"]}, ["/3303/0/5700", "/3303/0/5701"]),
        ({"endpoint-name": "l"}, []),
        ({"endpoint-type": "light", "resource-path": ["/3304/0/5700"]}, ["/3304/0/5700"]),
        ({"endpoint-type": "lig"}, []),
        ({"endpoint-name": "lamp", "endpoint-type": "other"}, []),
        ({"resource-path": ["*"]}, ["/3303/0/5700", "/3303/0/5701", "/3304/0/5700"]),
        ({"resource-path": ["/3303/0/5605", "/9/9/9"]}, []),
        ({"resource-path": ["3303/0/5701"]}, ["/3303/0/5701"]),
        ({"resource-path": []}, ["/3303/0/5700", "/3303/0/5701", "/3304/0/5700"]),
    ],
    ids=str,
)
async def test_a_rule_subscribes_what_it_names_when_the_device_registers(
    rig: Rig, rule: dict[str, object], wanted: list[str]
) -> None:
    front, observed = rig
    await front.ask("PUT", RULES, [rule])
    before = await front.ask("GET", LAMP)
    await observed.register(type="light")

    assert before.status == 404
    assert (await front.ask("GET", LAMP)).text.split("\n") == (wanted or ["SUBSCRIPTION_NOT_FOUND"])
    assert sorted(path for path, _ in await observed.values(len(wanted))) == wanted


async def test_a_rule_applies_at_an_update_too_and_holds_over_the_next_registration(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", RULES, [{"resource-path": ["/3303/0/5700"]}])
    await observed.heard(Heard.UPDATED)
    await observed.values()
    await observed.register()

    assert len(await observed.values(2)) == 2
    assert (await front.ask("GET", LAMP)).text == "/3303/0/5700"


async def test_removed_rules_end_what_only_they_wanted(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", TEMPERATURE)
    await front.ask("PUT", RULES, [{"resource-path": ["/3303/*"]}, {"resource-path": ["/3304/*"]}])
    await observed.heard(Heard.UPDATED)
    await observed.values(3)
    await front.ask("PUT", RULES, [{"resource-path": ["/3304/*"]}])
    await observed.until(lambda: observed.running == ["/3303/0/5700", "/3304/0/5700"])
    listed = (await front.ask("GET", LAMP)).text
    await front.ask("PUT", RULES, [])

    assert listed == "/3303/0/5700\n/3304/0/5700"
    assert (await front.ask("GET", LAMP)).text == "/3303/0/5700"


async def test_a_rule_that_was_removed_does_not_come_back_with_the_hub(tmp_path: Path) -> None:
    async with running_observed(tmp_path) as (front, observed):
        await front.ask("PUT", RULES, [{"resource-path": ["/3303/0/5700"]}])
        await observed.heard(Heard.UPDATED)
        await observed.values()
        await front.ask("DELETE", RULES)
    async with running_observed(tmp_path, again=True) as (front, _):
        assert (await front.ask("GET", LAMP)).status == 404


async def test_an_application_that_unsubscribes_is_not_told_though_its_rule_stands(rig: Rig) -> None:
    front, observed = rig
    await front.ask("PUT", RULES, [{"resource-path": ["/3303/0/5700"]}])
    await observed.register()
    await observed.values()
    await front.ask("DELETE", TEMPERATURE)
    await observed.value(b"22")
    told = await observed.values()
    await observed.heard(Heard.UPDATED)

    assert [payload for _, payload in told] == [b"first /3303/0/5700"]
    assert (await front.ask("GET", TEMPERATURE)).status == 200
