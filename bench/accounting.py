"""What the kernel says that a process has used: CPU and memory, read from outside the process.

Linux only. CPU is the process clock of the whole thread group (user and system time of all threads, ended
ones too, in nanoseconds), the same account as utime + stime in /proc/<pid>/stat without its 10 ms
ticks. Memory is the resident set. No server is asked anything, so none can flatter itself.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio

# How clock_getcpuclockid(3) names the clock of another process: the complement of its id, then "scheduler clock".
_SCHEDULER_CLOCK = 2
_QUIET_STEP = 0.05
_QUIET_SHARE = 0.04


class Gone(Exception):
    """The process that was to be measured has ended."""


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU, user and system, that all threads of `pid` have used since it started."""
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULER_CLOCK)
    except OSError as error:
        raise Gone(f"process {pid} cannot be measured: {error.strerror}") from error


def cpu_split(pid: int) -> tuple[float, float]:
    """User and system seconds of `pid`, in ticks of the kernel's own table (usually 10 ms)."""
    try:
        # The second field is the program's name in brackets and may hold anything, blanks included.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise Gone(f"process {pid} cannot be measured: {error.strerror}") from error
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def resident_kib(pid: int) -> int:
    """KiB of memory that `pid` holds resident now."""
    for name in (f"/proc/{pid}/smaps_rollup", f"/proc/{pid}/status"):
        try:
            lines = Path(name).read_text().splitlines()
        except OSError:
            continue  # An older kernel has no roll-up; a process that is gone has neither.
        for line in lines:
            if line.startswith(("Rss:", "VmRSS:")):
                return int(line.split()[1])
    raise Gone(f"process {pid} cannot be measured")


async def quiet(pid: int, within: float = 5.0) -> bool:
    """Wait until `pid` does nothing worth counting; False if it still works after `within` seconds.

    A server may go on working after the last effect that a client can see (a commit, a table that is
    cleaned). That belongs to the work, so the second reading waits for it.
    """
    until = time.monotonic() + within
    used = cpu_seconds(pid)
    while time.monotonic() < until:
        await anyio.sleep(_QUIET_STEP)
        now = cpu_seconds(pid)
        if now - used < _QUIET_STEP * _QUIET_SHARE:
            return True
        used = now
    return False
