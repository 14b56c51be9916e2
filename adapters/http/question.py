"""How the job of a change is looked for where its 202 was lost: an address of the settings with all in it but the time.
Pure. Two changes with the same question cannot be told apart by it."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from adapters.http.shape import JobShape
from adapters.http.wire import filled
from hub.model.call import CallSpec
from hub.model.errors import BadRequest
from hub.model.job import facets_of
from hub.model.target import Target, parse_target

_SINCE = "\0"
_PLACE = quote(_SINCE)


def question_of(shape: JobShape, user: str, method: str, prefix: str, target: str) -> str | None:
    """The question; None where nothing could be found by it, or too much: a change that is no job, an instance whose
    name the settings have no place for."""
    if not shape.find:
        return None
    try:
        segments = (*parse_target(prefix).segments, *parse_target(target).segments)
        spec = CallSpec(
            account="", application=user, ref="", device="", method=method, channel="", dialect="",
            target=Target(segments).path,
        )  # fmt: skip
        facets = facets_of(spec)
    except BadRequest:
        return None
    if facets is None:
        return None
    # What a create gives a name to may be called otherwise by its job, so only an instance is looked for by it.
    values = {
        "type": facets.kind,
        "action": facets.action,
        "instance": facets.instance or "",
        "name": facets.name or "",
        "user": facets.user,
        "since": _SINCE,
    }
    if facets.name and "{name}" not in shape.find and "{instance}" in shape.find:
        return None
    return filled(_without_unknown(shape.find, values), **values)


def at(question: str, since: datetime) -> str:
    """The address at which it is asked for jobs that began at `since` or later."""
    moment = since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return question.replace(_PLACE, quote(moment, safe=""))


def _without_unknown(template: str, values: dict[str, str]) -> str:
    """The question without the conditions for which there is nothing to put in."""
    path, mark, query = template.partition("?")
    gone = ["{" + place + "}" for place, value in values.items() if not value]
    kept = (part for part in query.split("&") if not any(place in part for place in gone))
    return path + mark + "&".join(kept)
