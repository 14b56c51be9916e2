"""One hub process per module, with an application for each test: nobody's channel is in another's way. A test that ends
its hub starts one of its own."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.hub_process import HubProcess
from tests.interop.dialling import Devices
from tests.interop.receiver import Receiver

APPLICATIONS = 80
RESTARTED = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{key}"
[adapters.websocket]
kind = "websocket"
account = "acme"
lifetime = {lifetime}
[adapters.simulated]
kind = "simulated"
account = "acme"
devices = [{{ address = "lamp" }}]
[devices.lamp]
account = "acme"
adapter = "simulated"
address = "lamp"
"""


def key_of(number: int) -> str:
    """The key of one of the applications."""
    return f"ak_interop_application_{number:03}"


def applications(count: int = APPLICATIONS) -> dict[str, str]:
    """Variables that give a hub as many further applications of the demo account, each with its key."""
    said: dict[str, str] = {}
    for number in range(count):
        said[f"HUB__APPLICATIONS__INTEROP_{number}__ACCOUNT"] = "demo"
        said[f"HUB__KEYS__INTEROP_{number}__APPLICATION"] = f"interop_{number}"
        said[f"HUB__KEYS__INTEROP_{number}__SCOPES"] = '["admin"]'
        said[f"HUB__KEYS__INTEROP_{number}__KEY"] = key_of(number)
    return said


@dataclass
class Demo:
    """A running `hub dev`. Every call of `key` is another application's."""

    hub: HubProcess
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return self.hub.url

    def key(self) -> str:
        number = next(self._numbers)
        assert number < APPLICATIONS, "APPLICATIONS is too small for this module"
        return key_of(number)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder: Path = tmp_path_factory.mktemp("hub")
    with HubProcess(folder, environ=applications()) as hub:
        yield Demo(hub)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., HubProcess]]:
    """Start a hub on a socket that outlives it."""
    started: list[HubProcess] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        key = "ak_interop_restarts"
        fd = listener.fileno()

        def start(lifetime: float = 86400) -> HubProcess:
            hub = HubProcess(
                tmp_path, config=RESTARTED.format(key=key, lifetime=lifetime), key=key,
                port=listener.getsockname()[1], options=["--fd", str(fd)], pass_fds=[fd],
            )  # fmt: skip
            started.append(hub)
            hub.start()
            return hub

        yield start
        for hub in started:
            hub.kill()


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def devices(demo: Demo, portal: BlockingPortal) -> Iterator[Devices]:
    devices = Devices(portal, demo.hub.port, demo.hub.key)
    yield devices
    devices.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
