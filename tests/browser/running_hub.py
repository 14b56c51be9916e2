"""A hub as its user starts it, in a process of its own, that a test can kill and start again on the same port."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
START_LIMIT = 30.0
END_LIMIT = 15.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RunningHub:
    """`hub dev` on loopback. Its data outlives `kill`, as on a machine that lost its power."""

    key = "ak_browser_test_0123456789"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Return when the hub serves: its one line of `--json` says so."""
        self._errors = (self.folder / "hub.err").open("a", encoding="utf-8")
        command = [sys.executable, "-m", "hub.cli", "dev", "--port", str(self.port), "--data-dir", str(self.data)]
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        self._process = subprocess.Popen(
            [*command, "--key", self.key, "--json"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_LIMIT)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            self.kill()
            raise AssertionError(f"hub dev did not start: {(self.folder / 'hub.err').read_text(encoding='utf-8')}")
        assert json.loads(line)["key"] == self.key

    def kill(self) -> None:
        """End it without a chance to say goodbye (kill -9); harmless when it has ended."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end, as a service manager does."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            assert self._process.stdout is not None and self._errors is not None
            self._process.stdout.close()
            self._errors.close()
            self._process = None

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> Any:
        """One request of the public API; the decoded answer. Raises HTTPError for a refusal."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json", **headers},
        )
        # No proxy of the environment: everything here is on loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=START_LIMIT) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def call_and_wait(self, device: str, ref: str, *, channel: str = "default") -> Any:
        """Send a call and return its view once it has ended."""
        body = {"method": "GET", "uri": "/3/0/0", "ref": ref, "channel": channel}
        view = self.ask("POST", f"v1/devices/{device}/calls", body, Prefer="wait=10")
        assert view["state"] == "done", view
        return view
