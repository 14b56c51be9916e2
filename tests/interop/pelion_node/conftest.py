"""The vendor's JavaScript SDK at a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import Demo
from tests.interop.peer import SCRIPTS, Peer, environment_of
from tests.require import require

NAME = "mbed-node"
POLLS_SEEN = """
    s.polls = seen();
    const made = api._endpoints.notifications, poll = made.longPollNotifications.bind(made);
    made.longPollNotifications = (done) => poll((error, told) => {
      polls(error ? error.code : 200);
      done(error, told);
    });
"""
"""A statement: `polls` is told the status of every long poll of the SDK from now on."""


@pytest.fixture(scope="session")
def node_sdk() -> list[str]:
    """The command that runs the prompt, but for host and key."""
    node = require("node")
    return [str(node), str(SCRIPTS / NAME / "prompt.js"), str(environment_of(NAME))]


@pytest.fixture
def dial(node_sdk: list[str], tmp_path: Path) -> Iterator[Callable[[str, str], Peer]]:
    """Start an SDK for a host and a key; all end with the test."""
    started: list[Peer] = []

    def start(host: str, key: str) -> Peer:
        peer = Peer([*node_sdk, host.rstrip("/"), key], tmp_path / f"sdk-{len(started)}", python=False)
        started.append(peer)
        return peer

    yield start
    for peer in started:
        peer.close()


@pytest.fixture
def key(demo: Demo) -> str:
    """The key of an application of this test's own."""
    return demo.key()


@pytest.fixture
def sdk(demo: Demo, key: str, dial: Callable[[str, str], Peer]) -> Iterator[Peer]:
    """An SDK of that application. When the test is over nothing may have escaped from it unhandled."""
    peer = dial(demo.url, key)
    yield peer
    assert peer("return loose") == []
