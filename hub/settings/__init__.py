"""The configuration: what it may hold (`schema.py`), where it comes from (`sources.py`), its secrets (`secret.py`)."""

from hub.settings.schema import Settings, SettingsError
from hub.settings.sources import load

__all__ = ["Settings", "SettingsError", "load"]
