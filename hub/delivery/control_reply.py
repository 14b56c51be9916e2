"""The reply object of the EnOS edge: how a call stands or ended, as its control channels and callbacks tell it. Pure.

It is here and not in the dialect, because a control channel is told in this form whichever way it is listened to.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from hub.core.control_channels import MEMBER, carries_control
from hub.model.event import Event, EventKind
from hub.model.outcome import Ending

DIALECT = "enos"
SUCCESS = "SUCCESS"

TIMEOUT, INVOKE_FAILED, WRITE_FAILED = 1000203, 1000204, 1000205
MESSAGES = {
    TIMEOUT: "timeout",
    INVOKE_FAILED: "invoke service error",
    WRITE_FAILED: "write data error",
}
NOT_SENT = "not sent"

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MILLISECOND = timedelta(milliseconds=1)
_MOST_TEXT = 512


def milliseconds(at: datetime) -> int:
    """A moment as this API has it."""
    return (at - _EPOCH) // _MILLISECOND


def told_here(event: Event) -> bool:
    """Whether an event is an outcome on a control channel."""
    mine = event.kind is EventKind.COMPLETION and event.body.get("dialect") == DIALECT
    return mine and carries_control(event.channel)


def reply(
    asked: Mapping[str, Any],
    request_id: Any,
    status: int,
    msg: str,
    submsg: str | None,
    replied: int,
    *,
    output: Any = None,
    message_id: str | None = None,
    device_replied: int = -1,
) -> dict[str, Any]:
    """A reply: `asked` are the members as the call came, of `wire.Asked.echo`; times are milliseconds."""
    service, setting = asked.get("service"), asked.get("what") == "set"
    method = None if service is None else f"thing.service.{'measurepoint.set' if setting else service}"
    members: dict[str, Any] = {
        "requestId": request_id,
        "messageId": message_id,
        "requestMethod": method,
        "callType": asked.get("type", "ASYNC"),
        "setMeasurepointChannelId" if setting else "controlChannelId": asked.get(MEMBER),
        "productKey": asked.get("product"),
        "deviceKey": asked.get("key"),
        "assetId": asked.get("asset"),
    }
    if setting:
        members["measurepointId"] = service
    else:
        members.update(serviceName=asked.get("name"), serviceId=service)
    members.update(callbackUrl=asked.get("callback"), inputData=asked.get("input"))
    if not setting:
        members["outputData"] = {} if output is None else output
    members.update(status=status, msg=msg, submsg=submsg, timeout=asked.get("timeout"))
    if setting:
        members.update(gmtSetMeasurepointRequest=asked.get("at"), gmtSetMeasurepointReply=replied)
    else:
        members.update(gmtServiceRequest=asked.get("at"), gmtServiceReply=replied, gmtDeviceReply=device_replied)
    return members


def reply_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The reply that tells of an ending, from the body of its COMPLETION."""
    asked: Mapping[str, Any] = body["echo"]
    status, msg, submsg = _said(body, asked)
    at = body.get("device_time")
    answered = body["ending"] in (Ending.ANSWERED.value, Ending.DEVICE_ERROR.value)
    return reply(
        asked,
        body["ref"],
        status,
        msg,
        submsg,
        milliseconds(datetime.fromisoformat(body["ended_at"])),
        output=output_of(body) if status == 0 else None,
        message_id=_message_id(body),
        device_replied=milliseconds(datetime.fromisoformat(at)) if answered and at is not None else -1,
    )


def output_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the device returned, as the object that it is; anything else stands under `value`."""
    payload = bytes(body.get("payload") or b"")
    if not payload:
        return {}
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        value = payload.decode("utf-8", "replace")
    if isinstance(value, dict):
        return value
    return {} if value is None else {"value": value}


def _message_id(body: Mapping[str, Any]) -> str | None:
    """The id of the message that the device got, where its answer says which that was."""
    found = (body.get("native") or {}).get("message_id")
    return found if isinstance(found, str) else None


def _said(body: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[int, str, str]:
    failed = WRITE_FAILED if asked.get("what") == "set" else INVOKE_FAILED
    match Ending(body["ending"]):
        case Ending.ANSWERED:
            return 0, SUCCESS, SUCCESS
        case Ending.TIMED_OUT:
            return TIMEOUT, MESSAGES[TIMEOUT], "no answer"
        case Ending.EXPIRED:
            why = (body.get("native") or {}).get("detail")
            return TIMEOUT, MESSAGES[TIMEOUT], f"{NOT_SENT}: {why}"[:_MOST_TEXT] if why else NOT_SENT
        case Ending.DEVICE_ERROR:
            return failed, MESSAGES[failed], _device_said(body)
        case _:
            return failed, MESSAGES[failed], str(body.get("error") or body["ending"])


def _device_said(body: Mapping[str, Any]) -> str:
    """The device's own code and its words."""
    native = body.get("native") or {}
    code = next((str(native[name]) for name in ("code", "coap") if native.get(name) is not None), str(body["status"]))
    words = native.get("message") or bytes(body.get("payload") or b"").decode("utf-8", "replace") or body.get("error")
    return f"{code}: {words}"[:_MOST_TEXT]
