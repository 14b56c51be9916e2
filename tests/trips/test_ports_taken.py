"""A port that devices dial and that cannot be had ends the start; a peer that cannot be reached does not."""

from __future__ import annotations

import signal
import socket
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from hub.tls import self_signed
from tests.command import Running, ask, hub
from tests.trips.test_serve import CONFIG, KEY, Listening, written

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


def listeners(port: int, certificate: Path, key: Path) -> dict[str, tuple[socket.SocketKind, str]]:
    """By scheme: the kind of its port, and an adapter that listens there and, where it has another, at a free one."""
    mqtts = f'port = 0\ntls_port = {port}\ncertificate = "{certificate}"\nkey = "{key}"'
    return {
        "mqtt": (TCP, f'kind = "mqtt"\nport = {port}'),
        "mqtts": (TCP, f'kind = "mqtt"\n{mqtts}'),
        "coap": (UDP, f'kind = "lwm2m"\nport = {port}'),
        "coaps": (UDP, f'kind = "lwm2m"\nport = 0\ndtls = true\ndtls_port = {port}'),
    }


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "coap", "coaps"])
def test_a_port_for_devices_that_is_taken_ends_the_start_in_one_line(tmp_path: Path, scheme: str) -> None:
    if scheme == "coaps" and find_spec("mbedtls") is None:
        pytest.skip("without the library for DTLS there is no such port")
    certificate, key = self_signed(tmp_path / "tls", "127.0.0.1", datetime.now(UTC))
    kind = listeners(0, certificate, key)[scheme][0]
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is TCP:
            other.listen()
        port = other.getsockname()[1]
        text = f"{CONFIG.format(port=0)}[adapters.doors]\n{listeners(port, certificate, key)[scheme][1]}\n"
        run = hub("serve", "--config", str(written(tmp_path, text)), home=tmp_path, OPS_KEY=KEY)

    assert run.returncode == 2
    said = run.stderr.splitlines()[-1]
    assert said.startswith("hub: cannot listen on 127.0.0.1 ") and f"port {port}" in said and "in use" in said
    assert "Traceback" not in run.stderr and "ready on" not in run.stderr


def test_so_does_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    text = f"{CONFIG.format(port=0)}[adapters.doors]\n{listeners(0, gone, gone)['mqtts'][1]}\n"
    run = hub("serve", "--config", str(written(tmp_path, text)), home=tmp_path, OPS_KEY=KEY)

    assert run.returncode == 2
    assert "hub: cannot listen on 127.0.0.1 port 0 (mqtts): certificate: No such file" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_broker_that_cannot_be_reached_does_not_end_it(tmp_path: Path) -> None:
    held = Listening()
    with held.socket, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: who connects is refused
        broker = f'[adapters.plant]\nkind = "mqtt-broker"\nurl = "mqtt://127.0.0.1:{nobody.getsockname()[1]}"\n'
        with held.serve(written(tmp_path, CONFIG.format(port=0) + broker)) as running:
            assert ask(held.url, "/v1/me", KEY)[0] == 200
            assert running.end(signal.SIGTERM) == 0


def test_a_try_out_moves_up_to_ports_that_are_free(tmp_path: Path) -> None:
    with Running("dev", "--port", "0", "--data-dir", str(tmp_path / "a"), "--json", home=tmp_path) as one:
        first = one.json()["ports"]
        with Running("dev", "--port", "0", "--data-dir", str(tmp_path / "b"), "--json", home=tmp_path) as other:
            second = other.json()["ports"]

    assert {"mqtt", "coap"} <= first.keys() == second.keys()
    assert all(first[scheme] != second[scheme] for scheme in first)
