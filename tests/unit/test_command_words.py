"""What the commands say and remember: lines for eyes, the state folder; and what the log never shows."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import stat
import threading
from pathlib import Path

import pytest

from hub.cli.shown import lines, payload_of, readable
from hub.cli.state import DevState, default_folder
from hub.logs import logging_to


def message(**lists: object) -> dict[str, object]:
    at = "2026-01-02T03:04:05.678Z"
    return {"type": "message", "channel": "a/b", "epoch": "e", "offset": 7, "at": at, **lists}


def test_an_answer_is_one_line() -> None:
    item = {"id": "r", "device": "lamp", "status": 504, "error": "TIMEOUT", "payload": base64.b64encode(b"x").decode()}

    [line] = lines(message(**{"async-responses": [item]}))

    assert line.split() == ["03:04:05.678", "7", "answer", "lamp", "r", "504", "TIMEOUT", "x"]


def test_every_kind_of_item_has_a_line() -> None:
    shown = list(
        lines(
            message(
                notifications=[{"ep": "lamp", "path": "/3/0", "payload": "MQ=="}],
                registrations=[{"ep": "lamp"}],
                **{"registrations-expired": ["lamp"], "de-registrations": ["lamp"]},
            )
        )
    )

    assert [line.split()[2] for line in shown] == ["notification", "registered", "de-registered", "expired"]
    assert all("lamp" in line for line in shown)


def test_a_gap_is_told_in_words() -> None:
    told = {"type": "gap", "from": 3, "to": 9, "reason": "retention"}

    assert list(lines(told)) == ["-- gap: 3 to 9 cannot be had any more (retention)"]
    assert "unknown number" in next(lines({**told, "from": None, "to": None}))


def test_a_device_cannot_paint_on_the_terminal_of_its_reader() -> None:
    assert readable(b"\x1b[31mred\r\nnext\n") == "\\x1b[31mred\\r\\nnext"
    assert readable(b"\xff\xfe") == "<2 bytes>"
    assert readable(b"a" * 1000).endswith("... (1000 bytes)")
    [line] = lines(message(**{"async-responses": [{"id": "\x1b]0;title\x07", "status": 200}]}))
    assert "\x1b" not in line


def test_a_payload_that_is_no_base64_is_none() -> None:
    assert payload_of({"payload": "***"}) == b""
    assert payload_of({}) == b""


def test_the_key_of_a_development_hub_is_made_once_and_kept(tmp_path: Path) -> None:
    state = DevState(tmp_path / "deep" / "dev")
    assert state.key() is None

    made = state.keep_key(None)

    assert made.startswith("ak_dev_") and len(made) == 50
    assert state.keep_key(None) == made == DevState(tmp_path / "deep" / "dev").key()
    assert state.keep_key("ak_given_one") == state.keep_key(None) == "ak_given_one"
    assert stat.S_IMODE(state.key_file.stat().st_mode) == 0o600
    assert sorted(os.listdir(state.folder)) == ["dev-key"]


def test_the_address_is_kept_until_the_hub_ends(tmp_path: Path) -> None:
    state = DevState(tmp_path)
    state.keep_url("http://h:1")
    assert state.url() == "http://h:1"

    state.forget_url()
    state.forget_url()

    assert state.url() is None


def test_the_state_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/asyncid-hub/dev")

    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert default_folder() == Path.home() / ".local/state/asyncid-hub/dev"


def test_log_lines_are_json_with_what_was_said_and_no_key() -> None:
    out = io.StringIO()
    with logging_to(out, "info", "json"):
        logging.getLogger("hub.audit").info("key %s used", "ak_secret_12345", extra={"device": "lamp"})
        logging.getLogger("hub").debug("not at this level")
        try:
            raise ValueError("ak_in_an_error_12")
        except ValueError:
            logging.getLogger("hub").exception("failed")

    first, second = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (first["message"], first["device"], first["logger"]) == ("key ak_*** used", "lamp", "hub.audit")
    assert "ValueError: ak_***" in second["exception"]


def test_audit_lines_can_be_switched_off() -> None:
    out = io.StringIO()
    with logging_to(out, "info", "console", audit=False):
        logging.getLogger("hub.audit").info("registered")
        logging.getLogger("hub").warning("else")
    with logging_to(out, "info", "console"):
        logging.getLogger("hub.audit").info("again")

    assert "registered" not in out.getvalue()
    assert "else" in out.getvalue() and "again" in out.getvalue()


class GoneTerminal(io.StringIO):
    """A stream that was closed behind our back."""

    def write(self, text: str) -> int:
        raise ValueError("closed")


class BlockedTerminal(io.StringIO):
    """A stream whose reader takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def write(self, text: str) -> int:
        self.let_go.wait(30)
        return super().write(text)


def test_a_stream_that_is_gone_stops_nobody() -> None:
    with logging_to(GoneTerminal(), "info", "json"):
        for _ in range(20_000):
            logging.getLogger("hub").info("line")


def test_a_stream_that_nobody_reads_stops_nobody_and_the_loss_is_told() -> None:
    out = BlockedTerminal()
    with logging_to(out, "info", "json"):
        for _ in range(12_000):
            logging.getLogger("hub").info("line")
        assert out.getvalue() == ""
        out.let_go.set()

    assert 10_000 <= out.getvalue().count('"line"') < 12_000
    assert "log lines were dropped" in out.getvalue()
