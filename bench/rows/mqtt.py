"""The MQTT listener: memory per idle device, and CPU per command and answer.

    python -m bench.rows.mqtt --devices 10000 --calls 20000

No HTTP and no core here, so this is no `Row` of the common table but an account beside it: a farm process plays the
devices, a server process holds the adapter alone, and the kernel tells what the server used. What the farm costs is
not in the figures. An answer that does not come ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

import uvloop

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.adapter import MqttAdapter
from adapters.mqtt.listener.codec import ConnAck, Connect, Decoder, Publish
from adapters.mqtt.listener.settings import MqttSettings
from bench.row import Account, Faulty, Row
from hub.ports.adapter import Admission, DeviceEvent, DeviceRequest
from hub.ports.clock import SystemClock

ROWS: list[Row] = []
_HOST = "127.0.0.1"
_KEY = "ak_bench_mqtt_row"
_AT_ONCE = 64


class _Context:
    """A hub that admits everybody and keeps nothing."""

    name = "bench"
    settings: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.clock = SystemClock()
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, event: DeviceEvent) -> bool:
        return True

    async def accept(self, event: DeviceEvent) -> None:
        return

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission:
        return Admission(identity, "bench", identity)

    async def checkpoint(self, call_id: str, note: bytes) -> float:
        raise NotImplementedError

    def secret(self, ref: str) -> bytes:
        raise KeyError(ref)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _most_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(devices: int, calls: int, patience: float) -> None:
    """The adapter alone: wait for all devices, then call them in turn."""
    adapter = MqttAdapter(MqttSettings(port=0, connections=devices + 10, packets_per_second=1_000_000))
    context = _Context()
    await adapter.start(context)
    before = _resident()
    print(json.dumps({"port": adapter.health()["ports"]["mqtt"]}), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)  # the farm has connected
    assert adapter.health()["devices"] == devices, adapter.health()
    memory = (_resident() - before) / devices
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            deadline = context.clock.monotonic() + patience
            device = f"d{number % devices}"
            response = await adapter.call(
                DeviceRequest(f"call-{number}", device, "INVOKE", "s", deadline, args={"n": number})
            )
            assert response.status == 200, response

    began, used = context.clock.monotonic(), _used()
    await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))
    used, took = _used() - used, context.clock.monotonic() - began
    print(json.dumps({"bytes": memory, "cpu_us": used / calls * 1e6, "per_second": calls / took}), flush=True)
    await adapter.stop(1.0)


class _Device(asyncio.Protocol):
    __slots__ = ("_decoder", "_mute", "_name", "_there", "_transport")

    def __init__(self, name: str, mute: bool, there: asyncio.Future[None]) -> None:
        self._name = name
        self._mute = mute
        self._there = there
        self._decoder = Decoder(1 << 20)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(codec.encode(Connect(self._name, f"{self._name}&p", _KEY.encode(), 300)))

    def data_received(self, data: bytes) -> None:
        for packet in self._decoder.feed(data):
            if isinstance(packet, ConnAck):
                assert packet.code == codec.ACCEPTED
                self._there.set_result(None)
            elif isinstance(packet, Publish) and not self._mute:
                id = json.loads(packet.payload)["id"]
                body = b'{"id":"%s","code":200,"data":{"n":1},"message":""}' % id.encode()
                self._transport.write(codec.encode(Publish(packet.topic + "_reply", body)))


async def farm(devices: int, port: int, mute: int) -> None:
    """Play the devices until the input ends; some answer nothing."""
    loop = asyncio.get_running_loop()
    for first in range(0, devices, 200):
        there = [loop.create_future() for _ in range(min(200, devices - first))]
        for number, future in enumerate(there, first):
            device = _Device(f"d{number}", number < mute, future)
            await loop.create_connection(lambda device=device: device, _HOST, port)
        await asyncio.gather(*there)
    print("there", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)


def measure(devices: int, calls: int, mute: int = 0, patience: float = 30.0) -> dict[str, float]:
    """Run a server and a farm; what the server said. Raises Faulty where an answer did not come."""
    me = [sys.executable, "-m", "bench.rows.mqtt", "--devices", str(devices), "--calls", str(calls)]
    me += ["--mute", str(mute), "--patience", str(patience)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*me, "--role", "serve"], **pipes) as server:
        assert server.stdout is not None and server.stdin is not None
        port = json.loads(server.stdout.readline())["port"]
        with subprocess.Popen([*me, "--role", "farm", "--port", str(port)], **pipes) as players:
            assert players.stdout is not None and players.stdin is not None
            assert players.stdout.readline() == "there\n"
            server.stdin.write("\n")
            server.stdin.flush()
            line = server.stdout.readline()
            players.stdin.close()
    if not line:
        raise Faulty("the listener lost a device, or an answer of one")
    said: dict[str, float] = json.loads(line)
    return {"devices": float(devices), **said}


async def _account(quick: bool) -> dict[str, float]:
    return await asyncio.to_thread(measure, *((1000, 2000) if quick else (10_000, 20_000)))


def _lines(said: dict[str, float]) -> list[str]:
    return [
        f"CPU per round trip: {said['cpu_us']:.1f} us, {said['per_second']:,.0f} calls a second to "
        f"{said['devices']:,.0f} devices",
        f"memory per idle device: {said['bytes'] / 1024:.2f} KiB",
    ]


ACCOUNTS = [Account("mqtt", "devices that dial in over MQTT: calls, and what an idle one costs", _account, _lines)]


def main() -> None:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--devices", type=int, default=10_000)
    words.add_argument("--calls", type=int, default=20_000)
    words.add_argument("--role", choices=("serve", "farm"))
    words.add_argument("--port", type=int, default=0)
    words.add_argument("--mute", type=int, default=0, help="devices that answer nothing: the run must fail")
    words.add_argument("--patience", type=float, default=30.0, help="seconds for an answer")
    given = words.parse_args()
    _most_files()
    if given.role == "serve":
        uvloop.run(serve(given.devices, given.calls, given.patience))
    elif given.role == "farm":
        uvloop.run(farm(given.devices, given.port, given.mute))
    else:
        print("\n".join(_lines(measure(given.devices, given.calls, given.mute, given.patience))))


if __name__ == "__main__":
    main()
