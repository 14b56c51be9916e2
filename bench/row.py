"""What a row of the benchmark is: a plan that both sides read, and a load that the generator process runs.

A file in `bench/rows/` with a `ROWS` list is all that a new row needs. `Row` is plain data and is read by
the parent, which measures; `Load` lives in a generator process of its own, which only drives. The two
never share an interpreter, so what a load costs cannot be charged to a server.
"""

from __future__ import annotations

import enum
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Figure(enum.Enum):
    """What is read from the kernel about the server process around a lap, and the unit it is told in."""

    CPU = "us"
    MEMORY = "KiB"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a generator finds the server. `replays` says that a channel can be read again from a position."""

    name: str
    host: str
    port: int
    key: str
    devices: int
    device_prefix: str
    replays: bool

    def device(self, number: int) -> str:
        """The name of the simulated device `number`, counted round."""
        return f"{self.device_prefix}{number % self.devices}"


@dataclass(frozen=True, slots=True)
class Size:
    """How much a lap does. A row uses the members that mean something to it."""

    calls: int = 0
    window: int = 1
    listeners: int = 0
    channels: int = 1
    payload: int = 48


@dataclass(slots=True)
class Lap:
    """What a generator saw in one lap. `units` is what the figure is divided by.

    `lost` counts what was due and never came, `doubled` what came more often than due, `failed` refused
    posts, answers that are not a success and broken connections, by word. All of them must stay empty.
    Latencies are milliseconds; a load that times nothing leaves them at None.
    """

    units: int
    seconds: float = 0.0
    lost: int = 0
    doubled: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    p50: float | None = None
    p99: float | None = None
    reads: int = 0

    @property
    def clean(self) -> bool:
        """Whether everything that was due came exactly once and succeeded."""
        return not (self.lost or self.doubled or self.failed)


class Load(Protocol):
    """The generator's half of a row: one object per server, alive for all its laps."""

    async def prepare(self) -> None:
        """Connect and subscribe; after this a lap may start. Not measured."""
        ...

    async def lap(self) -> Lap:
        """Do the work once and return when its last effect was seen or given up. Measured."""
        ...

    async def verify(self, lap: Lap) -> Lap:
        """Look afterwards for what the lap itself did not wait for. Not measured."""
        ...

    async def close(self) -> None:
        """Let go of all sockets."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `counted` says in plain words what the figure contains, `contenders` by name whose figures
    are set against each other."""

    name: str
    workload: str
    unit: str
    counted: str
    load: Callable[[Target, Size], Load]
    full: Size
    quick: Size
    figure: Figure = Figure.CPU
    fresh: bool = False
    most_rounds: int = 1000
    contenders: tuple[str, str] = ("hub", "starlette")

    def size(self, quick: bool) -> Size:
        """The size of a lap in this run."""
        return self.quick if quick else self.full


class Faulty(Exception):
    """Something was lost, doubled or failed where there is no lap to count it in."""


@dataclass(frozen=True, slots=True)
class Account:
    """What is told beside the table: figures of its own kind, with no server beside the hub. `run` takes whether the
    run is a quick one and raises Faulty; `lines` words what it returned."""

    name: str
    workload: str
    run: Callable[[bool], Awaitable[dict[str, float]]]
    lines: Callable[[dict[str, float]], Sequence[str]]


def accounts() -> dict[str, Account]:
    """All accounts by name: the lists `ACCOUNTS` of the files that have one."""
    from bench import rows

    names = sorted(module.name for module in pkgutil.iter_modules(rows.__path__))
    found = (getattr(importlib.import_module(f"bench.rows.{name}"), "ACCOUNTS", ()) for name in names)
    return {account.name: account for accounts in found for account in accounts}


def discover() -> dict[str, Row]:
    """All rows by name, in the order of their files and of the lists in them.

    Raises ValueError for two rows of one name: one would hide the other.
    """
    from bench import rows

    found: dict[str, Row] = {}
    for module in sorted(pkgutil.iter_modules(rows.__path__), key=lambda m: m.name):
        loaded: Any = importlib.import_module(f"bench.rows.{module.name}")
        for row in loaded.ROWS:
            if row.name in found:
                raise ValueError(f"two rows are called {row.name}")
            found[row.name] = row
    return found
