"""Log lines on stderr, as JSON or for eyes, written by a thread so that a slow terminal never stops the hub.

Everything below logs through the standard library; here the records get their form. Keys are blotted
out whatever wrote them. The audit lines are those of the logger `hub.audit`.
"""

from __future__ import annotations

import logging
import queue
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import orjson
import structlog

_KEY = re.compile(r"ak_[A-Za-z0-9_]{8,}")
_WAITING_LINES = 10_000
_FLUSH = 2.0


@contextmanager
def logging_to(stream: TextIO, level: str = "info", form: str = "auto", *, audit: bool = True) -> Iterator[None]:
    """Send all log records to `stream` for the time of the block; `form` is `json`, `console` or `auto`."""
    if form == "auto":
        form = "console" if stream.isatty() else "json"
    handler = _LineHandler(stream)
    handler.setFormatter(_formatter(form == "json", stream.isatty()))
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("hub.audit").setLevel(logging.INFO if audit else logging.CRITICAL + 1)
    # Its start and end lines repeat ours; what goes wrong still comes through.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.level, root.handlers = before[0], before[1]
        handler.close()


def blotted(text: str) -> str:
    """The text with every key in it made unreadable."""
    return _KEY.sub("ak_***", text)


class _LineHandler(logging.Handler):
    """Formats at once, writes in a thread of its own; what does not fit into its queue is dropped and counted."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(blotted(self.format(record)))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, for two seconds at most: a reader that hangs must not hold up the exit."""
        try:
            self._lines.put(None, timeout=_FLUSH)
            self._thread.join(_FLUSH)
        except queue.Full:
            self._dropped += 1
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._dropped:
                line = f"{line}\n({self._dropped} log lines were dropped)"
                self._dropped = 0
            try:
                print(line, file=self._stream, flush=True)
            except (OSError, ValueError):
                return  # The stream is gone: there is nobody left to tell.


def _formatter(as_json: bool, colours: bool) -> logging.Formatter:
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        shared += [structlog.processors.format_exc_info, structlog.processors.EventRenamer("message")]
        final: Any = structlog.processors.JSONRenderer(serializer=_json)
    else:
        final = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, final])


def _json(value: Any, default: Any = None, **_: Any) -> str:
    return orjson.dumps(value, default=default or str).decode()


def to_stderr(level: str, form: str, audit: bool) -> Any:
    """`logging_to` for the process's stderr."""
    return logging_to(sys.stderr, level, form, audit=audit)
