"""A real broker for the rig and for tests: mosquitto on a free port of loopback, which can be killed and come back."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

PROGRAM = "mosquitto"
TRIES = 500


def found() -> str | None:
    """Where the program is; Debian keeps it out of the usual path of users."""
    return shutil.which(PROGRAM, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


class Mosquitto:
    """One broker; `more` are further lines of its configuration. Anybody may come in unless they say otherwise."""

    def __init__(self, *more: str, plain: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="hub-mosquitto-"))
        lines = [f"listener {self.port} 127.0.0.1"] if plain else []
        lines += ["log_type error", "set_tcp_nodelay true", *(line.format(port=self.port) for line in more)]
        if not any(line.startswith("allow_anonymous") for line in more):
            lines.append("allow_anonymous true")
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return when it listens; harmless when it does already."""
        if self._process is not None:
            return
        program = found()
        assert program is not None, "mosquitto is not installed"
        self._process = subprocess.Popen(
            [program, "-c", str(self.folder / "mosquitto.conf")], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(TRIES):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, "mosquitto ended"
            select.select([], [], [], 0.01)  # between its start and its listening nothing rings
        raise AssertionError("mosquitto does not listen")

    def kill(self) -> None:
        """End it without a word (kill -9); what it had in memory is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Let it read and write nothing, as a machine that swaps."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)
