"""Child processes of a run: started, waited for within a bound, and always ended, by their own ids.

Servers write to a file instead of a pipe, since nobody reads while a lap is measured; generators talk in lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

_PR_SET_PDEATHSIG = 1
_STOP_WITHIN = 15.0


class ProcessFailed(Exception):
    """A child could not start, ended by itself or did not answer in time. Carries what it said last."""


def _end_with_parent() -> None:
    # A run that is killed hard cannot clean up; the kernel does it then.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def stop(process: asyncio.subprocess.Process) -> int:
    """End one child: asked first, forced after 15 s. Returns its exit code."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(_STOP_WITHIN):
            return await process.wait()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return await process.wait()


@contextlib.asynccontextmanager
async def server_process(
    command: Sequence[str], environment: Mapping[str, str], said: Path, descriptors: Sequence[int] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server that lives as long as the block; all it says goes to the file `said`.

    Raises ProcessFailed afterwards if it had to be killed or ended with an error: a server that cannot stop is
    not well.
    """
    with said.open("wb") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                pass_fds=tuple(descriptors),
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        except OSError as error:
            raise ProcessFailed(f"{command[0]} cannot be started: {error.strerror}") from error
    clean = False
    try:
        yield process
        clean = process.returncode is None
    finally:
        with anyio.CancelScope(shield=True):
            code = await stop(process)
    if clean and code not in (0, -signal.SIGTERM):
        raise ProcessFailed(f"{command[0]} ended with {code} when asked to stop\n{tail(said)}")


def tail(said: Path, lines: int = 15) -> str:
    """The last lines that a server said."""
    return "\n".join(said.read_text(errors="replace").splitlines()[-lines:])


class Generator:
    """A generator process, spoken to in lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def say(self, word: str, within: float) -> dict[str, Any]:
        """Have one step done. Raises ProcessFailed when it cannot be done or takes longer than `within` seconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = b""
        try:
            self._process.stdin.write(word.encode("ascii") + b"\n")
            with anyio.fail_after(within):
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ProcessFailed(f"the generator did not finish {word!r} within {within:.0f} s") from None
        except OSError as error:
            raise ProcessFailed(f"the generator is gone: {error}") from error
        if not line:
            raise ProcessFailed(f"the generator ended while asked to {word!r}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProcessFailed(f"{word}: {answer['error']}")
        return answer


@contextlib.asynccontextmanager
async def generator_process(job: Mapping[str, Any]) -> AsyncIterator[Generator]:
    """A generator for one job, alive as long as the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.generator",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_end_with_parent,
        limit=1 << 20,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        yield Generator(process)
    finally:
        with anyio.CancelScope(shield=True):
            await stop(process)
