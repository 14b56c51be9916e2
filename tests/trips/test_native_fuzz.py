"""Whatever comes in, both fronts answer it in their own shape and never with a 5xx."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio.from_thread
import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.trips.front_rig import KEY, running_front

EXAMPLES = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORD = re.compile(r"[A-Z0-9_]+")

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_MEMBER = st.sampled_from(
    [
        "method",
        "uri",
        "payload-b64",
        "payload",
        "args",
        "accept",
        "content-type",
        "ref",
        "channel",
        "callback",
        "timeout",
        "expiry",
        "retry",
        "order",
        "on-uncertain",
        "scopes",
        "label",
        "adapter",
        "name",
        "aliases",
        "queue-mode",
        "secret",
        "serialization",
        "address",
        "type",
    ]
)
_PLAUSIBLE = st.sampled_from(
    [
        "GET",
        "INVOKE",
        "/5/0/1",
        "%zz",
        "ä",
        "AAE=",
        "default",
        "other/default",
        "serial",
        0,
        5,
        -1,
        1e300,
        True,
        {},
        [],
        ["call"],
        {"type": "v2", "cfg": {"include_uid": 1}},
        "scripted",
        "ak_x",
        "\x00",
        "\ud800",
    ]
)
_OBJECT = st.dictionaries(_MEMBER, _PLAUSIBLE | _JSON, max_size=6)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_msgpack(value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    except (OverflowError, ValueError):
        return b"\xc1"
    return packed


BODIES = st.binary(max_size=60) | (_OBJECT | _JSON).flatmap(
    lambda value: st.sampled_from([as_json(value), as_json(value)[:-1], as_msgpack(value)])
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Content-Type",
            "Accept",
            "Idempotency-Key",
            "Content-Encoding",
            "Last-Event-ID",
            "X-Anything",
            "Origin",
            "Cookie",
        ]
    ),
    st.sampled_from(["application/json", "application/msgpack", "text/plain", "gzip", "*/*", "k", "a:1", "x" * 300])
    | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "async-id",
                "retry",
                "expiry-seconds",
                "limit",
                "after",
                "state",
                "ending",
                "since",
                "epoch",
                "offset",
                "from",
                "presence",
                "filter",
                "order",
                "include",
                "cacheOnly",
                "noResp",
                "key",
                "name",
                "device",
                "ref",
            ]
        ),
        st.text(max_size=12) | st.sampled_from(
            ["0", "1", "-1", "9" * 30, "done", "2026-01-01T00:00:00Z", "now", "true", "ASC", "state=x", "etag__gte=x"]
        ),
    ),
    max_size=4,
).map(
    lambda pairs: "&".join(f"{name}={quote(value, safe='', errors='surrogatepass')}" for name, value in pairs)
) | st.binary(max_size=10).map(lambda raw: quote(raw, safe="%&="))
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD"])
NATIVE = st.sampled_from(
    [
        "/v1/devices/lamp/calls",
        "/v1/devices/lamp",
        "/v1/devices/new",
        "/v1/devices",
        "/v1/devices/lamp/credentials",
        "/v1/devices/lamp/observations",
        "/v1/devices/lamp/observations/5/0/1",
        "/v1/calls",
        "/v1/calls/x",
        "/v1/me",
        "/v1/keys",
        "/v1/keys/x",
        "/v1/channels",
        "/v1/channels/x",
        "/v1/channels/a/b",
        "/v1/stream",
        "/v1",
    ]
) | st.binary(max_size=12).map(lambda raw: "/v1/" + quote(raw, safe="/"))
PELION = st.sampled_from(
    [
        "/v2/device-requests/lamp",
        "/v2/device-requests/lamp?async-id=a",
        "/v2/device-requests/x",
        "/v2/notification/websocket",
        "/v2/notification/channel",
        "/v2/notification/websocket-connect",
        "/v2/endpoints",
        "/v2/endpoints/lamp",
        "/v2/endpoints/lamp/5/0/1",
        "/v2/endpoints/x//5",
        "/v2/subscriptions",
        "/v2/subscriptions/lamp",
        "/v2/subscriptions/lamp//5/0/1",
        "/v2",
    ]
) | st.binary(max_size=12).map(lambda raw: "/v2/" + quote(raw, safe="/"))


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("fuzz")
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_answering(folder)) as served,
    ):
        yield served


@asynccontextmanager
async def _answering(folder: Path) -> AsyncIterator[int]:
    async with running_front(folder) as front:
        answering = asyncio.create_task(_answer(front.core.adapter.attempts))
        yield front.port
        answering.cancel()


async def _answer(attempts: asyncio.Queue[Any]) -> None:
    """A device that answers every call, so that no queue fills up."""
    while True:
        (await attempts.get()).reply(200)


def ask(port: int, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {KEY}", **headers})
        answer = connection.getresponse()
        answer.told = answer.read()  # type: ignore[attr-defined]
        return answer
    finally:
        connection.close()


def with_query(path: str, query: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}{query}" if query else path


@EXAMPLES
@given(method=METHODS, path=NATIVE, query=QUERIES, headers=HEADERS, body=BODIES)
def test_the_native_front_answers_anything_with_its_answer_or_a_problem(
    port: int, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    answer = ask(port, method, with_query(path, query), headers, body)

    assert answer.status < 500, (answer.status, answer.told)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        told = json.loads(answer.told) if method != "HEAD" else {"status": answer.status, "type": "urn:hub:problem:"}
        assert told["status"] == answer.status
        assert told["type"].startswith("urn:hub:problem:")


@EXAMPLES
@given(headers=HEADERS, body=_OBJECT.map(as_json) | _OBJECT.map(as_msgpack) | BODIES)
def test_any_body_of_a_native_call_is_a_call_or_a_problem(port: int, headers: dict[str, str], body: bytes) -> None:
    answer = ask(port, "POST", "/v1/devices/lamp/calls", headers, body)

    assert answer.status in (202, 400, 404, 409, 413, 415), (answer.status, answer.told)
    if answer.status != 202:
        assert json.loads(answer.told)["status"] == answer.status


_LINE = st.binary(max_size=24).map(lambda raw: bytes(byte for byte in raw if byte not in b"\r\n\0"))
_ORIGIN = st.sampled_from([b"http://[", b"http://[::1", b"null", b"://", b"http://a]b", b"*", b"", b"http://h"]) | _LINE
_SOCKET_HEADERS = st.lists(
    st.tuples(st.sampled_from([b"Origin", b"Host"]), _ORIGIN)
    | st.tuples(
        st.sampled_from([b"Sec-WebSocket-Protocol", b"Authorization", b"Sec-WebSocket-Extensions", b"Cookie"]),
        st.sampled_from(
            [b"hub.v1.json", b"wss, pelion_x", b"key.", b"key.a, key.b", b",,", b"Bearer", b"permessage-deflate;="]
        )
        | _LINE,
    )
    | st.tuples(
        st.sampled_from([b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"Upgrade", b"Connection"]), _LINE
    ),
    max_size=4,
)
_HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


@EXAMPLES
@given(
    path=st.sampled_from([b"/v1/stream", b"/v2/notification/websocket-connect"]),
    query=_LINE.map(lambda raw: quote(raw, safe="=&%").encode()) | st.sampled_from([b"", b"channel=default&offset=0"]),
    headers=_SOCKET_HEADERS,
    key=st.booleans(),
)
@example(path=b"/v1/stream", query=b"", headers=[(b"Origin", b"http://[")], key=True)
@example(path=b"/v2/notification/websocket-connect", query=b"", headers=[(b"Host", b"["), (b"Origin", b"")], key=True)
def test_any_handshake_of_a_socket_is_taken_or_refused_in_words(
    port: int, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], key: bool
) -> None:
    shown = [*headers, *([(b"Authorization", b"Bearer " + KEY.encode())] if key else [])]
    lines = b"".join(b"%s: %s\r\n" % header for header in shown)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET %s?%s HTTP/1.1\r\n%s%s\r\n" % (path, query, _HANDSHAKE, lines))
        told = client.recv(65536)

    assert re.match(rb"HTTP/1.1 (101|4[0-9][0-9]) ", told), told


@EXAMPLES
@given(method=METHODS, path=PELION, query=QUERIES, headers=HEADERS, body=BODIES | _OBJECT.map(as_json))
def test_the_connect_front_answers_anything_with_its_answer_or_a_word(
    port: int, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    answer = ask(port, method, with_query(path, query), headers, body)

    assert answer.status < 500, (answer.status, answer.told)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert method == "HEAD" or WORD.fullmatch(answer.told.decode()), answer.told


@EXAMPLES
@given(
    method=METHODS,
    path=st.sampled_from(["/v3/devices/", "/v3/devices", "/v3/devices/lamp/", "/v3/devices/x", "/v3"])
    | st.binary(max_size=12).map(lambda raw: "/v3/" + quote(raw, safe="/")),
    query=QUERIES,
    headers=HEADERS,
)
def test_the_device_directory_answers_anything_with_its_answer_or_an_error_object(
    port: int, method: str, path: str, query: str, headers: dict[str, str]
) -> None:
    answer = ask(port, method, with_query(path, query), headers, b"")

    assert answer.status < 500, (answer.status, answer.told)
    if answer.status >= 400 and method != "HEAD":
        told = json.loads(answer.told)
        assert (told["object"], told["code"]) == ("error", answer.status)
