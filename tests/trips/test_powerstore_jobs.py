"""The collection of jobs: attributes, selection, filters, order and pages, over a restart too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clock import ManualClock
from tests.trips.powerstore_rig import GROUP, Served, serving

pytestmark = pytest.mark.anyio

ALL = (
    "id,resource_action,resource_type,resource_id,resource_name,description_l10n,state,start_time,phase,end_time,"
    "estimated_completion_time,progress_percentage,parent_id,root_id,user,response_body,response_status,step_order,"
    "resource_action_l10n,resource_type_l10n,state_l10n,phase_l10n,response_status_l10n"
)


async def filled(hub: Served) -> list[str]:
    """Six jobs that have ended, a second apart: ids in order."""
    ids = []
    for number, (path, body, method) in enumerate(
        [
            (GROUP, {"description": "x"}, "PATCH"), ("volume", {"name": "Alpha", "size": 2097152}, "POST"),
            (GROUP, {"description": "__fail__"}, "PATCH"), ("volume_group", {"name": "beta"}, "POST"),
            ("local_user/1", {"is_locked": True}, "PATCH"), ("local_user/1", None, "DELETE"),
        ]
    ):  # fmt: skip
        ids.append(await hub.submitted(path, body, method))
        await hub.ended(ids[number])
        hub.clock.advance(1)
    return ids


async def test_a_finished_job_has_all_its_attributes(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        id = await hub.submitted(GROUP, {"description": "__fail__"})
        await hub.ended(id)
        job = (await hub.ask("GET", f"job/{id}?select={ALL.replace(',', '%2C')}")).json

        assert list(job) == ALL.split(",")
        assert {name: value for name, value in job.items() if name not in ("response_body", "step_order")} == {
            "id": id, "resource_action": "modify", "resource_type": "volume_group",
            "resource_id": GROUP.partition("/")[2], "resource_name": None,
            "description_l10n": "Modify a volume group.", "state": "FAILED", "phase": "Failed",
            "start_time": "2026-01-01T00:00:00.000000+00:00", "end_time": "2026-01-01T00:00:00.000000+00:00",
            "estimated_completion_time": None, "progress_percentage": 100, "parent_id": None, "root_id": id,
            "user": "admin", "response_status": "422", "resource_action_l10n": "modify",
            "resource_type_l10n": "volume_group", "state_l10n": "Failed", "phase_l10n": "Failed",
            "response_status_l10n": "422",
        }  # fmt: skip
        assert isinstance(job["step_order"], int)


async def test_what_is_selected_comes_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        id = await hub.submitted(GROUP, {"description": "x"})
        for query, wanted in (
            ("", {"id"}),
            ("?select=state", {"state"}),
            ("?select=id,+state", {"id", "state"}),
            ("?select=id%2C%20state", {"id", "state"}),
            ("?select=state,state", {"state"}),
        ):
            assert set((await hub.ask("GET", f"job/{id}{query}")).json) == wanted
            assert set((await hub.ask("GET", f"job{query}")).json[0]) == wanted


async def test_a_job_is_the_root_of_a_tree_without_steps(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        id = await hub.submitted(GROUP, {"description": "x"})
        select = "children(id,state),parent(id),root(id,resource_type),leafs,parent_id"
        answer = await hub.ask("GET", f"job/{id}?select={select}")

        assert answer.json == {
            "children": [], "parent": None, "root": {"id": id, "resource_type": "volume_group"}, "leafs": [],
            "parent_id": None,
        }  # fmt: skip


# By the numbers of the six jobs: modify, create volume, failed modify, create group, lock user, delete user (refused).
FOUND: list[tuple[str, list[int]]] = [
    ("state=eq.COMPLETED", [0, 1, 3, 4]),
    ("state=eq.Completed", [0, 1, 3, 4]),
    ("phase=eq.FAILED", [2, 5]),
    ("state=neq.COMPLETED", [2, 5]),
    ("state=not.in.(COMPLETED,UNRECOVERABLE_FAILED)", [2, 5]),
    ("state=in.(QUEUED,IN_PROGRESS)", []),
    ("resource_type=eq.local_user&state=eq.FAILED", [5]),
    ("resource_action=eq.create", [1, 3]),
    ("resource_name=ilike.al*", [1]),
    ("resource_name=eq.Alpha", [1]),
    ("resource_name=is.null", [0, 2, 4, 5]),
    ("resource_name=not.is.null", [1, 3]),
    ("resource_id=eq.1", [4, 5]),
    ("start_time=gte.2026-01-01T00:00:02Z", [2, 3, 4, 5]),
    ("start_time=gt.2026-01-01T00:00:02.000000%2B00:00", [3, 4, 5]),
    ("start_time=gt.2026-01-01T00:00:02.000000+00:00", [3, 4, 5]),
    ("start_time=lt.2026-01-01T00:00:02Z&start_time=gt.2026-01-01T00:00:00Z", [1]),
    ("or=(resource_action.eq.delete,and(state.eq.FAILED,resource_type.eq.volume_group))", [2, 5]),
    ("not.or=(state.eq.FAILED,resource_action.eq.create)", [0, 4]),
    ("and=(state.eq.COMPLETED,resource_type.not.eq.volume)", [0, 3, 4]),
    ("response_status=eq.422", [2, 5]),
    ("response_status=in.(201,204)", [0, 1, 3, 4]),
    ("progress_percentage=gte.100", [0, 1, 2, 3, 4, 5]),
    ("description_l10n=ilike.*USER.", [4, 5]),
    ("user=eq.nobody", []),
    ("parent_id=is.null", [0, 1, 2, 3, 4, 5]),
    ("order=start_time.desc&limit=2&offset=0", [5, 4]),
    ("order=resource_type,start_time.desc", [5, 4, 1, 3, 2, 0]),
    ("order=resource_name.desc", [0, 2, 4, 5, 3, 1]),
    ("order=resource_name", [1, 3, 0, 2, 4, 5]),
]


async def test_jobs_are_found_by_what_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        ids = await filled(hub)
        for query, wanted in FOUND:
            answer = await hub.ask("GET", f"job?select=id&{query}")
            assert answer.status in (200, 206), (query, answer)
            assert [ids.index(job["id"]) for job in answer.json] == wanted, query
        several = ",".join([ids[4], ids[1], "missing"])
        assert [job["id"] for job in (await hub.ask("GET", f"job?id=in.({several})")).json] == [ids[1], ids[4]]


REFUSED: list[tuple[str, int, str | None]] = [
    ("select=id,nothing", 400, "0xE0404003000A"), ("nothing=eq.1", 400, "0xE0404003000A"),
    ("order=nothing", 400, "0xE0404003000A"), ("select=id(state)", 400, None), ("select=", 400, None),
    ("state=like.x", 400, None), ("state=COMPLETED", 400, None), ("state=", 400, None),
    ("state=in.COMPLETED", 400, None), ("or=(state.eq.FAILED", 400, None), ("start_time=gt.soon", 400, None),
    ("response_body=eq.x", 400, None), ("children=eq.x", 400, None), ("order=id.up", 400, None),
    ("limit=ten", 400, None), ("limit=0", 416, None), ("limit=-1", 416, None), ("offset=-1", 416, None),
    ("offset=1", 416, None), ("progress_percentage=ilike.1*", 400, None),
]  # fmt: skip


async def test_a_query_that_cannot_be_answered_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        await hub.submitted(GROUP, {"description": "x"})
        for query, status, code in REFUSED:
            answer = await hub.ask("GET", f"job?{query}")
            assert answer.status == status, (query, answer)
            assert answer.json["messages"][0]["code"] == (code or answer.json["messages"][0]["code"])


async def test_pages_say_where_they_lie(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        assert (await hub.ask("GET", "job?offset=0")).json == []
        ids = await filled(hub)
        pages = [
            ("job", {}, 200, None, ids),
            ("job?limit=6", {}, 200, None, ids),
            ("job?limit=4", {}, 206, "0-3/6", ids[:4]),
            ("job?limit=4&offset=4", {}, 206, "4-5/6", ids[4:]),
            ("job?state=eq.FAILED&limit=1", {}, 206, "0-0/2", ids[2:3]),
            ("job", {"Range": "2-3"}, 206, "2-3/6", ids[2:4]),
            ("job", {"Range": "4-2100"}, 206, "4-5/6", ids[4:]),
            ("job?limit=1", {"Range": "0-1"}, 206, "0-1/6", ids[:2]),
            ("job", {"Range": "bytes=0-1"}, 200, None, ids),
        ]
        for path, headers, status, place, found in pages:
            answer = await hub.ask("GET", path, headers=headers)
            assert (answer.status, answer.headers.get("Content-Range")) == (status, place), path
            assert [job["id"] for job in answer.json] == found
        assert (await hub.ask("GET", "job", headers={"Range": "6-9"})).status == 416
        assert (await hub.ask("GET", "job", headers={"Range": "5-4"})).status == 416


async def test_a_type_of_the_array_is_queried_in_the_same_way(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        for number in range(3):
            await hub.ask("POST", "volume_group", {"name": f"group-{number}"})
        page = await hub.ask("GET", "volume_group?select=name&order=name.desc&limit=2")
        ranged = await hub.ask("GET", "volume_group?select=name&name=ilike.GROUP*", headers={"Range": "2-5"})
        by_name = await hub.ask("GET", "volume_group/name:group-1?select=name,volumes")
        reached = await hub.ask("GET", "volume_group?protection_data->>source_id=is.null&select=name")

        assert (page.status, page.headers["Content-Range"]) == (206, "0-1/4")
        assert page.json == [{"name": "group-2"}, {"name": "group-1"}]
        assert (ranged.status, ranged.headers["Content-Range"]) == (206, "2-2/3")
        assert by_name.json == {"name": "group-1", "volumes": []}
        assert len(reached.json) == 4
        assert (await hub.ask("GET", "volume_group?offset=9")).status == 416
        assert (await hub.ask("GET", "volume_group?select=nothing")).status == 400
        assert (await hub.ask("GET", "nothing")).status == 404


async def test_an_unknown_job_is_told_as_unknown(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("GET", "job/77")

        assert answer.status == 404
        assert answer.json["messages"][0]["code"] == "0xE04040020009"


async def test_the_version_is_one_that_knows_these_jobs(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub:
        answer = await hub.ask("GET", "software_installed?select=release_version")

        assert answer.json == [{"release_version": "4.1.0.0"}]


async def test_jobs_and_their_ends_outlive_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    at = f"/arrays/array-2/api/rest/{GROUP}?is_async=true"
    async with serving(tmp_path, clock) as hub:
        ids = await filled(hub)
        before: Any = (await hub.ask("GET", "job?select=*")).json
        running = (await hub.ask("PATCH", at, {"description": "x"})).json["id"]
        await hub.until(running, "waiting")
    async with serving(tmp_path, clock) as hub:
        assert (await hub.ask("GET", "job?select=*")).json == before
        assert [job["id"] for job in before] == ids
        assert (await hub.job(running))["state"] == "IN_PROGRESS"
        await hub.until(running, "waiting")
        clock.advance(20)
        assert (await hub.ended(running))["state"] == "COMPLETED"


async def test_a_job_is_carried_on_after_a_restart_with_what_it_found(tmp_path: Path, clock: ManualClock) -> None:
    at = "/arrays/array-2/api/rest/"
    async with serving(tmp_path, clock) as hub:
        made = (await hub.ask("POST", f"{at}volume_group?is_async=true", {"name": "young"})).json["id"]
        await hub.until(made, "waiting")
        clock.advance(20)
        id = (await hub.ended(made))["response_body"]["id"]
        changed = (await hub.ask("PATCH", f"{at}volume_group/{id}?is_async=true", {"description": "x"})).json["id"]
        await hub.until(changed, "waiting")
    async with serving(tmp_path, clock) as hub:
        # The simulated array begins anew with the process; the job had found its group, and goes on.
        await hub.until(changed, "waiting")
        clock.advance(20)
        job = await hub.ended(changed)

        assert (job["state"], job["response_status"], job["resource_id"]) == ("COMPLETED", "204", id)
        assert [each["id"] for each in (await hub.ask("GET", f"{at}job")).json] == [made, changed]
