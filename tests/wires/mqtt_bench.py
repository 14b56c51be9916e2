"""The MQTT listener on a bench: a rig with its devices, and the context double above."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.mqtt.listener.rig import Rig, create_rig
from tests.contracts.adapter_case import Case
from tests.contracts.context import ContextDouble


@asynccontextmanager
async def listening(folder: Path, **settings: Any) -> AsyncIterator[tuple[Rig, Case]]:
    """A rig that listens."""
    rig, ctx = create_rig(folder, **settings), ContextDouble()
    await rig.open(ctx)
    try:
        yield rig, Case(rig, ctx, folder)
    finally:
        ctx.release_accept()
        await rig.close()
