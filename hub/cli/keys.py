"""`hub keys create|list|revoke`: through the API while a hub holds the data folder, directly otherwise."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from hub.cli import connection
from hub.cli.ending import plainly, stop
from hub.cli.state import DevState
from hub.model.errors import Locked, Refusal
from hub.model.principal import Scope


def _options(function: Any) -> Any:
    function = connection.options(function)
    return click.option(
        "--config", "file", type=click.Path(path_type=Path), help="The hub's TOML file; without it `hub dev` is meant."
    )(function)


@click.group(name="keys")
def command() -> None:
    """Make, list and revoke API keys.

    While a hub runs, its API is asked (your key needs the scope admin; it sees its own application). While none
    runs, the data folder is opened directly.
    """


@command.command()
@click.option("--application", help="Application that the key is for; through the API: that of your key.")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice([s.value for s in Scope]))
@click.option("--label", default="", help="What it is for.")
@_options
def create(application: str | None, scopes: tuple[str, ...], label: str, file: Path | None, **which: Any) -> None:
    """Make a key and print it. It is shown this once: the hub keeps only its digest."""

    async def work() -> int:
        async with _hub(file, which) as (access, client):
            if access is not None:
                if application is None:
                    stop("--application: say which application the key is for")
                key, secret = await access.create_key(application, frozenset(map(Scope, scopes)), label)
                made = {"id": key.id, "application": key.application, "scopes": sorted(scopes), "key": secret}
            else:
                mine = await client.me()
                if application not in (None, mine["application"]):
                    stop(f"--application: the hub is running, and your key is one of {mine['application']!r}")
                made = await client.create_key(list(scopes), label)
            click.echo(orjson.dumps(made))
            return 0

    _finish(work())


@command.command(name="list")
@click.option("--application", help="Only this application's.")
@_options
def list_(application: str | None, file: Path | None, **which: Any) -> None:
    """Print the keys as JSON lines, without their secrets."""

    async def work() -> int:
        async with _hub(file, which) as (access, client):
            if access is not None:
                for key in access.all_keys():
                    if application in (None, key.application) and not key.revoked:
                        told = {"id": key.id, "application": key.application, "label": key.label,
                                "scopes": sorted(s.value for s in key.scopes), "disabled": key.disabled}  # fmt: skip
                        click.echo(orjson.dumps(told))
            else:
                for view in await client.keys():
                    if application in (None, view.get("application")):
                        click.echo(orjson.dumps(view))
            return 0

    _finish(work())


@command.command()
@click.argument("id")
@_options
def revoke(id: str, file: Path | None, **which: Any) -> None:
    """Take the key with this ID back: refused from now on, its sockets closed."""

    async def work() -> int:
        async with _hub(file, which) as (access, client):
            if access is not None:
                if not await access.revoke_key(id):
                    stop(f"there is no key {id}", code=1)
            else:
                await client.revoke_key(id)
            click.echo(f"revoked {id}", err=True)
            return 0

    _finish(work())


@asynccontextmanager
async def _hub(file: Path | None, which: dict[str, Any]) -> AsyncIterator[tuple[Any, Any]]:
    """(Access, None) on the opened data folder, or (None, Client) when another process holds it."""
    from hub.core.access import Access
    from hub.core.directory import Directory
    from hub.ports.clock import SystemClock
    from hub.settings import load
    from hub.settings.schema import limits_of
    from hub.storage import engine_of

    state = DevState(which["data_dir"])
    flags = None if file is not None else {"storage": {"data_dir": str(state.folder.absolute())}}
    settings = load(file, os.environ, flags)
    if which["url"] is not None or not settings.data_dir.exists():
        # Somebody else's hub, or none has run here: nothing to open, and nothing is made by looking.
        async with _api(settings, file, which) as client:
            yield None, client
        return
    clock, limits = SystemClock(), limits_of(settings)
    engine = engine_of(settings, clock, limits)
    try:
        await engine.start(lambda events: None)
    except Locked:
        async with _api(settings, file, which) as client:
            yield None, client
        return
    try:
        directory = Directory(engine.directory, clock, limits)
        await directory.load()
        yield Access(directory, clock, limits), None
        await directory.settle()
    finally:
        await engine.stop()


@asynccontextmanager
async def _api(settings: Any, file: Path | None, which: dict[str, Any]) -> AsyncIterator[Any]:
    url, key = which["url"], which["key"]
    if file is not None:
        # The key of `hub dev` is no business of another hub.
        if key is None:
            stop("the hub is running, so its API is asked: give --key or set HUB_KEY (scope admin)")
        url = url or f"http://{settings.server.host}:{settings.server.port}"
    async with connection.client(url, key, which["data_dir"]) as client:
        yield client


def _finish(work: Any) -> None:
    with plainly():
        try:
            connection.finish(work)
        except Refusal as refusal:
            stop(str(refusal))
