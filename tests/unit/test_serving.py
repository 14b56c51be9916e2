"""What the hub asks of the server under it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import uvicorn

from hub.app import build
from hub.serving import configured
from hub.settings.sources import load


def config(folder: Path, **limits: Any) -> uvicorn.Config:
    flags = {"storage": {"data_dir": str(folder / "data")}, "limits": limits}
    app = build(load(None, {}, flags))
    return configured(app, app.limits)


def test_idle_connections_are_kept_for_more_than_a_minute(tmp_path: Path) -> None:
    # A POST of a vendor's SDK that meets a connection just closed is raised at its user.
    assert config(tmp_path).timeout_keep_alive >= 60


def test_idle_connections_are_kept_as_long_as_the_settings_say(tmp_path: Path) -> None:
    assert config(tmp_path, keep_alive=99).timeout_keep_alive == 99
