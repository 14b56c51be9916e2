"""Where `hub dev` keeps its data and its ports, and how `hub call` and `hub watch` find its key and address there."""

from __future__ import annotations

import json
import os
import secrets
import string
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8080"
_LETTERS = string.digits + string.ascii_letters


class DevState:
    """The folder of one development hub. The key file is 0600 and the same at every start."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).expanduser()
        self.key_file = self.folder / "dev-key"
        self.url_file = self.folder / "dev-url"
        self.ports_file = self.folder / "dev-ports"

    def key(self) -> str | None:
        """The key of the hub that ran here last, if one did."""
        return _read(self.key_file)

    def url(self) -> str | None:
        """Where the hub that runs here listens; left behind by one that was killed."""
        return _read(self.url_file)

    def keep_key(self, given: str | None) -> str:
        """The key for this start: the given one, else the one from before, else a new one; kept for the next."""
        key = given or self.key() or f"ak_dev_{''.join(secrets.choice(_LETTERS) for _ in range(43))}"
        if key != self.key():
            self._write(self.key_file, key)
        return key

    def ports(self) -> dict[str, int]:
        """The ports of the last start, by what is spoken there; none where they cannot be read."""
        try:
            kept = json.loads(_read(self.ports_file) or "{}")
        except ValueError:
            return {}
        pairs = kept.items() if isinstance(kept, dict) else ()
        return {name: port for name, port in pairs if type(port) is int and 0 < port < 65_536}

    def keep_ports(self, ports: Mapping[str, int]) -> None:
        """Remember the ports for the next start."""
        if ports != self.ports():
            self._write(self.ports_file, json.dumps(ports))

    def keep_url(self, url: str) -> None:
        """Remember where the hub listens."""
        self._write(self.url_file, url)

    def forget_url(self) -> None:
        """The hub listens no more."""
        self.url_file.unlink(missing_ok=True)

    def _write(self, file: Path, text: str) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Replaced, not rewritten: whoever reads meanwhile sees one of the two, and the mode is right from the start.
        fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text + "\n")
        fresh.replace(file)


def default_folder() -> Path:
    """The user's own state folder, so that no working folder fills up with data."""
    state = os.environ.get("XDG_STATE_HOME")
    # An XDG path that is not absolute is to be ignored, says its specification.
    base = Path(state) if state and os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "asyncid-hub" / "dev"


def _read(file: Path) -> str | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return file.read_text(encoding="utf-8").strip() or None
    return None
