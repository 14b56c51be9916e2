"""What `hub call`, `hub watch` and `hub keys` share: which hub, with which key, and how a failure ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from hub.cli.ending import INTERRUPTED, stop
from hub.cli.state import DEFAULT_URL, DevState
from hub.client.client import Client
from hub.client.errors import ClientError, KeyRefused

GOODBYE = 2.0
"""Seconds that a command may take to end after SIGINT."""

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """The options that name a hub; without them it is the one that `hub dev` runs."""
    for option in (
        click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the `hub dev` that is meant."),
        click.option("--key", envvar="HUB_KEY", show_envvar=True, help="API key; default: that of `hub dev`."),
        click.option("--url", envvar="HUB_URL", show_envvar=True, help="The hub; default: where `hub dev` is."),
    ):
        command = option(command)
    return command


def client(url: str | None, key: str | None, data_dir: Path | None) -> Client:
    """A client for the hub that is meant; ends the process when there is no key to be had."""
    state = DevState(data_dir)
    key = key or state.key()
    if key is None:
        stop(f"no key: give --key or set HUB_KEY (no `hub dev` has run with {state.folder})")
    url = url or state.url() or DEFAULT_URL
    if not url.startswith(("http://", "https://")):
        stop(f"--url: {url} does not begin with http:// or https://")
    return Client(url, key)


async def _until_interrupted(work: Coroutine[Any, Any, int]) -> int:
    """The work's result, or INTERRUPTED at the first SIGINT.

    Our own handler, because a shell without job control starts what it puts in the background with SIGINT ignored,
    and then neither Python's nor asyncio's would ever be set: `kill -INT` is meant all the same.
    """
    loop, working = asyncio.get_running_loop(), asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            return
        interrupted = True
        working.cancel()
        # A goodbye that hangs must not hold the user: lines were flushed one by one.
        loop.call_later(GOODBYE, os._exit, INTERRUPTED)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        return await working
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return INTERRUPTED


def finish(work: Coroutine[Any, Any, int]) -> None:
    """Run the work and end the process with the code that it returns; failures end as one line."""
    try:
        code = asyncio.run(_until_interrupted(work))
    except KeyRefused as error:
        stop(f"the hub refused the key: {error}")
    except ClientError as error:
        stop(str(error))
    except BrokenPipeError:
        # Whoever read our lines has gone (`hub watch | head`): nothing to tell, nobody to tell it to.
        import os
        import sys

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(code)
