"""`hub watch CHANNEL`: what happens on a channel, live, over restarts of the hub."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from hub.cli import connection
from hub.cli.shown import lines

_POSITION = re.compile(r"([0-9A-Za-z]+):([0-9]+)", re.ASCII)


@click.command(name="watch")
@click.argument("channel", default="default")
@click.option("--from", "start", default="now", show_default=True, help="now, first, last, or a position EPOCH:OFFSET.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines; so by itself when stdout is no terminal.")
@connection.options
def command(channel: str, start: str, as_json: bool, url: str | None, key: str | None, data_dir: Path | None) -> None:
    """Print what happens on CHANNEL, live. Reconnects by itself and goes on where it was."""
    hub = connection.client(url, key, data_dir)
    connection.finish(_watch(hub, channel, _start(start), as_json or not sys.stdout.isatty()))


async def _watch(hub: Any, channel: str, start: Any, as_json: bool) -> int:
    from hub.client.watch import watch

    def told(state: str) -> None:
        click.echo(f"hub: {state}", err=True)

    async with hub:
        # A wrong key or address is told at once; later on the hub may stay away as long as it likes.
        await hub.me()
        async for frame in watch(hub, channel, start, told=told):
            if frame["type"] == "subscribed":
                told(f"watching {frame.get('channel', channel)} from {frame.get('epoch')}:{frame.get('offset')}")
            elif as_json:
                click.echo(orjson.dumps(frame))
                sys.stdout.flush()
            else:
                for line in lines(frame):
                    click.echo(line)
    return 0


def _start(text: str) -> str | tuple[str, int]:
    if text in ("now", "first", "last"):
        return text
    position = _POSITION.fullmatch(text)
    if position is None:
        raise click.BadParameter("is now, first, last, or EPOCH:OFFSET", param_hint="--from")
    return position[1], int(position[2])
