"""`hub config check`: whether a configuration would start a hub, without starting one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hub.cli.ending import plainly, stop


@click.group(name="config")
def command() -> None:
    """Look at configurations."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Say everything that is wrong with FILE (exit 2), or that nothing is (exit 0), perhaps with warnings.

    Checks keys and types, references between tables, that secrets are there, and the adapters' own settings.
    """
    from hub.plugins import make
    from hub.settings import load
    from hub.settings.exposed import exposed

    with plainly():
        settings = load(file, os.environ)
        broken = make(settings.adapters, settings.devices).broken
        if broken:
            stop(*(f"adapters.{name}: {why}" for name, why in broken.items()))
        for line in exposed(settings):
            click.echo(f"hub: warning: {line}", err=True)
        counts = (
            f"{len(getattr(settings, section))} {section}"
            for section in ("accounts", "applications", "keys", "devices", "adapters")
        )
        click.echo(f"{file}: good ({', '.join(counts)})")
