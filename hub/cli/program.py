"""How the user starts this very program again: what is printed must run when it is copied."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """`hub` where that is us on the PATH, else the path that was typed, else the module of this Python."""
    began = Path(sys.argv[0])
    on_path = shutil.which("hub")
    if on_path is not None and began.exists() and began.samefile(on_path):
        return "hub"
    if began.name == "hub" and began.is_file():
        return shlex.quote(str(began))
    return f"{shlex.quote(sys.executable)} -m hub.cli"
