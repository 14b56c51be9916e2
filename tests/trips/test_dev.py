"""`hub dev` and the commands that find it, each a process of its own, as a person starts them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.listener.double import DeviceDouble
from hub.serving import bind_next
from tests.command import Running, ask, environment, hub

LAMP = "015f2fa34d310000000000010030036c"


@dataclass(frozen=True)
class Dev:
    """A development hub on a free port, what its one line said, and the home folder of who started it."""

    running: Running
    said: dict[str, Any]
    home: Path

    @property
    def url(self) -> str:
        url: str = self.said["url"]
        return url

    @property
    def key(self) -> str:
        key: str = self.said["key"]
        return key


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A hub that the tests of this module share: they leave it running."""
    home = tmp_path_factory.mktemp("shared")
    with Running("dev", "--port", "0", "--json", home=home) as running:
        yield Dev(running, running.json(), home)


@pytest.fixture
def own_dev(tmp_path: Path) -> Iterator[Dev]:
    """A hub of the test's own, to end it."""
    with Running("dev", "--port", "0", "--json", home=tmp_path) as running:
        yield Dev(running, running.json(), tmp_path)


def echo(said: dict[str, Any], ref: str) -> None:
    """A call whose answer is pushed under `ref`."""
    body = {"method": "GET", "uri": "/x", "ref": ref}
    assert ask(said["url"], "/v1/devices/sim-echo/calls", said["key"], body)[0] == 202


def test_its_line_tells_where_it_is_and_the_key_is_kept_private(dev: Dev) -> None:
    said, folder = dev.said, dev.home / "state/asyncid-hub/dev"

    assert set(said) == {"url", "key", "ports", "data_dir", "powerstore", "enos", "coaps"}
    assert set(said["coaps"]) == {"identity", "key", "endpoint"}
    assert {"coap", "coaps"} <= set(said["ports"])
    assert set(said["enos"]) == {"org", "product_key", "product_secret", "device_key", "device_secret"}
    assert "mqtt" in said["ports"]
    assert said["url"] == f"http://127.0.0.1:{said['ports']['http']}"
    assert said["data_dir"] == str(folder)
    assert (folder / "dev-key").read_text().strip() == said["key"]
    private = [folder / "dev-key", folder / "hub.db", folder.parent / "dev.seal-key"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in private] == [0o600] * 3
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_call_gets_its_answer_pushed(dev: Dev) -> None:
    answered = hub("call", LAMP, "GET", "/5/0/1", home=dev.home)

    assert answered.returncode == 0, answered.stderr
    item = json.loads(answered.stdout)
    assert (item["status"], base64.b64decode(item["payload"]), item["max-age"]) == (200, b"value1\n", 600)


def test_what_the_spare_device_posted_answers_a_read_for_a_while(dev: Dev) -> None:
    spare = dev.said["enos"]

    async def posted() -> None:
        told = {"product": spare["product_key"], "secret": spare["device_secret"]}
        double = DeviceDouble("127.0.0.1", dev.said["ports"]["mqtt"], spare["device_key"], **told)
        assert await double.connect() == 0
        assert (await double.request("thing/measurepoint/post", {"measurepoints": {"temp": 21}}))["code"] == 200
        await double.close()

    asyncio.run(posted())
    answered = hub("call", spare["device_key"], "GET", "/measurepoint/temp", home=dev.home)

    assert answered.returncode == 0, answered.stderr
    item = json.loads(answered.stdout)
    assert (item["status"], base64.b64decode(item["payload"])) == (200, b"21")
    assert 0 < item["max-age"] <= 60


def test_what_listeners_get_is_counted(dev: Dev) -> None:
    def counted() -> dict[str, float]:
        metrics = ask(dev.url, "/metrics")[2].decode().splitlines()
        return {name: float(value) for name, _, value in (line.partition(" ") for line in metrics if line[0] != "#")}

    before = counted()
    assert hub("call", "sim-echo", "GET", "/x", home=dev.home).returncode == 0
    assert ask(dev.url, "/v1/channels/default/messages?offset=0&wait=0", dev.key)[0] == 200

    after = counted()
    # The answer is pushed to the command, and polled by us.
    assert after["hub_deliveries_total"] - before["hub_deliveries_total"] >= 2
    assert after["hub_polls_total"] - before["hub_polls_total"] == 1
    assert after["hub_lagging"] == 0


def test_how_a_call_went_is_told_by_the_exit_code(dev: Dev, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(b"\x00\xff")

    echoed = hub("call", "sim-echo", "POST", "/x", "--payload", f"@{payload}", "--ref", "r1", home=dev.home)
    failed = hub("call", LAMP, "PUT", "/3/0/0", "--payload", "x", home=dev.home)
    missing = hub("call", "nobody", "GET", "/x", home=dev.home)
    open_still = hub("call", "sim-never", "GET", "/x", "--wait", "0.2", home=dev.home)
    wrong_key = hub("call", "sim-echo", "GET", "/x", "--key", "ak_wrong_key", home=dev.home)

    assert base64.b64decode(json.loads(echoed.stdout)["payload"]) == b"\x00\xff"
    assert json.loads(echoed.stdout)["id"] == "r1"
    codes = [run.returncode for run in (echoed, failed, missing, open_still, wrong_key)]
    assert codes[0] == 0 and codes[1] in (1, 2) and codes[2:] == [2, 3, 2]
    assert "device-not-found" in missing.stderr
    assert "not-authenticated" in wrong_key.stderr
    assert "Traceback" not in "".join(run.stderr for run in (failed, missing, open_still, wrong_key))


def test_a_watch_goes_on_over_a_restart_and_shows_each_answer_once(tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path / "data"))
    with Running("dev", "--port", "0", "--json", *options, home=tmp_path) as first:
        said = first.json()
        with Running("watch", "default", "--from", "first", *options, home=tmp_path) as watching:
            echo(said, "before")
            seen = [_answer(watching)]
            first.end(signal.SIGKILL)
            port = str(said["ports"]["http"])
            with Running("dev", "--port", port, "--json", *options, home=tmp_path) as second:
                again = second.json()
                for ref in ("after", "last"):
                    echo(again, ref)
                seen += [_answer(watching), _answer(watching)]

                assert seen == ["before", "after", "last"]
                assert watching.end(signal.SIGINT) == 130


@contextmanager
def watching(hub: Dev) -> Iterator[Running]:
    """A watch that has shown an answer, started as a shell without job control starts what it puts in the
    background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        started = Running("watch", "default", "--from", "first", home=hub.home)
    finally:
        signal.signal(signal.SIGINT, before)
    with started:
        echo(hub.said, "seen")
        _answer(started)
        yield started


def test_a_watch_ends_at_once_when_it_is_interrupted(dev: Dev) -> None:
    with watching(dev) as watch:
        _ends_at_once(watch)


def test_a_watch_that_waits_for_its_hub_to_come_back_ends_at_once_when_it_is_interrupted(own_dev: Dev) -> None:
    with watching(own_dev) as watch:
        own_dev.running.end(signal.SIGKILL)
        _until_told(watch, "trying again")

        _ends_at_once(watch)


def test_a_watch_whose_hub_says_nothing_any_more_ends_at_once_when_it_is_interrupted(own_dev: Dev) -> None:
    with watching(own_dev) as watch, socket.socket() as listener:
        own_dev.running.end(signal.SIGKILL)
        # It comes back and says nothing: the watch waits for the answer to its handshake.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", own_dev.said["ports"]["http"]))
        listener.listen()
        listener.settimeout(30)
        with listener.accept()[0]:
            _ends_at_once(watch)


def _ends_at_once(watching: Running) -> None:
    began = time.monotonic()
    assert watching.end(signal.SIGINT) == 130
    assert time.monotonic() - began < 5


def _until_told(watching: Running, words: str) -> None:
    until = time.monotonic() + 30
    while words not in watching.complaints():
        assert time.monotonic() < until, watching.complaints()


def _answer(watching: Running) -> str:
    """The next answer's ref; other events are passed over."""
    while True:
        for item in watching.json().get("async-responses", ()):
            ref: str = item["id"]
            return ref


def test_what_it_tells_to_type_can_be_typed(tmp_path: Path) -> None:
    with Running("dev", "--port", "0", home=tmp_path) as running:
        said = ""
        while "Ctrl-C" not in said:
            said += running.line() + "\n"
        commands = [line for line in said.splitlines() if " watch default" in line or "or, shorter:" in line]
        watch, call = (line.partition("or, shorter:")[2] or line for line in commands)
        environ = environment(tmp_path)
        called = subprocess.run(call, shell=True, env=environ, capture_output=True, text=True, timeout=30, check=False)
        words = [*shlex.split(watch), "--help"]
        shown = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30, check=False)

    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout)["status"] == 200
    assert shown.returncode == 0, shown.stderr


def test_the_key_is_the_same_at_every_start_and_a_given_one_is_kept(tmp_path: Path) -> None:
    keys = []
    for options in ((), (), ("--key", "ak_my_own_key")):
        with Running("dev", "--port", "0", "--json", *options, home=tmp_path) as running:
            said = running.json()
            keys.append(said["key"])
            assert ask(said["url"], "/v1/me", said["key"])[0] == 200
            assert running.end(signal.SIGTERM) == 0

    assert keys[0] == keys[1]
    # Where the second start found that of the first.
    assert (Path(said["data_dir"]) / "dev-key").read_text().strip() == keys[2] == "ak_my_own_key"


def test_a_second_hub_on_the_same_folder_is_refused_and_changes_nothing(dev: Dev) -> None:
    second = hub("dev", "--port", "0", "--key", "ak_another_key", home=dev.home)

    assert second.returncode == 2
    assert dev.url in second.stderr and len(second.stderr.splitlines()) == 1
    assert hub("call", "sim-echo", "GET", "/x", home=dev.home).returncode == 0


def test_a_port_that_was_asked_for_never_moves(dev: Dev, tmp_path: Path) -> None:
    port = str(dev.said["ports"]["http"])

    taken = hub("dev", "--port", port, "--data-dir", "other", home=tmp_path)

    assert taken.returncode == 2
    assert taken.stderr == f"hub: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    assert not (tmp_path / "other" / "hub.db").exists()


def test_without_a_port_the_next_free_one_is_taken(tmp_path: Path) -> None:
    with bind_next("127.0.0.1", 8080) as taken, Running("dev", "--json", home=tmp_path) as running:
        assert 8080 <= taken.getsockname()[1] < running.json()["ports"]["http"] < 8180


def test_the_ports_of_the_last_start_are_tried_first(tmp_path: Path) -> None:
    kept = {}
    for name, kind in (("http", socket.SOCK_STREAM), ("mqtt", socket.SOCK_STREAM), ("coap", socket.SOCK_DGRAM)):
        with socket.socket(socket.AF_INET, kind) as free:
            free.bind(("127.0.0.1", 0))
            kept[name] = free.getsockname()[1]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dev-ports").write_text(json.dumps(kept))

    with Running("dev", "--json", "--data-dir", str(folder), home=tmp_path) as running:
        ports = running.json()["ports"]

    assert {name: ports[name] for name in kept} == kept
    assert json.loads((folder / "dev-ports").read_text()) == ports


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_zero_and_tells_its_listeners(own_dev: Dev, first: signal.Signals) -> None:
    running, said = own_dev.running, own_dev.said
    with socket.create_connection(("127.0.0.1", said["ports"]["http"]), timeout=30) as listener:
        listener.sendall(
            f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {said['key']}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: hub.v1.json\r\n\r\n".encode()
        )
        assert listener.recv(12) == b"HTTP/1.1 101"
        began = time.monotonic()

        assert running.end(first) == 0

        received = b""
        while read := listener.recv(65536):
            received += read
        # A close frame, its code in the first two bytes: 1012, come back.
        assert b"\x03\xf4" in received
        assert time.monotonic() - began < 10


def test_a_long_poll_is_answered_when_the_hub_goes_down(own_dev: Dev) -> None:
    running, said = own_dev.running, own_dev.said
    with socket.create_connection(("127.0.0.1", said["ports"]["http"]), timeout=30) as poller:
        poller.sendall(
            "GET /v1/channels/empty/messages?wait=30 HTTP/1.1\r\nHost: h\r\n"
            f"Authorization: Bearer {said['key']}\r\n\r\n".encode()
        )
        _until_metric(said["url"], "hub_listeners", 1.0)

        assert running.end(signal.SIGTERM) == 0

        assert poller.recv(65536).startswith(b"HTTP/1.1 204")


def test_while_it_drains_it_is_not_ready_and_takes_no_calls(own_dev: Dev) -> None:
    running, url, key = own_dev.running, own_dev.url, own_dev.key
    body = {"method": "GET", "uri": "/x", "timeout": 20}
    assert ask(url, "/v1/devices/sim-never/calls", key, body)[0] == 202
    _until_metric(url, "hub_attempts_under_way", 1.0)

    os.kill(running.process.pid, signal.SIGTERM)
    _until_metric(url, "hub_ready", 0.0)

    status, headers, refusal = ask(url, "/v1/devices/sim-echo/calls", key, body)
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(refusal)["type"].endswith(":draining")
    ready, _, report = ask(url, "/readyz")
    assert (ready, json.loads(report)["reasons"]) == (503, ["the hub is draining"])
    assert ask(url, "/livez")[0] == 200
    # A second signal does not wait for what runs.
    began = time.monotonic()
    assert running.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5


def _until_metric(url: str, name: str, value: float) -> None:
    """Ask until the hub itself says so; each question is a round trip, none is a pause."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        text = ask(url, "/metrics")[2].decode()
        if f"{name} {value}" in text.splitlines():
            return
    raise AssertionError(f"{name} never was {value}")


def test_the_operators_are_told_how_it_is(dev: Dev) -> None:
    said = dev.said

    status, headers, body = ask(said["url"], "/readyz")
    report = json.loads(body)
    assert (status, report["ready"], report["durability"]) == (200, True, "disk")
    assert {"lwm2m", "simulated", "websocket"} <= set(report["adapters"])
    assert set(report["adapters"].values()) == {"up"}
    assert headers["cache-control"] == "no-store"
    metrics = ask(said["url"], "/metrics")[2].decode()
    assert "hub_adapter_up{adapter=\"simulated\"} 1.0" in metrics
    assert "_created" not in metrics and LAMP not in metrics and said["key"] not in metrics


def test_what_the_server_refuses_by_itself_is_a_problem_under_v1_and_words_elsewhere(dev: Dev) -> None:
    said = dev.said
    handshake = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"

    for path, kind in (("/v1/stream", b"application/problem+json"), ("/livez", b"text/plain; charset=utf-8")):
        for head, status in (("broken\r\n", 400), (handshake, 400), ("X: " + "x" * 20_000 + "\r\n", 431)):
            with socket.create_connection(("127.0.0.1", said["ports"]["http"]), timeout=30) as asking:
                asking.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
                told = b""
                while read := asking.recv(65536):
                    told += read
            top, _, body = told.partition(b"\r\n\r\n")
            assert top.startswith(b"HTTP/1.1 %d " % status)
            assert b"content-type: " + kind in top.lower()
            if path == "/v1/stream":
                assert json.loads(body)["status"] == status
                assert json.loads(body)["type"].startswith("urn:hub:problem:")


def test_the_page_is_served_under_a_strict_policy(dev: Dev) -> None:
    said = dev.said

    for path in ("/", "/app.js", "/no-such-file"):
        status, headers, _ = ask(said["url"], path)
        assert status == (404 if "no-such" in path else 200), path
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
    assert ask(said["url"], "/../demo.toml")[0] == 404
    assert ask(said["url"], "/%2e%2e/demo.toml")[0] == 404


def test_no_key_is_in_what_it_logs(own_dev: Dev) -> None:
    running, said = own_dev.running, own_dev.said
    ask(said["url"], "/v1/me", "ak_wrong_but_secret")
    ask(said["url"], "/v1/me?key=ak_in_the_url_0000")
    echo(said, "logged")
    assert running.end(signal.SIGTERM) == 0

    logged = running.complaints()
    assert "registered" in logged
    assert said["key"] not in logged and "ak_wrong" not in logged and "ak_in_the_url" not in logged
