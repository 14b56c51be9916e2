"""The vendor's Python SDK, unmodified, over TLS against a hub as its user starts it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_process import HubProcess, free_port
from tests.interop.peer import SCRIPTS, Peer, PeerError, environment_of

NAME = "pypowerstore"
GROUP = "e436abe3-d78e-4d1d-a349-349368803c59"
JOB = "1b6df699-7083-4440-912c-22e2ed89c530"
FINAL = ("COMPLETED", "FAILED", "UNRECOVERABLE_FAILED")


class Secured(HubProcess):
    """`hub dev` with its TLS port."""

    def __init__(self, folder: Path) -> None:
        self.tls_port = free_port()
        super().__init__(folder, options=["--tls-self-signed", "--tls-port", str(self.tls_port)])

    @property
    def certificate(self) -> Path:
        return self.data / "tls" / "certificate.pem"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    environment_of(NAME)
    with Secured(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def dial(tmp_path: Path) -> Iterator[Callable[[Secured], Peer]]:
    """Start an SDK for a hub, with `conn` signed in as the demo's user; all end with the test."""
    started: list[Peer] = []

    def start(hub: Secured) -> Peer:
        program = [str(environment_of(NAME) / "bin" / "python"), str(SCRIPTS / NAME / "prompt.py")]
        peer = Peer(
            [*program, "127.0.0.1", str(hub.tls_port), str(hub.certificate)], tmp_path / f"{len(started)}", python=True
        )
        started.append(peer)
        peer(f"conn = connect('admin', {hub.key!r})")
        return peer

    yield start
    for peer in started:
        peer.close()


@pytest.fixture
def sdk(hub: Secured, dial: Callable[[Secured], Peer]) -> Peer:
    return dial(hub)


def ended(sdk: Peer, job: str) -> dict[str, Any]:
    """The job as `get_job_details` tells it, once it has ended."""
    for _ in range(200):
        told: dict[str, Any] = sdk(f"conn.provisioning.get_job_details({job!r})")
        if told["state"] in FINAL:
            return told
    raise AssertionError(told)


def test_it_signs_in_and_out(sdk: Peer) -> None:
    assert sdk("conn.provisioning.get_volume_group_list()")
    sdk("""
manager = conn.provisioning.client.auth_manager
old = manager.cookie, manager.dell_emc_token
manager.logout_session()
manager.cookie, manager.dell_emc_token = old
""")

    # The session that it ended, shown once more.
    with pytest.raises(PeerError) as told:
        sdk("conn.provisioning.get_volume_group_list()")
    assert str(told.value.status) == "401"


def test_a_wrong_password_is_told_as_401(sdk: Peer) -> None:
    with pytest.raises(PeerError) as told:
        sdk("connect('admin', 'wrong').provisioning.get_volume_group_list()")

    assert (told.value.kind, str(told.value.status)) == ("PowerStoreException", "401")


def test_a_volume_group_is_changed_as_a_job(sdk: Peer) -> None:
    url = f"base + '/volume_group/{GROUP}?is_async=true'"
    told = sdk(f"conn.provisioning.client.request('PATCH', {url}, payload={{'description': 'by a job'}})")
    job = ended(sdk, told["id"])

    assert list(told) == ["id"]
    assert uuid.UUID(told["id"])
    assert (job["state"], job["phase"], job["response_status"], job["response_body"]) == (
        "COMPLETED", "Completed", "204", None,
    )  # fmt: skip
    assert (job["resource_type"], job["resource_action"], job["resource_id"]) == ("volume_group", "modify", GROUP)
    assert len(job) == 23
    assert sdk(f"conn.provisioning.get_volume_group_details({GROUP!r})")["description"] == "by a job"


def test_a_volume_group_is_made_changed_and_removed_while_it_waits(sdk: Peer) -> None:
    id = sdk("conn.provisioning.create_volume_group('made-by-the-sdk')")["id"]
    sdk(f"conn.provisioning.modify_volume_group({id!r}, description='changed')")
    by_name = sdk("conn.provisioning.get_volume_group_by_name('made-by-the-sdk')")
    copy = sdk(f"conn.provisioning.clone_volume_group({id!r}, 'copied-by-the-sdk')")["id"]
    for each in (id, copy):
        sdk(f"conn.provisioning.delete_volume_group({each!r})")

    assert [(group["id"], group["description"]) for group in by_name] == [(id, "changed")]
    with pytest.raises(PeerError) as told:
        sdk(f"conn.provisioning.get_volume_group_details({id!r})")
    assert str(told.value.status) == "404"


def test_volumes_are_told_with_all_that_the_sdk_asks_for(sdk: Peer) -> None:
    sdk("conn.provisioning.create_volume('vol-by-the-sdk', 1073741824)")
    [found] = sdk("conn.provisioning.get_volume_by_name('vol-by-the-sdk')")
    id = found["id"]
    told = sdk(f"conn.provisioning.get_volume_details({id!r})")
    sdk(f"conn.provisioning.delete_volume({id!r})")

    assert (told["name"], told["size"], told["hlu_details"]) == ("vol-by-the-sdk", 1073741824, [])


def test_methods_that_are_asynchronous_by_themselves_return_their_job(sdk: Peer) -> None:
    [system] = sdk("conn.protection.get_remote_systems()")
    told = sdk(f"conn.protection.modify_remote_system({system['id']!r}, {{'description': 'far away'}})")
    network = sdk("conn.config_mgmt.modify_network('NW1', {'mtu': 9000}, is_async=True)")

    assert ended(sdk, told["id"])["state"] == "COMPLETED"
    assert ended(sdk, network["id"])["resource_type"] == "network"


def test_a_job_that_fails_says_why(sdk: Peer) -> None:
    url = f"base + '/volume_group/{GROUP}?is_async=true'"
    told = sdk(f"conn.provisioning.client.request('PATCH', {url}, payload={{'description': '__fail__'}})")
    job = ended(sdk, told["id"])

    assert (job["state"], job["response_status"]) == ("FAILED", "422")
    assert job["response_body"]["response_type"] == "job_error_response"
    assert job["response_body"]["messages"][0]["code"].startswith("0x")


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("conn.provisioning.get_volume_group_details('77')", "404"),
        ("conn.provisioning.get_job_details('77')", "404"),
        (f"conn.provisioning.modify_volume_group({GROUP!r}, name='')", "400"),
        ("conn.provisioning.client.request('GET', base + '/nothing')", "404"),
        ("conn.provisioning.client.request('GET', base + '/volume_group', querystring={'select': 'x'})", "400"),
        (f"conn.provisioning.client.request('PUT', base + '/volume_group/{GROUP}', payload={{'name': 'x'}})", "405"),
        (f"conn.provisioning.modify_volume_group({GROUP!r}, description='__fail__')", "422"),
        ("conn.provisioning.client.request('GET', base + '/job', querystring={'limit': 0})", "416"),
    ],
)
def test_errors_are_told_in_the_sdks_own_way(sdk: Peer, statement: str, status: str) -> None:
    with pytest.raises(PeerError) as told:
        sdk(statement)

    # err_code 1 and the status: the body was JSON with a message, as the SDK needs it.
    assert (told.value.kind, str(told.value.status), str(told.value.reason)) == ("PowerStoreException", status, "1")


def test_all_pages_of_many_jobs_come_once_each(sdk: Peer) -> None:
    url = f"base + '/volume_group/{GROUP}?is_async=true'"
    sdk(f"""
made = [
    conn.provisioning.client.request('PATCH', {url}, payload={{'description': str(number)}})['id']
    for number in range(130)
]
""", timeout=60)
    made = sdk("made")
    query = "{'select': 'id,state', 'order': 'start_time.desc'}"
    told = sdk(f"conn.provisioning.client.request('GET', base + '/job', querystring={query}, all_pages=True)")
    first = sdk(f"conn.provisioning.client.request('GET', base + '/job', querystring={query})")

    assert len(first) == 100
    ids = [job["id"] for job in told]
    assert len(ids) == len(set(ids)) >= 130
    assert set(made) <= set(ids)


def test_the_job_of_the_guide_is_there(sdk: Peer) -> None:
    told = sdk(f"conn.provisioning.get_job_details({JOB!r})")

    assert (told["resource_type"], told["resource_action"], told["state"]) == ("local_user", "modify", "COMPLETED")


def test_a_session_goes_on_over_a_restart_of_the_hub(tmp_path: Path, dial: Callable[[Secured], Peer]) -> None:
    environment_of(NAME)
    with Secured(tmp_path) as hub:
        sdk = dial(hub)
        url = f"base + '/volume_group/{GROUP}?is_async=true'"
        before = sdk(f"conn.provisioning.client.request('PATCH', {url}, payload={{'description': 'before'}})")
        ended(sdk, before["id"])
        hub.kill()
        hub.start()
        # The SDK signs in once an hour and never because of a 401.
        again = ended(sdk, before["id"])
        after = sdk(f"conn.provisioning.client.request('PATCH', {url}, payload={{'description': 'after'}})")

        assert again["state"] == "COMPLETED"
        assert ended(sdk, after["id"])["state"] == "COMPLETED"
