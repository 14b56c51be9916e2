"""Rules and wants in the core: what they cost where there are many, and what disk says of them after a restart."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from hub.core.hub import Hub
from hub.core.rule import Rule
from hub.core.rule_index import RuleIndex
from hub.core.rules import inside_container
from hub.core.wants import Life
from hub.model.device import Device, Registration, Resource
from hub.model.errors import TooMany
from hub.ports.adapter import DeviceResponse, ObserveSpec
from tests.core_rig import Core, running_core

pytestmark = pytest.mark.anyio

TEMPERATURE = Rule(paths=("/3303/0/5700",))


def lamp(*paths: str, id: str = "lamp", **device: Any) -> Device:
    """A device with observable resources."""
    resources = tuple(Resource(path, observable=True) for path in paths)
    return Device(
        id, "acme", "scripted", id, resources=resources, registration=Registration.REGISTERED, **device
    )


async def register(core: Core, device: Device) -> None:
    """A device registers."""
    async with core.hub.observe.registering(device, anew=True):
        await core.hub.directory.put_device(device)


def wanted(core: Core, device: Device) -> list[str]:
    return core.hub.observe.wanted("shop", device)


async def put_rules(core: Core, *rules: Rule) -> None:
    await core.hub.observe.put_rules("shop", "acme", rules)


# What a rule means.


def one_by_one(rules: Sequence[Rule], device: Device) -> set[str]:
    """What rules want, as they are described."""
    found: set[str] = set()
    for rule in rules:
        if rule.type not in (None, device.type) or not (rule.device is None or fits(rule.device, device.id)):
            continue
        for given in rule.paths or ("*",):
            pattern = given if given.startswith(("/", "*")) else "/" + given
            named = {r.path for r in device.resources if r.observable and fits(pattern, r.path)}
            if not named and not pattern.endswith("*") and inside_container(device, pattern):
                named = {pattern}
            found |= named
    return found


def fits(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def test_many_rules_together_want_what_they_want_one_by_one() -> None:
    luck = random.Random(7)
    names = ["*", "d*", "d1*", "d1", "d12", "e"]
    patterns = ["*", "/*", "/3*", "/33*", "/3303", "/3303/0", "/3303/0/5700", "3303/0/5701", "/4/0/1", "/x", "/3303/*"]
    paths = ["/3303", "/3303/0", "/3303/0/5700", "/3303/0/5701", "/4", "/4/0", "/4/0/2", "/x", "/3", "/33"]
    for _ in range(2000):
        rules = [
            Rule(
                luck.choice([None, *names]), luck.choice([None, "t", "u"]),
                luck.choice([None, (), tuple(luck.choices(patterns, k=luck.randint(1, 4)))]),
            )
            for _ in range(luck.randint(0, 5))
        ]
        resources = tuple(Resource(path, observable=luck.random() < 0.6) for path in luck.sample(paths, 4))
        kind = luck.choice([None, "t", "v"])
        device = Device(luck.choice(["d", "d1", "d12", "e"]), "a", "x", "y", type=kind, resources=resources)
        assert RuleIndex(rules).wanted(device) == one_by_one(rules, device), (rules, device)


def test_repeated_slashes_of_a_path_are_one() -> None:
    device = Device("d", "a", "x", "y", resources=(Resource("/3303/0/5700", observable=True),))
    for path in ("//3303//0/5700", "3303///0/5700", "//3303//*"):
        assert RuleIndex([Rule(paths=(path,))]).wanted(device) == {"/3303/0/5700"}, path


# What rules cost.


def test_a_registration_is_judged_in_a_moment_however_many_rules_repeat_however_many_paths() -> None:
    paths = tuple(f"/9{number:03}" for number in range(256))
    index = RuleIndex([Rule(paths=paths) for _ in range(1024)])
    device = lamp(*(f"/33{number:02}/0" for number in range(64)))
    begun = time.thread_time()
    assert index.wanted(device) == set()
    # One by one that takes seconds; a look-up takes less than a hundredth of one.
    assert time.thread_time() - begun < 0.1


async def test_new_rules_leave_the_loop_to_others_every_few_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_core(tmp_path) as core:
        await put_rules(core, TEMPERATURE)
        devices = [lamp("/3303/0/5700", *(f"/3303/0/{n}" for n in range(31)), id=f"d{i}") for i in range(200)]
        await asyncio.gather(*(register(core, device) for device in devices))
        judged, most = watch_judging(core.hub, monkeypatch)
        others = asyncio.ensure_future(turns(judged, most))
        await put_rules(core, Rule(paths=("/3303/0/1",)))
        others.cancel()
        most.append(judged[0])

        assert (sum(judged[1:]), max(most) <= 20) == (200, True), max(most)
        assert [wanted(core, device) for device in devices] == [[]] * 200


def watch_judging(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[int]]:
    """Counts the devices that rules are asked about: since the last turn of the others first, then one by one."""
    judged, most = [0], [0]
    ask = hub.observe.rules.wanted

    def counted(application: str, device: Device) -> set[str]:
        judged[0] += 1
        judged.append(1)
        return ask(application, device)

    monkeypatch.setattr(hub.observe.rules, "wanted", counted)
    return judged, most


async def turns(judged: list[int], most: list[int]) -> None:
    while True:
        most.append(judged[0])
        judged[0] = 0
        await anyio.lowlevel.checkpoint()


# What is over stays over.


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_a_removed_rule_wanted_does_not_come_back_by_a_restart(tmp_path: Path, deleted: bool) -> None:
    device = lamp("/3303/0/5700")
    async with running_core(tmp_path) as core:
        await put_rules(core, TEMPERATURE)
        await register(core, device)
        before = wanted(core, device)
        await put_rules(core)
        if deleted:
            await core.hub.observe.unwant("shop", device)
        await put_rules(core, TEMPERATURE)
        now = wanted(core, device)
    async with running_core(tmp_path) as core:
        assert (before, now, wanted(core, device)) == (["/3303/0/5700"], [], [])
        await register(core, device)
        assert wanted(core, device) == ["/3303/0/5700"]


async def test_what_a_removed_rule_wanted_does_not_come_back_by_two_restarts(tmp_path: Path) -> None:
    device = lamp("/3303/0/5700")
    async with running_core(tmp_path) as core:
        await put_rules(core, TEMPERATURE)
        await register(core, device)
        await put_rules(core)
    async with running_core(tmp_path) as core:
        await put_rules(core, TEMPERATURE)
    async with running_core(tmp_path) as core:
        assert wanted(core, device) == []


async def test_rules_that_are_put_at_once_leave_what_the_last_of_them_says(tmp_path: Path) -> None:
    device = lamp("/3303/0/5700")
    async with running_core(tmp_path) as core:
        await put_rules(core, TEMPERATURE)
        await register(core, device)
        await asyncio.gather(put_rules(core), put_rules(core, TEMPERATURE))
        now = wanted(core, device)
    async with running_core(tmp_path) as core:
        assert (now, wanted(core, device)) == ([], [])


# Registrations that are just coming.


async def test_rules_that_are_put_during_the_first_registration_of_a_device_speak_of_it(tmp_path: Path) -> None:
    device = lamp("/3303/0/5700", id="new")
    async with running_core(tmp_path) as core:
        await put_rules(core, TEMPERATURE)
        async with core.hub.observe.registering(device, anew=True):
            await put_rules(core, TEMPERATURE, Rule(device="else"))
            await core.hub.directory.put_device(device)

        assert wanted(core, device) == ["/3303/0/5700"]


async def test_a_subscription_beside_a_registration_keeps_what_rules_want_of_new_resources(tmp_path: Path) -> None:
    before, after = lamp("/3303/0/5700"), lamp("/3303/0/5700", "/3303/0/5701")
    async with running_core(tmp_path, observe="native") as core:
        await put_rules(core, Rule(paths=("/3303/0/5701",)))
        await register(core, before)
        async with core.hub.observe.registering(after, anew=False):
            await core.hub.observe.want("shop", before, "/3303/0/5700", Life.REGISTRATION)
            await core.hub.directory.put_device(after)

        assert wanted(core, after) == ["/3303/0/5700", "/3303/0/5701"]


# Wants that cannot be.


async def test_a_subscription_that_is_refused_for_its_outcome_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = lamp("/3303/0/5700", "/3303/0/5701")
    monkeypatch.setattr("hub.core.owed.MOST", 1)
    async with running_core(tmp_path, observe="native") as core:
        never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(core.adapter, "observe", lambda spec, deadline: never)
        await register(core, device)
        await core.hub.observe.want("shop", device, "/3303/0/5700", Life.REGISTRATION, ref="a")
        with pytest.raises(TooMany):
            await core.hub.observe.want("shop", device, "/3303/0/5701", Life.REGISTRATION, ref="b")

        assert wanted(core, device) == ["/3303/0/5700"]


async def test_an_adapter_that_fails_is_asked_again_when_the_device_shows_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = lamp("/3303/0/5700")
    asked: asyncio.Queue[ObserveSpec] = asyncio.Queue()

    async def observe(spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Any]:
        asked.put_nowait(spec)
        raise ZeroDivisionError

    async with running_core(tmp_path, observe="native") as core:
        monkeypatch.setattr(core.adapter, "observe", observe)
        await register(core, device)
        await core.hub.observe.want("shop", device, "/3303/0/5700")
        async with asyncio.timeout(5):
            await asked.get()
            await core.settle()
            core.hub.observe.appeared(device)
            await asked.get()
