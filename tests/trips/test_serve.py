"""`hub serve`: nothing but what is configured, clear words when it cannot start, sockets held outside."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command import ROOT, Running, ask, hub

KEY = "ak_configured_key"
CONFIG = """
[server]
port = {port}
[accounts.acme]
[applications.app]
account = "acme"
[keys.ops]
application = "app"
scopes = ["admin"]
key_env = "OPS_KEY"
[adapters.sim]
kind = "simulated"
account = "acme"
devices = [{{ address = "lamp" }}, {{ address = "slow", model = "slow" }}]
[devices.slow]
account = "acme"
adapter = "sim"
address = "slow"
[devices.lamp]
account = "acme"
adapter = "sim"
address = "lamp"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path, CONFIG.format(port=0))


def written(folder: Path, text: str) -> Path:
    file = folder / "hub.toml"
    file.write_text(text, encoding="utf-8")
    return file


class Listening:
    """A listening socket held by the test, as systemd holds one: it outlives the hubs that serve on it."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def serve(self, config: Path) -> Running:
        fd = self.socket.fileno()
        return Running("serve", "--config", str(config), "--fd", str(fd),
                       home=config.parent, pass_fds=(fd,), OPS_KEY=KEY)  # fmt: skip


@pytest.fixture
def held() -> Iterator[Listening]:
    listening = Listening()
    with listening.socket:
        yield listening


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Listening]]:
    """A hub of CONFIG that the tests of this module share, by its file and its socket: they leave it running."""
    listening = Listening()
    config = written(tmp_path_factory.mktemp("served"), CONFIG.format(port=0))
    with listening.socket, listening.serve(config):
        yield config, listening


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a hub that has run and ended, its data beside it."""
    text = CONFIG.format(port=0) + 'secret = "the-secret-of-the-lamp"\n'
    config, listening = written(tmp_path_factory.mktemp("ended"), text), Listening()
    with listening.socket, listening.serve(config) as running:
        assert ask(listening.url, "/v1/me", KEY)[0] == 200
        assert running.end(signal.SIGTERM) == 0
    return config


def test_it_serves_on_a_socket_held_outside(config: Path, held: Listening) -> None:
    with held.serve(config) as running:
        # No waiting for the start: who connects before it is served later.
        assert ask(held.url, "/v1/me", KEY)[0] == 200
        assert ask(held.url, "/v1/me", "ak_another_key_0")[0] == 401
        assert running.end(signal.SIGTERM) == 0
        assert f"ready on {held.url}" in running.complaints()


def test_who_connects_between_two_hubs_waits_for_the_second(config: Path, held: Listening) -> None:
    answered: list[int] = []
    enough, over = threading.Event(), threading.Event()

    def call_all_the_time() -> None:
        while not over.is_set():
            answered.append(ask(held.url, "/v1/devices/lamp/calls", KEY, {"method": "GET", "uri": "/x"})[0])
            if len(answered) > 200:
                enough.set()

    with held.serve(config) as first:
        # Something under way, so that the drain takes its time.
        assert ask(held.url, "/v1/devices/slow/calls", KEY, {"method": "GET", "uri": "/x"})[0] == 202
        client = threading.Thread(target=call_all_the_time)
        client.start()
        try:
            assert first.end(signal.SIGTERM) == 0
            with held.serve(config):
                assert enough.wait(30)
                over.set()
                client.join(30)
        finally:
            over.set()

    # The one whose connection was taken just before the drain began may have been told to come again.
    assert len([status for status in answered if status != 202]) <= 1, answered
    assert set(answered) <= {202, 503}


def test_what_was_accepted_ends_after_a_kill(config: Path, held: Listening) -> None:
    with held.serve(config) as first:
        body = {"method": "GET", "uri": "/x", "ref": "r"}
        status, _, answer = ask(held.url, "/v1/devices/slow/calls", KEY, body)
        assert status == 202
        first.end(signal.SIGKILL)
    accepted = json.loads(answer)
    with held.serve(config):
        path = f"/v1/channels/default/messages?epoch={accepted['epoch']}&offset={{}}&wait=20"
        offset, ended = accepted["offset"], []
        while not ended:
            status, _, page = ask(held.url, path.format(offset), KEY)
            assert status == 200, "no completion came"
            messages = json.loads(page)["messages"]
            offset = messages[-1]["offset"]
            ended = [item for message in messages for item in message.get("async-responses", ())]

        assert [(item["call-id"], item["status"]) for item in ended] == [(accepted["id"], 200)]


def test_nothing_is_open_that_was_not_configured(tmp_path: Path, held: Listening) -> None:
    with held.serve(written(tmp_path, "[ops]\ndashboard = false\nmetrics_token_env = 'OPS_KEY'\n")):
        assert ask(held.url, "/v1/me", KEY)[0] == 401
        assert ask(held.url, "/")[0] == 404
        assert ask(held.url, "/metrics")[0] == 401
        assert ask(held.url, "/metrics", KEY)[0] == 200
        assert ask(held.url, "/devices/v1")[0] == 404


def test_the_metrics_are_for_admins_unless_the_configuration_opens_them(
    served: tuple[Path, Listening], config: Path, held: Listening
) -> None:
    _, shared = served
    caller = json.loads(ask(shared.url, "/v1/keys", KEY, {"scopes": ["call"]})[2])["key"]
    seen = [ask(shared.url, "/metrics", key)[0] for key in (None, "ak_another_key_0", caller, KEY)]
    written(config.parent, config.read_text() + "[ops]\nmetrics_open = true\n")
    with held.serve(config):
        opened = ask(held.url, "/metrics")[0]

    assert (seen, opened) == ([401, 401, 403, 200], 200)


def test_the_production_file_says_what_is_missing_and_the_command_that_makes_it(tmp_path: Path) -> None:
    production = ROOT / "config/production.toml"
    missing = tmp_path / "etc" / "admin-key"
    environ = {"HUB__KEYS__ADMIN__KEY_FILE": str(missing)}

    before = hub("config", "check", str(production), home=tmp_path, **environ)
    command = before.stderr.partition("to make it, with a new key in it: ")[2].strip()
    made = subprocess.run(["sh", "-c", command], check=False, timeout=10)
    after = hub("config", "check", str(production), home=tmp_path, **environ)

    assert (before.returncode, len(before.stderr.splitlines()), made.returncode) == (2, 1, 0)
    assert (after.returncode, after.stderr) == (0, "")
    assert stat.S_IMODE(missing.stat().st_mode) == 0o600
    # The file itself names the same command for its own place.
    assert command.replace(str(tmp_path / "etc"), "/etc/asyncid-hub") in production.read_text(encoding="utf-8")


def test_a_secret_that_others_can_read_is_warned_of(tmp_path: Path, held: Listening) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o644)
    config = written(tmp_path, CONFIG.format(port=0).replace('key_env = "OPS_KEY"', 'key_file = "key"'))

    checked = hub("config", "check", str(config), home=tmp_path)
    with held.serve(config) as running:
        assert ask(held.url, "/v1/me", KEY)[0] == 200
        running.end(signal.SIGTERM)
        said = running.complaints()
    (tmp_path / "key").chmod(0o600)
    silent = hub("config", "check", str(config), home=tmp_path)

    told = f"keys.ops.key_file: the file {tmp_path / 'key'} can be read by others (mode 0644); use chmod 600"
    assert (checked.returncode, checked.stderr) == (0, f"hub: warning: {told}\n")
    assert said.count(told) == 1
    assert silent.stderr == ""


SERVE, CHECK = ("serve", "--port", "0", "--config"), ("config", "check")
ENGINE = '[storage]\nengine = "papyrus"\n', "hub: storage.engine: there is no 'papyrus', only sqlite\n"
KIND = '[adapters.x]\nkind = "papyrus"\n', "hub: adapters.x.kind: there is no 'papyrus', only "
TYPING = "[server]\nprot = 1\n", "hub: server.prot: no such key (did you mean port?)\n"
SETTING = '[adapters.x]\nkind = "simulated"\ncolour = 1\n', "hub: adapters.x.colour: no such setting"
MISSING = None, "hub: {file}: cannot be read: No such file or directory\n"


# What serving does not begin with, checking does not look at: the engine.
@pytest.mark.parametrize(
    ("command", "wrong"),
    [*((SERVE, wrong) for wrong in (TYPING, ENGINE, KIND, SETTING, MISSING)),
     *((CHECK, wrong) for wrong in (TYPING, KIND, SETTING, MISSING))],
)  # fmt: skip
def test_a_wrong_configuration_is_one_clear_line(
    tmp_path: Path, command: tuple[str, ...], wrong: tuple[str | None, str]
) -> None:
    text, told = wrong
    file = tmp_path / "hub.toml" if text is None else written(tmp_path, text)

    run = hub(*command, str(file), home=tmp_path)

    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith(told.format(file=file).rstrip()), run.stderr
    assert "Traceback" not in run.stderr


def corrupt(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "hub.db").write_bytes(b"not a database at all" * 1000)


def weak_key(folder: Path) -> None:
    (folder / "data.seal-key").write_bytes(b"short")
    (folder / "data.seal-key").chmod(0o600)


def folder_is_a_file(folder: Path) -> None:
    (folder / "data").write_text("x")


@pytest.mark.parametrize("break_it", [corrupt, weak_key, folder_is_a_file])
def test_data_that_cannot_be_trusted_is_told_in_one_line(
    tmp_path: Path, config: Path, break_it: Callable[[Path], None]
) -> None:
    break_it(tmp_path)

    run = hub("serve", "--config", str(config), home=tmp_path, OPS_KEY=KEY)

    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("hub: ")
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("fd", ["0", "999"])
def test_a_descriptor_that_is_no_listening_socket_is_told(config: Path, fd: str) -> None:
    run = hub("serve", "--config", str(config), "--fd", fd, home=config.parent, OPS_KEY=KEY)

    assert run.returncode == 2
    assert run.stderr.startswith(f"hub: file descriptor {fd} is ")


def test_keys_are_made_and_revoked_through_a_running_hub(served: tuple[Path, Listening]) -> None:
    config, shared = served
    home, at = config.parent, ("--config", str(config))
    assert ask(shared.url, "/v1/me", KEY)[0] == 200
    no_key = hub("keys", "list", *at, home=home, OPS_KEY=KEY)
    asked = (*at, "--url", shared.url, "--key", KEY)
    made = json.loads(hub("keys", "create", "--scope", "call", *asked, home=home, OPS_KEY=KEY).stdout)
    before = ask(shared.url, "/v1/me", made["key"])[0]
    revoked = hub("keys", "revoke", made["id"], *asked, home=home, OPS_KEY=KEY)

    assert no_key.returncode == 2 and "give --key" in no_key.stderr
    assert (before, revoked.returncode, ask(shared.url, "/v1/me", made["key"])[0]) == (200, 0, 401)


def test_keys_are_made_and_revoked_directly_while_no_hub_runs(ended: Path, held: Listening) -> None:
    def keys(*words: str) -> subprocess.CompletedProcess[str]:
        return hub("keys", *words, "--config", str(ended), home=ended.parent, OPS_KEY=KEY)

    made = [json.loads(keys("create", "--application", "app", "--scope", "listen").stdout) for _ in range(2)]
    told = keys("list").stdout
    listed = [json.loads(line) for line in told.splitlines()]
    revoked = [keys("revoke", made[0]["id"]).returncode for _ in range(2)]
    with held.serve(ended):
        answers = [ask(held.url, "/v1/me", key)[0] for key in (KEY, made[0]["key"], made[1]["key"])]

    assert [key["id"] for key in listed] == sorted(["ops", *(key["id"] for key in made)])
    assert all(key["key"] not in told for key in made)
    assert (revoked, answers) == ([0, 1], [200, 401, 200])


def test_no_secret_can_be_read_from_the_data_files(ended: Path) -> None:
    data = ended.parent / "data"

    stored = b"".join(file.read_bytes() for file in data.iterdir())

    assert b"lamp" in stored
    assert b"the-secret-of-the-lamp" not in stored
    assert KEY.encode() not in stored
