"""`hub dev`: a hub that needs no file, with the demo world, for one person on one machine."""

from __future__ import annotations

import gc
import os
import shlex
import socket
import sys
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
import orjson

from hub.cli.ending import plainly, stop
from hub.cli.program import program
from hub.cli.spare_coap import SpareCoap, coap_tables, spare_coap
from hub.cli.spare_device import FIRST_MQTT_PORT, SpareDevice, spare_device, spare_tables
from hub.cli.state import DevState, default_folder
from hub.core.access import KEY_FORM

FIRST_PORT = 8080
FIRST_TLS_PORT = 8443
COAP_HOST = "127.0.0.1"
USER = "admin"
SEED_DEVICE = "015f2fa34d310000000000010030036c"


@click.command(name="dev")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; without it the next free one from 8080 on.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Data folder; default: your state folder.")
@click.option("--key", help="API key (ak_ and at least 8 letters, digits, underscores); kept for the next start.")
@click.option("--tls-self-signed", is_flag=True, help="Add a TLS port with a certificate of the hub's own making.")
@click.option("--tls-port", type=click.IntRange(0, 65535), help="The TLS port; default: the next free from 8443 on.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready, nothing else on stdout.")
def command(
    host: str,
    port: int | None,
    data_dir: Path | None,
    key: str | None,
    tls_self_signed: bool,
    tls_port: int | None,
    as_json: bool,
) -> None:
    """Run a hub with simulated devices; nothing to configure."""
    gc.disable()  # until `serve` has started: what is imported stays, a tenth of the start went into looking at it
    if key is not None and KEY_FORM.fullmatch(key) is None:
        stop("--key: must be ak_ and at least 8 letters, digits or underscores")
    with plainly():
        # A port for it is asked for to be had.
        tls = {"self_signed": tls_self_signed or tls_port is not None or None, "port": tls_port}
        _run(host, port, tls, DevState(data_dir), key, as_json)


def _run(
    host: str, port: int | None, tls: dict[str, Any], state: DevState, given: str | None, as_json: bool
) -> None:
    from hub.app import build
    from hub.cli.kept_ports import bind_kept, free_for_datagrams
    from hub.demo_job import put_in_place
    from hub.logs import to_stderr
    from hub.model.errors import Locked
    from hub.ports.clock import SystemClock
    from hub.serving import bind, raise_file_limit, run, serve
    from hub.settings import load
    from hub.tls import context_of

    world = files("hub").joinpath("demo.toml").read_text(encoding="utf-8")
    flags: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port},
        "tls": tls,
        "storage": {"data_dir": str(state.folder.absolute())},
        "ops": {"metrics_open": _only_here(host) or None},
        "keys": {"dev": {"application": "demo", "scopes": ["admin"], "label": "hub dev", "key": given or state.key()}},
    }
    if flags["keys"]["dev"]["key"] is None:
        flags["keys"]["dev"]["key"] = state.keep_key(None)
    raise_file_limit()
    kept = state.ports()
    listener = bind_kept(host, kept.get("http"), FIRST_PORT) if port is None else bind(host, port)
    with bind_kept(host, kept.get("mqtt"), FIRST_MQTT_PORT) as free:
        mqtt_port = free.getsockname()[1]
    spare = spare_device(flags["keys"]["dev"]["key"])
    flags.update(spare_tables(spare, host, mqtt_port))
    coap = spare_coap(flags["keys"]["dev"]["key"])
    udp = (free_for_datagrams(COAP_HOST, kept.get(scheme)) for scheme in ("coap", "coaps"))
    for section, tables in coap_tables(coap, world, *udp).items():
        flags[section] = {**flags[section], **tables}
    settings = load(None, os.environ, flags, text=world)
    context = context_of(settings, host, SystemClock().now())
    ports = {"http": listener.getsockname()[1]}
    secured = []
    if context is not None:
        asked = tls["port"]
        https = bind_kept(host, kept.get("https"), FIRST_TLS_PORT) if asked is None else bind(host, asked)
        secured.append((https, context))
        ports["https"] = secured[0][0].getsockname()[1]
    url = f"http://{_reachable(listener)}:{listener.getsockname()[1]}"

    def ready() -> None:
        # Only now: a second start that finds the folder held must not change the running hub's key and address.
        key = state.keep_key(given)
        state.keep_url(url)
        ports.update(app.ports())
        given_here = {"http": port, "https": tls["port"]}
        state.keep_ports({**kept, **{name: at for name, at in ports.items() if given_here.get(name) is None}})
        told = url, key, ports, state, spare, coap
        click.echo(_line(*told) if as_json else _banner(*told))
        sys.stdout.flush()

    with listener, to_stderr(settings.log.level, settings.log.format, settings.log.audit):
        try:
            app = build(settings, os.environ)
            app.prepare.append(put_in_place)
            run(lambda: serve(app, [listener], ready, tls=secured))
        except Locked as error:
            running = state.url()
            stop(f"{error}" + (f"; it said that it listens on {running}" if running else ""))
        state.forget_url()


def _only_here(host: str) -> bool:
    """Whether nobody but this machine can reach it; what is open to its user then is not open on a network."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable(listener: socket.socket) -> str:
    host: str = listener.getsockname()[0]
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"
    return f"[{host}]" if ":" in host else host


def _line(
    url: str, key: str, ports: dict[str, int], state: DevState, spare: SpareDevice, coap: SpareCoap | None
) -> bytes:
    """What tools read: one line, more members with later adapters."""
    told: dict[str, Any] = {"url": url, "key": key, "ports": ports, "data_dir": str(state.folder.absolute())}
    if coap is not None and "coaps" in ports:
        told["coaps"] = coap.members
    return orjson.dumps({**told, "powerstore": {"user": USER, "password": key}, "enos": spare.members})


def _banner(
    url: str, key: str, ports: dict[str, int], state: DevState, spare: SpareDevice, coap: SpareCoap | None
) -> str:
    here = "" if state.folder == default_folder() else f" --data-dir {shlex.quote(str(state.folder))}"
    secure = f"\n    tls     https://localhost:{ports['https']}/" if "https" in ports else ""
    devices = ", ".join(f"{scheme} {port}" for scheme, port in ports.items() if scheme not in ("http", "https"))
    dial_in = f"\n    devices {devices}" if devices else ""
    secured = f"\n    coaps   identity {coap.identity}, key {coap.key}" if coap is not None and "coaps" in ports else ""
    hub = program()
    return f"""
  asyncid-hub is running

    page    {url}/{secure}{dial_in}
    key     {key}
    data    {state.folder}
    spare   EnOS device {spare.device_key} of product {spare.product_key}, secret {spare.device_secret}{secured}

  Watch the answers in a second terminal:

    {hub} watch default{here}

  and send a call in a third:

    curl -i -X POST '{url}/v2/device-requests/{SEED_DEVICE}?async-id=example-1' \\
      -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
      -d '{{"method": "GET", "uri": "/5/0/1"}}'

  or, shorter:   {hub} call {SEED_DEVICE} GET /5/0/1{here}

  Ctrl-C ends it; nothing that was accepted is lost.
"""
