"""How commands end when something is in the way: one clear line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from hub.model.errors import CannotListen, Damaged, Locked, StorageFailed
from hub.settings.schema import SettingsError

USAGE = 2
INTERRUPTED = 130


def stop(*lines: str, code: int = USAGE) -> NoReturn:
    """Say why on stderr and end the process."""
    for line in lines:
        click.echo(f"hub: {line}", err=True)
    sys.exit(code)


@contextmanager
def plainly() -> Iterator[None]:
    """Turn what can stand in the way of a start into its line."""
    try:
        yield
    except SettingsError as error:
        stop(*error.lines)
    except (Locked, Damaged, StorageFailed, CannotListen) as error:
        stop(str(error))
    except OSError as error:
        stop(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
