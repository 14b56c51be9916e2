"""The finished job of the second seed: its own example query finds it in every demo world."""

from __future__ import annotations

from datetime import timedelta

from hub.core.hub import Hub
from hub.model.call import Call, CallSpec
from hub.model.ids import CallId
from hub.model.job import USER, facets_of
from hub.model.outcome import Ending, Outcome
from hub.ports.engine import End

JOB = CallId("1b6df699-7083-4440-912c-22e2ed89c530")
ARRAY = "sim-array"


async def put_in_place(hub: Hub) -> None:
    """Write the job down if it is not there; nothing is sent, nobody is told."""
    device = hub.directory.device("demo", ARRAY)
    if device is None or await hub.engine.journal.get(JOB) is not None:
        return
    now = hub.clock.now()
    spec = CallSpec(
        account=device.account, application="demo", ref=JOB, device=device.id, method="PATCH", target="/local_user/1",
        channel="demo/default", dialect="powerstore", payload=b'{"is_locked": false}',
        content_type="application/json", echo={USER: "admin"},
    )  # fmt: skip
    second = timedelta(seconds=1)
    call = Call(
        id=JOB, spec=spec, adapter=device.adapter, address=device.address, lane=device.address, idempotent=False,
        accepted_at=now, expires_at=now + second, timeout=second, deadline=now + 2 * second, job=facets_of(spec),
    )  # fmt: skip
    await hub.engine.journal.accept([call], hub.incarnation)
    await hub.engine.journal.finish(End(JOB, Outcome(Ending.ANSWERED, 200, native={"status": 204}), now))
