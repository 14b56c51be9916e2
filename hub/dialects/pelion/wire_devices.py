"""The words of the device directory (`/v3/devices/`): its objects, its filters, its error object. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from hub.dialects.pelion.wire import said
from hub.model.device import Device, Registration
from hub.model.errors import BadRequest, HubError, Refusal

LEAST, MOST, DEFAULT_LIMIT = 2, 1000, 50
MOST_CONDITIONS = 64

STATES: Mapping[Registration, str] = {
    Registration.DECLARED: "unenrolled",
    Registration.REGISTERED: "registered",
    Registration.DEREGISTERED: "deregistered",
    Registration.EXPIRED: "deregistered",
}

_TYPES: Mapping[int, str] = {
    400: "bad_request", 401: "invalid_auth", 403: "access_denied", 404: "not_found", 405: "method_not_allowed",
    429: "too_many_requests",
}  # fmt: skip

_TEXTS: Mapping[str, Callable[[Device], str | None]] = {
    "id": lambda device: device.id,
    "name": lambda device: device.name,
    "state": lambda device: STATES[device.registration],
    "object": lambda device: "device",
    "account_id": lambda device: device.account,
    "endpoint_name": lambda device: device.name,
    "endpoint_type": lambda device: device.type,
}
_MOMENTS: Mapping[str, Callable[[Device], datetime | None]] = {
    "created_at": lambda device: device.created_at,
    "updated_at": lambda device: device.updated_at,
    "etag": lambda device: device.updated_at or device.created_at,
}
# Known to the service and not to the hub: no device has a value there.
_ABSENT = frozenset({
    "auto_update", "bootstrap_expiration_date", "bootstrapped_timestamp", "ca_id", "connector_expiration_date",
    "deployed_state", "deployment", "description", "device_class", "device_execution_mode", "device_key",
    "endpoint_lifetime", "enrolment_list_timestamp", "firmware_checksum", "groups", "host_gateway",
    "issuer_fingerprint", "lifecycle_status", "manifest", "manifest_timestamp", "mechanism", "mechanism_url",
    "serial_number", "vendor_id",
})  # fmt: skip
_CUSTOM = "custom_attributes"
_OPERATORS = ("eq", "neq", "in", "nin", "lte", "gte")

Fits = Callable[[Device], bool]

Place = tuple[datetime, str]
"""Where a device stands in a listing."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing asks for."""

    limit: int
    descending: bool
    after: str | None
    total: bool
    fits: Fits

    @property
    def order(self) -> str:
        """As it is told."""
        return "DESC" if self.descending else "ASC"


def listing_of(query: Mapping[str, str]) -> Listing:
    """The query of `GET /v3/devices/`; a limit out of bounds is moved to the nearest. Raises BadRequest."""
    order = query.get("order", "ASC").upper()
    if order not in ("ASC", "DESC"):
        raise invalid("order", "is ASC or DESC")
    return Listing(
        limit=_limit(query.get("limit")),
        descending=order == "DESC",
        after=query.get("after") or None,
        total="total_count" in query.get("include", "").split(","),
        fits=filter_of(query.get("filter", "")),
    )


def filter_of(text: str) -> Fits:
    """The predicate of a filter, itself a query string: every condition must hold. Raises BadRequest."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=MOST_CONDITIONS)
    except ValueError:
        raise invalid("filter", "is a query string") from None
    conditions = [_condition(name, value) for name, value in pairs]
    return lambda device: all(condition(device) for condition in conditions)


def sort_key(device: Device) -> Place:
    """Devices stand in order of their creation."""
    return device.created_at or datetime.min.replace(tzinfo=UTC), device.id


def device_view(device: Device) -> dict[str, Any]:
    """A device as the directory tells it; what is not known is left out."""
    view: dict[str, Any] = {
        "object": "device",
        "id": device.id,
        "account_id": device.account,
        "state": STATES[device.registration],
        "name": device.name,
        "endpoint_name": device.name,
        "endpoint_type": device.type,
        "created_at": _told(device.created_at),
        "updated_at": _told(device.updated_at),
        "etag": _told(device.updated_at or device.created_at),
        "custom_attributes": attributes(device),
    }
    return {name: value for name, value in view.items() if value is not None}


def list_view(listing: Listing, devices: Sequence[Device], more: bool, total: int | None) -> dict[str, Any]:
    """A page of the directory; `total` only where it was asked for."""
    view: dict[str, Any] = {
        "object": "list",
        "limit": listing.limit,
        "order": listing.order,
        "after": listing.after,
        "has_more": more,
        "data": [device_view(device) for device in devices],
    }
    if total is not None:
        view["total_count"] = total
    return view


def attributes(device: Device) -> dict[str, str]:
    """What people noted on a device."""
    noted = device.attrs.get("attributes")
    return {str(key): str(value) for key, value in noted.items()} if isinstance(noted, Mapping) else {}


def error_view(error: HubError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and error object of an error."""
    status, word = said(error)
    refusal = error if isinstance(error, Refusal) else None
    status = 404 if refusal is not None and refusal.status == 404 else status
    fields = [] if refusal is None else [{"name": at.lstrip("/?"), "message": what} for at, what in refusal.fields]
    view: dict[str, Any] = {
        "object": "error",
        "code": status,
        "type": "validation_error" if fields else _TYPES.get(status, word.lower()),
        "message": (refusal.detail if refusal is not None else "") or word,
        "request_id": request_id,
    }
    if fields:
        view["fields"] = fields
    return status, view


def invalid(name: str, what: str) -> BadRequest:
    """The refusal of one parameter."""
    return BadRequest(f"{name} {what}", code="validation-error", fields=((f"?{name}", what),))


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise invalid("limit", "is not a number")
    if text.startswith("-"):
        return LEAST
    # So long a number is too large, whatever it is.
    return MOST if len(digits) > 6 else min(MOST, max(LEAST, int(digits)))


def _condition(name: str, value: str) -> Fits:
    field, _, word = name.rpartition("__")
    if not field or word not in _OPERATORS:
        field, word = name, "eq"
    read, value_of = _reader(field)
    if word in ("in", "nin"):
        values = {value_of(part) for part in value.split(",")}
        return lambda device: (read(device) in values) is (word == "in")
    wanted = value_of(value)
    if word in ("lte", "gte"):
        compare = operator.le if word == "lte" else operator.ge
        return lambda device: (at := read(device)) is not None and bool(compare(at, wanted))
    return lambda device: (read(device) == wanted) is (word == "eq")


def _reader(field: str) -> tuple[Callable[[Device], Any], Callable[[str], Any]]:
    """How a field is read from a device, and from the text of a condition. Raises BadRequest."""
    if field in _TEXTS:
        return _TEXTS[field], str
    if field in _MOMENTS:
        moment = _MOMENTS[field]
        return (lambda device: _cut(moment(device))), _moment
    if field.startswith(_CUSTOM + "__"):
        attribute = field[len(_CUSTOM) + 2 :]
        return (lambda device: attributes(device).get(attribute)), str
    if field in _ABSENT:
        return (lambda device: None), str
    raise invalid("filter", f"knows no field {field[:64]!r}")


def _moment(text: str) -> datetime:
    try:
        # A plus sign that was not escaped came as a space.
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        # The latter at either end of the calendar, where an offset leads out of it.
        raise invalid("filter", "compares with a moment as in 2024-01-01T00:00:00Z") from None


def _cut(at: datetime | None) -> datetime | None:
    """As it is told, so that a moment that was read finds its device."""
    return None if at is None else at.replace(microsecond=at.microsecond // 1000 * 1000)


def _told(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
