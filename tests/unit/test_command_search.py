"""Expressions of command searches: what is understood, and that the engine finds what the pure evaluator finds."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.sealing import AesGcmSealer
from hub.dialects.enos.commands_expression import MOST_COMPARISONS, MOST_DEPTH, MOST_TEXT, condition_of
from hub.dialects.enos.failure import Failure
from hub.engines.sqlite import SqliteEngine
from hub.model.call import Call, CallSpec, CallState
from hub.model.command import SHAPE, CommandFacets, CommandKind, state_of
from hub.model.ids import CallIds, Incarnation
from hub.model.outcome import Ending, Outcome
from hub.model.query import Condition, Query, Rank, apply, holds
from hub.ports.engine import End
from tests.clock import ManualClock

pytestmark = pytest.mark.anyio

ME = Incarnation("me")
SECOND = timedelta(seconds=1)
NEWEST = (Rank(SHAPE["id"], descending=True),)
EXPRESSIONS = (
    "", "state = 1", "state=4", "state != 5", "state <> 5", "state in (2, 3, 7)", "STATE = 6 OR state = 7",
    "state >= 2 and state < 5", 'state = "5"', "commandType = 1", "commandType in (1,2) AND timeout > 15",
    "pendingTtl <= 0", "pendingTtl = 60 or (state = 5 and (timeout = 10 or timeout = 30))",
    "commandName = 'SET the Speed'", 'commandName.en_US like "speed"', "commandName.default like 'set%sp'",
    "commandName != 'stop'", "commandName in ('stop', 'none')", "tslIdentifier = 'setSpeed'",
    "tslIdentifier like 'STOP'", "createTime >= '2026-01-01 00:00:05'", "createTime < '2026-01-01 00:00:05'",
    "createTime > 1767225605000", "createTime <= 1767225605000", "createTime = 1767225605000",
    "createTime != 1767225605000", "createTime >= '2026-01-01 00:00:02' and createTime < '2026-01-01 00:00:07'",
)  # fmt: skip


def command(ids: CallIds, clock: ManualClock, number: int, *, device: str = "pump", org: str = "o1") -> Call:
    target, name = ("setSpeed", "Set the speed") if number % 3 else ("stop", "stop")
    timeout, pending = (10, 30)[number % 2], (0, 60)[number // 5 % 2]
    facets = CommandFacets(org, CommandKind(1 + number % 2), target, name, timeout, pending)
    spec = CallSpec(
        account="acme", application="shop", ref="", device=device, method="INVOKE", target=target,
        channel="shop/default", dialect="x", command=facets,
    )  # fmt: skip
    at = clock.now()
    return Call(
        id=ids.make(at), spec=spec, adapter="a", address=device, lane=device, idempotent=False, accepted_at=at,
        expires_at=at + SECOND, timeout=SECOND, deadline=at + 2 * SECOND,
    )  # fmt: skip


def row(call: Call, state: CallState) -> dict[str, Any]:
    facets = call.spec.command
    assert facets is not None
    return {
        "id": call.id, "kind": int(facets.kind), "target": facets.target, "name": facets.name,
        "timeout": facets.timeout, "pending": facets.pending, "accepted_at": call.accepted_at,
        "state": int(state_of(state.stage, None if state.outcome is None else state.outcome.ending)),
    }  # fmt: skip


async def test_the_engine_finds_what_the_evaluator_finds(tmp_path: Path) -> None:
    clock, ids = ManualClock(), CallIds()
    engine = SqliteEngine(tmp_path, clock, AesGcmSealer(bytes(32)))
    await engine.start(lambda events: None)
    try:
        calls, rows = [], []
        for number in range(24):
            calls.append(command(ids, clock, number))
            clock.advance(0.5004)
        others = [command(ids, clock, 1, device="other"), command(ids, clock, 1, org="o2")]
        endings = list(Ending)
        sent = [call.id for number, call in enumerate(calls) if number % 11 != 10]
        await engine.journal.accept([*calls, *others], ME, sent)
        for number, call in enumerate(calls[: len(endings) + 6]):
            if call.id in sent and number < len(endings):
                await engine.journal.finish(End(call.id, Outcome(endings[number], 200), clock.now()))
        for call in calls:
            state = await engine.journal.get(call.id)
            assert state is not None
            rows.append(row(call, state))
        assert {one["state"] for one in rows} == {1, 2, 3, 4, 5, 6, 7}
        narrowed = 0
        for text in EXPRESSIONS:
            for offset in (0, 2):
                query = Query(where=condition_of(text), order=NEWEST, offset=offset, limit=5)
                wanted, place = apply(query, rows) if len(apply(Query(where=query.where), rows)[0]) > 2 else ([], None)
                if place is None:
                    continue
                found = await engine.journal.commands("shop", "o1", "pump", query)
                assert [state.call.id for state in found.states] == [one["id"] for one in wanted], text
                assert found.place == place, text
                narrowed += 0 < place.total < len(rows)
        assert narrowed > 20
    finally:
        await engine.stop()


def test_moments_are_compared_in_the_milliseconds_in_which_they_are_shown() -> None:
    shown, row = 1_767_225_605_004, {"accepted_at": datetime.fromisoformat("2026-01-01T00:00:05.004321+00:00")}

    true = [sign for sign in ("=", "!=", "<", "<=", ">", ">=") if holds(_condition(f"createTime {sign} {shown}"), row)]

    assert true == ["=", "<=", ">="]


def _condition(text: str) -> Condition:
    found = condition_of(text)
    assert found is not None
    return found


async def test_a_command_is_forgotten_with_its_call(tmp_path: Path) -> None:
    clock, ids = ManualClock(), CallIds()
    engine = SqliteEngine(tmp_path, clock, AesGcmSealer(bytes(32)))
    await engine.start(lambda events: None)
    try:
        call = command(ids, clock, 1)
        await engine.journal.accept([call], ME)
        await engine.journal.finish(End(call.id, Outcome(Ending.ANSWERED, 200), clock.now()))
        clock.advance(60)
        assert await engine.journal.forget(clock.now(), 1000) == 1
        assert (await engine.journal.commands("shop", "o1", "pump", Query())).place.total == 0
    finally:
        await engine.stop()


@pytest.mark.parametrize(
    "text",
    [
        "state", "state =", "state = x", "= 1", "state = 1 and", "state = 1 state = 2", "(state = 1", "state = 1)",
        "colour = 1", "state.en = 1", "state like '1'", "state in ()", "state in (1", "state in 1", "timeout = '1x'",
        "commandName > 'a'", "commandId < 'a'", "createTime in (1)", "createTime = 'yesterday'", "createTime = 1.5",
        "createTime = 123456789012345678", "createTime like '2026'", "commandName = 'a", "state = 1; drop table call",
        "state = 1 -- x", "not state = 1", "state = 9999999999999999999", "createTime = -5", "\x00", "state = \u0661",
        "a" * (MOST_TEXT + 1), " or ".join(["state = 1"] * (MOST_COMPARISONS + 1)),
        "(" * (MOST_DEPTH + 1) + "state = 1" + ")" * (MOST_DEPTH + 1),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_in_words(text: str) -> None:
    with pytest.raises(Failure) as refused:
        condition_of(text)

    assert refused.value.code == 99400 and refused.value.submsg


def test_no_text_whatever_brings_the_reader_down() -> None:
    luck = random.Random(7)
    pieces = (
        "state", "createTime", "commandName.x", "=", "!=", "<", "in", "like", "and", "or", "(", ")", ",", "1", "'a'",
        '"2026-01-01"', "-", "'", "\\", "9999999999999999", "\u00e4", ".", "createTime > '0001-01-01T00:00:00+14:00'",
        *("state = 1", "commandName like 'a'", "createTime >= 5", "state in (1, 2)", "and", "or") * 3,
    )  # fmt: skip
    taken = 0
    for _ in range(3000):
        text = " ".join(luck.choices(pieces, k=luck.randint(1, 9)))
        try:
            taken += condition_of(text) is not None
        except Failure as refused:
            assert refused.code == 99400
    assert taken > 5


def test_the_refusal_says_where_and_what_is_understood() -> None:
    with pytest.raises(Failure) as refused:
        condition_of("state = 1 and colour = 'red'")

    assert refused.value.submsg is not None
    assert "'colour'" in refused.value.submsg and "createTime" in refused.value.submsg


def test_as_many_brackets_and_comparisons_as_are_allowed_are_taken() -> None:
    assert condition_of("(" * MOST_DEPTH + "state = 1" + ")" * MOST_DEPTH) is not None
    assert condition_of(" or ".join(["state = 1"] * MOST_COMPARISONS)) is not None
