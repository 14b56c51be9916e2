"""The execution log: what the simulated devices really did, one line per execution, for whoever must prove it.

A line is in the kernel's hands before the answer leaves the device, so that killing the hub at any moment
cannot hide an execution. It is no journal: it does not survive a power cut, and nothing reads it back.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from hub.ports.adapter import DeviceRequest


class ExecutionLog:
    """Appends JSON lines `{"async_id", "call_id", "method", "device"}` to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, request: DeviceRequest) -> None:
        """Append one line with one write. Raises OSError when it could not be written whole."""
        line = json.dumps(
            {
                "async_id": request.options.get("ref"),
                "call_id": request.call_id,
                "method": request.method,
                "device": request.device,
            }
        ).encode() + b"\n"
        # One short write into the page cache, on the event loop on purpose: handing it to a thread would let the
        # answer overtake the line.
        if os.write(self.file, line) != len(line):
            raise OSError("the execution log took only a part of a line")

    def close(self) -> None:
        """Close the file."""
        os.close(self.file)
