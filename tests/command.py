"""The command `hub` in processes of its own, what it printed, how it ended, and what a hub so started answers."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[1]
LIMIT = 30.0


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment whose state folder is the test's own, and that knows nothing of the developer's hub."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return {**inherited, "XDG_STATE_HOME": str(home / "state"), "PYTHONPATH": str(ROOT), **(more or {})}


def hub(*arguments: str, home: Path, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `hub` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hub.cli", *arguments],
        cwd=home, env=environment(home, environ), input=stdin.decode(), capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip


class Running:
    """`hub` with arguments, running until the end of the block; its lines can be waited for."""

    def __init__(self, *arguments: str, home: Path, pass_fds: tuple[int, ...] = (), **environ: str) -> None:
        self.errors = home / f"stderr-{arguments[0]}-{id(self):x}"
        self._log: IO[str] = self.errors.open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hub.cli", *arguments],
            cwd=home, env=environment(home, environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self._log, pass_fds=pass_fds,
        )  # fmt: skip
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    def line(self) -> str:
        """The next line of stdout; fails with what stderr said when none comes."""
        assert self.process.stdout is not None
        file = self.process.stdout.fileno()
        while b"\n" not in self._pending:
            readable, _, _ = select.select([file], [], [], LIMIT)
            read = os.read(file, 65536) if readable else b""
            assert read, f"no line came: {self.complaints()}"
            self._pending += read
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def json(self) -> dict[str, Any]:
        """The next line of stdout as JSON."""
        said: dict[str, Any] = json.loads(self.line())
        return said

    def complaints(self) -> str:
        """What stderr has by now."""
        return self.errors.read_text(encoding="utf-8")

    def end(self, signal: int) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(signal)
        return self.process.wait(LIMIT)


def ask(url: str, path: str, key: str | None = None, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """(status, headers, body) of one request; no proxy is asked."""
    shown = {} if key is None else {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {**shown, **headers})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read()
