"""How the contract makes the SQLite engine."""

from __future__ import annotations

from pathlib import Path

from hub.core.sealing import AesGcmSealer
from hub.engines.sqlite import SqliteEngine
from tests.clock import ManualClock


def make_engine(folder: Path, clock: ManualClock) -> SqliteEngine:
    return SqliteEngine(folder, clock, AesGcmSealer(b"contract-suite-key-of-32-bytes!!"))
