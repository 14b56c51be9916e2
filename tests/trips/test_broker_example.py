"""The example of config/mqtt-broker as its first lines tell it: a broker, two devices, `hub serve`, `hub call`."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from tests.hub_process import ROOT, free_port
from tests.require import require

EXAMPLE = ROOT / "config" / "mqtt-broker"
URL, BROKER = "http://127.0.0.1:8080", "mqtt://127.0.0.1:1883"


def said() -> list[str]:
    """The commands that the example's first lines name."""
    lines = (EXAMPLE / "hub.toml").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Everything runs; the variables for `hub call`. Only the ports are others than those of the example."""
    require(PROGRAM)
    folder: Path = tmp_path_factory.mktemp("example")
    port = free_port()
    broker = Mosquitto()
    broker.start()
    text = (EXAMPLE / "hub.toml").read_text(encoding="utf-8")
    assert text.count(BROKER) == 2
    (folder / "hub.toml").write_text(text.replace(BROKER, broker.url), encoding="utf-8")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    passed = {**os.environ, "PYTHONPATH": path}
    commands = [
        *([sys.executable, str(EXAMPLE / name), str(broker.port)] for name in ("thermometer.py", "relay.py")),
        [sys.executable, "-m", "hub.cli", "serve", "--config", "hub.toml", "--port", str(port)],
    ]
    with ExitStack() as stack:
        stack.callback(broker.close)
        for command in commands:
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(command, cwd=folder, env=passed, stdin=quiet, stdout=quiet, stderr=quiet)
            stack.callback(process.wait)
            stack.callback(process.kill)
        exports = dict(word.split("=", 1) for word in next(line for line in said() if "export" in line).split()[1:])
        assert exports.pop("HUB_URL") == URL
        yield {**passed, **exports, "HUB_URL": f"http://127.0.0.1:{port}"}


@pytest.mark.parametrize("line", [line for line in said() if line.startswith("hub call")])
def test_a_device_of_the_example_is_called_as_its_first_lines_say(environ: dict[str, str], line: str) -> None:
    command = [sys.executable, "-m", "hub.cli", *line.split()[1:]]
    for _ in range(100):
        done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=60)
        if done.returncode != 2:
            break
        select.select([], [], [], 0.1)  # the hub is not there yet; nothing rings then

    assert done.returncode == 0, done.stderr
    payload = base64.b64decode(json.loads(done.stdout)["payload"])
    assert payload == (b"21.5" if "thermometer" in line else b"true")


def test_a_command_that_is_given_two_seconds_is_told_why_it_never_went_out(environ: dict[str, str]) -> None:
    head = {"Authorization": f"Bearer {environ['HUB_KEY']}", "Content-Type": "application/json", "Prefer": "wait=10"}
    for method, timeout, sent in (("PUT", 2, False), ("GET", 2, True), ("PUT", 3, True)):
        call = {"method": method, "uri": "/switch", "timeout": timeout}
        if method == "PUT":
            call |= {"payload-b64": "dHJ1ZQ==", "ct": "application/json"}
        url = f"{environ['HUB_URL']}/v1/devices/relay/calls"
        with urlopen(Request(url, json.dumps(call).encode(), head, method="POST"), timeout=20) as answer:
            view = json.load(answer)

        assert (view["ending"] == "answered") is sent, view
        assert sent or "less than 2 seconds were left" in view["detail"]


def test_the_devices_of_the_example_have_at_most_twenty_lines() -> None:
    for name in ("thermometer.py", "relay.py"):
        assert len((EXAMPLE / name).read_text(encoding="utf-8").splitlines()) <= 20
