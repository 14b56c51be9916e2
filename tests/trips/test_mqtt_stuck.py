"""MQTT devices that stop reading: their connections end for good, and the hub knows at once that they are gone."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.mqtt.listener.connection import FAREWELL, STUCK, Connection
from hub.model.device import Presence
from hub.tls import self_signed
from tests.trips.mqtt_rig import PATIENCE, Plant, running

pytestmark = pytest.mark.anyio


def connection_of(plant: Plant, id: str) -> Connection:
    """The connection over which a device is there."""
    session = plant.adapter._registrations[f"acme/{id}"].session
    assert session is not None
    return session.connection


async def stuck(plant: Plant, id: str, **more: Any) -> Connection:
    """A device that asks for much and reads nothing of it any more."""
    double = await plant.device(id, **more)
    await double.request("thing/attribute/update", {"attributes": {"a": "x" * 60_000}})
    connection = connection_of(plant, id)
    assert double._writer is not None
    transport: Any = double._writer.transport
    if "tls" in more:
        transport = transport._ssl_protocol._transport  # TLS would read on for a while, and answer a goodbye
    transport.pause_reading()
    body = orjson.dumps({"id": "q", "params": {"attributes": []}})
    async with asyncio.timeout(PATIENCE):
        while connection.writable:
            await double.publish(double.topic("thing/attribute/query"), body, 0)
            await asyncio.sleep(0)  # the hub is on this loop
    return connection


async def nobody(plant: Plant) -> None:
    async with asyncio.timeout(PATIENCE):
        await plant.adapter.quiet()


async def test_a_device_that_reads_nothing_is_cut_off_and_known_to_be_gone(tmp_path: Path) -> None:
    async with running(tmp_path, packets_per_second=1_000_000) as plant:
        await stuck(plant, "pump")
        plant.clock.advance(STUCK)

        await plant.until(Presence.OFFLINE, "pump")
        await nobody(plant)


async def test_so_is_one_that_reads_nothing_over_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "tls", "127.0.0.1", datetime.now(UTC))
    trusting = ssl.create_default_context(cafile=str(certificate))
    settings = {"tls_port": 0, "certificate": str(certificate), "key": str(key), "packets_per_second": 1_000_000}
    async with running(tmp_path, **settings) as plant:
        await stuck(plant, "pump", tls=trusting)
        plant.clock.advance(STUCK)

        await plant.until(Presence.OFFLINE, "pump")
        await nobody(plant)


async def test_one_that_is_sent_away_is_gone_at_once_and_gets_a_little_time_to_read_why(tmp_path: Path) -> None:
    async with running(tmp_path, packets_per_second=1_000_000) as plant:
        connection = await stuck(plant, "pump")
        connection.close("its key was taken back")

        await plant.until(Presence.OFFLINE, "pump")
        assert plant.adapter.health()["connections"] == 1
        plant.clock.advance(FAREWELL)
        await nobody(plant)
        assert plant.clock.pending == await quiet_timers(tmp_path)


async def quiet_timers(folder: Path) -> int:
    """How many timers a hub without connections has."""
    async with running(folder / "another") as plant:
        return plant.clock.pending


async def test_a_device_that_comes_again_leaves_nothing_of_a_connection_that_it_did_not_read(tmp_path: Path) -> None:
    async with running(tmp_path, packets_per_second=1_000_000) as plant:
        older = await stuck(plant, "pump")
        await plant.device("pump")

        async with asyncio.timeout(PATIENCE):
            while older in plant.adapter._door.connections:
                await plant.doubles[-1].settle()
        assert plant.known("pump").presence is Presence.ONLINE


async def test_one_that_hangs_up_halfway_and_reads_nothing_is_gone_too(tmp_path: Path) -> None:
    async with running(tmp_path, packets_per_second=1_000_000) as plant:
        await stuck(plant, "pump")
        writer = plant.doubles[-1]._writer
        assert writer is not None
        writer.write_eof()

        await plant.until(Presence.OFFLINE, "pump")
        plant.clock.advance(FAREWELL)
        await nobody(plant)
