"""What a session listens to, written down at the broker: what could not be read is not written over."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import orjson
import pytest

from adapters.mqtt.broker.book import Book
from adapters.mqtt.broker.bounded import Silent
from adapters.mqtt.broker.echo import Echo
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.subscriptions import Subscriptions

pytestmark = pytest.mark.anyio


class Broker:
    """Answers to every packet with `says`, or not at all; it keeps one book, which comes when it is listened to."""

    def __init__(self, says: int | None, *, echoes: bool = True, kept: Sequence[str] | None = ("old/+",)) -> None:
        self.says = says
        self.echoes = echoes
        self.kept = None if kept is None else orjson.dumps(list(kept))
        self.left: list[str] = []
        self.written: list[bytes] = []
        self.listening = Subscriptions([Filter("new/+")], self.before, 10, five=True)
        self.echo = Echo("own", self.send, self.before)
        self.book = Book("book", self.listening, self.echo, lambda topic, payload: self.written.append(payload))

    def listen(self, wanted: Sequence[tuple[str, int, bool]]) -> int:
        if self.says is not None and self.says < 128 and self.kept is not None:
            self.book.hear(self.kept)
        return 1

    def leave(self, topics: Sequence[str]) -> int:
        self.left += topics
        return 1

    def send(self, topic: str, payload: bytes) -> None:
        if self.echoes:
            self.echo.hear(topic, payload)

    async def before(self, wanted: Awaitable[Any], seconds: float, again: object = None) -> Any:
        if self.says is not None:
            self.listening.answered(1, (self.says,))
        if isinstance(wanted, Awaitable) and getattr(wanted, "done", lambda: False)():
            return await wanted
        raise Silent("the broker does not answer")

    async def tidy(self, resumed: bool = True) -> None:
        await self.book.tidy(self, resumed)  # type: ignore[arg-type]


async def test_what_was_read_is_given_up_and_the_book_written_anew() -> None:
    broker = Broker(0)
    await broker.tidy()

    assert broker.left == ["book", "old/+"]
    assert broker.written == [b'["new/+"]']


async def test_a_broker_that_does_not_answer_in_time_has_refused_nothing_and_its_book_stays() -> None:
    broker = Broker(None)
    with pytest.raises(Silent):
        await broker.tidy()
    broker.book.write()  # as a call does that listens to something more

    assert broker.written == []


async def test_a_book_that_may_not_be_read_is_not_written_over() -> None:
    broker = Broker(135)
    await broker.tidy()
    broker.book.write()

    assert (broker.left, broker.written) == ([], [])


@pytest.mark.parametrize(("kept", "written"), [(("old/+",), 1), (None, 0)])
async def test_where_no_echo_comes_only_a_book_that_came_was_read(kept: Sequence[str] | None, written: int) -> None:
    broker = Broker(0, echoes=False, kept=kept)
    await broker.tidy()

    assert len(broker.written) == written


async def test_a_session_that_is_new_has_a_new_book() -> None:
    broker = Broker(0)
    await broker.tidy(resumed=False)

    assert (broker.left, broker.written) == ([], [b'["new/+"]'])
