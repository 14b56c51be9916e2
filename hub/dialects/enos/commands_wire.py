"""Commands as the cloud's API writes them: the query and the body of a request read strictly, and shown again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Any

import orjson

from hub.core.ending import completion
from hub.delivery.control_reply import milliseconds, output_of
from hub.delivery.request_members import is_plain
from hub.dialects.enos import wire
from hub.dialects.enos.commands_failure import ARGUMENT, fail
from hub.model.call import CallSpec, CallState, Order
from hub.model.command import SHAPE, CommandFacets, CommandKind, state_of
from hub.model.device import Device
from hub.model.outcome import Ending
from hub.model.product import Service
from hub.model.query import Condition, Query, Rank

DIALECT = "enos-command"
ORGANISATION = "org"
"""The member of a command's echo that names the organisation."""

DEFAULT_TIMEOUT, MOST_TIMEOUT = 30, 60
MOST_PENDING = 172_800
PAGE, MOST_PAGE = 100, 1000
MOST_PAGES = 1_000_000
MOST_PROJECTION = 64

SHOWN = (
    "commandId", "orgId", "productKey", "deviceKey", "assetId", "createTime", "createLocaltime", "commandType",
    "commandName", "timeout", "pendingTtl", "state", "tslIdentifier", "inputData", "outputData",
)  # fmt: skip
_NAME_PARTS = ("defaultValue", "i18nValue")


@dataclass(frozen=True, slots=True)
class Named:
    """The device that a request names, by its asset or by product and device key."""

    asset: str | None
    product: str | None
    key: str | None

    def __bool__(self) -> bool:
        return bool(self.asset or self.product)


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as it was asked for; `timeout` and `pending` are seconds."""

    kind: CommandKind
    target: str
    given: Any
    timeout: int
    pending: int


@dataclass(frozen=True, slots=True)
class Search:
    """A search as it was asked for."""

    where: Condition | None
    page: int
    size: int
    projection: tuple[tuple[str, ...], ...]

    @property
    def query(self) -> Query:
        """The stretch of the newest that is wanted."""
        order = (Rank(SHAPE["id"], descending=True),)
        return Query(where=self.where, order=order, offset=(self.page - 1) * self.size, limit=self.size)


def named_of(query: Mapping[str, str], *, needed: bool = True) -> Named:
    """Raises Failure (99400) for half a name, and where one is needed for none."""
    found = Named(*(text(query, name) for name in ("assetId", "productKey", "deviceKey")))
    if not found.asset and bool(found.product) != bool(found.key):
        raise fail(ARGUMENT, "productKey and deviceKey belong together")
    if needed and not found:
        raise fail(ARGUMENT, "assetId, or productKey and deviceKey, is missing")
    return found


def asked_of(query: Mapping[str, str], body: Mapping[str, Any], kind: CommandKind, most_payload: int) -> Asked:
    """Raises Failure (99400)."""
    member = "serviceId" if kind is CommandKind.SERVICE else "measurepointId"
    target = text(query, member, needed=True)
    timeout = _seconds(query, "timeout", 1, MOST_TIMEOUT, DEFAULT_TIMEOUT)
    pending = _seconds(query, "pendingTtl", 0, MOST_PENDING, 0)
    if kind is CommandKind.SERVICE:
        given = body.get("inputData")
        given = {} if given is None else given
        if not isinstance(given, dict):
            raise fail(ARGUMENT, "inputData is an object")
    else:
        given = body.get("value")
        if given is None:
            raise fail(ARGUMENT, "value is missing")
    if len(orjson.dumps(given)) > most_payload:
        raise fail(ARGUMENT, f"the input has at most {most_payload} bytes")
    assert target is not None
    return Asked(kind, target, given, timeout, pending)


def spec_of(
    asked: Asked,
    named: Named,
    device: Device,
    service: Service | None,
    organisation: str,
    application: str,
    channel: str,
) -> CallSpec:
    """The command in the hub's own words. Raises Failure where the service does not take the input."""
    setting = asked.kind is CommandKind.SET_POINT
    echo: dict[str, Any] = {
        # Where an asset is named, the other two are what the hub knows of it and not what stood beside.
        "product": None if named.asset else named.product,
        "key": None if named.asset else named.key,
        "asset": named.asset,
        "service": asked.target,
        "callback": None,
        "input": {"value": asked.given} if setting else asked.given,
        "timeout": asked.timeout * 1000,
        "name": None,
        **({"what": "set"} if setting else {}),
    }
    call = wire.Asked("", echo)
    wire.fill(call, device, service)
    name = echo["name"] or asked.target
    spec = wire.spec_of(call, device.account, application, channel)
    timeout = timedelta(seconds=asked.timeout)
    return replace(
        spec,
        dialect=DIALECT,
        order=Order.EXCLUSIVE,
        # One that is not kept is over within its timeout, whether that went by in line or at the device.
        within=None if asked.pending else timeout,
        timeout=timeout,
        expiry=timedelta(seconds=asked.pending) if asked.pending else None,
        echo={
            **echo, ORGANISATION: organisation, "type": int(asked.kind), "name": name, "input": asked.given,
            "timeout": asked.timeout, "ttl": asked.pending,
        },
        command=CommandFacets(organisation, asked.kind, asked.target, name, asked.timeout, asked.pending),
    )  # fmt: skip


def search_of(body: Mapping[str, Any], where: Condition | None) -> Search:
    """A search with its condition read already. Raises Failure (99400)."""
    pagination = body.get("pagination")
    pagination = {} if pagination is None else pagination
    if not isinstance(pagination, dict):
        raise fail(ARGUMENT, "pagination is an object")
    if pagination.get("sorters"):
        raise fail(ARGUMENT, "sorters are not taken: commands come by createTime, the newest first")
    page = _whole(pagination, "pageNo", MOST_PAGES, 1)
    size = _whole(pagination, "pageSize", MOST_PAGE, PAGE)
    return Search(where, page, size, _projection(body.get("projection")))


def command(state: CallState) -> dict[str, Any]:
    """A command as it stands."""
    call = state.call
    echo, at = call.spec.echo, call.accepted_at
    ending = None if state.outcome is None else state.outcome.ending
    output = None
    if ending is Ending.ANSWERED and echo["type"] == CommandKind.SERVICE:
        output = output_data(state)
    return {
        "commandId": call.id,
        "orgId": echo[ORGANISATION],
        "productKey": echo["product"],
        "deviceKey": echo["key"],
        "assetId": echo["asset"],
        "createTime": milliseconds(at),
        "createLocaltime": at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "commandType": echo["type"],
        "commandName": {"defaultValue": echo["name"], "i18nValue": {}},
        "timeout": echo["timeout"],
        "pendingTtl": echo["ttl"],
        "state": int(state_of(state.stage, ending)),
        "tslIdentifier": echo["service"],
        "inputData": echo["input"],
        "outputData": output,
    }


def output_data(state: CallState) -> dict[str, Any]:
    """What the device returned."""
    assert state.outcome is not None and state.ended_at is not None
    return output_of(completion(state.call, state.outcome, state.ended_at).body)


def cropped(shown: Mapping[str, Any], projection: tuple[tuple[str, ...], ...]) -> Mapping[str, Any]:
    """Of a command what a projection names; all of it where that names nothing."""
    if not projection:
        return shown
    found: dict[str, Any] = {}
    for name, *parts in projection:
        if not parts:
            found[name] = shown[name]
        elif found.get(name) is not shown[name]:
            found.setdefault(name, {})[parts[0]] = shown[name][parts[0]]
    return found


def text(query: Mapping[str, str], name: str, *, needed: bool = False) -> str | None:
    """A parameter of the query. Raises Failure (99400)."""
    value = query.get(name)
    if not value:
        if needed:
            raise fail(ARGUMENT, f"{name} is missing")
        return None
    if not is_plain(value, wire.MOST_ID):
        raise fail(ARGUMENT, f"{name} has at most {wire.MOST_ID} characters, and no control characters")
    return value


def _seconds(query: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    value = query.get(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise fail(ARGUMENT, f"{name} is {least} to {most} seconds")
    return int(value)


def _whole(members: Mapping[str, Any], name: str, most: int, default: int) -> int:
    value = members.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise fail(ARGUMENT, f"{name} is 1 to {most}")
    return value


def _projection(value: Any) -> tuple[tuple[str, ...], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_PROJECTION or not all(isinstance(one, str) for one in value):
        raise fail(ARGUMENT, f"projection is a list of at most {MOST_PROJECTION} names")
    found = []
    for one in value:
        name, dot, part = one.partition(".")
        if name not in SHOWN or (dot and (name != "commandName" or part not in _NAME_PARTS)):
            raise fail(ARGUMENT, f"projection names {one[:64]!r}; there are {', '.join(SHOWN)}")
        found.append((name, part) if dot else (name,))
    return tuple(found)
