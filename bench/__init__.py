"""The benchmark: a hub started as a user would start it, driven from outside over real sockets.

`python -m bench` runs every row found in `bench/rows/` against the hub and against a plain Starlette loop
(`reference.py`), interleaved in one run, and prints one table. `docs/benchmark.md` says what is
counted and how to add a row. Nothing here is imported by the hub, and nothing of the hub is imported here.
"""
