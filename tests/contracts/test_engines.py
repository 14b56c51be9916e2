"""Runs the engine contract on every engine of `hub/engines/`; `engines_<name>.py` beside this file makes each."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import hub.engines
from tests.clock import ManualClock
from tests.contracts import engine as contract
from tests.contracts.engine_rig import MakeEngine, Running

pytestmark = pytest.mark.anyio

ENGINES = sorted(
    entry.name for entry in Path(hub.engines.__path__[0]).iterdir() if (entry / "__init__.py").is_file()
)


@pytest.fixture(params=ENGINES)
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    """An engine without `make_engine` fails every sentence: nobody is skipped by forgetting."""
    made: MakeEngine = importlib.import_module(f"tests.contracts.engines_{request.param}").make_engine
    return made


@pytest.fixture
async def run(make_engine: MakeEngine, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Running]:
    running = await Running.start(make_engine, tmp_path / "data", clock)
    yield running
    await running.engine.stop()


def test_there_is_an_engine() -> None:
    assert "sqlite" in ENGINES


class TestJournal(contract.JournalContract): ...


class TestListing(contract.ListingContract): ...


class TestJobs(contract.JobsContract): ...


class TestPast(contract.PastContract): ...


class TestIdempotency(contract.IdempotencyContract): ...


class TestForgetting(contract.ForgettingContract): ...


class TestChannelLog(contract.ChannelLogContract): ...


class TestPositions(contract.PositionsContract): ...


class TestRetention(contract.RetentionContract): ...


class TestCommitOrder(contract.CommitOrderContract): ...


class TestOutbox(contract.OutboxContract): ...


class TestDirectory(contract.DirectoryContract): ...


class TestBell(contract.BellContract): ...


class TestLife(contract.LifeContract): ...
