"""The adapter contract, run on every adapter that ships a `rig.py`; nobody has to be listed here."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import adapters
from tests.contracts.adapter_calls import AdapterCalls
from tests.contracts.adapter_case import Case, unless_it_cannot, within
from tests.contracts.adapter_core import AdapterCore, under  # noqa: F401  (a fixture)
from tests.contracts.adapter_events import AdapterEvents
from tests.contracts.context import ContextDouble
from tests.require import require

pytestmark = pytest.mark.anyio


def found() -> list[Any]:
    """Every rig, once for each variant that it has."""
    made = []
    for folder in sorted(Path(path) for path in adapters.__path__):
        for file in sorted(folder.glob("**/rig.py")):
            room = file.parent.relative_to(folder).parts
            module = importlib.import_module(".".join(("adapters", *room, "rig")))
            for variant in getattr(module, "VARIANTS", ("",)) if hasattr(module, "create_rig") else ():
                name = "-".join((*room, variant)).strip("-")
                made.append(pytest.param((module.create_rig, variant, getattr(module, "NEEDS", ())), id=name))
    return made


@pytest.fixture(params=found())
def made(request: pytest.FixtureRequest) -> Any:
    """How to make the rig under test, if what it needs of the machine is there."""
    create_rig, variant, needs = request.param
    for program in needs:
        require(program)
    return create_rig, variant


@pytest.fixture
async def case(request: pytest.FixtureRequest, made: Any, tmp_path: Path) -> AsyncIterator[Case]:
    """A started rig, stopped afterwards, when nothing may be left of it."""
    create_rig, variant = made
    rig = create_rig(tmp_path, variant=variant, **getattr(request, "param", {}))
    number = int(request.function.__name__[5:7])
    if number in rig.cannot:
        pytest.skip(f"case {number}: {rig.cannot[number]}")
    unless_it_cannot(request, rig)
    before = asyncio.all_tasks()
    ctx = ContextDouble()
    await rig.open(ctx)
    try:
        yield Case(rig, ctx, tmp_path)
    finally:
        ctx.release_accept()
        await within(rig.close(), 10)
    async with asyncio.timeout(5):
        while left := [task for task in asyncio.all_tasks() - before if not _of_the_runner(task)]:
            await asyncio.wait(left)
    assert ctx.tasks == 0


def _of_the_runner(task: asyncio.Task[Any]) -> bool:
    return "_call_in_runner_task" in getattr(task.get_coro(), "__qualname__", "")


def test_there_are_rigs_to_run_on() -> None:
    assert len(found()) >= 3


class TestAdapters(AdapterCalls, AdapterEvents, AdapterCore):
    """Every case on every rig."""
