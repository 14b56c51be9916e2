"""Rows as values and back: the wide part of a call, an outcome, an event, a record as MessagePack.

Pure: no connection, no clock. The first element of each list is the version of its form, so that a
later one can be told from it. What cannot be stored raises TypeError or ValueError before anything is written.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import msgpack

from hub.engines.sqlite.moments import span_to_micros, to_micros, to_moment, to_span
from hub.model.call import Call, CallSpec, CallState, OnUncertain, Order, Stage
from hub.model.delivery import Delivery
from hub.model.errors import Damaged
from hub.model.event import Event, EventKind
from hub.model.ids import CallId, Incarnation
from hub.model.outcome import Ending, Outcome

_FORM = 1

STAGES: tuple[Stage, ...] = (Stage.ACCEPTED, Stage.PARKED, Stage.SENT, Stage.WAITING, Stage.DONE)
STAGE_CODE: dict[Stage, int] = {stage: code for code, stage in enumerate(STAGES)}

# Looked up a few times for each row: a dictionary is a third of the cost of calling the enumeration.
_ORDER: dict[str, Order] = {order.value: order for order in Order}
_ON_UNCERTAIN: dict[str, OnUncertain] = {word.value: word for word in OnUncertain}
_ENDING: dict[str, Ending] = {ending.value: ending for ending in Ending}
_EVENT_KIND: dict[str, EventKind] = {kind.value: kind for kind in EventKind}


P = ParamSpec("P")
T = TypeVar("T")


def as_stored(read: Callable[P, T]) -> Callable[P, T]:
    """Makes a reader of rows say Damaged for what does not fit its form: the file is at fault, not the program."""

    @functools.wraps(read)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise Damaged(f"a stored row cannot be read ({type(error).__name__})") from error

    return guarded


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} cannot be stored")


# Only ever used on the event loop's thread: a Packer keeps a buffer and is not for two threads.
_packer = msgpack.Packer(autoreset=True, default=_plain)


def pack(value: Any) -> bytes:
    """Plain values as MessagePack; call it on the event loop's thread only."""
    packed: bytes = _packer.pack(value)
    return packed


def unpack(data: bytes) -> Any:
    """What `pack` made; raises Damaged for bytes that it never made."""
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise Damaged("a stored value cannot be read") from error


def mask(*stages: Stage) -> int:
    """A set of stages as the bit mask that the guards of `journal.sql` take."""
    bits = 0
    for stage in stages:
        bits |= 1 << STAGE_CODE[stage]
    return bits


def pack_asked(call: Call) -> bytes:
    """All of a call that has no column of its own."""
    spec = call.spec
    return pack((
        _FORM, spec.method, spec.target, spec.channel, spec.dialect, spec.payload, spec.content_type, spec.accept,
        spec.args, spec.callback, span_to_micros(spec.timeout), span_to_micros(spec.expiry), spec.retries,
        spec.order.value, spec.on_uncertain.value, spec.echo, call.adapter, call.address, call.lane, call.idempotent,
        to_micros(call.expires_at), span_to_micros(call.timeout), to_micros(call.deadline), STAGE_CODE[call.stage],
    ))


def pack_outcome(outcome: Outcome) -> bytes:
    """An outcome, whole."""
    seen = outcome.device_time
    return pack((
        _FORM, outcome.ending.value, outcome.status, outcome.payload, outcome.content_type,
        span_to_micros(outcome.max_age), outcome.error, None if seen is None else to_micros(seen), outcome.native,
    ))


@as_stored
def read_outcome(data: bytes) -> Outcome:
    form, ending, status, payload, content_type, max_age, error, seen, native = _opened(data)
    _known(form)
    return Outcome(
        _ENDING[ending], status, payload, content_type, to_span(max_age), error,
        None if seen is None else to_moment(seen), native,
    )


@as_stored
def read_call(row: tuple[Any, ...]) -> CallState:
    """A row of `get`, `list` or `open_calls`."""
    (id_, account, application, device, ref, stage, attempt, retries_used, maybe_sent, accepted_at, sent_at,
     incarnation, ended_at, note, asked, epoch, place, outcome) = row[:18]
    (form, method, target, channel, dialect, payload, content_type, accept, args, callback, spec_timeout, spec_expiry,
     retries, order, on_uncertain, echo, adapter, address, lane, idempotent, expires_at, timeout, deadline,
     first_stage) = _opened(asked)
    _known(form)
    spec = CallSpec(
        account, application, ref, device, method, target, channel, dialect, payload, content_type, accept, args,
        callback, to_span(spec_timeout), to_span(spec_expiry), retries, _ORDER[order], _ON_UNCERTAIN[on_uncertain],
        echo,
    )
    call = Call(
        CallId(id_), spec, adapter, address, lane, idempotent, to_moment(accepted_at), to_moment(expires_at),
        timedelta(microseconds=timeout), to_moment(deadline), STAGES[first_stage],
    )
    return CallState(
        call, STAGES[stage], attempt, retries_used, None if incarnation is None else Incarnation(incarnation), note,
        to_moment(sent_at) if attempt else None, None if ended_at is None else to_moment(ended_at),
        None if outcome is None else read_outcome(outcome), epoch, place, bool(maybe_sent),
    )


@as_stored
def read_event(channel: str, epoch: str, row: tuple[int, int, str, bytes]) -> Event:
    """A row (place, at, kind, body) of a channel's log."""
    place, at, kind, body = row
    return Event(channel, epoch, place, to_moment(at), _EVENT_KIND[kind], unpack(body))


@as_stored
def read_delivery(row: tuple[Any, ...]) -> Delivery:
    """A row of `due` or `dead`."""
    (id_, endpoint, account, channel, epoch, place, due_at, attempts, url, view, attrs, last_error, dead_at) = row
    return Delivery(
        id_, endpoint, account, channel, epoch, place, to_moment(due_at), attempts, url, view,
        None if attrs is None else unpack(attrs), last_error, dead_at is not None,
        None if dead_at is None else to_moment(dead_at),
    )


def _opened(data: bytes) -> list[Any]:
    value = unpack(data)
    if not isinstance(value, list):
        raise Damaged("a stored value has another form")
    return value


def _known(form: object) -> None:
    if form != _FORM:
        raise Damaged(f"a stored value has form {form!r}, which this version does not know")
