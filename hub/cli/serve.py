"""`hub serve`: the hub as an operator runs it, by a configuration and nothing that is not in it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import click

from hub.cli.ending import plainly


@click.command(name="serve")
@click.option("--config", "file", type=click.Path(path_type=Path), required=True, help="The TOML file.")
@click.option("--host", help="Address to listen on; over the file's.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; over the file's.")
@click.option("--tls-self-signed", is_flag=True, help="Add a TLS port with a certificate of the hub's own making.")
@click.option("--tls-port", type=click.IntRange(0, 65535), help="The TLS port; over the file's.")
@click.option("--fd", type=click.IntRange(0), help="A listening socket held outside, by its file descriptor.")
def command(
    file: Path, host: str | None, port: int | None, tls_self_signed: bool, tls_port: int | None, fd: int | None
) -> None:
    """Run a hub with a configuration. A port that is taken is an error: it never moves.

    With --fd, or a socket passed by systemd, those who connect during a restart wait instead of being refused.
    """
    gc.disable()  # until `serve` has started: what is imported stays, a tenth of the start went into looking at it
    from hub.app import build
    from hub.logs import to_stderr
    from hub.ports.clock import SystemClock
    from hub.serving import address, bind, held_outside, raise_file_limit, run, serve
    from hub.settings import load
    from hub.tls import context_of

    with plainly():
        tls = {"self_signed": tls_self_signed or None, "port": tls_port}
        settings = load(file, os.environ, {"server": {"host": host, "port": port}, "tls": tls})
        raise_file_limit()
        outside = held_outside(fd, os.environ)
        sockets = outside or [bind(settings.server.host, settings.server.port, settings.server.backlog)]
        context = context_of(settings, settings.server.host, SystemClock().now())
        secured = [] if context is None else [(bind(settings.server.host, settings.tls.port), context)]
        plain = [address("http", listener) for listener in sockets]
        places = ", ".join([*plain, *(address("https", listener) for listener, _ in secured)])
        with to_stderr(settings.log.level, settings.log.format, settings.log.audit):
            app = build(settings, os.environ)
            run(lambda: serve(app, sockets, lambda: app.said_ready(places), outside=bool(outside), tls=secured))
