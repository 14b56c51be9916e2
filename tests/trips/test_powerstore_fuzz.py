"""Whatever comes in below the front, a message entity goes out, and never a 500."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.trips.powerstore_rig import GROUP, basic, serving

pytestmark = pytest.mark.anyio

PIECES = [
    "job", "volume_group", GROUP, "name:finance", "%2F", "%00", "%zz", "%ff", "..", ".", "", "%20", "%C3%A9", "a" * 300,
    "login_session", "software_installed", "logout", "clone", "?", "&", "=", "eq.", "in.(", ")", "+", "%2B", ",",
]  # fmt: skip
QUERIES = [
    "select=", "select=id", "select=*", "select=volumes(", "select=root(id)", "order=id", "limit=1", "limit=1e9",
    "limit=99999999999999999999", "offset=5", "offset=0", "is_async=true", "is_async=", "or=((", "id=in.(%22a,%22)",
    "start_time=gt.9999-99-99", "start_time=gt.0001-01-01T00:00:00%2B23:59", "step_order=eq.99999999999999999999",
    "state=eq.FAILED", "%zz=1", "%00=eq.%00", "=", "select=id&select=name", "id=not.is.null",
]  # fmt: skip
HEADERS = [
    {"Range": "0-99999999999999999999"}, {"Range": "-1"}, {"Range": "9-1"}, {"Accept": "*/*"}, {"Accept": "text/html"},
    {"Cookie": "auth_cookie"}, {"Cookie": "=;;auth_cookie=..;"}, {"Authorization": "Basic /////w=="},
    {"Authorization": "é"}, {"Host": "[::1"}, {"Host": ""}, {"DELL-EMC-TOKEN": "é"}, {"Hub-Callback-Url": "é"},
    {"Idempotency-Key": " "}, {}, {}, {}, {},
]  # fmt: skip
BODIES = [b"", b"{}", b'{"description": "x"}', b"\xff", b"[" * 5000, b'{"name": NaN}', b'{"a": 1e999}', b'"x"', b"null"]


async def test_nothing_that_is_sent_makes_the_front_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    luck = random.Random(2)
    seen: set[int] = set()
    async with serving(tmp_path) as hub:
        for _ in range(200):
            prefix = luck.choice(["/api/rest/", "/api/rest/", "/arrays/array-1/api/rest/", "/arrays/%zz/api/rest/"])
            path = prefix + luck.choice(["", "/"]).join(luck.choices(PIECES, k=luck.randrange(1, 4)))
            if luck.random() < 0.5:
                path = f"/api/rest/{luck.choice(['job', 'volume_group', GROUP])}?{'&'.join(luck.choices(QUERIES, k=2))}"
            method = luck.choice(["GET", "GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "LOCK"])
            body = luck.choice(BODIES) if method != "GET" else None
            answer = await hub.ask(method, path, body, luck.choice(HEADERS), signed=luck.choice([basic(), basic(), {}]))
            seen.add(answer.status)
            assert answer.status < 500, (method, path, body, answer)
            if answer.status >= 400:
                assert answer.json["messages"][0]["message_l10n"], (method, path, answer)
    assert {200, 400, 401, 404, 405} <= seen
    assert "a request failed" not in caplog.text
