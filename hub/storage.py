"""The engine that a configuration means, made and not started. Nothing below the composition root knows which it is."""

from __future__ import annotations

from collections.abc import Callable

from hub.core.limits import Limits
from hub.core.sealing import AesGcmSealer, load_or_make_key
from hub.engines.sqlite import SqliteEngine
from hub.ports.clock import Clock
from hub.ports.engine import Engine
from hub.settings.schema import Settings, SettingsError


def sqlite(settings: Settings, clock: Clock, limits: Limits) -> Engine:
    """The default engine on the configured data folder; its seal key is made beside it at the first start."""
    sealer = AesGcmSealer(load_or_make_key(settings.seal_key_file))
    return SqliteEngine(settings.data_dir, clock, sealer, disk_floor=limits.disk_floor)


ENGINES: dict[str, Callable[[Settings, Clock, Limits], Engine]] = {"sqlite": sqlite}


def engine_of(settings: Settings, clock: Clock, limits: Limits) -> Engine:
    """The configured engine, not started. Raises SettingsError for one that there is not."""
    maker = ENGINES.get(settings.storage.engine)
    if maker is None:
        known = ", ".join(sorted(ENGINES))
        raise SettingsError(f"storage.engine: there is no {settings.storage.engine!r}, only {known}")
    return maker(settings, clock, limits)
