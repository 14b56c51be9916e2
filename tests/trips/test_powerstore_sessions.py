"""Signing in at the PowerStore front: passwords, keys, sessions, the token, and which array is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.core.users import digest_of
from hub.model.principal import Scope
from hub.model.record import Kind
from tests.clock import ManualClock
from tests.trips.front_rig import Answer
from tests.trips.powerstore_rig import (
    GROUP,
    KEY,
    OTHER_KEY,
    PASSWORD,
    STALL_KEY,
    WORLD,
    Served,
    basic,
    serving,
)

pytestmark = pytest.mark.anyio

CHANGE = {"description": "x"}


class Session:
    """What a client keeps of a sign-in."""

    def __init__(self, answer: Answer) -> None:
        assert answer.status == 200, answer
        self.set_cookie = answer.headers["Set-Cookie"]
        self.cookie = self.set_cookie.partition(";")[0].removeprefix("auth_cookie=")
        self.token = answer.headers["DELL-EMC-TOKEN"]

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": f"auth_cookie={self.cookie}"}

    @property
    def with_token(self) -> dict[str, str]:
        return {**self.headers, "DELL-EMC-TOKEN": self.token}


async def signed_in(hub: Served, **signed: str) -> Session:
    return Session(await hub.ask("GET", "login_session", signed=signed or None))


async def test_a_sign_in_gives_a_session_with_its_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("GET", "login_session")
        session = Session(answer)

        [row] = answer.json
        assert {name: row[name] for name in row if name != "id"} == {
            "user": "admin", "role_ids": ["1"], "idle_timeout": 3600, "is_password_change_required": False,
            "is_built_in_user": True,
        }  # fmt: skip
        assert all(char.isalnum() or char in "-_." for char in session.cookie + session.token)
        for attribute in ("Path=/", "HttpOnly", "SameSite=Strict"):
            assert attribute in session.set_cookie
        assert (await hub.ask("GET", GROUP, signed=session.headers)).status == 200


async def test_what_is_selected_of_a_session_is_all_that_comes(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("GET", "login_session?select=user%2Cidle_timeout")

        assert answer.json == [{"user": "admin", "idle_timeout": 3600}]


async def test_a_change_by_cookie_needs_the_token_of_its_session(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        session, other = await signed_in(hub), await signed_in(hub)
        statuses = [
            (await hub.ask("PATCH", GROUP, CHANGE, signed=signed)).status
            for signed in (
                session.headers, {**session.headers, "DELL-EMC-TOKEN": "wrong"},
                {**session.headers, "DELL-EMC-TOKEN": other.token}, session.with_token,
            )
        ]  # fmt: skip

        assert statuses == [403, 403, 403, 204]


async def test_the_session_in_the_authorization_header_needs_no_token(tmp_path: Path) -> None:
    # No browser sends it unasked; the vendor's guide prints its requests so.
    async with serving(tmp_path) as hub:
        session = await signed_in(hub)

        assert (await hub.ask("PATCH", GROUP, CHANGE, signed={"Authorization": session.cookie})).status == 204


async def test_name_and_password_on_the_request_stand_in_for_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        assert (await hub.ask("PATCH", GROUP, CHANGE)).status == 204


async def test_a_key_is_taken_as_the_password_and_as_a_bearer(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        as_password = await hub.ask("GET", "login_session", signed=basic("admin", KEY))
        nobody = await hub.ask("GET", "/arrays/array-1/api/rest/login_session", signed=basic("anybody", KEY))
        as_bearer = await hub.ask("GET", "/arrays/array-1/api/rest/job", signed={"Authorization": f"Bearer {KEY}"})

        assert [answer.status for answer in (as_password, nobody, as_bearer)] == [200, 200, 200]
        assert nobody.json[0]["user"] == "anybody"


STRANGERS: list[dict[str, str]] = [
    {}, {"Authorization": "Basic"}, {"Authorization": "Basic !!!"}, {"Authorization": "Basic YWRtaW4="},
    basic("admin", "wrong"), basic("nobody", PASSWORD), basic("admin", "ak_not_a_key_of_this_hub"),
    basic("Admin", PASSWORD), {"Authorization": "Digest x"}, {"Authorization": "no.session"},
    {"Authorization": "Bearer ak_not_a_key_of_this_hub"}, {"Cookie": "auth_cookie=None"},
    {"Cookie": "auth_cookie=WzFd.AAAA"}, {"Cookie": "other=1"},
]  # fmt: skip


async def test_nobody_else_gets_in(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for signed in STRANGERS:
            answer = await hub.ask("GET", "job", signed=signed)
            assert answer.status == 401, signed
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
            assert answer.json["messages"]


async def test_a_cookie_that_was_changed_is_worth_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        cookie = (await signed_in(hub)).cookie
        for at in range(0, len(cookie), 7):
            other = cookie[:at] + ("A" if cookie[at] != "A" else "B") + cookie[at + 1 :]
            answer = await hub.ask("GET", "job", signed={"Cookie": f"auth_cookie={other}"})
            # The last digit of a base64 text holds bits that mean nothing.
            assert answer.status == 401 or at == len(cookie) - 1


async def test_sessions_outlive_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with serving(tmp_path, clock) as hub:
        session = await signed_in(hub)
    async with serving(tmp_path, clock) as hub:
        assert (await hub.ask("PATCH", GROUP, CHANGE, signed=session.with_token)).status == 204


async def test_a_session_that_was_logged_out_stays_ended_over_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with serving(tmp_path, clock) as hub:
        session, other = await signed_in(hub), await signed_in(hub)
        ended = await hub.ask("POST", "logout", signed=session.with_token)
        assert (ended.status, ended.body) == (204, b"")
        assert (await hub.ask("GET", "job", signed=session.headers)).status == 401
    async with serving(tmp_path, clock) as hub:
        assert (await hub.ask("GET", "job", signed=session.headers)).status == 401
        assert (await hub.ask("GET", "job", signed=other.headers)).status == 200


async def test_what_is_remembered_of_ended_sessions_goes_when_they_would_have(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for _ in range(3):
            await hub.ask("POST", "logout", signed=(await signed_in(hub)).with_token)
        hub.clock.advance(3661)
        last = await signed_in(hub)
        await hub.ask("POST", "logout", signed=last.with_token)

        assert len(hub.hub.directory.records(Kind.SESSION)) == 1


async def test_however_many_sessions_an_account_ends_none_of_them_gets_in_again(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.dialects.powerstore.sessions.MOST_ENDED", 3)
    ended = []
    async with serving(tmp_path, clock) as hub:
        for _ in range(6):
            ended.append(await signed_in(hub))
            clock.advance(1)
            assert (await hub.ask("POST", "logout", signed=ended[-1].with_token)).status == 204
        later = await signed_in(hub)
        assert [(await hub.ask("GET", "job", signed=one.headers)).status for one in ended] == [401] * 6
        assert (await hub.ask("GET", "job", signed=later.headers)).status == 200
        assert len(hub.hub.directory.records(Kind.SESSION)) == 4  # three and the moment before which all have ended
    async with serving(tmp_path, clock) as hub:
        assert [(await hub.ask("GET", "job", signed=one.headers)).status for one in ended] == [401] * 6
        assert (await hub.ask("GET", "job", signed=later.headers)).status == 200
        clock.advance(3661)
        await hub.ask("POST", "logout", signed=(await signed_in(hub)).with_token)
        assert len(hub.hub.directory.records(Kind.SESSION)) == 1


async def test_sessions_that_one_account_ends_cost_another_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.dialects.powerstore.sessions.MOST_ENDED", 2)
    async with serving(tmp_path) as hub:
        at = "/arrays/array-2/api/rest/"
        theirs = [Session(await hub.ask("GET", f"{at}login_session", signed=basic("x", OTHER_KEY))) for _ in range(2)]
        hub.clock.advance(1)
        for _ in range(5):
            await hub.ask("POST", "logout", signed=(await signed_in(hub)).with_token)
            hub.clock.advance(1)

        assert (await hub.ask("GET", f"{at}job", signed=theirs[0].headers)).status == 200
        assert (await hub.ask("POST", f"{at}logout", signed=theirs[0].with_token)).status == 204
        assert (await hub.ask("GET", f"{at}job", signed=theirs[0].headers)).status == 401
        assert (await hub.ask("GET", f"{at}job", signed=theirs[1].headers)).status == 200


async def test_a_log_out_needs_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        session = await signed_in(hub)

        assert (await hub.ask("POST", "logout", signed=session.headers)).status == 403
        assert (await hub.ask("GET", "job", signed=session.headers)).status == 200


async def test_a_session_ends_by_itself(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        session = await signed_in(hub)
        hub.clock.advance(3599)
        before = await hub.ask("GET", "login_session?select=idle_timeout", signed=session.headers)
        hub.clock.advance(1)
        after = await hub.ask("GET", "job", signed=session.headers)

        assert (before.json, after.status) == ([{"idle_timeout": 1}], 401)


async def test_another_password_ends_the_sessions_of_the_old_one(tmp_path: Path, clock: ManualClock) -> None:
    async with serving(tmp_path, clock) as hub:
        session = await signed_in(hub)
    async with serving(tmp_path, clock, world=WORLD.replace(PASSWORD, "another one")) as hub:
        assert (await hub.ask("GET", "job", signed=session.headers)).status == 401
        assert (await hub.ask("GET", "job", signed=basic())).status == 401
        assert (await hub.ask("GET", "job", signed=basic("admin", "another one"))).status == 200


async def test_a_key_that_was_revoked_ends_its_sessions(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        key, secret = await hub.hub.access.create_key("shop", hub.hub.access.authenticate(KEY).scopes)
        session = await signed_in(hub, **basic("admin", secret))
        await hub.hub.access.revoke_key(key.id)

        assert (await hub.ask("GET", "job", signed=session.headers)).status == 401


async def test_jobs_are_shown_to_who_may_call_or_listen(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        job = (await hub.ask("PATCH", f"{GROUP}?is_async=true", CHANGE)).json["id"]
        told = {}
        for scope in Scope:
            _, secret = await hub.hub.access.create_key("shop", frozenset({scope}))
            answers = [await hub.ask("GET", path, signed=basic("admin", secret)) for path in ("job", f"job/{job}")]
            told[scope] = [answer.status for answer in answers]

        may, may_not = [200, 200], [403, 403]
        assert told == {Scope.CALL: may, Scope.LISTEN: may, Scope.ADMIN: may, Scope.DEVICE: may_not}


async def test_a_session_opens_no_other_door(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        session = await signed_in(hub)
        shown = [session.cookie, f"Bearer {session.cookie}"]
        for path in ("/v1/me", "/v1/calls", "/v2/notification/channel"):
            for signed in (session.with_token, *({"Authorization": each} for each in shown)):
                assert (await hub.ask("GET", path, signed=signed)).status == 401, path


async def test_the_path_goes_before_the_host_and_the_host_before_the_users_array(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        await hub.ask("PATCH", GROUP, {"description": "first"})
        await hub.ask("PATCH", f"/arrays/array-3/api/rest/{GROUP}?is_async=true", CHANGE)
        select = f"{GROUP}?select=description"
        host = {"Host": "TWO.example.org:8443"}

        assert (await hub.ask("GET", select)).json == {"description": "first"}
        assert (await hub.ask("GET", select, headers=host)).json == {"description": ""}
        first = await hub.ask("GET", f"/arrays/array-1/api/rest/{select}", headers=host)
        assert first.json == {"description": "first"}
        assert (await hub.ask("GET", f"/arrays/basement/api/rest/{select}")).json == {"description": ""}
        assert len((await hub.ask("GET", "/arrays/array-3/api/rest/job")).json) == 1


async def test_where_no_array_is_meant_there_is_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for path, signed in (
            ("job", basic("nobodys")),
            ("job", {"Authorization": f"Bearer {KEY}"}),
            ("/arrays/nothing/api/rest/job", basic()),
            ("/arrays/array-1/api/rest/job", basic("x", OTHER_KEY)),
        ):
            answer = await hub.ask("GET", path, signed=signed)
            assert answer.status == 404, path
            assert answer.json["messages"][0]["code"] == "0xE04040020002"


async def test_a_host_means_one_accounts_array_and_not_another_ones_of_the_same_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        host = {"Host": "two.example.org"}

        assert (await hub.ask("GET", "job", headers=host, signed=basic("x", KEY))).status == 200
        assert (await hub.ask("GET", "job", headers=host, signed=basic("x", OTHER_KEY))).status == 404
        assert (await hub.ask("GET", "/arrays/array-2/api/rest/job", signed=basic("x", OTHER_KEY))).status == 200


async def test_a_session_is_of_one_array(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        session = Session(await hub.ask("GET", "/arrays/array-2/api/rest/login_session"))

        assert (await hub.ask("GET", "/arrays/array-1/api/rest/job", signed=session.headers)).status == 401
        assert (await hub.ask("GET", "/arrays/array-2/api/rest/job", signed=session.headers)).status == 200
        # Without a name in the address the session says which array is meant.
        await hub.ask("PATCH", f"/arrays/array-2/api/rest/{GROUP}?is_async=true", CHANGE)
        assert len((await hub.ask("GET", "job", signed=session.headers)).json) == 1


async def test_an_application_sees_the_jobs_of_its_account_and_foreign_accounts_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        id = await hub.submitted(GROUP, CHANGE)
        mine = await hub.ask("GET", f"/arrays/array-1/api/rest/job/{id}", signed=basic("x", STALL_KEY))

        assert mine.status == 200
        assert (await hub.ask("GET", f"/arrays/array-2/api/rest/job/{id}")).status == 404
        assert (await hub.ask("GET", f"/arrays/array-1/api/rest/job/{id}", signed=basic("x", OTHER_KEY))).status == 404


async def test_a_key_in_the_url_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        assert (await hub.ask("GET", f"job?token={KEY}")).status == 400


async def test_the_password_itself_is_nowhere_in_the_data(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        await hub.ask("GET", "login_session")

    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    assert PASSWORD.encode() not in stored
    assert digest_of(PASSWORD, b"0" * 16) not in stored
