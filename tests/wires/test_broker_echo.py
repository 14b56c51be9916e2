"""Messages of the hub's to itself: what is left of one that never went out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from adapters.mqtt.broker.echo import Echo

pytestmark = pytest.mark.anyio


async def test_a_message_to_itself_that_could_not_be_sent_is_not_waited_for() -> None:
    sent: list[bytes] = []

    def send(topic: str, payload: bytes) -> None:
        sent.append(payload)
        raise ConnectionError("the connection broke")

    async def before(wanted: Awaitable[Any], seconds: float, again: object = None) -> Any:
        return await wanted

    echo = Echo("own", send, before)
    with pytest.raises(ConnectionError):
        await echo.back()

    assert not echo.hear("own", sent[0])
