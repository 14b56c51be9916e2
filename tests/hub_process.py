"""A hub as its user starts it, in a process of its own, that a test can kill and start again on the same port."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[1]
START_LIMIT = 30.0
END_LIMIT = 15.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class HubProcess:
    """`hub dev` on loopback, or `hub serve` when a configuration is given. Its data outlives `kill`, as on a machine
    that lost its power. `under` is a command that the hub is run under (strace), `environ` more variables for it and
    `pass_fds` what it inherits beside the standard streams."""

    def __init__(
        self,
        folder: Path,
        *,
        config: str | None = None,
        key: str = "ak_hub_process_0123456789",
        port: int | None = None,
        under: Sequence[str] = (),
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.key = key
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process: subprocess.Popen[str] | None = None
        self.said: dict[str, Any] = {}
        self._errors: IO[str] | None = None
        self._under = list(under)
        self._environ = dict(environ or {})
        self._pass_fds = tuple(pass_fds)
        if config is None:
            data = ["--data-dir", str(self.data)]
            self._command = ["dev", "--port", str(self.port), *data, "--key", key, "--json", *options]
        else:
            file = folder / "hub.toml"
            places = f'[server]\nport = {self.port}\n[storage]\ndata_dir = "{self.data}"\n'
            file.write_text(places + config, encoding="utf-8")
            self._command = ["serve", "--config", str(file), *options]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def complaints(self) -> str:
        """What the hub wrote to its standard error."""
        return (self.folder / "hub.err").read_text(encoding="utf-8")

    def start(self) -> dict[str, Any]:
        """Return when the hub serves; what `hub dev --json` printed (empty for `serve`)."""
        self._errors = (self.folder / "hub.err").open("a", encoding="utf-8")
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        self.process = subprocess.Popen(
            [*self._under, sys.executable, "-m", "hub.cli", *self._command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, **self._environ},
            pass_fds=self._pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        said: dict[str, Any] = {}
        if self._command[0] == "dev":
            assert self.process.stdout is not None
            readable, _, _ = select.select([self.process.stdout], [], [], START_LIMIT)
            line = self.process.stdout.readline() if readable else ""
            if not line:
                self.kill()
                raise AssertionError(f"the hub did not start: {self.complaints}")
            said = self.said = json.loads(line)
        self._until_it_serves()
        return said

    def kill(self) -> None:
        """End it without a chance to say goodbye (kill -9); harmless when it has ended."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int | None:
        """Ask it to end, as a service manager does; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int | None:
        process, self.process = self.process, None
        if process is None:
            return None
        # Under another command (strace) the hub is that command's child.
        target = process.pid if not self._under else _child(process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, how)
        try:
            return process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            assert process.stdout is not None and self._errors is not None
            process.stdout.close()
            self._errors.close()

    def _until_it_serves(self) -> None:
        until = time.monotonic() + START_LIMIT
        while True:
            try:
                self.ask("GET", "v1/me")
                return
            except (urllib.error.URLError, ConnectionError) as error:
                # Between binding the port and answering on it lies the rest of the start; nothing rings then.
                ended = self.process is None or self.process.poll() is not None
                if ended or time.monotonic() > until:
                    self.kill()
                    raise AssertionError(f"the hub does not serve: {error}: {self.complaints}") from error
                select.select([], [], [], 0.02)

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


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])
