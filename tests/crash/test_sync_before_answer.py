"""The system calls of a real hub show it: no 202 leaves before the sync that makes it true."""

from __future__ import annotations

import re
from pathlib import Path

from tests.hub_process import HubProcess
from tests.require import require

TRACED = "pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg,read,recvfrom,recvmsg"


def test_no_202_is_written_before_the_journal_is_synced(tmp_path: Path) -> None:
    require("strace")
    trace = tmp_path / "trace"
    under = ["strace", "-f", "-y", "-s", "200", "-e", f"trace={TRACED}", "-o", str(trace)]
    with HubProcess(tmp_path, under=under) as hub:
        for n in range(5):
            hub.ask("POST", "v1/devices/sim-echo/calls", {"method": "POST", "uri": "/x", "ref": f"traced-{n}"})
            body = {"method": "GET", "uri": "/5/0/1"}
            hub.ask("POST", f"v2/device-requests/015f2fa34d310000000000010030036c?async-id=p{n}", body)
        hub.terminate()
    assert check(trace.read_text(errors="replace").splitlines()) == 10


def check(lines: list[str]) -> int:
    """Walk the trace: between a request's arrival and its 202 stands a finished sync of the journal, itself
    after a write to the journal. Returns how many 202s were seen."""
    seen = 0
    written = synced = False
    for line in lines:
        if re.search(r'(read|recvfrom|recvmsg)\(.*"POST /v[12]/device', line):
            written = synced = False
        elif "pwrite64(" in line and "hub.db-wal" in line and "unfinished" not in line:
            written, synced = True, False
        elif _synced(line):
            synced = written
        elif re.search(r"(write|writev|sendto|sendmsg)\(.*HTTP/1\.1 202", line):
            assert synced, line
            seen += 1
    return seen


def _synced(line: str) -> bool:
    whole = re.search(r"(fdatasync|fsync)\(\d+<[^>]*hub\.db-wal>\)\s+= 0", line)
    resumed = re.search(r"(fdatasync|fsync) resumed>\)\s+= 0", line)
    return bool(whole or resumed)


def test_the_check_sees_an_answer_that_came_too_early() -> None:
    early = [
        '1 read(9<socket>, "POST /v1/devices/x/calls HTTP/1.1", 99) = 33',
        '2 pwrite64(7</d/hub.db-wal>, "...", 4096, 0) = 4096',
        '1 write(9<socket>, "HTTP/1.1 202 Accepted", 21) = 21',
        "2 fdatasync(7</d/hub.db-wal>) = 0",
    ]
    try:
        check(early)
    except AssertionError:
        return
    raise AssertionError("the check cannot fail")
