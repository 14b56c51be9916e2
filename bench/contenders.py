"""The servers of a run: how each is started, and what the generators may expect of it.

The listening socket is opened here and handed over (`--fd`), so that no port can be lost between choosing
and binding it. A later reference (a raw C server, nchan) is one more `Contender`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from bench.process import ProcessFailed, server_process, tail
from bench.row import Target

HOST = "127.0.0.1"
KEY = "ak_benchmark_0123456789abcdefghijklmnopqrstuvwxyz"
DEVICES = 1000
PREFIX = "sim-load-"
ORGANISATION = "bench"
CONTROL_CHANNEL = "DATASVC.CONTROL.bench"
_READY_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be measured. `command(folder, descriptor)` may write what the server needs into `folder`."""

    name: str
    command: Callable[[Path, int], list[str]]
    environment: Mapping[str, str]
    replays: bool
    ready: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Server:
    """A contender that runs and is ready."""

    name: str
    pid: int
    target: Target
    said: Path


@contextlib.asynccontextmanager
async def running(contender: Contender, folder: Path) -> AsyncIterator[Server]:
    """Start a contender in `folder`, which must exist and be empty, and stop it at the end of the block.

    Raises ProcessFailed, with the last lines that it said, when it is not ready within 30 s.
    """
    said = folder / "said.txt"
    with socket.create_server((HOST, 0), backlog=4096) as listening:
        port = listening.getsockname()[1]
        descriptor = listening.fileno()
        # A user's own HUB__ variables would change what is measured without a word in the table.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        environment = {**inherited, **contender.environment}
        async with server_process(contender.command(folder, descriptor), environment, said, [descriptor]) as process:
            listening.close()
            for path in contender.ready:
                await _ready(process, port, path, said)
            target = Target(contender.name, HOST, port, KEY, DEVICES, PREFIX, contender.replays)
            yield Server(contender.name, process.pid, target, said)


async def _ready(process: asyncio.subprocess.Process, port: int, path: str, said: Path) -> None:
    with anyio.move_on_after(_READY_WITHIN):
        while True:
            if process.returncode is not None:
                raise ProcessFailed(f"the server ended with {process.returncode} before it was ready\n{tail(said)}")
            if await _status(port, path) == 200:
                return
            await anyio.sleep(0.02)
    raise ProcessFailed(f"GET {path} was not answered 200 within {_READY_WITHIN:.0f} s\n{tail(said)}")


async def _status(port: int, path: str) -> int:
    """The status of one GET, 0 when it was not answered within 2 s."""
    writer = None
    try:
        with anyio.fail_after(2):
            reader, writer = await asyncio.open_connection(HOST, port)
            head = f"Host: {HOST}\r\nAuthorization: Bearer {KEY}\r\nConnection: close"
            writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n\r\n".encode("ascii"))
            line = await reader.readline()
        return int(line[9:12]) if line.startswith(b"HTTP/1.1 ") else 0
    except (OSError, TimeoutError):
        return 0
    finally:
        if writer is not None:
            writer.close()


# All but two is as it comes: a rate limit that answers 429 is no measure of speed, and a thousand lines about
# registrations would hide what a hub says that fails.
_CONFIGURATION = f"""
[storage]
data_dir = "data"

[log]
audit = false

[limits]
calls_per_second = 1_000_000
burst = 1_000_000

[accounts.bench]

[applications.bench]
account = "bench"

[keys.bench]
application = "bench"
scopes = ["call", "listen", "device", "admin"]
key_env = "BENCH_KEY"

[enos.orgs.{ORGANISATION}]
account = "bench"
application = "bench"
channels = ["{CONTROL_CHANNEL}"]

[adapters.simulated]
kind = "simulated"
account = "bench"
count = {DEVICES}
prefix = "{PREFIX}"
"""


def _hub_command(folder: Path, descriptor: int) -> list[str]:
    configuration = folder / "hub.toml"
    configuration.write_text(_CONFIGURATION)
    # The command that was installed beside this interpreter, as a user would call it; else the source tree's.
    command = Path(sys.executable).with_name("hub")
    hub = [str(command)] if command.exists() else [sys.executable, "-m", "hub.cli"]
    return [*hub, "serve", "--config", str(configuration), "--fd", str(descriptor)]


def _reference_command(folder: Path, descriptor: int) -> list[str]:
    return [sys.executable, "-m", "bench.reference", "--fd", str(descriptor)]


HUB = Contender(
    name="hub",
    command=_hub_command,
    environment={"BENCH_KEY": KEY},
    replays=True,
    # The last device is there when all are: Pelion's front takes calls for registered devices only.
    ready=("/readyz", f"/v1/devices/{PREFIX}{DEVICES - 1}"),
)
REFERENCE = Contender(
    name="starlette",
    command=_reference_command,
    environment={"BENCH_KEY": KEY},
    replays=False,
    ready=("/readyz",),
)


def _coap(kind: str) -> Contender:
    """A CoAP server alone, with a small HTTP door through which it is told what to do."""
    return Contender(
        name=kind,
        command=lambda folder, fd: [sys.executable, "-m", "bench.coap.server", kind, "--fd", str(fd)],
        environment={},
        replays=False,
        ready=("/readyz",),
    )


CONTENDERS = {contender.name: contender for contender in (HUB, REFERENCE, _coap("adapter"), _coap("aiocoap"))}
