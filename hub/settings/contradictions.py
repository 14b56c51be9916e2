"""What the types of the configuration cannot say: names, references between tables, secrets that must be there."""

from __future__ import annotations

import errno
import json
import re
import shlex
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hub.core.access import KEY_FORM
from hub.core.control_channels import CHANNEL_ID
from hub.model.product import TYPES
from hub.model.schema import Schema
from hub.settings.schema import Settings, SettingsError, limits_of
from hub.settings.secret import one_of

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def contradictions(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Every mistake as one line with its path; empty when the configuration can be used."""
    wrong: list[str] = []
    _try(wrong, limits_of, settings)
    if not 0 <= settings.server.port <= 65535:
        wrong.append("server.port: must be 0 to 65535")
    if settings.server.backlog < 1:
        wrong.append("server.backlog: must be greater than 0")
    for section in ("accounts", "applications", "keys", "adapters", "users", "schemas", "products"):
        for id in getattr(settings, section):
            if _ID.fullmatch(id) is None:
                wrong.append(f"{section}.{id}: an id has 1 to 64 letters, digits, dots, hyphens or underscores")
    for id, adapter in settings.adapters.items():
        if not isinstance(adapter.get("kind"), str):
            wrong.append(f"adapters.{id}.kind: names the kind of adapter and must be there")
        _upstreams(wrong, settings, id, adapter)
    _clients(wrong, settings)
    for name in settings.admission.open_to_names:
        _known(wrong, "admission.open_to_names", "adapters", name, settings.adapters)
    for text in settings.callbacks.allow:
        try:
            ip_network(text)
        except ValueError:
            wrong.append(f"callbacks.allow: {text!r} is no network, such as 10.1.0.0/16 or fd00::/8")
    for id, application in settings.applications.items():
        _known(wrong, f"applications.{id}.account", "accounts", application.account, settings.accounts)
        _try(wrong, application_secret, settings, id, environ)
    _keys(wrong, settings, environ)
    _devices(wrong, settings, environ)
    _users(wrong, settings, environ)
    _powerstore(wrong, settings)
    _enos(wrong, settings, environ)
    _products(wrong, settings, environ)
    _tls(wrong, settings)
    _try(wrong, metrics_token, settings, environ)
    return wrong


def key_secret(settings: Settings, id: str, environ: Mapping[str, str]) -> str:
    """The declared key itself. Raises SettingsError where there is none or it has not the form of a key."""
    table = settings.keys[id]
    path = f"keys.{id}.key"
    try:
        secret = one_of(path, table.key, table.key_file, table.key_env, settings.folder, environ)
    except SettingsError as error:
        file = settings.folder / Path(table.key_file or "").expanduser()
        if table.key_file is None or table.key is not None or table.key_env is not None or not _missing(file):
            raise
        raise SettingsError(f"{error}; to make it, with a new key in it: {_made(file)}") from None
    if secret is None:
        raise SettingsError(f"{path}: give key, key_file or key_env")
    if KEY_FORM.fullmatch(secret) is None:
        raise SettingsError(f"{path}: must be ak_ and at least 8 letters, digits or underscores")
    return secret


def device_secret(settings: Settings, id: str, environ: Mapping[str, str]) -> str | None:
    """The declared secret of a device, None when it has none."""
    table = settings.devices[id]
    path = f"devices.{id}.secret"
    return one_of(path, table.secret, table.secret_file, table.secret_env, settings.folder, environ)


def user_password(settings: Settings, id: str, environ: Mapping[str, str]) -> str | None:
    """The declared password of a user, None when there is none."""
    table = settings.users[id]
    given, file, env = table.password, table.password_file, table.password_env
    return one_of(f"users.{id}.password", given, file, env, settings.folder, environ)


def product_secret(settings: Settings, key: str, environ: Mapping[str, str]) -> str | None:
    """The declared secret of a product, None when it has none."""
    table = settings.products[key]
    given, file, env = table.secret, table.secret_file, table.secret_env
    return one_of(f"products.{key}.secret", given, file, env, settings.folder, environ)


def signing_secret(settings: Settings, key: str, environ: Mapping[str, str]) -> str:
    """What a signing application signs with. Raises SettingsError where there is none."""
    table = settings.enos.apps[key]
    path = f"enos.apps.{key}.secret"
    secret = one_of(path, table.secret, table.secret_file, table.secret_env, settings.folder, environ)
    if secret is None:
        raise SettingsError(f"{path}: give secret, secret_file or secret_env")
    return secret


def schema_of(settings: Settings, name: str) -> Schema:
    """The schema of a file. Raises SettingsError where it cannot be read."""
    file = settings.schemas[name].file
    try:
        return Schema(json.loads((settings.folder / file).read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"schemas.{name}.file: {file} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"schemas.{name}.file: {file} is no OpenAPI document in JSON: {error}") from None


def application_secret(settings: Settings, id: str, environ: Mapping[str, str]) -> str | None:
    """The declared callback secret of an application, None when it has none."""
    table = settings.applications[id]
    given, file, env = table.callback_secret, table.callback_secret_file, table.callback_secret_env
    return one_of(f"applications.{id}.callback_secret", given, file, env, settings.folder, environ)


def metrics_token(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """The bearer token that may read `/metrics` beside the keys of admins, None when there is none."""
    ops = settings.ops
    given, file, env = ops.metrics_token, ops.metrics_token_file, ops.metrics_token_env
    return one_of("ops.metrics_token", given, file, env, settings.folder, environ)


def _missing(file: Path) -> bool:
    try:
        file.stat()
    except OSError as error:
        return error.errno == errno.ENOENT
    return False


def _made(file: Path) -> str:
    """The command that makes a key file, in one line for a shell."""
    folder, name = shlex.quote(str(file.parent)), shlex.quote(str(file))
    key = 'echo "ak_$(head -c 48 /dev/urandom | base64 | tr -dc A-Za-z0-9)"'
    return f"mkdir -p {folder} && (umask 077; {key} > {name})"


def _keys(wrong: list[str], settings: Settings, environ: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for id, key in settings.keys.items():
        _known(wrong, f"keys.{id}.application", "applications", key.application, settings.applications)
        if not key.scopes:
            wrong.append(f"keys.{id}.scopes: a key needs a scope")
        secret = _try(wrong, key_secret, settings, id, environ)
        if secret is not None and secret in seen:
            wrong.append(f"keys.{id}.key: is the same as that of keys.{seen[secret]}")
        elif secret is not None:
            seen[secret] = id


def _devices(wrong: list[str], settings: Settings, environ: Mapping[str, str]) -> None:
    ids: dict[tuple[str, str], str] = {}
    addresses: dict[tuple[str, str], str] = {}
    for key, device in settings.devices.items():
        path = f"devices.{key}"
        id = device.id or key
        if not 0 < len(id) <= 256 or "/" in id or not id.isprintable():
            wrong.append(f"{path}: a device id has 1 to 256 printable characters and no slash")
        _known(wrong, f"{path}.account", "accounts", device.account, settings.accounts)
        _known(wrong, f"{path}.adapter", "adapters", device.adapter, settings.adapters)
        place = (device.adapter, device.address or f"{device.account}/{id}")
        if ids.setdefault((device.account, id), key) != key:
            wrong.append(f"{path}: the account has this device already (devices.{ids[device.account, id]})")
        elif addresses.setdefault(place, key) != key:
            wrong.append(f"{path}.address: is also that of devices.{addresses[place]}")
        secret = _try(wrong, device_secret, settings, key, environ)
        kind = settings.adapters.get(device.adapter, {}).get("kind")
        if secret is not None and kind == "lwm2m" and "psk-identity" not in device.aliases:
            wrong.append(f"{path}.secret: is of no use without aliases.psk-identity, under which the device shows it")
        if device.schema:
            _known(wrong, f"{path}.schema", "schemas", device.schema, settings.schemas)


def _clients(wrong: list[str], settings: Settings) -> None:
    """A broker lets one client of a name in at a time: two would send each other away for ever."""
    names: dict[tuple[str, int, str], str] = {}
    for id, adapter in settings.adapters.items():
        client, place = adapter.get("client_id"), _broker(adapter.get("url", "mqtt://127.0.0.1"))
        if adapter.get("kind") != "mqtt-broker" or place is None or not isinstance(client, str) or not client:
            continue
        # The second connection is the one for what devices tell.
        tells = adapter.get("telemetry") or adapter.get("speak") == "enos"
        mine = [client, f"{client}-intake"] if tells else [client]
        taken = [(name, names[*place, name]) for name in mine if (*place, name) in names]
        if taken:
            name, other = taken[0]
            same = name == client == settings.adapters[other]["client_id"]
            what = "is also that of" if same else f"one of its connections would have the name {name}, as one of"
            wrong.append(f"adapters.{id}.client_id: {what} adapters.{other}, at the same broker")
        for name in mine:
            names.setdefault((*place, name), id)


def _broker(url: Any) -> tuple[str, int] | None:
    """Host and port of a broker; None for what the adapter will not take as a url."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or not parts.hostname:
            return None
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        return host, parts.port or (8883 if parts.scheme == "mqtts" else 1883)
    except ValueError:
        return None


def _upstreams(wrong: list[str], settings: Settings, id: str, adapter: Mapping[str, Any]) -> None:
    """What the names of upstreams open: addresses begin with them, and those that nobody gives with an account."""
    upstreams = adapter.get("upstreams")
    if adapter.get("kind") != "http" or not isinstance(upstreams, Mapping):
        return
    for name, table in upstreams.items():
        path = f"adapters.{id}.upstreams.{name}"
        if name in settings.accounts:
            wrong.append(f"{path}: an account is called so, and its devices would be found there by default")
        if isinstance(table, Mapping) and table.get("paths") is True and not adapter.get("account"):
            wrong.append(f"{path}.paths: any account could reach every path; give adapters.{id}.account")


def _users(wrong: list[str], settings: Settings, environ: Mapping[str, str]) -> None:
    for id, user in settings.users.items():
        _known(wrong, f"users.{id}.application", "applications", user.application, settings.applications)
        if ":" in user.name or not (user.name or id).isprintable():
            wrong.append(f"users.{id}.name: has no colon and no control characters")
        _try(wrong, user_password, settings, id, environ)
    for name in settings.schemas:
        _try(wrong, schema_of, settings, name)


def _powerstore(wrong: list[str], settings: Settings) -> None:
    table = settings.powerstore
    if not 0 < table.wait <= 3600:
        wrong.append("powerstore.wait: must be more than 0 and at most 3600")
    if table.waiting < 1:
        wrong.append("powerstore.waiting: must be greater than 0")
    if not 60 <= table.session <= 86400:
        wrong.append("powerstore.session: must be 60 to 86400")
    for host, device in table.hosts.items():
        _known(wrong, f"powerstore.hosts.{host}", "devices", device, settings.devices)


def _enos(wrong: list[str], settings: Settings, environ: Mapping[str, str]) -> None:
    table = settings.enos
    if not 60 <= table.token <= 86400:
        wrong.append("enos.token: must be 60 to 86400")
    if table.waiting < 1:
        wrong.append("enos.waiting: must be greater than 0")
    for id, org in table.orgs.items():
        path = f"enos.orgs.{id}"
        _known(wrong, f"{path}.account", "accounts", org.account, settings.accounts)
        _known(wrong, f"{path}.application", "applications", org.application, settings.applications)
        owner = settings.applications.get(org.application)
        if owner is not None and org.account in settings.accounts and owner.account != org.account:
            wrong.append(f"{path}.application: belongs to another account")
        for text in org.opaque_from:
            try:
                ip_network(text)
            except ValueError:
                wrong.append(f"{path}.opaque_from: {text!r} is no network, such as 10.1.0.0/16 or fd00::/8")
        for channel in org.channels:
            if CHANNEL_ID.fullmatch(channel) is None:
                wrong.append(f"{path}.channels: {channel!r} is no id of a control channel")
    for key, app in table.apps.items():
        _known(wrong, f"enos.apps.{key}.application", "applications", app.application, settings.applications)
        _try(wrong, signing_secret, settings, key, environ)


def _products(wrong: list[str], settings: Settings, environ: Mapping[str, str]) -> None:
    for key, product in settings.products.items():
        _known(wrong, f"products.{key}.account", "accounts", product.account, settings.accounts)
        _try(wrong, product_secret, settings, key, environ)
        for id, service in product.services.items():
            for kind in (*service.input.values(), *service.output.values()):
                if kind not in TYPES:
                    wrong.append(f"products.{key}.services.{id}: {kind!r} is none of {', '.join(TYPES)}")


def _tls(wrong: list[str], settings: Settings) -> None:
    table = settings.tls
    if not 0 <= table.port <= 65535:
        wrong.append("tls.port: must be 0 to 65535")
    if bool(table.certificate) != bool(table.key):
        wrong.append("tls: certificate and key belong together")
    if table.certificate and table.self_signed:
        wrong.append("tls.self_signed: there is a certificate already")
    for key in ("certificate", "key"):
        name = getattr(table, key)
        if name and not (settings.folder / name).is_file():
            wrong.append(f"tls.{key}: there is no file {name}")


def _known(wrong: list[str], path: str, section: str, id: str, known: Mapping[str, Any]) -> None:
    if id not in known:
        wrong.append(f"{path}: there is no [{section}.{id}]")


def _try(wrong: list[str], check: Callable[..., Any], *args: Any) -> Any:
    try:
        return check(*args)
    except SettingsError as error:
        wrong.extend(error.lines)
        return None
