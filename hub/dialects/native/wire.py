"""The native dialect's members: bodies of requests into specs, calls and devices into views. Pure.

Everything here is values in and values out: `form` decides whether bytes are base64 text in a member named
`...-b64` (JSON) or binary under the plain name (MessagePack). Members without a value are absent.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hub.core.channels import DEFAULT, full_name
from hub.core.limits import Limits
from hub.delivery.request_data import Form
from hub.delivery.request_members import Members, is_plain
from hub.model.call import Call, CallSpec, CallState, OnUncertain, Order, Stage
from hub.model.device import Device, Resource
from hub.model.errors import BadRequest, NotFound
from hub.model.event import Position
from hub.model.outcome import values_in
from hub.model.principal import Principal
from hub.model.target import MAX_TARGET, parse_target

DIALECT = "native"
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "INVOKE")

LEAST_SECONDS = 0.1
MOST_RETRIES = 10
MOST_REF = 256
MOST_WAIT = 60
MOST_CALLBACK = 64 * 1024

_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}", re.ASCII)
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def call_spec(
    value: Any, principal: Principal, device: str, form: Form, limits: Limits, fresh_ref: Callable[[], str]
) -> CallSpec:
    """The spec of `POST /v1/devices/{device}/calls`, or of a `call` frame.

    `fresh_ref()` names the call if the caller does not. Raises BadRequest with every wrong member, NotFound for a
    foreign channel.
    """
    members = Members(value)
    method = members.text("method", required=True, most=16)
    if method is not None and method not in METHODS:
        members.wrong("method", "one of these is expected: " + ", ".join(METHODS))
    uri = members.text("uri", required=True, most=MAX_TARGET)
    args = members.mapping("args")
    if args is not None and method != "INVOKE":
        members.wrong("args", "only an INVOKE has arguments")
    # Whether the address may be called, and is not too long, is judged at intake: 422, whatever the dialect.
    callback = members.text("callback", most=MOST_CALLBACK)
    payload = _payload(members, form)
    longest = limits.max_timeout.total_seconds()
    timeout = members.number("timeout", LEAST_SECONDS, longest)
    expiry = members.number("expiry", LEAST_SECONDS, limits.max_expiry.total_seconds())
    retries = members.integer("retry", 0, MOST_RETRIES)
    order = members.choice("order", Order)
    on_uncertain = members.choice("on-uncertain", OnUncertain)
    ref = members.text("ref", most=MOST_REF)
    content_type, accept = members.text("content-type"), members.text("accept")
    target = _target(members, method, uri)
    channel = _channel(members, principal)
    members.check()
    return CallSpec(
        account=principal.account,
        application=principal.application,
        ref=ref or fresh_ref(),
        device=device,
        method=method or "",
        target=target,
        channel=channel,
        dialect=DIALECT,
        payload=payload or b"",
        content_type=content_type,
        accept=accept,
        args=args,
        callback=callback,
        timeout=_duration(timeout),
        expiry=_duration(expiry),
        retries=retries or 0,
        order=order or Order.SERIAL,
        on_uncertain=on_uncertain or OnUncertain.REPORT,
    )


def accepted_view(call: Call, position: Position) -> dict[str, Any]:
    """The body of a 202: the call, and its channel's position before the completion."""
    return {
        "id": call.id,
        "ref": call.spec.ref,
        "channel": call.spec.channel,
        "epoch": position.epoch,
        "offset": position.offset,
    }


def call_view(state: CallState, form: Form) -> dict[str, Any]:
    """The Call view."""
    call, spec, outcome = state.call, state.call.spec, state.outcome
    view: dict[str, Any] = {
        "id": call.id,
        "ref": spec.ref,
        "device": spec.device,
        "method": spec.method,
        "uri": spec.target,
        "state": state.stage.value,
    }
    if outcome is not None:
        view["ending"] = outcome.ending.value
        view["status"] = outcome.status
        if outcome.payload:
            _put_bytes(view, "payload", outcome.payload, form)
        view["ct"] = outcome.content_type
        view["values"] = values_in(outcome.native)
        view["max-age"] = None if outcome.max_age is None else int(outcome.max_age.total_seconds())
        view["error"] = outcome.error
        view["detail"] = outcome.native.get("detail") if outcome.error else None
    view["accepted-at"] = moment(call.accepted_at)
    view["sent-at"] = moment(state.sent_at)
    view["ended-at"] = moment(state.ended_at)
    view["attempts"] = state.attempt
    view["channel"] = spec.channel
    view["epoch"] = state.epoch
    view["offset"] = state.offset
    view["dialect"] = spec.dialect
    return _present(view)


def device_view(device: Device, waiting: int, in_flight: int) -> dict[str, Any]:
    """The Device view; `waiting` and `in_flight` count its calls."""
    return _present(
        {
            "id": device.id,
            "name": device.name,
            "type": device.type,
            "adapter": device.adapter,
            "address": device.address,
            "presence": device.presence.value,
            "registration": device.registration.value,
            "last-seen": moment(device.last_seen),
            "expires-at": moment(device.expires_at),
            "queue-mode": device.queue_mode,
            "aliases": dict(device.aliases),
            "resources": [resource_view(resource) for resource in device.resources],
            "upstream": device.attrs.get("upstream"),
            "attributes": device.attrs.get("attributes"),
            "waiting": waiting,
            "in-flight": in_flight,
        }
    )


def resource_view(resource: Resource) -> dict[str, Any]:
    """One entry of a device's `resources`."""
    return _present(
        {
            "uri": resource.path,
            "rt": resource.resource_type,
            "ct": resource.content_type,
            "obs": resource.observable,
        }
    )


def changed_device(value: Any, before: Device | None, id: str, account: str, adapters: frozenset[str]) -> Device:
    """The device that a `PUT /v1/devices/{id}` asks for: new, or `before` with the given members changed.

    `adapters` are those that the account may use. An address is of the account's own (`<account>/...`) or stays as
    the configuration set it: what an adapter calls the devices of others is theirs, taken yet or not. Raises
    BadRequest with every wrong member.
    """
    members = Members(value)
    name, kind = members.text("name"), members.text("type")
    adapter = members.text("adapter", required=before is None, most=64)
    stays = before is not None and adapter in (None, before.adapter)
    if adapter is not None and not stays and adapter not in adapters:
        members.wrong("adapter", "there is no such adapter")
    address = members.text("address", most=512)
    kept = before.address if before is not None and stays else None
    if address is not None and address != kept and not address.startswith(f"{account}/"):
        members.wrong("address", f"an address is {account}/{id}, or begins with {account}/; others are configured")
    aliases = members.texts("aliases", 32)
    endpoint = (aliases or {}).get("endpoint")
    on = adapter or (before.adapter if before is not None else "")
    if endpoint is not None and not endpoint.startswith(f"{on}/"):
        members.wrong("aliases", f"an endpoint is {on}/<endpoint name>")
    queue_mode = members.flag("queue-mode")
    upstream = members.text("upstream", most=64)
    attributes = members.texts("attributes", 64)
    if before is None and _DEVICE_ID.fullmatch(id) is None:
        raise BadRequest(
            "a device id has 1 to 128 characters of A-Z a-z 0-9 . _ : @ + = ~ - and begins with a letter or digit",
            code="bad-device-id",
        )
    members.check()
    if before is None:
        before = Device(id=id, account=account, adapter=adapter or "", address=address or f"{account}/{id}")
    noted = {"upstream": upstream, "attributes": attributes}
    attrs = {**before.attrs, **{name: value for name, value in noted.items() if value is not None}}
    return Device(
        id=before.id,
        account=before.account,
        adapter=adapter or before.adapter,
        address=address or _kept_address(before, stays),
        name=name or before.name,
        type=kind or before.type,
        aliases=before.aliases if aliases is None else aliases,
        queue_mode=before.queue_mode if queue_mode is None else queue_mode,
        registration=before.registration,
        presence=before.presence,
        resources=before.resources,
        created_at=before.created_at,
        updated_at=before.updated_at,
        last_seen=before.last_seen,
        expires_at=before.expires_at,
        boot=before.boot,
        attrs=attrs,
    )


def _kept_address(before: Device, stays: bool) -> str:
    own = f"{before.account}/"
    # A configured address means something to its own adapter only; at another one it may be somebody else's.
    return before.address if stays or before.address.startswith(own) else own + before.id


def device_secret(value: Any, form: Form) -> bytes:
    """The secret of `PUT /v1/devices/{id}/credentials`: `secret` as text, or its bytes. Raises BadRequest."""
    members = Members(value)
    text = members.text("secret", most=1024) if isinstance(value.get("secret"), str) else None
    raw = members.base64("secret-b64") if form is Form.JSON else None
    if form is Form.MSGPACK and text is None:
        raw = members.binary("secret")
    found = text.encode() if text is not None else raw
    if not members.found and (not found or len(found) > 1024):
        members.wrong("secret", "a secret of 1 to 1024 bytes is expected")
    members.check()
    return found or b""


def call_query_stage(word: str) -> Stage:
    """The stage that `state=` names. Raises BadRequest."""
    try:
        return Stage(word)
    except ValueError:
        raise bad_parameter("state", "one of these is expected: " + ", ".join(s.value for s in Stage)) from None


def whole_number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """An integer of the query. Raises BadRequest outside of its bounds."""
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 20 and least <= int(text) <= most:
        return int(text)
    raise bad_parameter(name, f"an integer from {least} to {most} is expected")


def moment_parameter(query: Mapping[str, str], name: str) -> datetime | None:
    """A moment of the query, RFC 3339. Raises BadRequest."""
    text = query.get(name)
    if text is None:
        return None
    try:
        # A plus sign in a query means a space to most readers of forms.
        at = datetime.fromisoformat(text.replace(" ", "+"))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise bad_parameter(name, "a moment as in 2026-01-31T12:00:00.000Z is expected")


def bad_parameter(name: str, detail: str) -> BadRequest:
    """The refusal of one query parameter."""
    return BadRequest(f"{name}: {detail}", code="bad-query", fields=((f"?{name}", detail),))


def preferred_wait(prefer: str) -> int | None:
    """The seconds of `Prefer: wait=N`, at most 60; None when it is not asked for (RFC 7240: the rest is ignored)."""
    found = _PREFER_WAIT.search(prefer)
    if found is None or int(found[1]) < 1:
        return None
    return min(MOST_WAIT, int(found[1]))


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _payload(members: Members, form: Form) -> bytes | None:
    if form is Form.MSGPACK:
        if "payload-b64" in members:
            members.wrong("payload-b64", "in MessagePack the payload is binary data in payload")
        return members.binary("payload")
    if "payload" in members:
        members.wrong("payload", "in JSON the payload is base64 text in payload-b64")
    return members.base64("payload-b64")


def _target(members: Members, method: str | None, uri: str | None) -> str:
    if uri is None:
        return ""
    if method == "INVOKE":
        service = uri.strip(" ")
        if not is_plain(service, 256):
            members.wrong("uri", "a service id of 1 to 256 characters is expected")
        return service
    try:
        return str(parse_target(uri))
    except BadRequest as error:
        members.wrong("uri", error.detail)
        return ""


def _channel(members: Members, principal: Principal) -> str:
    try:
        return full_name(principal.application, members.text("channel") or DEFAULT)
    except BadRequest as error:
        members.wrong("channel", error.detail)
    except NotFound:
        # Told before the other members are judged would be a way to probe; together with them it is not.
        members.check()
        raise
    return ""


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _put_bytes(view: dict[str, Any], name: str, value: bytes, form: Form) -> None:
    if form is Form.MSGPACK:
        view[name] = value
    else:
        view[f"{name}-b64"] = base64.b64encode(value).decode("ascii")


def _present(view: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in view.items() if value is not None}
