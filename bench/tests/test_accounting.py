"""What is read from the kernel, held against what a process knows of itself."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from bench.accounting import Gone, cpu_seconds, cpu_split, quiet, resident_kib

pytestmark = pytest.mark.anyio


async def test_cpu_of_a_process_is_what_it_counts_itself() -> None:
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass

    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.02)
    assert sum(cpu_split(os.getpid())) == pytest.approx(time.process_time(), abs=0.05)


async def test_cpu_counts_all_threads() -> None:
    before = cpu_seconds(os.getpid())
    await asyncio.to_thread(sum, range(3_000_000))

    assert cpu_seconds(os.getpid()) - before > 0.01


async def test_memory_that_is_taken_is_seen() -> None:
    # In a process of its own: one that has freed as much before takes it from what it still holds.
    program = "print(flush=True); input(); held = bytearray(b'x') * (32 << 20); print(flush=True); input()"
    taker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert taker.stdin is not None and taker.stdout is not None
    try:
        await taker.stdout.readline()
        before = resident_kib(taker.pid)
        taker.stdin.write(b"\n")
        await taker.stdout.readline()
        taken = resident_kib(taker.pid) - before
    finally:
        taker.kill()
        await taker.communicate()

    assert taken == pytest.approx(32 << 10, rel=0.1)


async def test_a_process_is_quiet_when_it_waits_and_not_while_it_works() -> None:
    program = "while True: pass"
    busy = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    try:
        assert not await quiet(busy.pid, within=0.3)
    finally:
        busy.kill()
        await busy.wait()
    idle = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    try:
        assert await quiet(idle.pid, within=5)
    finally:
        idle.kill()
        await idle.wait()


async def test_a_process_that_has_ended_is_told() -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()

    for read in (cpu_seconds, cpu_split, resident_kib):
        with pytest.raises(Gone):
            read(ended.pid)
