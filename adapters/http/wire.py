"""HTTP as values: addresses from targets, answers as device responses, what headers tell of time. Pure.

What an upstream says of its jobs is read in `told.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from hub.model.errors import BadRequest as Malformed
from hub.model.target import parse_target
from hub.ports.adapter import BadRequest, Delivery, DeviceResponse

LEAST_PAUSE, MOST_PAUSE = 0.2, 300.0
MOST_PATIENCE = 86_400.0
REFUSALS = frozenset({401, 403})
REFUSED = "UPSTREAM_REFUSED"

_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=\"?([0-9]{1,9})", re.IGNORECASE | re.ASCII)
_NOT_KEPT = re.compile(r"(?:^|,)\s*(?:no-store|no-cache|private)", re.IGNORECASE)
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the whole of it. Header names are looked up without regard to case. `lack` is the word for why
    the body is missing: it was longer than may be read, or came in a coding that cannot be."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    lack: str = ""

    @property
    def whole(self) -> bool:
        """Whether the body is there."""
        return not self.lack


def path_of(prefix: str, target: str, query: Iterable[tuple[str, str]] = (), more: str = "") -> str:
    """Path and query below an upstream's base, quoted. Raises BadRequest (NOT_SENT) for what is no target."""
    try:
        segments = [*parse_target(prefix).segments, *parse_target(target).segments]
    except Malformed as error:
        raise BadRequest(str(error), delivery=Delivery.NOT_SENT) from None
    pairs = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    asked = "&".join(filter(None, (pairs, more)))
    return "/".join(quote(segment, safe="") for segment in segments) + (f"?{asked}" if asked else "")


def filled(template: str, **values: str) -> str:
    """A path of the settings with values in its places, quoted."""
    return template.format(**{name: quote(value, safe="") for name, value in values.items()})


def content_type_of(text: str | None) -> str | None:
    """A content type that may stand in a header. Raises BadRequest (NOT_SENT)."""
    if text is not None and _PLAIN.fullmatch(text) is None:
        raise BadRequest("a content type is printable text", delivery=Delivery.NOT_SENT)
    return text


def response_of(answer: Answer, now: datetime) -> DeviceResponse:
    """An answer in the hub's terms. `native` has the upstream's own figure; a status that a caller could do nothing
    with (a redirect, which is never followed) is told as 502 with a word, a refusal of what the hub shows of itself as
    503 with another: the caller's own key is not meant."""
    native: dict[str, object] = {"status": answer.status}
    if answer.status in REFUSALS:
        return DeviceResponse(503, native={**native, "error": REFUSED})
    if not answer.whole:
        native["error"] = answer.lack
        return DeviceResponse(502, native=native)
    if not 200 <= answer.status < 300 and not 400 <= answer.status < 600:
        native["error"] = "REDIRECTED"
        return DeviceResponse(502, native=native)
    pause = retry_after(answer.headers, now)
    if pause is not None and answer.status in (429, 503):
        native["retry_after"] = min(pause, MOST_PATIENCE)
    place = plain(answer.headers.get("Content-Range"))
    if place is not None:
        native["content_range"] = place
    kind = plain(answer.headers.get("Content-Type"))
    return DeviceResponse(answer.status, answer.body, kind, max_age(answer.headers), native)


def plain(text: str | None) -> str | None:
    """A header as it may be told and said again; None for one that is no printable ASCII: its bytes may be no text."""
    return text if text is not None and _PLAIN.fullmatch(text) else None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a server asks for, by figure or by date; None where it asks for nothing that can be read."""
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        return max(LEAST_PAUSE, float(text))
    at = _date(text)
    return None if at is None else max(LEAST_PAUSE, (at - now).total_seconds())


def skew(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds by which a server's clock is ahead, to a second; None where it does not tell."""
    at = _date(headers.get("Date", ""))
    return None if at is None else (at - now).total_seconds()


def max_age(headers: Mapping[str, str]) -> int | None:
    """How long an answer may be kept, where it says so."""
    said = headers.get("Cache-Control", "")
    found = _MAX_AGE.search(said)
    return None if found is None or _NOT_KEPT.search(said) else int(found[1])


def cookies_of(values: Iterable[str]) -> dict[str, str]:
    """Names and values of Set-Cookie headers; attributes are of no interest to a client of one place."""
    found = {}
    for value in values:
        name, equals, rest = value.partition(";")[0].strip().partition("=")
        if equals and name and name.isascii() and name.isprintable() and rest.isascii() and rest.isprintable():
            found[name] = rest.strip()
    return found


def _date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
