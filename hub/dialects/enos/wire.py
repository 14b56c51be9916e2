"""Calls as this API writes them: read strictly, each on its own, and shown again as they came. Pure.

What is wrong with a call does not keep it from being answered: its reply carries what was sent, and the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeGuard

import orjson

from hub.core.control_channels import CHANNEL_ID, CONTROL, MEMBER, SET
from hub.delivery.control_reply import DIALECT, reply
from hub.delivery.request_members import is_plain
from hub.dialects.enos.failure import INTERNAL, PARAMETER, Failure
from hub.model.call import Call, CallSpec
from hub.model.device import Device
from hub.model.product import ASSET, PRODUCT_DEVICE, Service

DEFAULT_TIMEOUT, MOST_TIMEOUT = 30_000, 300_000
OUTSIDE = 3
"""The levels of a body within which the input of a call lies."""
MOST_ID = 256
MOST_URL = 2048
_MOST_TIME = (1 << 63) - 1
# What the hub may have said of a call that its caller did not.
_FILLED = ("product", "key", "asset", "name", "at")


@dataclass(slots=True)
class Asked:
    """A call as it was asked for: `echo` is what comes back in every reply, `failure` why it was not taken on."""

    request_id: Any
    echo: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    device: Device | None = None

    @property
    def setting(self) -> bool:
        """Whether a point is set instead of a service invoked."""
        return self.echo.get("what") == "set"

    def reply(self, now: int) -> dict[str, Any]:
        """The reply at once: taken (0), or why not."""
        if self.failure is not None:
            found = self.failure
            return reply(self.echo, self.request_id, found.code, found.msg, found.submsg or found.msg, now)
        return reply(self.echo, self.request_id, 0, "SUCCESS", None, now)

    def memo(self) -> list[Any]:
        """What its refusal says, to be told again when its request is repeated."""
        found, echo = self.failure, self.echo
        assert found is not None
        return [found.code, found.submsg, found.msg, *(echo[name] for name in _FILLED)]

    def refused_again(self, memo: Sequence[Any] | None) -> None:
        """The refusal that it got the first time."""
        if memo is None:
            self.failure = Failure(INTERNAL, "it was not taken the first time")
            return
        self.failure = Failure(*memo[:3])
        self.echo.update(zip(_FILLED, memo[3:], strict=True))

    def again(self, call: Call) -> None:
        """The call that it became the first time."""
        self.failure = None
        self.echo = dict(call.spec.echo)


def calls_of(body: Mapping[str, Any], most: int) -> list[Any]:
    """The calls of a request, at most `most`. Raises Failure (400)."""
    data = body.get("data")
    if not isinstance(data, list):
        raise Failure(400, "data is an array of calls", "Invalid Argument data")
    if len(data) > most:
        raise Failure(400, f"data has at most {most} calls", "Invalid Argument data")
    return data


def input_of(value: Any) -> Any:
    """The input that a call of a request brings, not judged yet."""
    return value.get("inputData") if isinstance(value, dict) else None


def asked_of(
    value: Any,
    organisation: str,
    now: int,
    *,
    setting: bool = False,
    most_payload: int = 65_536,
    waits: bool = False,
    fault: str | None = None,
) -> Asked:
    """One call of a request. What is wrong with it is its `failure`, and the first such thing wins.

    `waits`: its request waits for the end, so that nobody else need be told. `fault`: why its input cannot be taken,
    nor be shown again.
    """
    members: Mapping[str, Any] = value if isinstance(value, dict) else {}
    service, channel, at = (
        ("measurepointId", "setMeasurepointChannelId", "gmtSetMeasurepointRequest")
        if setting
        else ("serviceId", "controlChannelId", "gmtServiceRequest")
    )
    timeout = members.get("timeout")
    asked = members.get(at)
    url = members.get("callbackUrl")
    echo: dict[str, Any] = {
        MEMBER: _shown(members.get(channel)),
        "product": _shown(members.get("productKey")),
        "key": _shown(members.get("deviceKey")),
        "asset": _shown(members.get("assetId")),
        "service": _shown(members.get(service)),
        "callback": _shown(url),
        "input": {} if fault is not None else members.get("inputData"),
        "timeout": DEFAULT_TIMEOUT if timeout is None else _shown(timeout),
        "at": asked if _is_time(asked) else now,
        "name": None,
    }
    if setting:
        echo["what"] = "set"
    found = Asked(_shown(members.get("requestId")), echo)
    try:
        if not isinstance(value, dict):
            raise _wrong("a call is an object")
        _judge(members, organisation, service, channel, at, waits)
        if fault is not None:
            raise _wrong(f"inputData {fault}")
        if not setting and members.get("inputData") is None:
            echo["input"] = {}
        if len(orjson.dumps(echo["input"])) > most_payload:
            raise _wrong(f"inputData has at most {most_payload} bytes")
        if url == "":
            echo["callback"] = None
    except Failure as failure:
        found.failure = failure
        if not isinstance(echo["input"], dict):
            echo["input"] = {}
    return found


def _judge(
    members: Mapping[str, Any], organisation: str, service: str, channel: str, at: str, waits: bool
) -> None:
    _text(members, "requestId", needed=True)
    _text(members, service, needed=True)
    if members.get("orgId") not in (None, "", organisation):
        raise _wrong("orgId is not that of the request")
    if not isinstance(members.get("callType"), str | None):
        raise _wrong("callType is a text")
    named, url = _text(members, channel), _text(members, "callbackUrl", most=MOST_URL)
    if not named and not url and not waits:
        raise _wrong(f"{channel} is missing")
    if named and not is_channel_id(named, SET if service == "measurepointId" else CONTROL):
        raise _wrong(f"{channel} is illegal")
    if not isinstance(members.get("inputData"), dict | None):
        raise _wrong("inputData is an object")
    timeout = members.get("timeout")
    if timeout is not None and not (_is_whole(timeout) and 1 <= timeout <= MOST_TIMEOUT):
        raise _wrong(f"timeout is 1 to {MOST_TIMEOUT}")
    if members.get(at) is not None and not _is_time(members[at]):
        raise _wrong(f"{at} is a number of milliseconds")
    asset, product, key = (_text(members, name) for name in ("assetId", "productKey", "deviceKey"))
    if not asset and bool(product) != bool(key):
        raise _wrong("productKey and deviceKey belong together")
    if not asset and not product:
        raise _wrong("assetId, or productKey and deviceKey, is missing")


def is_channel_id(text: str, prefix: str = CONTROL) -> bool:
    """Whether a text can be the id of a control channel."""
    return text.startswith(prefix) and CHANNEL_ID.fullmatch(text) is not None


def fill(asked: Asked, device: Device, service: Service | None) -> None:
    """What the hub knows better than the caller said: the names of the device, and of the service."""
    asked.device = device
    echo = asked.echo
    product, _, key = device.aliases.get(PRODUCT_DEVICE, "").partition("/")
    if not echo["product"] and not echo["key"] and product:
        echo["product"], echo["key"] = product, key
    echo["asset"] = echo["asset"] or device.aliases.get(ASSET)
    if service is None or asked.setting:
        return
    echo["name"] = service.name
    fault = service.fault(echo["input"])
    if fault is not None:
        raise _wrong(fault)


def spec_of(asked: Asked, account: str, application: str, channel: str) -> CallSpec:
    """The call in the hub's own words."""
    echo, device = asked.echo, asked.device
    assert device is not None
    service, given = str(echo["service"]), echo["input"]
    payload, content_type, args = b"", None, None
    if asked.setting:
        method, target = "PUT", f"/measurepoint/{service}"
        payload, content_type = orjson.dumps(value_of(service, given)), "application/json"
    else:
        method, target, args = "INVOKE", _as_path(service), given
    return CallSpec(
        account=account,
        application=application,
        ref=asked.request_id,
        device=device.id,
        method=method,
        target=target,
        channel=channel,
        dialect=DIALECT,
        payload=payload,
        content_type=content_type,
        args=args,
        callback=echo["callback"],
        within=timedelta(milliseconds=echo["timeout"]),
        echo=echo,
    )


def value_of(point: str, given: Any) -> Any:
    """The value that a point is set to: under the point's own name, or under `value`, or the object itself.

    Raises Failure where there is none.
    """
    if not given:
        raise Failure(1000212, None, "control value is null")
    if len(given) == 1 and (point in given or "value" in given):
        value = next(iter(given.values()))
        if value is None:
            raise Failure(1000212, None, "control value is null")
        return value
    return given


def _as_path(service: str) -> str:
    """A service that is a resource of a device with numbered paths is named with or without the first slash."""
    pieces = service.split("/")
    return "/" + service if len(pieces) > 1 and all(piece.isdecimal() for piece in pieces) else service


def _text(members: Mapping[str, Any], name: str, *, needed: bool = False, most: int = MOST_ID) -> str | None:
    value = members.get(name)
    if value is None or value == "":
        if needed:
            raise _wrong(f"{name} is missing")
        return None
    if not isinstance(value, str):
        raise _wrong(f"{name} is a text")
    if not is_plain(value, most):
        raise _wrong(f"{name} has at most {most} characters, and no control characters")
    return value


def _shown(value: Any) -> Any:
    """A member as it came, if it is a plain value."""
    return value if value is None or isinstance(value, str | int | float) else None


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value: Any) -> TypeGuard[int]:
    """Milliseconds of 64 bits; they are the caller's own, and only shown again."""
    return _is_whole(value) and abs(value) <= _MOST_TIME


def _wrong(what: str) -> Failure:
    return Failure(PARAMETER, what)
