"""The default engine: one SQLite file, one writer thread that commits for everybody, a few readers."""

from hub.engines.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
