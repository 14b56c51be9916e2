"""`hub call DEVICE METHOD URI`: send a call, wait until its answer is pushed, print it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import click
import orjson

from hub.cli import connection
from hub.cli.shown import items, payload_of

ANSWERED, NOT_ANSWERED, STILL_OPEN = 0, 1, 3


@click.command(name="call")
@click.argument("device")
@click.argument("method")
@click.argument("uri")
@click.option("--payload", help="Body for the device; @FILE reads a file, @- stdin.")
@click.option("--content-type", help="Its content type.")
@click.option("--ref", help="Your name for the call; made if absent.")
@click.option("--channel", default="default", show_default=True, help="Channel that the answer comes on.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds that an attempt may take.")
@click.option("--wait", default=60.0, show_default=True, type=click.FloatRange(0), help="Seconds to wait here.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as one line of JSON.")
@connection.options
def command(
    device: str, method: str, uri: str, payload: str | None, content_type: str | None, ref: str | None, channel: str,
    timeout: float | None, wait: float, as_json: bool, url: str | None, key: str | None, data_dir: Path | None,
) -> None:  # fmt: skip
    """Send a call to DEVICE and print its answer.

    Exit code 0: answered with 2xx; 1: it ended otherwise; 2: the hub refused or is not there; 3: not ended in time
    (it goes on; its answer will be on the channel).
    """
    hub = connection.client(url, key, data_dir)
    wanted = {"content_type": content_type, "ref": ref, "channel": channel, "timeout": timeout}
    body = _payload(payload)
    connection.finish(_call(hub, device, method.upper(), uri, body, wanted, wait, as_json or not sys.stdout.isatty()))


async def _call(
    hub: Any, device: str, method: str, uri: str, payload: bytes, wanted: dict[str, Any], wait: float, as_json: bool
) -> int:
    from hub.client.watch import watch

    began = time.perf_counter()
    async with hub:
        accepted = await hub.call(device, method, uri, payload=payload, **wanted)
        try:
            async with asyncio.timeout(wait):
                # From the position that the 202 told: an answer that was faster than we is not missed.
                async for frame in watch(hub, accepted.channel, (accepted.epoch, accepted.offset)):
                    for word, item in items(frame):
                        if word == "answer" and item.get("call-id") == accepted.id:
                            return _answer(item, time.perf_counter() - began, as_json)
        except TimeoutError:
            click.echo(f"hub: call {accepted.id} has not ended; its answer will be on {accepted.channel}", err=True)
            return STILL_OPEN
    raise AssertionError("a watch does not end by itself")


def _answer(item: dict[str, Any], seconds: float, as_json: bool) -> int:
    status = int(item.get("status") or 0)
    if as_json:
        click.echo(orjson.dumps(item))
    else:
        error = f" {item['error']}" if item.get("error") else ""
        kind = f", {item['ct']}" if item.get("ct") else ""
        click.echo(f"{status}{error} after {seconds * 1000:.0f} ms{kind}", err=True)
        sys.stdout.buffer.write(payload_of(item))
        sys.stdout.buffer.flush()
    return ANSWERED if 200 <= status < 300 else NOT_ANSWERED


def _payload(given: str | None) -> bytes:
    if given is None:
        return b""
    if given == "@-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_bytes()
        except OSError as error:
            raise click.BadParameter(f"{given[1:]}: {error.strerror}", param_hint="--payload") from None
    return given.encode()
