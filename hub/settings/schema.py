"""What the configuration may hold: one Struct per table, every key with its default.

`config/hub.toml` shows the same keys with one line of meaning each; a test compares the two. Types are
checked by msgspec, what depends on other tables by `sources.py`. Durations are seconds here.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from hub.core.limits import Limits

_LONGEST = 3_155_760_000  # a hundred years
_MOST = 2**62


class SettingsError(Exception):
    """The configuration is wrong; each line says where and what, in words for the operator."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class Table(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A table of the configuration; keys that it does not have are refused."""


class Server(Table, frozen=True):
    """Where the hub listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    backlog: int = 4096
    origins: tuple[str, ...] = ()


class Storage(Table, frozen=True):
    """Where the hub keeps what it may not lose."""

    engine: str = "sqlite"
    data_dir: str = "data"
    seal_key_file: str = ""


class Log(Table, frozen=True):
    """What the hub tells its operator on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    audit: bool = True


class Ops(Table, frozen=True):
    """The routes for operators: `/livez`, `/readyz`, `/metrics` and the page at `/`."""

    metrics: bool = True
    metrics_open: bool = False
    metrics_token: str | None = None
    metrics_token_file: str | None = None
    metrics_token_env: str | None = None
    dashboard: bool = True


class Admission(Table, frozen=True):
    """Which devices may dial in beyond those with a key or a secret."""

    open_to_names: tuple[str, ...] = ()


class Callbacks(Table, frozen=True):
    """Where the hub may call back on an application's wish, beyond public addresses."""

    allow: tuple[str, ...] = ()


class Tls(Table, frozen=True):
    """A further port that speaks TLS; there is one when a certificate is named or made."""

    port: int = 8443
    certificate: str = ""
    key: str = ""
    self_signed: bool = False


class Pelion(Table, frozen=True):
    """The front that speaks the Connect API."""

    asynchronous_subscriptions: bool = False


class PowerStore(Table, frozen=True):
    """The front that speaks the PowerStore REST API."""

    wait: float = 100
    waiting: int = 1000
    session: float = 3600
    hosts: dict[str, str] = {}


class EnosOrgTable(Table, frozen=True):
    """`[enos.orgs.<orgId>]`; `opaque_from` are networks whose unverifiable token is let in."""

    account: str
    application: str
    opaque_from: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


class EnosAppTable(Table, frozen=True):
    """`[enos.apps.<appKey>]`: an application that signs its requests."""

    application: str
    secret: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None


class Enos(Table, frozen=True):
    """The front that speaks the EnOS edge API."""

    token: float = 7200
    waiting: int = 1000
    orgs: dict[str, EnosOrgTable] = {}
    apps: dict[str, EnosAppTable] = {}


class ServiceTable(Table, frozen=True):
    """`[products.<key>.services.<id>]`."""

    name: str | None = None
    input: dict[str, str] = {}
    output: dict[str, str] = {}
    idempotent: bool = False


class ProductTable(Table, frozen=True):
    """`[products.<key>]`."""

    account: str
    name: str = ""
    activation: bool = False
    reactivation: bool = False
    services: dict[str, ServiceTable] = {}
    secret: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None


class SchemaTable(Table, frozen=True):
    """`[schemas.<name>]`."""

    file: str


class UserTable(Table, frozen=True):
    """`[users.<id>]`; without a password only a key of the application opens the door under this name."""

    application: str
    name: str = ""
    array: str | None = None
    password: str | None = None
    password_file: str | None = None
    password_env: str | None = None


class AccountTable(Table, frozen=True):
    """`[accounts.<id>]`."""

    name: str = ""


class ApplicationTable(Table, frozen=True):
    """`[applications.<id>]`."""

    account: str
    name: str = ""
    callback_secret: str | None = None
    callback_secret_file: str | None = None
    callback_secret_env: str | None = None


class KeyTable(Table, frozen=True):
    """`[keys.<id>]`; exactly one of `key`, `key_file`, `key_env`."""

    application: str
    scopes: tuple[Literal["call", "listen", "device", "admin"], ...]
    label: str = ""
    key: str | None = None
    key_file: str | None = None
    key_env: str | None = None


class DeviceTable(Table, frozen=True):
    """`[devices."<id>"]`; `id` only where two accounts have a device of the same id."""

    account: str
    adapter: str
    id: str = ""
    address: str = ""
    name: str | None = None
    type: str | None = None
    aliases: dict[str, str] = {}
    queue_mode: bool = False
    schema: str = ""
    verify_instances: bool = False
    secret: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None


class Settings(Table, frozen=True):
    """The whole configuration. `adapters` are passed through: each adapter judges its own table."""

    server: Server = Server()
    storage: Storage = Storage()
    log: Log = Log()
    ops: Ops = Ops()
    admission: Admission = Admission()
    callbacks: Callbacks = Callbacks()
    tls: Tls = Tls()
    pelion: Pelion = Pelion()
    powerstore: PowerStore = PowerStore()
    enos: Enos = Enos()
    limits: dict[str, int | float] = {}
    adapters: dict[str, dict[str, Any]] = {}
    accounts: dict[str, AccountTable] = {}
    applications: dict[str, ApplicationTable] = {}
    keys: dict[str, KeyTable] = {}
    devices: dict[str, DeviceTable] = {}
    users: dict[str, UserTable] = {}
    schemas: dict[str, SchemaTable] = {}
    products: dict[str, ProductTable] = {}
    folder: Path = Path()  # where relative paths start: the folder of the file. Not a key.

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return self.folder / Path(self.storage.data_dir).expanduser()

    @property
    def seal_key_file(self) -> Path:
        """The key that seals stored secrets: as configured, else beside (never inside) the data folder."""
        if self.storage.seal_key_file:
            return self.folder / Path(self.storage.seal_key_file).expanduser()
        data = self.data_dir.absolute()
        return data.with_name(data.name + ".seal-key")


def fields_of(table: type[Table]) -> dict[str, Any]:
    """The keys of a table with their types."""
    return {field.name: field.type for field in msgspec.structs.fields(table) if field.name != "folder"}


def limits_of(settings: Settings) -> Limits:
    """The limits with the configured ones in place. Raises SettingsError for unknown names and impossible values."""
    values: dict[str, Any] = {}
    wrong = []
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Limits)}
    for name, value in settings.limits.items():
        default = defaults.get(name)
        if default is None:
            wrong.append(f"limits.{name}: no such key{did_you_mean(name, defaults)}")
        elif not math.isfinite(value):
            wrong.append(f"limits.{name}: must be a number")
        elif value <= 0:
            wrong.append(f"limits.{name}: must be greater than 0")
        elif value > (_LONGEST if isinstance(default, timedelta) else _MOST):
            wrong.append(f"limits.{name}: is too large")
        elif isinstance(default, timedelta):
            values[name] = timedelta(seconds=value)
        elif isinstance(default, int) and value != int(value):
            wrong.append(f"limits.{name}: must be a whole number")
        else:
            values[name] = type(default)(value)
    if wrong:
        raise SettingsError(*wrong)
    return Limits(**values)


def did_you_mean(word: str, known: Any) -> str:
    """` (did you mean ...?)` when a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
