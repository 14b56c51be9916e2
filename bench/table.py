"""How a run is told: a table for people and a tree for `--json`. Pure: values in, text and plain data out."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.row import Figure
from bench.run import Score

_HEAD = ("workload", "per", "hub", "reference", "ratio (min..max)", "hub p50/p99 ms", "reference p50/p99 ms", "lost")


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run."""

    scores: Sequence[Score]
    facts: Mapping[str, object]
    before: Sequence[float]
    after: Sequence[float]

    def text(self) -> str:
        """The table, what its figures contain, what they were measured on and what went wrong."""
        table = [_HEAD, *(_line(score, *score.row.contenders) for score in self.scores)]
        widths = [max(len(line[column]) for line in table) for column in range(len(_HEAD))]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, "", *self._counted(), "", *self._facts(), *self._warnings()])

    def tree(self) -> dict[str, Any]:
        """Everything, reading by reading, as plain data."""
        return {
            "machine": dict(self.facts),
            "load average": {"before": list(self.before), "after": list(self.after)},
            "rows": [self._row(score) for score in self.scores],
        }

    def _counted(self) -> list[str]:
        names: dict[str, list[str]] = {}
        for score in self.scores:
            names.setdefault(score.row.counted, []).append(score.row.name)
        return [f"{', '.join(rows)}: {counted}." for counted, rows in names.items()]

    def _facts(self) -> list[str]:
        lines = []
        for name, value in self.facts.items():
            parts = isinstance(value, Mapping) and ", ".join(f"{part} {what}" for part, what in value.items())
            lines.append(f"{name}: {parts or value}")
        before, after = (" ".join(f"{value:.2f}" for value in load) for load in (self.before, self.after))
        return [*lines, f"load average: {before} before, {after} after"]

    def _warnings(self) -> list[str]:
        lines = []
        if self.facts.get("file system") in ("tmpfs", "ramfs"):
            lines.append("note: the data folders are in memory, where a sync costs nothing; use --dir for a real disk")
        for score in self.scores:
            for contender, readings in score.readings.items():
                if not all(reading.settled for reading in readings):
                    lines.append(f"note: {score.row.name}: {contender} still worked 5 s after a lap: figure too low")
            lines += [f"FAULT: {fault}" for fault in score.faults]
        return lines

    def _row(self, score: Score) -> dict[str, Any]:
        return {
            "name": score.row.name,
            "workload": score.row.workload,
            "unit": score.row.unit,
            "figure": "cpu us" if score.row.figure is Figure.CPU else "resident KiB",
            "counted": score.row.counted,
            "size": dataclasses.asdict(score.size),
            "ratios": score.ratios(*score.row.contenders),
            "readings": {
                name: [dataclasses.asdict(reading) for reading in readings] for name, readings in score.readings.items()
            },
            "faults": score.faults,
        }


def _line(score: Score, mine: str, other: str) -> tuple[str, ...]:
    unit = "us CPU" if score.row.figure is Figure.CPU else "KiB"
    lost = sum(reading.lap.lost for readings in score.readings.values() for reading in readings)
    return (
        score.row.workload,
        f"{unit} / {score.row.unit}",
        _number(score.median(mine, lambda r: r.figure)),
        _number(score.median(other, lambda r: r.figure)),
        _spread(score.ratios(mine, other)),
        _times(score, mine),
        _times(score, other),
        str(lost) if not score.faults else f"{lost} FAULT",
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def _times(score: Score, contender: str) -> str:
    p50 = score.median(contender, lambda r: r.lap.p50)
    p99 = score.median(contender, lambda r: r.lap.p99)
    return "-" if p50 is None or p99 is None else f"{p50:.2f} / {p99:.2f}"
