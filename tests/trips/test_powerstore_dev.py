"""`hub dev` as the second seed prints it, over plain HTTP and over TLS with the hub's own certificate."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.tls import self_signed
from tests.command import hub
from tests.hub_process import HubProcess, free_port

PATCH = "/api/rest/volume_group/e436abe3-d78e-4d1d-a349-349368803c59?is_async=true"
QUERY = "?select=id,description_l10n,state,response_body"
SEEDS_JOB = "/api/rest/job/1b6df699-7083-4440-912c-22e2ed89c530"
BODY = {"description": "Storage resources for the Finance department"}


class Dev(HubProcess):
    """`hub dev --tls-self-signed`."""

    def __init__(self, folder: Path) -> None:
        self.tls_port = free_port()
        super().__init__(folder, options=["--tls-self-signed", "--tls-port", str(self.tls_port)])

    def rest(
        self, method: str, path: str, body: Any = None, *, tls: ssl.SSLContext | None, authorization: str
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        connection: http.client.HTTPConnection
        if tls is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        else:
            connection = http.client.HTTPSConnection("localhost", self.tls_port, timeout=10, context=tls)
        headers = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": authorization}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None, answer.headers
        finally:
            connection.close()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dev, dict[str, Any]]]:
    with_tls = Dev(tmp_path_factory.mktemp("dev"))
    said = with_tls.start()
    yield with_tls, said
    with_tls.kill()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_the_second_seeds_requests_work_as_printed(dev: tuple[Dev, dict[str, Any]], secure: bool) -> None:
    process, said = dev
    tls = ssl.create_default_context(cafile=str(process.data / "tls" / "certificate.pem")) if secure else None
    login = said["powerstore"]
    basic = "Basic " + base64.b64encode(f"{login['user']}:{login['password']}".encode()).decode()
    _, _, headers = process.rest("GET", "/api/rest/login_session", tls=tls, authorization=basic)
    cookie = headers["Set-Cookie"].partition(";")[0].removeprefix("auth_cookie=")
    assert ("Secure" in headers["Set-Cookie"]) is secure

    # The guide prints the session itself as the Authorization.
    status, accepted, _ = process.rest("PATCH", PATCH, BODY, tls=tls, authorization=cookie)
    assert (status, list(accepted)) == (202, ["id"])
    job = f"/api/rest/job/{accepted['id']}{QUERY}"
    for _ in range(500):
        _, told, _ = process.rest("GET", job, tls=tls, authorization=cookie)
        if told["state"] == "COMPLETED":
            break
    assert told == {
        "id": accepted["id"], "description_l10n": "Modify a volume group.", "state": "COMPLETED", "response_body": None,
    }  # fmt: skip


def test_the_job_that_the_seed_prints_is_there(dev: tuple[Dev, dict[str, Any]]) -> None:
    process, said = dev
    for path in (f"{SEEDS_JOB}{QUERY}", f"/arrays/sim-array{SEEDS_JOB}{QUERY}"):
        status, told, _ = process.rest("GET", path, tls=None, authorization=f"Bearer {said['key']}")
        assert (status, told["state"], told["description_l10n"]) == (200, "COMPLETED", "Modify a local user.")


def test_whoever_shows_the_key_needs_no_sign_in(dev: tuple[Dev, dict[str, Any]]) -> None:
    process, said = dev
    status, told, _ = process.rest("PATCH", PATCH, BODY, tls=None, authorization=f"Bearer {said['key']}")
    assert (status, list(told)) == (202, ["id"])


def test_both_ports_are_told_and_the_tls_port_serves_everything(dev: tuple[Dev, dict[str, Any]]) -> None:
    process, said = dev
    tls = ssl.create_default_context(cafile=str(process.data / "tls" / "certificate.pem"))

    assert (said["ports"]["http"], said["ports"]["https"]) == (process.port, process.tls_port)
    status, told, _ = process.rest("GET", "/v1/me", tls=tls, authorization=f"Bearer {said['key']}")
    assert (status, told["application"]) == (200, "demo")


def test_a_tls_port_that_is_taken_is_said_so(dev: tuple[Dev, dict[str, Any]], tmp_path: Path) -> None:
    process, _ = dev
    ended = hub(
        "dev", "--port", "0", "--tls-port", str(process.tls_port), "--data-dir", str(tmp_path / "d"), home=tmp_path
    )

    assert ended.returncode == 2
    assert str(process.tls_port) in ended.stderr


def test_a_certificate_is_kept_while_it_serves_and_made_again_when_it_does_not(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate, key = self_signed(tmp_path, "127.0.0.1", now)
    first = certificate.read_bytes()

    assert self_signed(tmp_path, "localhost", now + timedelta(days=700)) == (certificate, key)
    assert certificate.read_bytes() == first
    assert {file.stat().st_mode & 0o777 for file in (certificate, key)} == {0o600}
    self_signed(tmp_path, "192.0.2.7", now)
    named = certificate.read_bytes()
    assert named != first
    self_signed(tmp_path, "192.0.2.7", now + timedelta(days=800))
    assert certificate.read_bytes() != named


def test_a_key_that_is_gone_makes_another_certificate(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate, key = self_signed(tmp_path, "localhost", now)
    first = certificate.read_bytes()
    key.unlink()

    self_signed(tmp_path, "localhost", now)

    assert certificate.read_bytes() != first
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


def test_hub_serve_has_a_tls_port_by_its_configuration(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "made", "localhost", datetime.now(UTC))
    port, key_text = free_port(), "ak_hub_process_0123456789"
    config = f"""
[tls]
port = {port}
certificate = "{certificate}"
key = "{key}"
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{key_text}"
"""
    with HubProcess(tmp_path, config=config):
        connection = http.client.HTTPSConnection(
            "localhost", port, timeout=10, context=ssl.create_default_context(cafile=str(certificate))
        )
        connection.request("GET", "/v1/me", headers={"Authorization": f"Bearer {key_text}"})
        assert connection.getresponse().status == 200
        connection.close()
