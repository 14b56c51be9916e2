"""Who may ask: keys, signatures, and tokens that nobody can check; what is shown must be right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.clock import ManualClock
from tests.trips.enos_rig import KEY, STALL_KEY, WORLD, Served, call, read, serving
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio

INVOKE = "/dataService/devices/multiInvoke"
OPAQUE = {"Apim-accesstoken": "x" * 344}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A hub for tests that neither count what there is nor move the clock."""
    async with serving(tmp_path_factory.mktemp("shared")) as served:
        yield served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


def now_of(served: Served) -> str:
    return str(int(served.clock.now().timestamp() * 1000))


def proof(served: Served, *, key: str = "ak-1", secret: str = "sec-1", at: str | None = None) -> dict[str, Any]:
    at = at or now_of(served)
    return {"appKey": key, "encryption": hashlib.sha256(f"{key}{at}{secret}".encode()).hexdigest(), "timestamp": at}


async def token(served: Served, word: str = "get", **members: Any) -> Any:
    body = {**proof(served), **members}
    return await served.ask("POST", f"/apim-token-service/v2.0/token/{word}", body, key=None, org=None)


def signed(
    served: Served, token: str, body: bytes, *, query: str = "orgIdo1", at: str | None = None, secret: str = "sec-1"
) -> dict[str, str]:
    at = at or now_of(served)
    text = f"{token}{query}".encode() + body + f"{at}{secret}".encode()
    return {
        "apim-accesstoken": token, "apim-timestamp": at, "apim-signature": hashlib.sha256(text).hexdigest(),
    }  # fmt: skip


BODY = json.dumps({"data": [call()]}).encode()


# Tokens.


async def test_a_token_is_given_for_a_proof_and_is_the_same_while_it_lives(served: Served) -> None:
    first = await token(served)
    served.clock.advance(60)
    second = await token(served)

    assert (first["status"], first["msg"], first["business"]) == (0, "SUCCESS", "apim-token-service")
    assert first["data"]["expire"] == 7200
    assert second["data"] == {"accessToken": first["data"]["accessToken"], "expire": 7140}


async def test_the_time_of_a_proof_may_be_a_number(served: Served) -> None:
    assert (await token(served, timestamp=int(now_of(served))))["status"] == 0


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"appKey": "nobody"}, 1002), ({"encryption": "0" * 64}, 1003), ({"encryption": "é"}, 1003),
        ({"appKey": ""}, 1202), ({"encryption": None}, 1202), ({"timestamp": ""}, 1202), ({"timestamp": "soon"}, 1004),
        ({"timestamp": "1000"}, 1004), ({"appKey": 5}, 1004),
    ],
)  # fmt: skip
async def test_a_wrong_proof_is_told_by_its_code(shared: Served, changes: dict[str, Any], status: int) -> None:
    answer = await token(shared, **changes)

    assert (answer["status"], answer["data"]) == (status, None)


async def test_a_proof_is_taken_once(served: Served) -> None:
    body = proof(served)
    path = "/apim-token-service/v2.0/token/get"

    answers = [await served.ask("POST", path, body, key=None, org=None) for _ in range(2)]

    assert [answer["status"] for answer in answers] == [0, 1001]


async def test_a_token_is_refreshed_by_another(served: Served) -> None:
    first = (await token(served))["data"]["accessToken"]
    served.clock.advance(1)
    second = await token(served, "refresh", accessToken=first)
    served.clock.advance(1)
    wrong = await token(served, "refresh", accessToken="no.such.to.ken")

    assert second["data"]["accessToken"] != first and second["data"]["expire"] == 7200
    assert wrong["status"] == 1204


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
async def test_what_is_no_object_is_a_bad_parameter(shared: Served, body: bytes) -> None:
    answer = await shared.ask("POST", "/apim-token-service/v2.0/token/get", body, key=None, org=None)

    assert answer["status"] == 1004


# Signatures.


async def test_a_signed_request_is_taken_as_its_applications(served: Served) -> None:
    text = (await token(served))["data"]["accessToken"]

    answer = await served.ask("PUT", INVOKE, BODY, key=None, headers=signed(served, text, BODY))

    assert (answer["status"], answer["data"][0]["status"]) == (0, 0)
    (event,) = await served.told(1)
    assert event.body["ref"] == "r-1"


async def test_a_wrong_signature_is_refused_also_where_opaque_tokens_are_let_in(served: Served) -> None:
    text = (await token(served))["data"]["accessToken"]
    good = signed(served, text, BODY, query="orgIdopen")
    old = signed(served, text, BODY, query="orgIdopen", at=str(int(now_of(served)) - 16 * 60_000))

    for headers in (
        {**good, "apim-signature": "0" * 64},
        {**good, "apim-timestamp": str(int(now_of(served)) + 1)},
        {**good, "apim-accesstoken": "x" * 344},
        {**good, "apim-accesstoken": text[:-1] + ("0" if text[-1] != "0" else "1")},
        old,
    ):
        answer = await served.ask("PUT", INVOKE, BODY, key=None, headers=headers, org="open")
        assert answer["status"] in (401, 1004), headers
    assert (await served.ask("PUT", INVOKE, BODY + b" ", key=None, headers=good, org="open"))["status"] == 401
    assert (await served.ask("PUT", INVOKE, BODY, key=None, headers=good, org="open"))["status"] == 0


async def test_an_expired_token_signs_nothing(served: Served) -> None:
    text = (await token(served))["data"]["accessToken"]
    served.clock.advance(7200)

    answer = await served.ask("PUT", INVOKE, BODY, key=None, headers=signed(served, text, BODY))

    assert answer["status"] == 1203


async def test_a_token_serves_over_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, clock) as served:
        text = (await token(served))["data"]["accessToken"]
    async with serving(tmp_path, clock) as served:
        answer = await served.ask("PUT", INVOKE, BODY, key=None, headers=signed(served, text, BODY))

    assert answer["status"] == 0


async def test_a_token_of_another_secret_is_worth_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, clock) as served:
        text = (await token(served))["data"]["accessToken"]
    async with serving(tmp_path, clock, world=WORLD.replace('"sec-1"', '"sec-2"')) as served:
        headers = signed(served, text, BODY, secret="sec-2")
        assert (await served.ask("PUT", INVOKE, BODY, key=None, headers=headers))["status"] == 401


async def test_whoever_signs_hears_the_outcome_on_the_socket(served: Served) -> None:
    text = (await token(served))["data"]["accessToken"]

    async with served.stream(key=None, headers=signed(served, text, b"")) as socket:
        await served.invoke(call())
        assert (await read(socket))["data"][0]["requestId"] == "r-1"


# Tokens that nobody can check.


async def test_an_opaque_token_is_let_in_from_a_network_that_is_named(shared: Served) -> None:
    answer = await shared.ask("PUT", INVOKE, {"data": [call()]}, key=None, headers=OPAQUE, org="open")

    assert (answer["status"], answer["data"][0]["status"]) == (0, 0)


async def test_whoever_was_let_in_so_is_called_back(served: Served) -> None:
    async with receiving() as receiver:
        body = {"data": [call(callbackUrl=receiver.url)]}
        await served.ask("PUT", INVOKE, body, key=None, headers=OPAQUE, org="open")

        assert (await receiver.next()).json["data"][0]["status"] == 0


async def test_a_handshake_is_refused_by_its_status(shared: Served) -> None:
    for headers, status in (({**OPAQUE}, 401), ({"apim-signature": "0" * 64}, 401)):
        with pytest.raises(InvalidStatus) as refused:
            async with shared.stream(key=None, headers=headers):
                pass
        assert refused.value.response.status_code == status


@pytest.mark.parametrize("wrong", [{"Authorization": ""}, {"apim-signature": ""}, {"apim-signature": "0" * 64}])
@pytest.mark.parametrize("key", [None, f"key.{KEY}"])
async def test_nor_is_a_handshake_with_anything_that_is_not_right(
    shared: Served, key: str | None, wrong: dict[str, str]
) -> None:
    sent = {**OPAQUE, **wrong, **({} if key is None else {"Sec-WebSocket-Protocol": key})}
    with pytest.raises(InvalidStatus) as refused:
        async with shared.stream(key=None, headers=sent, query="&orgId=open"):
            pass

    assert refused.value.response.status_code == (400 if key is not None and "Authorization" in wrong else 401)
    async with shared.stream(key=None, headers=OPAQUE, query="&orgId=open"):
        pass


@pytest.mark.parametrize("org", ["o1", "far"])
async def test_it_is_let_in_from_nowhere_else(shared: Served, org: str) -> None:
    before = shared.hub.stats.accepted
    answer = await shared.ask("PUT", INVOKE, {"data": [call()]}, key=None, headers=OPAQUE, org=org)

    assert answer["status"] == 401
    assert shared.hub.stats.accepted == before


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"X-Forwarded-Proto": "https"},
        {"Host": "elsewhere.example"}, {"Host": "127.0.0.1:1"}, {"Host": "127.0.0.1"}, {"Apim-accesstoken": ""},
        {"Authorization": "Bearer ak_of_nobody_here"}, {"Authorization": "Basic eDp5"}, {"apim-signature": "0" * 64},
        {"Authorization": ""}, {"Authorization": "Bearer"}, {"apim-signature": ""},
    ],
)  # fmt: skip
async def test_it_is_not_let_in_with_anything_that_is_not_right(shared: Served, headers: dict[str, str]) -> None:
    sent, before = {**OPAQUE, **headers}, shared.hub.stats.accepted

    answer = await shared.ask("PUT", INVOKE, {"data": [call()]}, key=None, headers=sent, org="open")

    assert answer["status"] == 401, answer
    assert shared.hub.stats.accepted == before


async def test_nothing_at_all_is_not_let_in(shared: Served) -> None:
    for org in ("open", "none", None):
        assert (await shared.ask("PUT", INVOKE, {"data": [call()]}, key=None, org=org))["status"] == 401


async def test_localhost_is_this_hub_too(shared: Served) -> None:
    headers = {**OPAQUE, "Host": f"localhost:{shared.port}"}

    assert (await shared.ask("PUT", INVOKE, {"data": []}, key=None, headers=headers, org="open"))["status"] == 0


async def test_a_right_key_beside_an_opaque_token_counts(shared: Served) -> None:
    answer = await shared.ask("PUT", INVOKE, {"data": [call()]}, headers=OPAQUE)

    assert answer["data"][0]["status"] == 0


async def test_a_key_and_a_signature_of_different_applications_do_not_go_together(served: Served) -> None:
    text = (await token(served))["data"]["accessToken"]

    answer = await served.ask("PUT", INVOKE, BODY, key=STALL_KEY, headers=signed(served, text, BODY))

    assert answer["status"] == 401


async def test_no_secret_is_readable_in_the_data_folder(tmp_path: Path) -> None:
    world = WORLD.replace('"sec-1"', '"a-secret-that-would-be-found"')
    async with serving(tmp_path, world=world):
        pass

    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or b"a-secret-that-would-be-found" not in file.read_bytes(), file


async def test_a_revoked_key_closes_its_socket(served: Served) -> None:
    async with served.stream() as socket:
        await served.hub.access.revoke_key("shop")
        with pytest.raises(ConnectionClosed) as closed:
            await read(socket)

    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
