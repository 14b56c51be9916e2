"""The connection to a broker: breaks, backoff, refusals, encryption, the hub's own will."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.mqtt.broker.adapter import create
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from hub.model.device import Presence
from hub.ports.adapter import CallError, Delivery, EventKind
from tests.clock import ManualClock, ManualTimer
from tests.contracts.adapter_case import refused
from tests.contracts.context import ContextDouble
from tests.require import require
from tests.wires.broker_bench import PATIENCE, bench, turns, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """A broker that the test may kill."""
    require(PROGRAM)
    broker = Mosquitto()
    broker.start()
    yield broker
    broker.close()


@pytest.mark.parametrize("speak", ["mqtt5", "template", "enos"])
async def test_after_a_break_everything_is_listened_to_again(broker: Mosquitto, speak: str) -> None:
    async with bench(speak, broker=broker) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED, double.address)
        double.hold()
        _, task = await b.begin(double.address)
        await double.asked()

        broker.kill()
        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
        await b.ctx.seen(EventKind.OFFLINE, double.address)
        assert b.adapter.health()["state"] == "down"
        assert b.adapter.window(double.address) == 0
        await refused(b.adapter.call(b.request(double.address)), "NOT_CONNECTED", Delivery.NOT_SENT)

        broker.start()
        await b.up()
        assert b.adapter.health()["state"] == "up"
        await double.close()
        await double.connect()
        await b.ctx.seen(EventKind.AWAKE, double.address)
        double.go()
        assert (await b.call(double.address, payload=b"again")).payload == b"again"
        assert len(double.executed) == 2


async def test_whoever_was_turned_away_is_told_when_the_broker_is_back(broker: Mosquitto) -> None:
    async with bench(broker=broker, presence={}) as b:
        double = await b.rig.device()
        broker.kill()
        await b.adapter.troubled()
        assert b.adapter.window("never-heard") == 0

        broker.start()
        await b.up()

        await b.ctx.seen(EventKind.AWAKE, "never-heard")
        assert double.address not in [event.device for event in b.ctx.of(EventKind.AWAKE)]


class Noted(ManualClock):
    """A clock that keeps what was last waited for."""

    last = 0.0

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> ManualTimer:
        self.last = when
        return super().call_at(when, callback, *args)


@pytest.mark.parametrize(
    ("more", "growing"), [({"reconnect_most": 8}, (1, 2, 4, 8, 8, 8, 8)), ({}, (1, 2, 4, 8, 10, 10, 10))]
)
async def test_the_pause_between_attempts_grows_to_a_bound_and_is_never_the_same(
    more: dict[str, int], growing: tuple[int, ...]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clock = Noted()
    adapter = create({"url": f"mqtt://127.0.0.1:{port}", "connect_time": 100, **more})
    pauses = []
    try:
        await adapter.start(ContextDouble(clock=clock))
        for _ in range(7):
            # Nobody listens: what is waited for is the next attempt, or for a moment the end of this one.
            await until(lambda: clock.pending == 1 and 0 < clock.last - clock.monotonic() < 50)
            pauses.append(clock.last - clock.monotonic())
            clock.advance(pauses[-1])
            await turns()
    finally:
        await adapter.stop(1.0)

    for pause, wanted in zip(pauses, growing, strict=True):
        assert wanted * 0.5 <= pause <= wanted * 1.5
    assert len(set(pauses[-3:])) == 3


async def test_a_connection_that_is_there_again_has_the_other_one_tried_at_once(broker: Mosquitto) -> None:
    async with bench(broker=broker) as b:
        broker.kill()
        await until(lambda: all(link.resting for link in b.adapter.links))
        broker.start()
        while all(link.resting for link in b.adapter.links):
            b.clock.advance(0.01)
            await turns()

        # From here on no time passes.
        await until(lambda: all(link.up for link in b.adapter.links))


async def test_who_is_away_is_known_before_anybody_is_called(broker: Mosquitto) -> None:
    async with bench(broker=broker, presence={"topic": "many/{device}/status"}) as b:
        double = await b.rig.device()
        for number in range(3000):
            double.publish(f"many/d{number}/status", b"offline".ljust(1000), retain=True)
        await double.flushed()
        for _ in range(3):
            await b.rig.restart_hub(b.ctx)
            assert all(b.adapter.presence(f"d{number}") is Presence.OFFLINE for number in range(3000))


async def test_a_device_that_stays_is_not_told_away_when_only_the_hub_comes_again(broker: Mosquitto) -> None:
    async with bench(broker=broker) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        b.ctx.events.clear()
        await b.rig.restart_hub(b.ctx)
        await b.ctx.seen(EventKind.REGISTERED, double.address)

        assert [event.kind for event in b.ctx.events] == [EventKind.REGISTERED]


async def test_a_broker_that_lets_nobody_in_is_said_so_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    require(PROGRAM)
    broker = Mosquitto("allow_anonymous false")
    broker.start()
    ctx = ContextDouble()
    adapter = create({"url": broker.url, "username": "hub", "password": "hunter2-hunter2"})
    try:
        await adapter.start(ctx)
        await until(lambda: "not connected yet" not in adapter.health()["trouble"])
        health = adapter.health()
    finally:
        await adapter.stop(1.0)
        broker.close()

    assert health["state"] == "down"
    assert "135" in health["trouble"] or "uthori" in health["trouble"]
    assert "hunter2" not in repr(health) + repr(adapter) + repr(vars(adapter))


async def test_a_secret_that_is_missing_is_said_at_start() -> None:
    with pytest.raises(ValueError, match="password"):
        await create({"username": "hub", "password": "env:NOWHERE_TO_BE_FOUND"}).start(ContextDouble())


@pytest.mark.parametrize(("speak", "warned"), [("mqtt5", False), ("template", True)])
async def test_a_connection_by_which_commands_do_not_expire_is_warned_of(
    speak: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(speak):
        assert ("version = 4" in caplog.text) is warned


async def test_two_of_one_name_do_not_fight_without_a_pause(broker: Mosquitto) -> None:
    async with bench(broker=broker) as b:
        await b.rig.intrude(b.adapter.client_id)
        async with asyncio.timeout(PATIENCE):
            await b.adapter.troubled()
        await b.turns()

        assert b.adapter.health()["state"] != "up"  # the clock stands still, and so does the hub


async def test_the_hub_says_whether_it_is_there(broker: Mosquitto) -> None:
    watcher = {"presence": {"topic": "hubs/{device}/status", "required": True}}
    async with bench(broker=broker, **watcher) as b:
        told = create({"url": broker.url, "client_id": "told", "status": "hubs/{client}/status"})
        killed = create({"url": broker.url, "client_id": "killed", "status": "hubs/{client}/status"})
        for other in (told, killed):
            await other.start(ContextDouble())
        async with asyncio.timeout(PATIENCE):
            await b.adapter.known("told", Presence.ONLINE)
            await b.adapter.known("killed", Presence.ONLINE)
            await told.stop(1.0)
            await b.adapter.known("told", Presence.OFFLINE)
            assert b.adapter.presence("killed") is Presence.ONLINE
            killed.links[0].cut()
            await b.adapter.known("killed", Presence.OFFLINE)
        await killed.stop(1.0)


async def test_a_broker_that_does_not_read_gets_nothing_stale(broker: Mosquitto) -> None:
    async with bench(broker=broker, window=1000) as b:
        double = await b.rig.device()
        broker.freeze()
        tasks = []
        while b.adapter.window(double.address) > 0:
            tasks.append((await b.begin(double.address, payload=bytes(60_000)))[1])
            await b.turns(2)
            assert len(tasks) < 900
        await refused(b.adapter.call(b.request(double.address)), "QUEUE_IS_FULL", Delivery.NOT_SENT)
        b.clock.advance(31)  # the callers are told
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, CallError)
        await until(lambda: b.adapter.health()["losses"] == 1)
        broker.thaw()
        await b.up()
        await b.call_barrier(double)

        assert len(double.executed) < len(tasks)  # what only the hub had is gone


async def test_a_broker_that_is_silent_is_noticed_though_the_connection_stands(broker: Mosquitto) -> None:
    async with bench(broker=broker, telemetry=[]) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        b.clock.advance(30)
        await b.call_barrier(double)  # a broker that is well: the echo comes back
        b.clock.advance(5)
        await b.turns()
        assert b.adapter.health()["state"] == "up"

        broker.freeze()
        b.clock.advance(30)
        await b.turns()
        b.clock.advance(5)

        await until(lambda: b.adapter.health()["state"] == "down")
        assert b.adapter.health()["trouble"] == "the broker does not answer"
        await b.ctx.seen(EventKind.OFFLINE, double.address)
        broker.thaw()


async def test_stopping_waits_for_no_broker_that_does_not_read(broker: Mosquitto) -> None:
    async with bench(broker=broker, window=1000) as b:
        double = await b.rig.device()
        broker.freeze()
        tasks = []
        while b.adapter.window(double.address) > 0:
            tasks.append((await b.begin(double.address, payload=bytes(60_000)))[1])
            await b.turns(2)
        async with asyncio.timeout(PATIENCE):
            await b.adapter.stop(1.0)
        broker.thaw()

        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, CallError) and error.code == "NOT_CONNECTED"


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem, private = folder / "broker.pem", folder / "broker-key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    private.chmod(0o644)
    return pem, private


def passwords(file: Path) -> Path:
    """The broker's file of names and passwords."""
    passwd = require("mosquitto_passwd")
    subprocess.run([str(passwd), "-b", "-c", str(file), "hub", "s3cret"], check=True, capture_output=True)
    file.chmod(0o644)
    return file


async def test_the_hub_comes_encrypted_with_name_and_password_and_trusts_no_other_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(PROGRAM)
    pem, private = certificates(tmp_path)
    words = passwords(tmp_path / "words")
    broker = Mosquitto(
        "listener {port} 127.0.0.1", f"certfile {pem}", f"keyfile {private}", "allow_anonymous false",
        f"password_file {words}", "user root", plain=False,
    )  # fmt: skip
    broker.start()
    monkeypatch.setenv("BROKER_PASSWORD", "s3cret")
    url = f"mqtts://127.0.0.1:{broker.port}"

    class Context(ContextDouble):
        def secret(self, ref: str) -> bytes:
            assert ref == "env:BROKER_PASSWORD"
            return b"s3cret"

    trusting = create({"url": url, "ca": str(pem), "username": "hub", "password": "env:BROKER_PASSWORD"})
    doubting = create({"url": url, "username": "hub", "password": "env:BROKER_PASSWORD"})
    try:
        await trusting.start(Context())
        await doubting.start(Context())
        async with asyncio.timeout(PATIENCE):
            await trusting.connected()
        await until(lambda: "not connected yet" not in doubting.health()["trouble"])
        assert doubting.health()["state"] == "down"
        assert "certificate" in doubting.health()["trouble"].lower()
    finally:
        await trusting.stop(1.0)
        await doubting.stop(1.0)
        broker.close()


@pytest.fixture
def knowing(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """A broker that lets only those in whose certificate it knows: its url, that certificate and its key."""
    require(PROGRAM)
    pem, private = certificates(tmp_path)
    broker = Mosquitto(
        "listener {port} 127.0.0.1", f"certfile {pem}", f"keyfile {private}", f"cafile {pem}",
        "require_certificate true", "use_identity_as_username true", "user root", plain=False,
    )  # fmt: skip
    broker.start()
    yield f"mqtts://127.0.0.1:{broker.port}", pem, private
    broker.close()


async def test_the_hub_shows_the_certificate_that_the_broker_wants_to_see(knowing: tuple[str, Path, Path]) -> None:
    url, pem, private = knowing
    known = create({"url": url, "ca": str(pem), "certificate": str(pem), "key": str(private)})
    unknown = create({"url": url, "ca": str(pem)})
    try:
        for adapter in (known, unknown):
            await adapter.start(ContextDouble())
        async with asyncio.timeout(PATIENCE):
            await known.connected()
        await until(lambda: "not connected yet" not in unknown.health()["trouble"])
        assert (known.health()["state"], unknown.health()["state"]) == ("up", "down")
    finally:
        await known.stop(1.0)
        await unknown.stop(1.0)


async def test_a_key_with_a_pass_phrase_is_refused_at_start_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    pem, private = certificates(tmp_path)
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    ))  # fmt: skip
    adapter = create({"url": "mqtts://127.0.0.1:1", "certificate": str(pem), "key": str(private)})
    with pytest.raises(ValueError, match="key: the file is encrypted"):
        await adapter.start(ContextDouble())
