"""The generator process: runs one load of one row against one server, told what to do line by line.

`python -m bench.generator` reads lines from its standard input: first the job as JSON (row, target, size), then
the words `prepare`, `lap`, `verify`, `quit`. Each word but the last is answered by one JSON line: `{"lap": {...}}`,
`{}` or `{"error": "..."}`. It ends by itself when its input ends: a killed benchmark leaves none behind.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import resource
import sys
from typing import Any

import uvloop

from bench.listener import Refused
from bench.row import Lap, Load, Size, Target, discover


async def _step(load: Load, word: str, lap: Lap | None) -> Lap | None:
    if word == "prepare":
        await load.prepare()
        # What stands now stays; a collection of thousands of sockets in the middle of a lap would be noise.
        gc.collect()
        gc.freeze()
        return None
    if word == "lap":
        return await load.lap()
    if word == "verify" and lap is not None:
        return await load.verify(lap)
    raise ValueError(f"{word!r} cannot be done now")


async def serve() -> None:
    """Answer lines until `quit` or the end of input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    job: dict[str, Any] = json.loads(await reader.readline())
    load = discover()[job["row"]].load(Target(**job["target"]), Size(**job["size"]))
    lap: Lap | None = None
    broken: list[str] = []
    # A call-back that raises would otherwise be a silent loss of what it was to count.
    loop.set_exception_handler(lambda _, context: broken.append(repr(context.get("exception") or context["message"])))
    try:
        while line := await reader.readline():
            word = line.decode("ascii").strip()
            if word == "quit":
                break
            answer: dict[str, Any] = {}
            try:
                done = await _step(load, word, lap)
            except (Refused, OSError, TimeoutError, ValueError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            else:
                if broken:
                    answer = {"error": broken[0]}
                elif done is not None:
                    lap = done
                    answer = {"lap": dataclasses.asdict(done)}
            print(json.dumps(answer), flush=True)
    finally:
        await load.close()


def main() -> None:
    """Raise the limit of open files to what is allowed, then serve."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve())


if __name__ == "__main__":
    main()
