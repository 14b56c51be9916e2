"""A run: rows one after the other, contenders interleaved round by round, readings around each lap.

Interleaving is what makes the ratios hold on a machine that others use too: a slow minute hits both. Ratios are taken
within a round, then their median. The first lap of every server is thrown away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from bench.accounting import Gone, cpu_seconds, cpu_split, quiet, resident_kib
from bench.contenders import Contender, Server, running
from bench.process import Generator, ProcessFailed, generator_process, tail
from bench.row import Figure, Lap, Row, Size

_PREPARE_WITHIN = 180.0
_LAP_WITHIN = 300.0


@dataclass(slots=True)
class Reading:
    """One lap of one server: its figure per unit, and what the generator saw."""

    figure: float
    lap: Lap
    user_share: float | None = None
    generator_cpu: float | None = None
    settled: bool = True


@dataclass(slots=True)
class Score:
    """All rounds of one row. `readings[contender]` has one reading per round, in order."""

    row: Row
    size: Size
    readings: dict[str, list[Reading]] = field(default_factory=dict)

    def figures(self, contender: str) -> list[float]:
        """The figure of each round."""
        return [reading.figure for reading in self.readings[contender]]

    def ratios(self, contender: str, reference: str) -> list[float]:
        """The contender's figure over the reference's, round by round."""
        pairs = zip(self.figures(contender), self.figures(reference), strict=False)
        return [mine / theirs for mine, theirs in pairs if theirs > 0]

    def median(self, contender: str, what: Callable[[Reading], float | None]) -> float | None:
        """The median over the rounds of what a reading says, None when it says nothing."""
        values = [value for reading in self.readings[contender] if (value := what(reading)) is not None]
        return statistics.median(values) if values else None

    @property
    def faults(self) -> list[str]:
        """What was lost, doubled or failed, in words; empty for a clean row."""
        words = []
        for contender, readings in self.readings.items():
            for number, reading in enumerate(readings, 1):
                lap = reading.lap
                if not lap.clean:
                    failed = "".join(f", {count} x {word}" for word, count in lap.failed.items())
                    words.append(
                        f"{self.row.name}, {contender}, round {number}: {lap.lost} lost, {lap.doubled} doubled{failed}"
                    )
        return words


@contextlib.asynccontextmanager
async def _ready(row: Row, size: Size, contender: Contender, folder: Path) -> AsyncIterator[tuple[Server, Generator]]:
    await anyio.Path(folder).mkdir(parents=True)
    async with running(contender, folder) as server:
        job = {"row": row.name, "target": dataclasses.asdict(server.target), "size": dataclasses.asdict(size)}
        async with generator_process(job) as generator:
            with _blamed(row, server):
                await generator.say("prepare", _PREPARE_WITHIN)
                await quiet(server.pid)
            yield server, generator


@contextlib.contextmanager
def _blamed(row: Row, server: Server) -> Iterator[None]:
    """Say of which row and which server a failure is, with what the server said last."""
    try:
        yield
    except (ProcessFailed, Gone) as error:
        raise ProcessFailed(f"{row.name}, {server.name}: {error}\n{tail(server.said)}") from error


async def _lap(row: Row, server: Server, generator: Generator) -> Reading:
    with _blamed(row, server):
        return await _measured(row, server, generator)


async def _measured(row: Row, server: Server, generator: Generator) -> Reading:
    memory = resident_kib(server.pid)
    split = cpu_split(server.pid)
    spent = cpu_seconds(generator.pid)
    used = cpu_seconds(server.pid)
    lap = Lap(**(await generator.say("lap", _LAP_WITHIN))["lap"])
    spent = cpu_seconds(generator.pid) - spent
    settled = await quiet(server.pid)
    used = cpu_seconds(server.pid) - used
    user, system = (after - before for after, before in zip(cpu_split(server.pid), split, strict=True))
    grown = resident_kib(server.pid) - memory
    lap = Lap(**(await generator.say("verify", _LAP_WITHIN))["lap"])
    total = used * 1e6 if row.figure is Figure.CPU else float(grown)
    return Reading(
        figure=total / lap.units if lap.units else 0.0,
        lap=lap,
        user_share=user / (user + system) if user + system > 0 else None,
        generator_cpu=spent,
        settled=settled,
    )


async def measure(
    row: Row, size: Size, contenders: Sequence[Contender], rounds: int, folder: Path, told: Callable[[str], None]
) -> Score:
    """All rounds of one row. Stops after the first round with a fault: what follows would measure a broken state.

    Raises ProcessFailed when a server or a generator cannot do its part.
    """
    score = Score(row, size, {contender.name: [] for contender in contenders})
    if row.fresh:
        for number in range(rounds):
            for contender in _order(contenders, number):
                told(f"{row.name}: round {number + 1} of {rounds}, {contender.name}")
                async with _ready(row, size, contender, folder / f"{contender.name}-{number}") as pair:
                    score.readings[contender.name].append(await _lap(row, *pair))
            if score.faults:
                break
        return score
    async with contextlib.AsyncExitStack() as stack:
        pairs: dict[str, tuple[Server, Generator]] = {}
        for contender in contenders:
            told(f"{row.name}: starting {contender.name}")
            pairs[contender.name] = await stack.enter_async_context(
                _ready(row, size, contender, folder / contender.name)
            )
        for number in range(rounds + 1):
            for contender in _order(contenders, number):
                told(f"{row.name}: {f'round {number} of {rounds}' if number else 'warm-up'}, {contender.name}")
                reading = await _lap(row, *pairs[contender.name])
                if number or not reading.lap.clean:
                    score.readings[contender.name].append(reading)
            if score.faults:
                break
    return score


def _order(contenders: Sequence[Contender], number: int) -> list[Contender]:
    # Who goes first changes from round to round, so that neither always finds the machine as the other left it.
    turn = number % len(contenders)
    return [*contenders[turn:], *contenders[:turn]]
