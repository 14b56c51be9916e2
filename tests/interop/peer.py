"""A vendor's software in a process of its own, as a prompt: a test says statements to it and gets their values."""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import os
import queue
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "peers"
PATIENCE = 30.0
PASSED_ON = ("PATH", "LANG", "SYSTEMROOT")


def environment_of(peer: str) -> Path:
    """The folder into which `make peers` built a vendor's environment. Without it the test is skipped, with
    `HUB_TEST_REQUIRE=all` it fails."""
    folder = ROOT / ".peers" / peer
    if (folder / ".ready").exists():
        return folder
    missing = f"{peer} is not built; `make peers` builds it"
    if os.environ.get("HUB_TEST_REQUIRE") == "all":
        pytest.fail(f"{missing}, and HUB_TEST_REQUIRE=all says that it must be", pytrace=False)
    pytest.skip(missing)


class PeerError(Exception):
    """What a statement raised over there: the name of its type, and status and reason where it has them."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(f"{said['error']}: {said['text']}")
        self.kind: str = said["error"]
        self.status: int | None = said["status"]
        self.reason: str | None = said["reason"]


class Pending:
    """A statement that runs over there."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()

    def answered(self, said: dict[str, Any]) -> None:
        """Take its answer in."""
        self._answers.put(said)

    def result(self, timeout: float = PATIENCE) -> Any:
        """Its value, once it has one. Raises PeerError for what it raised, TimeoutError."""
        try:
            said = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no answer to: {self._source}") from None
        if "error" in said:
            raise PeerError(said)
        return said["value"]


class Peer:
    """A running prompt; `python` tells whether values come as Python writes them or as JSON. Called with a statement,
    it returns the statement's value; `begin` does not wait for it."""

    def __init__(self, command: Sequence[str], folder: Path, *, python: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._python = python
        self._pending: dict[int, Pending] = {}
        self._numbers = itertools.count()
        self._ended = False
        self._complaints = folder / "stderr"
        # Nothing of this machine's or this user's settings: the SDKs read variables, .env and files at home.
        environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        with self._complaints.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**environ, "HOME": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, source: str, timeout: float = PATIENCE) -> Any:
        return self.begin(source).result(timeout)

    def begin(self, source: str) -> Pending:
        """Start a statement; several may run at once."""
        number, pending = next(self._numbers), Pending(source)
        self._pending[number] = pending
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"id": number, "run": source}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"the peer has ended: {self.complaints}") from None
        if self._ended:
            self._give_up()
        return pending

    @property
    def complaints(self) -> str:
        """What it wrote to its standard error."""
        return self._complaints.read_text(encoding="utf-8")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _read(self, stdout: IO[str]) -> None:
        for line in stdout:
            said = json.loads(line)
            if self._python and "value" in said:
                said["value"] = ast.literal_eval(said["value"])
            self._pending.pop(said["id"]).answered(said)
        self._ended = True
        self._give_up()

    def _give_up(self) -> None:
        for number in list(self._pending):
            pending = self._pending.pop(number, None)
            if pending is not None:
                pending.answered({"error": "Ended", "status": None, "reason": None, "text": self.complaints[-2000:]})
