"""Devices behind a broker: the adapter's CPU per round trip, beside bare gmqtt that does the least there is to do.

    python -m bench.rows.broker --devices 1000 --calls 20000 --rounds 5

No HTTP and no core here, so this is no `Row` of the common table but an account beside it: mosquitto is the broker, a
farm process plays the devices, and two server processes take turns at the same calls, each device one at a time. The
kernel tells what each used. What the broker and the farm cost is not in the figures. An answer that does not come ends
the run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import gmqtt
import uvloop

from adapters.mqtt.broker.adapter import create
from adapters.mqtt.broker.mosquitto import Mosquitto, found
from bench.row import Account, Faulty, Row
from hub.ports.adapter import Admission, AdmissionRefused, DeviceEvent, DeviceRequest
from hub.ports.clock import SystemClock

ROWS: list[Row] = []
_AT_ONCE = 64
_BODY = b'{"n":1}'


class _Context:
    """A hub that keeps nothing."""

    name = "bench"
    settings: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.clock = SystemClock()
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, event: DeviceEvent) -> bool:
        return True

    async def accept(self, event: DeviceEvent) -> None:
        return

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission | AdmissionRefused:
        return AdmissionRefused("nobody dials in")

    async def checkpoint(self, call_id: str, note: bytes) -> float:
        raise NotImplementedError

    def secret(self, ref: str) -> bytes:
        raise KeyError(ref)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def hub(port: int, devices: int) -> None:
    """The adapter, spoken to as the hub's core does."""
    context = _Context()
    adapter = create({"url": f"mqtt://127.0.0.1:{port}", "window": 64})
    await adapter.start(context)
    await adapter.connected()
    ids = itertools.count()

    async def one(number: int) -> None:
        call = f"01a1ff3f-06f5-7000-a9f6-{next(ids):012x}"
        deadline = context.clock.monotonic() + 30
        request = DeviceRequest(call, f"d{number % devices}", "POST", "/x", deadline, _BODY, "application/json")
        response = await adapter.call(request)
        if response.payload != _BODY:
            raise Faulty(f"another answer: {response}")

    await _obey(one)
    await adapter.stop(1.0)


async def bare(port: int, devices: int) -> None:
    """What one writes first: a dictionary of futures."""
    client = gmqtt.Client("bare")
    waiting: dict[bytes, asyncio.Future[bytes]] = {}

    def heard(client: Any, topic: str, payload: bytes, qos: int, properties: Mapping[str, Any]) -> int:
        waiting.pop(properties["correlation_data"][0]).set_result(payload)
        return 0

    client.on_message = heard
    await client.connect("127.0.0.1", port)
    client.subscribe("bare/replies")
    ids = itertools.count()

    async def one(number: int) -> None:
        key = next(ids).to_bytes(8, "big")
        answer = waiting[key] = asyncio.get_running_loop().create_future()
        client.publish(
            f"devices/d{number % devices}/request", _BODY, response_topic="bare/replies", correlation_data=key
        )
        async with asyncio.timeout(30):
            if await answer != _BODY:
                raise Faulty("another answer")

    await _obey(one)
    await client.disconnect()


async def _obey(one: Callable[[int], Awaitable[None]]) -> None:
    """Do as many calls as each line says, and tell what they cost."""
    clock, loop = SystemClock(), asyncio.get_running_loop()
    _say({})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        calls = int(line)
        numbers = iter(range(calls))

        async def caller(numbers: Any = numbers) -> None:
            for number in numbers:
                await one(number)

        begun, used = clock.monotonic(), _used()
        await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))
        _say({"cpu_us": (_used() - used) / calls * 1e6, "per_second": calls / (clock.monotonic() - begun)})


async def farm(port: int, _: int) -> None:
    """Play all devices until the input ends: one connection listens for them and answers."""
    client = gmqtt.Client("farm")

    def asked(client: Any, topic: str, payload: bytes, qos: int, properties: Mapping[str, Any]) -> int:
        client.publish(
            properties["response_topic"][0], payload, correlation_data=properties["correlation_data"][0],
            content_type="application/json",
        )  # fmt: skip
        return 0

    client.on_message = asked
    await client.connect("127.0.0.1", port)
    client.subscribe("devices/+/request")
    _say({})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await client.disconnect()


def _used() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _say(what: Mapping[str, float]) -> None:
    print(json.dumps(what), flush=True)


class _Process:
    """One role in a process of its own."""

    def __init__(self, role: str, port: int, devices: int) -> None:
        command = [sys.executable, "-m", "bench.rows.broker", "--role", role, "--port", str(port)]
        self._process = subprocess.Popen(
            [*command, "--devices", str(devices)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.said()

    def said(self) -> dict[str, float]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Faulty("a server of the broker row ended")
        told: dict[str, float] = json.loads(line)
        return told

    def lap(self, calls: int) -> dict[str, float]:
        """So many calls; what they cost."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        return self.said()

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def measure(devices: int, calls: int, rounds: int) -> dict[str, float]:
    """Medians of interleaved rounds, the first thrown away; nothing without a mosquitto."""
    if found() is None:
        return {}
    broker = Mosquitto()
    broker.start()
    running = [_Process(role, broker.port, devices) for role in ("farm", "hub", "bare")]
    try:
        _, mine, theirs = running
        laps = [(mine.lap(calls), theirs.lap(calls)) for _ in range(rounds + 1)][1:]
    finally:
        for process in running:
            process.close()
        broker.close()
    return {
        "devices": float(devices),
        "hub_us": statistics.median(lap["cpu_us"] for lap, _ in laps),
        "bare_us": statistics.median(lap["cpu_us"] for _, lap in laps),
        "ratio": statistics.median(lap["cpu_us"] / other["cpu_us"] for lap, other in laps),
        "per_second": statistics.median(lap["per_second"] for lap, _ in laps),
    }


async def _account(quick: bool) -> dict[str, float]:
    size = (1000, 2000, 3) if quick else (1000, 20_000, 5)
    return await asyncio.to_thread(measure, *size)


def _lines(figures: dict[str, float]) -> list[str]:
    if not figures:
        return ["skipped: mosquitto is not installed"]
    return [
        f"CPU per round trip: {figures['hub_us']:.1f} us, bare gmqtt {figures['bare_us']:.1f} us, "
        f"{figures['ratio']:.2f} times",
        f"{figures['per_second']:,.0f} calls a second to {figures['devices']:,.0f} devices",
    ]


ACCOUNTS = [Account("broker", "calls to devices behind mosquitto, beside bare gmqtt", _account, _lines)]


def main() -> None:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--devices", type=int, default=1000)
    words.add_argument("--calls", type=int, default=20_000)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--role", choices=("hub", "bare", "farm"))
    words.add_argument("--port", type=int, default=0)
    given = words.parse_args()
    if given.role is not None:
        uvloop.run({"hub": hub, "bare": bare, "farm": farm}[given.role](given.port, given.devices))
    else:
        print("\n".join(_lines(measure(given.devices, given.calls, given.rounds))))


if __name__ == "__main__":
    main()
