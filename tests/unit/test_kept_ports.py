"""The ports that `hub dev` had at its last start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hub.cli.kept_ports import bind_kept, free_for_datagrams
from hub.cli.spare_coap import SpareCoap, coap_tables
from hub.cli.state import DevState

HOST = "127.0.0.1"
WORLD = '[adapters.lwm2m]\nkind = "lwm2m"\naccount = "demo"\nnext_ports = 100\n'


def test_the_port_of_the_last_start_comes_before_the_first_one() -> None:
    with bind_kept(HOST, None, 20_000) as first, bind_kept(HOST, None, 20_000) as second:
        kept = second.getsockname()[1]
        assert kept > first.getsockname()[1]
        second.close()
        with bind_kept(HOST, kept, 20_000) as again:
            assert again.getsockname()[1] == kept


def test_a_port_that_somebody_else_has_now_is_left_to_him() -> None:
    with bind_kept(HOST, None, 20_000) as taken:
        kept = taken.getsockname()[1]
        with bind_kept(HOST, kept, kept) as other:
            assert other.getsockname()[1] > kept
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        assert free_for_datagrams(HOST, port) is None
    assert free_for_datagrams(HOST, port) == port
    assert free_for_datagrams(HOST, None) is None


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"coap": "5683"}', '{"coap": true}', '{"coap": 70000}'])
def test_ports_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "dev-ports").write_text(text, encoding="utf-8")
    assert DevState(tmp_path).ports() == {}


def test_ports_are_kept_beside_the_data(tmp_path: Path) -> None:
    state = DevState(tmp_path / "new")
    assert state.ports() == {}
    state.keep_ports({"coap": 5690, "mqtt": 11_884})
    assert DevState(tmp_path / "new").ports() == {"coap": 5690, "mqtt": 11_884}


def test_the_coap_ports_of_the_demo_world_are_those_that_are_given() -> None:
    as_it_comes = coap_tables(None, WORLD, None, None)["adapters"]["lwm2m"]
    given = coap_tables(SpareCoap("spare", "key"), WORLD, 5690, 5691)["adapters"]["lwm2m"]

    assert "port" not in as_it_comes and "dtls" not in as_it_comes
    assert (given["port"], given["dtls_port"], given["next_ports"], given["dtls"]) == (5690, 5691, 100, True)
