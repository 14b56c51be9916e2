"""The machine and the versions a run was made with: figures without them cannot be compared with anything."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

_PACKAGES = ("asyncid-hub", "starlette", "uvicorn", "uvloop", "httptools", "websockets", "orjson", "msgpack", "anyio")
_SYNCS = 50


def machine(folder: Path) -> dict[str, object]:
    """Processor, kernel, versions, the file system of `folder` and what a sync costs there."""
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "versions": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "file system": _file_system(folder),
        "sync ms": round(_sync(folder) * 1000, 3),
    }


def load_average() -> list[float]:
    """Runnable processes of the last 1, 5 and 15 minutes: what else the machine was doing."""
    return [round(value, 2) for value in os.getloadavg()]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _file_system(folder: Path) -> str:
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split(" ")
        if folder.resolve().is_relative_to(mount) and len(mount) > len(best):
            best, kind = mount, found
    return kind


def _sync(folder: Path) -> float:
    """Median seconds of writing 4 KiB and fdatasync: the floor under everything durable."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            file.write(b"\0" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return statistics.median(times)
