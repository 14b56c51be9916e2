"""The words of endpoints, direct resource calls, subscriptions and presubscriptions. Pure.

The same refusal has another status here than on a device request: an unknown device is 410 on a direct call and 404 on
a subscription, an unknown resource 404 on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hub.core.channels import DEFAULT, full_name
from hub.core.rule import Rule
from hub.delivery.request_data import decode_json
from hub.delivery.request_members import is_plain
from hub.dialects.pelion.wire import (
    DIALECT,
    EXPIRY,
    EXPIRY_QUEUED,
    MALFORMED_JSON_CONTENT,
    RETRIES,
    RETRIES_QUEUED,
    resource_target,
    said,
)
from hub.model.call import CallSpec, Order
from hub.model.device import Device
from hub.model.errors import BadRequest, Conflict, HubError, MethodNotAllowed, NotFound, TooMany, Unavailable
from hub.model.principal import Principal
from hub.model.target import Target

URI_LIST = "text/uri-list"

MOST_RULES, MOST_PATHS, MOST_ENTRIES = 1024, 256, 16_384
LONGEST_NAME, LONGEST_PATH = 64, 128

_OWN_PARAMETERS = frozenset({"cacheOnly", "noResp"})


def said_directly(error: HubError) -> tuple[int, str]:
    """Status and word of a refused direct resource call."""
    match error:
        case NotFound(code="device-not-found"):
            return 410, "DEVICE_NOT_FOUND"
        case NotFound(code="resource-not-found"):
            return 404, "URI_PATH_DOES_NOT_EXISTS"
        case TooMany(code="queue-full"):
            return 429, "QUEUE_IS_FULL"
        case TooMany():
            return 429, "LIMITS_EXCEEDED"
        case Unavailable(code="not-connected"):
            return 502, "NOT_CONNECTED"
        case Unavailable(code="timeout"):
            return 504, "TIMEOUT"
        case Conflict(code="no-response-impossible"):
            return 409, "NO_RESPONSE_IMPOSSIBLE"
    return said(error)


def said_of_subscription(error: HubError) -> tuple[int, str]:
    """Status and word of a refused subscription."""
    match error:
        case NotFound(code="resource-not-found"):
            return 404, "RESOURCE_NOT_FOUND"
        case MethodNotAllowed(code="not-observable"):
            return 412, "NOT_OBSERVABLE"
        case TooMany():
            return 429, "LIMITS_EXCEEDED"
    return said(error)


def endpoint_view(device: Device) -> dict[str, Any]:
    """One entry of `GET /v2/endpoints`."""
    view: dict[str, Any] = {"name": device.id}
    if device.type is not None:
        view["type"] = device.type
    return {**view, "status": "ACTIVE", "q": device.queue_mode}


def resource_views(device: Device) -> list[dict[str, Any]]:
    """The answer of `GET /v2/endpoints/{device-id}`; `obs` is a boolean always."""
    views = []
    for resource in device.resources:
        view: dict[str, Any] = {"uri": "/" + resource.path.lstrip("/")}
        if resource.resource_type is not None:
            view["rt"] = resource.resource_type
        if resource.content_type is not None:
            view["type"] = resource.content_type
        views.append({**view, "obs": resource.observable})
    return views


def flag(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false. Raises BadRequest."""
    word = query.get(name, "false").lower()
    if word not in ("true", "false"):
        raise BadRequest(f"{name} is true or false", code=f"INVALID_{name.upper()}")
    return word == "true"


def target_of(segments: Sequence[str], query: bytes = b"") -> Target:
    """The resource that the rest of a path names; what the query holds beyond the hub's own words belongs to it.

    Repeated slashes are one. Raises BadRequest.
    """
    kept = [part for part in query.decode("latin-1").split("&") if part.partition("=")[0] not in _OWN_PARAMETERS]
    asked = "&".join(part for part in kept if part)
    return resource_target("/".join(segments) + (f"?{asked}" if asked else ""))


def direct_request(
    method: str,
    target: Target,
    body: bytes,
    content_type: str,
    accept: str,
    principal: Principal,
    named: str,
    device: Device | None,
    ref: str,
) -> CallSpec:
    """The spec of a direct resource call; `ref` is the async-response-id that the hub makes."""
    queued = device is not None and device.queue_mode
    return CallSpec(
        account=principal.account,
        application=principal.application,
        ref=ref,
        device=named,
        method=method,
        target=str(target),
        channel=full_name(principal.application, DEFAULT),
        dialect=DIALECT,
        payload=body,
        content_type=(content_type or None) if body else None,
        accept=wanted_form(accept),
        expiry=EXPIRY_QUEUED if queued else EXPIRY,
        retries=RETRIES_QUEUED if queued else RETRIES,
        order=Order.STRICT,
        echo={"expiry_set": False},
    )


def wanted_form(accept: str) -> str | None:
    """The one content type that an Accept header asks a device for; None when it leaves a choice."""
    word = accept.strip()
    if not word or "*" in word or "," in word or not is_plain(word, 256):
        return None
    return word


def async_response_id(ref: str) -> dict[str, str]:
    """The body of the 202 of a direct call."""
    return {"async-response-id": ref}


def uri_list(paths: Iterable[str]) -> str:
    """Paths, one per line; no newline at the end, which a vendor's SDK would take for one more entry."""
    return "\n".join(paths)


def rules_of(body: bytes) -> tuple[Rule, ...]:
    """The rules of `PUT /v2/subscriptions`. Raises BadRequest."""
    try:
        entries = decode_json(body)
    except BadRequest as error:
        raise BadRequest(error.detail, code=MALFORMED_JSON_CONTENT) from None
    if not isinstance(entries, list):
        raise BadRequest("an array of rules is expected", code=MALFORMED_JSON_CONTENT)
    if len(entries) > MOST_RULES:
        raise _wrong(f"there are at most {MOST_RULES} rules")
    if sum(_count(entry) for entry in entries) > MOST_ENTRIES:
        raise _wrong(f"the rules have at most {MOST_ENTRIES} paths together")
    seen: set[str] = set()
    return tuple(_rule(entry, number, seen) for number, entry in enumerate(entries))


def rule_view(rule: Rule) -> dict[str, Any]:
    """A rule as it was put: only the members that it was given, since the SDKs compare."""
    view: dict[str, Any] = {}
    if rule.device is not None:
        view["endpoint-name"] = rule.device
    if rule.type is not None:
        view["endpoint-type"] = rule.type
    if rule.paths is not None:
        view["resource-path"] = list(rule.paths)
    return view


def _count(entry: Any) -> int:
    paths = entry.get("resource-path") if isinstance(entry, Mapping) else None
    return len(paths) if isinstance(paths, list) else 0


def _rule(entry: Any, number: int, seen: set[str]) -> Rule:
    """One rule; `seen` are the paths of those before it, which need not be judged again."""
    if not isinstance(entry, Mapping):
        raise _wrong(f"rule {number} is no object")
    name, kind, paths = entry.get("endpoint-name"), entry.get("endpoint-type"), entry.get("resource-path")
    if name is None and kind is None and paths is None:
        raise _wrong(f"rule {number} names nothing")
    if name is not None:
        _pattern(name, LONGEST_NAME, f"rule {number}: endpoint-name")
    if kind is not None and not (isinstance(kind, str) and is_plain(kind, LONGEST_NAME)):
        raise _wrong(f"rule {number}: endpoint-type is a text of at most {LONGEST_NAME} characters")
    if paths is not None:
        if not isinstance(paths, list):
            raise _wrong(f"rule {number}: resource-path is an array")
        for path in paths:
            if not (isinstance(path, str) and path in seen):
                _pattern(path, LONGEST_PATH, f"rule {number}: resource-path")
                seen.add(path)
                if len(seen) > MOST_PATHS:
                    raise _wrong(f"there are at most {MOST_PATHS} different paths")
    return Rule(name, kind, None if paths is None else tuple(paths))


def _pattern(value: Any, longest: int, what: str) -> None:
    if not isinstance(value, str) or not is_plain(value, longest) or "*" in value[:-1]:
        raise _wrong(f"{what} is a text of at most {longest} characters with a * at its end only")


def _wrong(detail: str) -> BadRequest:
    return BadRequest(detail, code="INVALID_PRESUBSCRIPTION")
