"""The MQTT listener: memory per idle device, and CPU per command and answer.

    python -m bench.rows.mqtt --devices 10000 --calls 20000

No HTTP and no core here, so this is no `Row` of the common table: a farm process plays the devices, a server process
holds the adapter alone, and the kernel tells what the server used. What the farm costs is not in the figures. An answer
that does not come ends the run.
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
from bench.row import Row
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


async def serve(devices: int, calls: int) -> None:
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
            deadline = context.clock.monotonic() + 30
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
    __slots__ = ("_decoder", "_name", "_there", "_transport")

    def __init__(self, name: str, there: asyncio.Future[None]) -> None:
        self._name = name
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
            elif isinstance(packet, Publish):
                id = json.loads(packet.payload)["id"]
                body = b'{"id":"%s","code":200,"data":{"n":1},"message":""}' % id.encode()
                self._transport.write(codec.encode(Publish(packet.topic + "_reply", body)))


async def farm(devices: int, port: int) -> None:
    """Play the devices until the input ends."""
    loop = asyncio.get_running_loop()
    for first in range(0, devices, 200):
        there = [loop.create_future() for _ in range(min(200, devices - first))]
        for number, future in enumerate(there, first):
            device = _Device(f"d{number}", future)
            await loop.create_connection(lambda device=device: device, _HOST, port)
        await asyncio.gather(*there)
    print("there", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)


def measure(devices: int, calls: int) -> dict[str, float]:
    """Run a server and a farm; what the server said."""
    me = [sys.executable, "-m", "bench.rows.mqtt", "--devices", str(devices), "--calls", str(calls)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*me, "--role", "serve"], **pipes) as server:
        assert server.stdout is not None and server.stdin is not None
        port = json.loads(server.stdout.readline())["port"]
        with subprocess.Popen([*me, "--role", "farm", "--port", str(port)], **pipes) as players:
            assert players.stdout is not None and players.stdin is not None
            assert players.stdout.readline() == "there\n"
            server.stdin.write("\n")
            server.stdin.flush()
            said: dict[str, float] = json.loads(server.stdout.readline())
            players.stdin.close()
    return said


def main() -> None:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--devices", type=int, default=10_000)
    words.add_argument("--calls", type=int, default=20_000)
    words.add_argument("--role", choices=("serve", "farm"))
    words.add_argument("--port", type=int, default=0)
    given = words.parse_args()
    _most_files()
    if given.role == "serve":
        uvloop.run(serve(given.devices, given.calls))
    elif given.role == "farm":
        uvloop.run(farm(given.devices, given.port))
    else:
        said = measure(given.devices, given.calls)
        print(f"devices                 {given.devices:>10,}")
        print(f"memory per idle device  {said['bytes']:>10,.0f} B")
        print(f"CPU per call            {said['cpu_us']:>10.1f} us")
        print(f"calls per second        {said['per_second']:>10,.0f}")


if __name__ == "__main__":
    main()
