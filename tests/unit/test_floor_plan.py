"""The floor plan of the architecture: imports go down only, neighbours never meet, each floor has its own libraries."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Longest prefix wins: (floor, libraries from outside that may be used there). Same floor and another part: neighbours.
PLAN: dict[str, tuple[int, set[str]]] = {
    "hub.model": (0, set()),
    "hub.ports": (1, set()),
    "hub.engines.sqlite": (2, {"msgpack"}),
    "adapters.simulated": (2, set()),
    "adapters.websocket": (2, {"starlette", "msgpack", "orjson", "anyio"}),
    "adapters.http": (2, {"aiohttp", "anyio", "orjson", "yarl"}),
    "adapters.lwm2m": (2, {"anyio", "cbor2", "mbedtls"}),
    "adapters.mqtt": (2, {"anyio", "gmqtt", "orjson"}),
    "hub.core": (3, {"anyio", "cryptography"}),
    "hub.delivery": (4, {"aiohttp", "anyio", "starlette", "orjson", "msgpack", "uvicorn", "yarl"}),
    "hub.dialects.native": (5, {"anyio", "starlette", "orjson", "msgpack", "msgspec"}),
    "hub.dialects.pelion": (5, {"anyio", "starlette", "orjson", "msgpack", "msgspec"}),
    "hub.dialects.enos": (5, {"anyio", "starlette", "orjson"}),
    "hub.dialects.powerstore": (5, {"anyio", "starlette", "orjson"}),
    "hub.server": (5, {"uvicorn", "httptools", "starlette", "websockets"}),
    "hub.client": (5, {"aiohttp", "orjson"}),
    "hub": (6, {"aiohttp", "click", "cryptography", "msgspec", "orjson", "prometheus_client", "starlette", "structlog",
                "uvicorn", "uvloop"}),
}  # fmt: skip
# A double of a device needs what real devices and servers are made of; the hub never imports it.
DOUBLES, FOR_DOUBLES = {"rig", "double"}, {"uvicorn", "websockets"}
# The client uses the public API only; an adapter and an engine see the ports and nothing of the core.
ONLY = {"hub.client": {"hub.client"}, "hub.engines": {"hub.ports", "hub.model"}, "adapters": {"hub.ports", "hub.model"}}
EVERYWHERE = {"hub": {"__version__"}, "adapters": set(), "hub.engines": set(), "hub.dialects": set()}


def part_of(module: str) -> str:
    return max((part for part in PLAN if module == part or module.startswith(part + ".")), key=len, default="")


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if not (node.module in EVERYWHERE and {alias.name for alias in node.names} <= EVERYWHERE[node.module]):
                yield node.lineno, node.module


def complaints(module: str, source: str) -> Iterator[str]:
    mine = part_of(module)
    floor, libraries = PLAN[mine]
    libraries = libraries | (FOR_DOUBLES if module.rpartition(".")[2] in DOUBLES else set())
    only = next((allowed for part, allowed in ONLY.items() if module.startswith(part + ".")), None)
    for line, wanted in imports(ast.parse(source)):
        theirs = part_of(wanted)
        outside = wanted.split(".")[0]
        if not theirs:
            if outside not in sys.stdlib_module_names | libraries:
                yield f"{module}:{line}: {outside} is no library of {mine}"
        elif theirs != mine and (PLAN[theirs][0] >= floor or (only is not None and theirs not in only)):
            yield f"{module}:{line}: {mine} must not look at {theirs}"


def modules() -> Iterator[tuple[str, Path]]:
    for folder in ("hub", "adapters"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), file


def test_imports_go_down_only_and_neighbours_never_meet() -> None:
    found = [told for name, file in modules() if part_of(name) for told in complaints(name, file.read_text("utf-8"))]

    assert not found, "\n".join(found)


def test_every_folder_has_its_place_in_the_plan() -> None:
    homeless = [name for name, file in modules() if not part_of(name) and file.read_text("utf-8").strip()]
    in_the_roof = {name.split(".")[1] for name, _ in modules() if part_of(name) == "hub" and name.count(".") > 1}

    assert homeless == []
    assert in_the_roof <= {"cli", "settings"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hub.model.call", "import anyio"),
        ("hub.model.call", "from hub.ports.clock import Clock"),
        ("hub.core.intake", "from hub.delivery.lane import Lane"),
        ("hub.core.intake", "import starlette"),
        ("hub.dialects.pelion.wire", "from hub.dialects.native.wire import x"),
        ("hub.dialects.native.calls", "def f():\n    from hub.app import App"),
        ("adapters.simulated.adapter", "from adapters.websocket import wire"),
        ("adapters.simulated.adapter", "from hub.core.access import Access"),
        ("hub.engines.sqlite.writer", "from hub.core.limits import Limits"),
        ("hub.client.client", "from hub.model.call import Call"),
    ],
)
def test_the_plan_finds_what_it_forbids(module: str, source: str) -> None:
    assert len(list(complaints(module, source))) == 1


def names(node: ast.AST) -> str:
    return f"{names(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_only_the_clock_reads_time() -> None:
    clocks = {"time.time", "time.monotonic", "time.sleep", "datetime.now", "datetime.utcnow", "datetime.datetime.now",
              "loop.time", "asyncio.get_running_loop.time"}  # fmt: skip
    readers = [
        f"{name}:{node.lineno}"
        for name, file in modules()
        # The client and the commands that use it run without a hub, in processes of their own.
        if name != "hub.ports.clock" and not name.startswith(("hub.client", "hub.cli"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and names(node.func) in clocks
    ]

    assert readers == []


def test_no_module_is_called_what_everything_could_be_called() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}

    assert [name for name, _ in modules() if name.rpartition(".")[2] in forbidden] == []
