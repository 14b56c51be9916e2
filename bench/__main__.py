"""`python -m bench [--quick] [--only NAME]... [--rounds N] [--json FILE] [--dir FOLDER] [--list]`.

Ends with 0 when everything that was due came exactly once, with 1 when something was lost, doubled or
failed, with 2 when the run itself was impossible. Figures never change the exit code: they are of the
machine, losses are of the hub.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

from bench.accounting import Gone
from bench.contenders import CONTENDERS
from bench.machine import load_average, machine
from bench.process import ProcessFailed
from bench.row import Account, Faulty, Row, accounts, discover
from bench.run import Score, measure
from bench.table import Report

_ROUNDS, _QUICK_ROUNDS = 5, 3
_QUICK_FRESH_ROUNDS = 1


def _arguments(names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="The hub beside a plain Starlette loop, measured.")
    parser.add_argument("--quick", action="store_true", help="small laps, three rounds: under a minute")
    known = ", ".join(names)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", choices=names, help=f"one of {known}")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds counted per row (5, with --quick 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every reading to this file")
    parser.add_argument("--dir", type=Path, metavar="FOLDER", help="where data folders are made (default: temporary)")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    if arguments.dir is not None and not arguments.dir.is_dir():
        parser.error(f"--dir: {arguments.dir} is no folder")
    if arguments.json is not None and not arguments.json.parent.is_dir():
        parser.error(f"--json: {arguments.json.parent} is no folder")
    return arguments


def _told(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


async def _end_on_signal(scope: anyio.CancelScope, received: list[int]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            received.append(number)
            scope.cancel()
            return


def _rounds(row: Row, arguments: argparse.Namespace) -> int:
    if arguments.rounds is not None:
        return int(arguments.rounds)
    if arguments.quick:
        return _QUICK_FRESH_ROUNDS if row.fresh else _QUICK_ROUNDS
    return min(_ROUNDS, row.most_rounds)


async def _run(
    rows: Sequence[Row],
    beside: Sequence[Account],
    arguments: argparse.Namespace,
    folder: Path,
    scores: list[Score],
    told: dict[str, dict[str, float]],
) -> int:
    received: list[int] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_end_on_signal, group.cancel_scope, received)
        for row in rows:
            size = row.size(arguments.quick)
            both = [CONTENDERS[name] for name in row.contenders]
            score = await measure(row, size, both, _rounds(row, arguments), folder / row.name, _told)
            scores.append(score)
        for account in beside:
            _told(account.name)
            told[account.name] = await account.run(arguments.quick)
        group.cancel_scope.cancel()
    _told("")
    return 128 + received[0] if received else 0


def main() -> int:
    """Run the rows, print the table, say what was lost."""
    found = discover()
    others = accounts()
    arguments = _arguments([*found, *others])
    if arguments.list:
        for each in (*found.values(), *others.values()):
            print(f"{each.name:14} {each.workload}")
        return 0
    beside = [account for account in others.values() if not arguments.only or account.name in arguments.only]
    rows = [row for row in found.values() if not arguments.only or row.name in arguments.only]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scores: list[Score] = []
    told: dict[str, dict[str, float]] = {}
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hub-bench-", dir=arguments.dir) as name:
        folder = Path(name)
        facts = machine(folder)
        before = load_average()
        try:
            code = anyio.run(_run, rows, beside, arguments, folder, scores, told)
        except* (ProcessFailed, Gone) as errors:
            _told("")
            for error in errors.exceptions:
                print(f"bench: {error}", file=sys.stderr)
            code = 2
        except* Faulty as errors:
            _told("")
            faults = [f"FAULT: {error}" for error in errors.exceptions]
            code = 1
    report = Report(scores, facts, before, load_average())
    if scores:
        print(report.text())
    for name, figures in told.items():
        print("\n".join(["", f"{others[name].workload}:", *(f"  {line}" for line in others[name].lines(figures))]))
    print(*faults, sep="\n", end="\n" if faults else "")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({**report.tree(), "beside": told}, indent=1) + "\n")
    if faults or any(score.faults for score in scores):
        print("bench: something was lost, doubled or failed; see FAULT above", file=sys.stderr)
        return code or 1
    return code


if __name__ == "__main__":
    sys.exit(main())
