"""The vendor's Python SDK at a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import Demo
from tests.interop.peer import SCRIPTS, Peer, environment_of

NAME = "mbed-python"


@pytest.fixture(scope="session")
def python_sdk() -> Path:
    """Where the SDK is installed."""
    return environment_of(NAME)


@pytest.fixture
def dial(python_sdk: Path, tmp_path: Path) -> Iterator[Callable[[str, str], Peer]]:
    """Start an SDK for a host and a key; all end with the test."""
    started: list[Peer] = []

    def start(host: str, key: str) -> Peer:
        program = [str(python_sdk / "bin" / "python"), str(SCRIPTS / NAME / "prompt.py")]
        peer = Peer([*program, host, key], tmp_path / f"sdk-{len(started)}", python=True)
        started.append(peer)
        return peer

    yield start
    for peer in started:
        peer.close()


@pytest.fixture
def sdk(demo: Demo, dial: Callable[[str, str], Peer]) -> Iterator[Peer]:
    """An SDK of an application of its own. When the test is over it must be able to stop, with nothing logged as an
    error and no thread that died."""
    peer = dial(demo.url, demo.key())
    yield peer
    peer("api.stop_notifications()", timeout=10)
    assert peer("logged") == []
