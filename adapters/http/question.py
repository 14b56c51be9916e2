"""What the job of a change is known by, where its 202 was lost: the address at which it is looked for, with all in it
but the time, and which other changes may have made the job that is found there. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Likeness:
    """A change as its upstream's list of jobs would show it, in small letters. `group`: type, action and user, as far
    as the list can be asked for them; `instance` and `name`: what it works on, by whichever of the two the change named
    it. `question` is None where the list cannot be asked for it."""

    group: tuple[str, ...]
    instance: str | None = None
    name: str | None = None
    question: str | None = field(default=None, compare=False)

    def overlaps(self, other: Likeness) -> bool:
        """Whether the job of the one may be found when the other's is looked for: what one names by its id may be what
        the other calls by its name."""
        return (
            self.group == other.group
            and (self.instance == other.instance or self.instance is None or other.instance is None)
            and (self.name == other.name or self.name is None or other.name is None)
        )


def likeness_of(shape: JobShape, user: str, method: str, prefix: str, target: str) -> Likeness | None:
    """The likeness of a change; None for one that is no job, and where an upstream cannot be asked for its jobs."""
    if not shape.find:
        return None
    try:
        segments = (*parse_target(prefix).segments, *parse_target(target).segments)
        # The payload is not looked at: what a create gives a name to may be called otherwise by its job.
        spec = CallSpec(
            account="", application=user, ref="", device="", method=method, channel="", dialect="",
            target=Target(segments).path,
        )  # fmt: skip
        facets = facets_of(spec)
    except BadRequest:
        return None
    if facets is None:
        return None
    values = {
        "type": facets.kind,
        "action": facets.action,
        "instance": facets.instance or "",
        "name": facets.name or "",
        "user": facets.user,
    }
    asked = {place: value.casefold() for place, value in values.items() if "{" + place + "}" in shape.find}
    return Likeness(
        tuple(asked[place] for place in ("type", "action", "user") if place in asked),
        asked.get("instance") or None,
        asked.get("name") or None,
        _question(shape.find, {**values, "since": _SINCE}),
    )


def at(question: str, since: datetime) -> str:
    """The address at which it is asked for jobs that began at `since` or later."""
    moment = since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return question.replace(_PLACE, quote(moment, safe=""))


def _question(template: str, values: dict[str, str]) -> str | None:
    if values["name"] and "{name}" not in template and "{instance}" in template:
        # Too much would be found: the jobs of every instance.
        return None
    return filled(_without_unknown(template, values), **values)


def _without_unknown(template: str, values: dict[str, str]) -> str:
    """The question without the conditions for which there is nothing to put in."""
    path, mark, query = template.partition("?")
    gone = ["{" + place + "}" for place, value in values.items() if not value]
    kept = (part for part in query.split("&") if not any(place in part for place in gone))
    return path + mark + "&".join(kept)
