"""The LwM2M adapter beside aiocoap: CPU per exchange, and memory per registered device.

    python -m bench.rows.lwm2m --devices 10000 --exchanges 20000 --rounds 5

No HTTP and no hub here, so this is no `Row` of the common table: a farm process plays the devices on a socket each,
two server processes take turns at the same reads (one in flight per device, `--window` in all), and the kernel
tells what each server used. What the farm costs is not in the figures. Lost answers end the run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from bench.row import Row

ROWS: list[Row] = []
_HOST = "127.0.0.1"
_PATH = "/3303/0/5700"
_VALUE = b"21.5"
_FIRST = 100


# -- the farm ---------------------------------------------------------------------------------------


def farm(devices: int) -> None:
    """Play devices until the input ends: answer every read, register where a line says to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, devices + 200), hard))
    poll, sockets = select.epoll(), {}
    ports = []
    for _ in range(devices):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((_HOST, 0))
        made.setblocking(False)
        poll.register(made.fileno(), select.EPOLLIN)
        sockets[made.fileno()] = made
        ports.append(made.getsockname()[1])
    _say({"ports": ports})
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    waiting: list[tuple[socket.socket, bytes]] = []
    due = 0
    hub = ("", 0)
    while True:
        for number, _ in poll.poll(5):
            if number == sys.stdin.fileno():
                line = sys.stdin.readline()
                if not line:
                    return
                port, first, end = (int(word) for word in line.split())
                hub, due = (_HOST, port), end - first
                waiting = [(s, _register(f"bench-{n}", n)) for n, s in list(enumerate(sockets.values()))[first:end]]
                for _ in range(100):
                    if waiting:
                        _next(waiting, hub)
                continue
            data, sender = sockets[number].recvfrom(2048)
            length = data[0] & 15
            if 0 < data[1] < 32:
                head = bytes((0x60 | length, 0x45)) + data[2 : 4 + length]
                sockets[number].sendto(head + b"\xc0\xff" + _VALUE, sender)
            elif data[1] == 0x41:
                due -= 1
                if waiting:
                    _next(waiting, hub)
                if due == 0:
                    _say({"registered": True})


def _next(waiting: list[tuple[socket.socket, bytes]], hub: tuple[str, int]) -> None:
    made, data = waiting.pop()
    made.sendto(data, hub)


def _register(name: str, number: int) -> bytes:
    pieces = [b"ep=" + name.encode(), b"lt=86400", b"lwm2m=1.1", b"b=U"]
    out = bytes((0x42, 2)) + number.to_bytes(2, "big") + number.to_bytes(2, "big") + b"\xb2rd\x11\x28"
    for n, piece in enumerate(pieces):
        head = (3 if n == 0 else 0) << 4
        out += (bytes((head | len(piece),)) if len(piece) < 13 else bytes((head | 13, len(piece) - 13))) + piece
    return out + b'\xff</>;rt="oma.lwm2m",</1/0>,</3/0>,</3303/0>'


# -- the two servers --------------------------------------------------------------------------------


class _Context:
    """A hub that holds everything at once and forgets it."""

    name = "bench"

    def __init__(self) -> None:
        from hub.ports.clock import SystemClock

        self.settings: Mapping[str, Any] = {"account": "bench"}
        self.clock = SystemClock()
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, event: Any) -> bool:
        return True

    async def accept(self, event: Any) -> None:
        return None

    async def admit(self, kind: str, identity: str, proof: Any) -> Any:
        from hub.ports.adapter import AdmissionRefused

        return AdmissionRefused("open")

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def adapter_server(ports: list[int], window: int) -> None:
    """The adapter, spoken to as the hub's core does."""
    from adapters.lwm2m.adapter import LwM2MAdapter
    from adapters.lwm2m.settings import LwM2MSettings
    from hub.ports.adapter import DeviceRequest

    ctx = _Context()
    adapter = LwM2MAdapter(
        LwM2MSettings(port=0, open=True, registrations_per_second=100_000, registration_burst=1_000_000)
    )
    await adapter.start(ctx)  # type: ignore[arg-type]
    clock = ctx.clock

    async def one(number: int) -> bool:
        device = f"bench-{number % len(ports)}"
        request = DeviceRequest(
            f"call-{number}", device, "GET", _PATH, clock.monotonic() + 30, idempotent=True
        )
        return (await adapter.call(request)).payload == _VALUE

    await _obey(adapter.health()["port"], one, window)
    await adapter.stop(1)


async def aiocoap_server(ports: list[int], window: int) -> None:
    """aiocoap doing the same: a resource that keeps who registered, and a client that reads."""
    import aiocoap
    from aiocoap import resource as resources

    kept: dict[str, tuple[Any, bytes]] = {}

    class Registrations(resources.Resource):
        async def render_post(self, request: Any) -> Any:
            name = next(piece for piece in request.opt.uri_query if piece.startswith("ep="))
            kept[name] = (request.remote, request.payload)
            return aiocoap.Message(code=aiocoap.CREATED, location_path=("rd", name))

    site = resources.Site()
    site.add_resource(["rd"], Registrations())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    context = await aiocoap.Context.create_server_context(site, bind=(_HOST, port))

    async def one(number: int) -> bool:
        uri = f"coap://{_HOST}:{ports[number % len(ports)]}{_PATH}"
        message = aiocoap.Message(code=aiocoap.GET, uri=uri)
        return (await context.request(message, handle_blockwise=False).response).payload == _VALUE

    await _obey(port, one, window)
    await context.shutdown()


async def _obey(port: int, one: Callable[[int], Coroutine[Any, Any, bool]], window: int) -> None:
    """Do what lines say: a number of exchanges, or 0 for a reading of the memory."""
    _say({"port": port})
    loop = asyncio.get_running_loop()
    done = 0
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        count = int(line)
        if count == 0:
            _say({"memory": _resident(os.getpid())})
            continue
        numbers, lost = iter(range(done, done + count)), 0
        done += count

        async def worker(numbers: Any = numbers) -> int:
            bad = 0
            for number in numbers:
                bad += not await one(number)
            return bad

        begun, used = time.monotonic(), time.process_time()
        lost = sum(await asyncio.gather(*(worker() for _ in range(window))))
        used = time.process_time() - used
        _say({"cpu": used, "seconds": time.monotonic() - begun, "lost": lost})


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


# -- the run ----------------------------------------------------------------------------------------


class _Child:
    """A process of the run, spoken to in lines."""

    def __init__(self, role: str, window: int, first: str) -> None:
        command = [sys.executable, "-m", "bench.rows.lwm2m", "--role", role, "--window", str(window)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told = self.say(first)

    def say(self, line: str) -> dict[str, Any]:
        """One line there, one back."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process of the run ended by itself")
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def run(devices: int, exchanges: int, rounds: int, window: int) -> dict[str, dict[str, list[float]]]:
    """All figures, by server: memory in KiB per device, CPU in microseconds per exchange of each round."""
    field = _Child("farm", window, str(devices))
    children = {"farm": field}
    figures: dict[str, dict[str, list[float]]] = {}
    try:
        for name in ("adapter", "aiocoap"):
            child = children[name] = _Child(name, window, json.dumps(field.told["ports"]))
            # What is loaded once is charged to nobody.
            field.say(f"{child.told['port']} 0 {_FIRST}")
            child.say(str(_FIRST))
            before = child.say("0")["memory"]
            field.say(f"{child.told['port']} {_FIRST} {devices}")
            grown = child.say("0")["memory"] - before
            figures[name] = {"memory": [grown / (devices - _FIRST)], "cpu": [], "rate": []}
        for number in range(rounds):
            order = ("adapter", "aiocoap") if number % 2 else ("aiocoap", "adapter")
            for name in order:
                told = children[name].say(str(exchanges))
                if told["lost"]:
                    raise SystemExit(f"{name}: {told['lost']} answers were lost or wrong")
                figures[name]["cpu"].append(told["cpu"] / exchanges * 1e6)
                figures[name]["rate"].append(exchanges / told["seconds"])
    finally:
        for child in children.values():
            child.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--exchanges", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--role", choices=("farm", "adapter", "aiocoap"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "farm":
        with contextlib.suppress(KeyboardInterrupt):
            farm(int(sys.stdin.readline()))
        return
    if given.role:
        import uvloop

        ports = json.loads(sys.stdin.readline())
        uvloop.run({"adapter": adapter_server, "aiocoap": aiocoap_server}[given.role](ports, given.window))
        return
    figures = run(given.devices, given.exchanges, given.rounds, given.window)
    ratios = [a / b for a, b in zip(figures["aiocoap"]["cpu"], figures["adapter"]["cpu"], strict=True)]
    for name, told in figures.items():
        cpu, rate = statistics.median(told["cpu"]), statistics.median(told["rate"])
        print(f"{name:8} {cpu:7.1f} us CPU / exchange  {told['memory'][0]:6.2f} KiB / device  {rate:8.0f} / s")
    print(f"aiocoap / adapter: {statistics.median(ratios):.1f} ({min(ratios):.1f}..{max(ratios):.1f})")


if __name__ == "__main__":
    main()
