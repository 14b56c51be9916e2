"""Tests that need something of the machine say so here: skipped where it is missing, failed where all must be there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require(program: str) -> Path:
    """The path of a program. Without it the test is skipped, with `HUB_TEST_REQUIRE=all` it fails."""
    # Where Debian keeps what serves, which is not in everybody's path.
    found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
    if found is not None:
        return Path(found)
    missing = f"{program} is not installed"
    if os.environ.get("HUB_TEST_REQUIRE") == "all":
        pytest.fail(f"{missing}, and HUB_TEST_REQUIRE=all says that it must be", pytrace=False)
    pytest.skip(missing)
