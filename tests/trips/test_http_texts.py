"""Texts of an upstream's answer that are none: no call hangs over them, whatever else they spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.http.double import Heard, Server
from hub.core.intake import Taken
from hub.model.call import CallSpec
from hub.model.outcome import Ending
from tests.core_rig import PRINCIPAL
from tests.trips.test_http_adapter import server, trip  # noqa: F401  (a fixture)

pytestmark = pytest.mark.anyio


def says(server: Server, head: bytes, body: bytes = b"{}") -> None:  # noqa: F811
    """Let the upstream give everybody this answer."""
    length = b"Content-Length: %d\r\n" % len(body)

    async def script(heard: Heard) -> bool:
        await heard.send(b"HTTP/1.1 " + head + b"\r\n" + length + b"\r\n" + body)
        return True

    server.script = script


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("jobs", ["none", "powerstore"])
@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"Content-Type: text/pl\xe9in", "content_type"),
        (b"Content-Range: \xff\xfe", "content_range"),
        (b"Content-Range: items 0-1/\xc3\xa9", "content_range"),
    ],
)
async def test_a_header_that_is_no_text_is_left_out_and_the_answer_is_told(
    tmp_path: Path, server: Server, method: str, jobs: str, header: bytes, name: str  # noqa: F811
) -> None:
    says(server, b"200 OK\r\n" + header)
    async with trip(tmp_path, server, jobs=jobs) as t:
        outcome = (await t.ended(await t.submit(method=method, target="/volume"))).outcome

    assert outcome is not None
    assert (outcome.ending, outcome.status, outcome.payload) == (Ending.ANSWERED, 200, b"{}")
    assert (outcome.content_type, outcome.native.get("content_range")) == (None, None)


@pytest.mark.parametrize("jobs", ["none", "powerstore"])
@pytest.mark.parametrize("id", [b'"\\ud800"', b'"a\\udfffb"', b"NaN"])
async def test_a_create_whose_id_is_no_text_ends_without_it(
    tmp_path: Path, server: Server, jobs: str, id: bytes  # noqa: F811
) -> None:
    says(server, b"201 Created\r\nContent-Type: application/json", b'{"id": ' + id + b"}")
    async with trip(tmp_path, server, jobs=jobs) as t:
        outcome = (await t.ended(await t.submit(method="POST", target="/volume"))).outcome

    assert outcome is not None
    assert (outcome.status, outcome.payload) == (200, b'{"id": ' + id + b"}")


async def test_a_create_whose_name_is_no_text_is_taken_as_a_job_without_a_name(
    tmp_path: Path, server: Server  # noqa: F811
) -> None:
    async with trip(tmp_path, server, jobs="none") as t:
        spec = CallSpec(
            account="acme", application="shop", ref="r", device="array", method="POST", target="/volume",
            channel="shop/default", dialect="native", payload=b'{"name": "\\ud800"}',
        )  # fmt: skip
        (verdict,) = (await t.hub.intake.submit(PRINCIPAL, [spec])).verdicts

        assert isinstance(verdict, Taken)
        assert verdict.call.job is not None and verdict.call.job.name is None
        assert (await t.ended(verdict.call)).outcome is not None
