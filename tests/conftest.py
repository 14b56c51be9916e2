"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from tests.clock import ManualClock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
