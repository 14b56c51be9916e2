"""The configuration: where values come from, how mistakes are told, and that its documentation is complete."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.limits import Limits
from hub.settings import Settings, SettingsError, load
from hub.settings.exposed import exposed
from hub.settings.schema import (
    AccountTable,
    ApplicationTable,
    DeviceTable,
    KeyTable,
    ProductTable,
    SchemaTable,
    Table,
    UserTable,
    fields_of,
    limits_of,
)

ROOT = Path(__file__).parents[2]
WHOLE = """
[accounts.acme]
[applications.app]
account = "acme"
[keys.ops]
application = "app"
scopes = ["call", "listen"]
key = "ak_0123456789"
[adapters.ws]
kind = "websocket"
[devices.lamp]
account = "acme"
adapter = "ws"
"""


UPSTREAM = WHOLE + """
[adapters.rest]
kind = "http"
{account}
[adapters.rest.upstreams.{name}]
url = "http://localhost"
{more}
"""


def mistakes(text: str, environ: dict[str, str] | None = None, **flags: Any) -> list[str]:
    with pytest.raises(SettingsError) as told:
        load(None, environ or {}, flags or None, text=text)
    return list(told.value.lines)


# Where values come from.


def test_flags_beat_the_environment_beats_the_file_beats_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[server]\nhost = "file"\nport = 1\nbacklog = 7\n')
    environ = {"HUB__SERVER__HOST": "environ", "HUB__SERVER__PORT": "2", "UNRELATED": "x"}

    server = load(file, environ, {"server": {"port": 3, "host": None}}).server

    assert (server.host, server.port, server.backlog, server.origins) == ("environ", 3, 7, ())


def test_a_variable_is_read_as_what_its_key_wants() -> None:
    environ = {
        "HUB__SERVER__HOST": "1234",
        "HUB__SERVER__ORIGINS": '["https://a.example"]',
        "HUB__LIMITS__POLL_HOLD": "0.5",
        "HUB__OPS__METRICS": "false",
        "HUB__OPS__METRICS_TOKEN": "1e3",
        "HUB__ADAPTERS__WS__WINDOW": "4",
        "HUB__ADAPTERS__WS__KIND": "websocket",
    }

    settings = load(None, environ)

    assert (settings.server.host, settings.server.origins) == ("1234", ("https://a.example",))
    assert (settings.ops.metrics, settings.ops.metrics_token) == (False, "1e3")
    assert settings.adapters == {"ws": {"window": 4, "kind": "websocket"}}
    assert limits_of(settings).poll_hold == timedelta(seconds=0.5)


def test_a_variable_finds_the_id_that_reads_alike() -> None:
    text = '[accounts.Acme-North]\n[applications.app]\naccount = "Acme-North"\n'

    assert load(None, {"HUB__ACCOUNTS__ACME_NORTH__NAME": "North"}, text=text).accounts["Acme-North"].name == "North"


def test_limits_are_set_by_name() -> None:
    limits = limits_of(load(None, {}, text="[limits]\nwaiting = 5\ncalls_per_second = 2\nended = 60\n"))

    assert (limits.waiting, limits.calls_per_second, limits.ended) == (5, 2.0, timedelta(minutes=1))
    assert limits.burst == Limits().burst


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[storage]\ndata_dir = "data"\n')

    settings = load(file, {})

    assert settings.data_dir == tmp_path / "data"


@pytest.mark.parametrize("data", ["data", "data/", "a/b"])
def test_the_seal_key_lies_beside_the_data_never_inside(tmp_path: Path, data: str) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(f'[storage]\ndata_dir = "{data}"\n')

    settings = load(file, {})

    assert settings.seal_key_file.parent == settings.data_dir.parent
    assert settings.data_dir not in settings.seal_key_file.parents


# Secrets.


def test_a_secret_comes_from_a_file_or_a_variable(tmp_path: Path) -> None:
    from hub.settings.contradictions import key_secret

    (tmp_path / "key").write_text("ak_from_file\n")
    file = tmp_path / "hub.toml"
    environ = {"KEY": "ak_from_environ"}
    for form, expected in (('key_file = "key"', "ak_from_file"), ('key = "file:key"', "ak_from_file"),
                           ('key_env = "KEY"', "ak_from_environ"), ('key = "env:KEY"', "ak_from_environ")):  # fmt: skip
        file.write_text(WHOLE.replace('key = "ak_0123456789"', form))
        assert key_secret(load(file, environ), "ops", environ) == expected


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("", "keys.ops.key: give key, key_file or key_env"),
        ('key = "ak_0123456789"\nkey_env = "K"', "keys.ops.key: give only one of"),
        ('key_env = "NO"', "keys.ops.key: the environment variable NO is not set"),
        ('key_file = "no/such"', "keys.ops.key: the file no/such cannot be read: No such file or directory"),
        ('key_env = "EMPTY"', "keys.ops.key: is empty"),
        ('key = "short"', "keys.ops.key: must be ak_ and at least 8"),
    ],
)
def test_a_secret_that_is_not_there_is_told(form: str, told: str) -> None:
    lines = mistakes(WHOLE.replace('key = "ak_0123456789"', form), {"EMPTY": ""})

    assert len(lines) == 1
    assert lines[0].startswith(told)


def test_a_secret_that_an_lwm2m_device_can_show_to_nobody_is_told() -> None:
    text = WHOLE.replace('"websocket"', '"lwm2m"') + 'secret = "something"\n'

    load(None, {}, text=text + 'aliases = { "psk-identity" = "lamp" }\n')
    assert [line.partition(": ")[0] for line in mistakes(text)] == ["devices.lamp.secret"]


def test_files_of_secrets_that_others_can_read_are_named_wherever_they_are_named(tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("group", 0o640), ("mine", 0o600), ("seal", 0o644)):
        (tmp_path / name).write_text("ak_0123456789")
        (tmp_path / name).chmod(mode)
    file = tmp_path / "hub.toml"
    file.write_text(
        WHOLE.replace('key = "ak_0123456789"', 'key_file = "open"')
        + 'secret = "file:group"\n[keys.two]\napplication = "app"\nscopes = ["call"]\nkey_env = "K"\n'
        + '[ops]\nmetrics_token_file = "mine"\n[storage]\nseal_key_file = "seal"\n'
        + f'[adapters.up]\nkind = "http"\n[adapters.up.upstreams.a]\npassword = "file:{tmp_path / "open"}"\n'
    )

    lines = exposed(load(file, {"K": "ak_9876543210"}))

    assert [line.partition(": ")[0] for line in lines] == [
        "adapters.up.upstreams.a.password",
        "keys.ops.key_file",
        "devices.lamp.secret",
    ]
    assert not any("ak_" in line for line in lines)


def test_no_mistake_shows_a_secret() -> None:
    lines = mistakes(WHOLE + '[keys.two]\napplication = "app"\nscopes = ["call"]\nkey = "ak_0123456789"\n')

    assert lines == ["keys.two.key: is the same as that of keys.ops"]


# Mistakes.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nprot = 1", "server.prot: no such key (did you mean port?)"),
        ("[serve]\nport = 1", "serve: no such table (did you mean server?)"),
        ("server = 1", "server: must be a table"),
        ('[server]\nport = "x"', "server.port: expected int, got str"),
        ("[server]\nport = 70000", "server.port: must be 0 to 65535"),
        ('[log]\nlevel = "loud"', "log.level: invalid enum value 'loud'"),
        ("[limits]\nwating = 1", "limits.wating: no such key (did you mean waiting?)"),
        ("[limits]\nwaiting = 0", "limits.waiting: must be greater than 0"),
        ("[limits]\nwaiting = 1.5", "limits.waiting: must be a whole number"),
        ("[limits]\nping = nan", "limits.ping: must be a number"),
        ("[applications.a]", "applications.a: is missing the key account"),
        (
            '[adapters.a]\nkind = "mqtt-broker"\nurl = "mqtt://b"\nclient_id = "hub"\n'
            '[adapters.b]\nkind = "mqtt-broker"\nurl = "mqtt://B/"\nclient_id = "hub"',
            "adapters.b.client_id: is also that of adapters.a, at the same broker",
        ),
        ('[applications.a]\naccount = "no"', "applications.a.account: there is no [accounts.no]"),
        ('[accounts."a/b"]', "accounts.a/b: an id has 1 to 64"),
        ("[adapters.x]", "adapters.x.kind: names the kind"),
        ('[admission]\nopen_to_names = ["x"]', "admission.open_to_names: there is no [adapters.x]"),
        (WHOLE + '[devices.d]\naccount = "acme"\nadapter = "no"', "devices.d.adapter: there is no [adapters.no]"),
        (WHOLE + '[devices."a/b"]\naccount = "acme"\nadapter = "ws"', "devices.a/b: a device id has"),
        (WHOLE + '[devices.two]\nid = "lamp"\naccount = "acme"\nadapter = "ws"', "devices.two: the account has this"),
        (
            WHOLE + '[devices.two]\naccount = "acme"\nadapter = "ws"\naddress = "acme/lamp"',
            "devices.two.address: is also that of devices.lamp",
        ),
        (UPSTREAM.format(name="up", more="paths = true", account=""), "adapters.rest.upstreams.up.paths: any account"),
        (UPSTREAM.format(name="acme", more="", account='account = "acme"'), "adapters.rest.upstreams.acme: an account"),
        (WHOLE.replace('["call", "listen"]', "[]"), "keys.ops.scopes: a key needs a scope"),
        (WHOLE.replace('"listen"', '"lisen"'), "keys.ops.scopes[1]: invalid enum value 'lisen'"),
        ("folder = 1", "folder: no such table"),
        ("[server\n", "the configuration: is not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    lines = mistakes(text)

    assert len(lines) == 1
    assert lines[0].startswith(told)


def test_an_upstream_with_paths_is_one_accounts() -> None:
    upstream = UPSTREAM.format(name="up", more="paths = true", account='account = "acme"')
    plain = UPSTREAM.format(name="up", more="", account="")

    assert "up" in load(None, {}, text=upstream).adapters["rest"]["upstreams"]
    assert "up" in load(None, {}, text=plain).adapters["rest"]["upstreams"]


def test_all_mistakes_are_told_at_once() -> None:
    lines = mistakes('[server]\nprot = 1\n[log]\nlevel = "loud"\n[accnts]\n')

    assert len(lines) == 3


def test_a_mistake_in_a_variable_names_the_variable() -> None:
    assert mistakes("", {"HUB__SERVER__PORT": "x"}) == ["HUB__SERVER__PORT (server.port): expected int, got str"]
    assert mistakes("", {"HUB__SERVER__PROT": "1"})[0].startswith("HUB__SERVER__PROT (server.prot): no such key")
    assert mistakes("", {"HUB__PORT": "1"}) == ["HUB__PORT: such a variable is named HUB__SECTION__KEY"]
    assert mistakes("", {"HUB__SERVER__PORT__X": "1", "HUB__SERVER__PORT": "1"})[0].startswith("HUB__SERVER__PORT__X")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "hub.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as told:
        load(file, {})
    assert str(told.value).startswith(str(file))


# The documentation is the configuration.

# The tables with fixed keys; the others have ids of the operator's.
PLAIN = [name for name, kind in fields_of(Settings).items() if isinstance(kind, type) and issubclass(kind, Table)]


def documented() -> dict[str, dict[str, str]]:
    """section -> key -> value as written in config/hub.toml, keys behind a `# ` included."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    section = ""
    for line in (ROOT / "config/hub.toml").read_text(encoding="utf-8").splitlines():
        head = re.match(r"(?:# )?\[([a-z]+)(?:\.[^]]*)?\]", line)
        entry = re.match(r"(# )?([a-z_]+) = (.*)", line)
        if head is not None:
            section = head[1]
            found[section] = {}
        elif entry is not None:
            found[section][entry[2]] = "optional" if entry[1] else entry[3]
    return found


def test_the_documented_file_is_the_defaults() -> None:
    shown = load(ROOT / "config/hub.toml", {})

    assert limits_of(shown) == Limits()
    for section in PLAIN:
        assert getattr(shown, section) == getattr(Settings(), section), section


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    tables: dict[str, set[str]] = {
        section: set(fields_of(type(getattr(Settings(), section))))
        for section in PLAIN
    }
    tables["limits"] = {field.name for field in dataclasses.fields(Limits)}
    tables["adapters"] = {"kind", "account"}
    for section, kind in (("accounts", AccountTable), ("applications", ApplicationTable), ("keys", KeyTable),
                          ("devices", DeviceTable), ("users", UserTable), ("schemas", SchemaTable),
                          ("products", ProductTable)):  # fmt: skip
        tables[section] = set(fields_of(kind))

    assert {section: set(keys) for section, keys in documented().items()} == tables
    assert set(tables) == set(fields_of(Settings))


def test_every_key_has_a_line_of_meaning() -> None:
    for line in (ROOT / "config/hub.toml").read_text(encoding="utf-8").splitlines():
        if re.match(r"(# )?[a-z_]+ = ", line) and not re.search(r"_(file|env) = ", line):
            assert re.search(r"\S +# \w+", line), line
    assert re.search(r"seal_key_file = .*# \w+", (ROOT / "config/hub.toml").read_text(encoding="utf-8"))


def test_the_demo_world_has_the_devices_of_the_seeds() -> None:
    demo = load(ROOT / "config/dev.toml", {})

    assert {"015f2fa34d310000000000010030036c", "sim-echo", "sim-slow", "sim-never"} <= set(demo.devices)
    assert (ROOT / "config/dev.toml").read_bytes() == (ROOT / "hub/demo.toml").read_bytes()


def test_the_example_for_production_lacks_nothing_but_its_key() -> None:
    tomllib.loads((ROOT / "config/production.toml").read_text(encoding="utf-8"))
    with pytest.raises(SettingsError) as told:
        load(ROOT / "config/production.toml", {})

    assert [line.partition(":")[0] for line in told.value.lines] == ["keys.admin.key"]
